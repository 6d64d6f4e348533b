from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.optimize import minimize
from pymoo.problems import get_problem
from trials import trial_with

from latlas.profiler.errors import SearchError
from latlas.search.nsga2 import WeightedNSGA2, weighted_survival
from latlas.search.objectives import DEFAULT_OBJECTIVES, Constraint, Objective, objective_values
from latlas.search.pareto import hypervolume
from latlas.search.protocols import Genes, Trial

CHOICES = (12,) * 14


def trial(genes: Genes) -> Trial:
    """A conflict: larger genes are more accurate and slower, even ones have more parameters."""
    array = np.array(genes)
    accuracy = 0.5 + 0.4 * float(np.sqrt(array / 11).mean())
    return trial_with(genes, accuracy, 1 + float((array**2).mean()), float((array % 2 == 0).sum()))


def generations(searcher: WeightedNSGA2, number: int) -> list[list[Genes]]:
    found = []
    for _ in range(number):
        found.append(searcher.ask())
        searcher.tell([trial(genes) for genes in found[-1]])
    return found


@pytest.mark.parametrize("operator", ["random", "reinforced"])
@pytest.mark.parametrize("crossover", ["uniform", "one-point"])
def test_batches_are_valid_and_never_repeat(crossover: Any, operator: Any) -> None:
    searcher = WeightedNSGA2(
        (3, 12, 1, 5, 7), population=20, crossover=crossover, operator=operator
    )
    asked = [genes for batch in generations(searcher, 8) for genes in batch]
    assert len(asked) == len(set(asked)) == 160
    for genes in asked:
        assert all(type(gene) is int for gene in genes)
        assert all(0 <= g < n for g, n in zip(genes, (3, 12, 1, 5, 7), strict=True))


@pytest.mark.parametrize("operator", ["random", "reinforced"])
def test_the_seed_and_the_tells_decide_everything(operator: Any) -> None:
    def fresh(seed: int = 3) -> WeightedNSGA2:
        return WeightedNSGA2(CHOICES, population=12, seed=seed, operator=operator)

    first = generations(fresh(), 6)
    assert generations(fresh(), 6) == first
    assert generations(fresh(4), 1) != first[:1]
    # Replaying half and going on is the same as never having stopped.
    resumed = fresh()
    for batch in first[:3]:
        assert resumed.ask() == batch
        resumed.tell([trial(genes) for genes in batch])
    assert generations(resumed, 3) == first[3:]


def test_ask_repeats_itself_until_told() -> None:
    searcher = WeightedNSGA2(CHOICES, population=6)
    batch = searcher.ask()
    batch.pop()  # the caller's copy
    assert len(searcher.ask()) == 6
    assert searcher.ask() == searcher.ask()


def test_it_beats_random_search() -> None:
    def volume(all_genes: Sequence[Genes]) -> float:
        values = objective_values([trial(genes) for genes in all_genes], DEFAULT_OBJECTIVES)
        return hypervolume(values, ["max", "min", "max"], [0.5, 60.0, -1.0])

    searched = [
        g for batch in generations(WeightedNSGA2(CHOICES, population=30), 20) for g in batch
    ]
    drawn = np.random.default_rng(0).integers(12, size=(600, 14)).tolist()
    assert volume(searched) > 1.05 * volume([tuple(genes) for genes in drawn])


def test_directions_are_followed() -> None:
    def mean_latency(direction: str) -> float:
        objectives = [Objective("latency_ms", direction)]  # type: ignore[arg-type]
        searcher = WeightedNSGA2(CHOICES, objectives, population=16)
        for _ in range(12):
            batch = searcher.ask()
            searcher.tell([trial_with(g, latency_ms=1.0 + sum(g)) for g in batch])
        return float(np.mean([sum(genes) for genes in searcher.ask()]))

    assert mean_latency("min") < 50 < 100 < mean_latency("max")


def test_failures_do_not_breed() -> None:
    searcher = WeightedNSGA2((2,) * 10, population=10, mutation=0.0)
    for _ in range(6):
        batch = searcher.ask()
        # Whatever starts with 0 fails; the objectives it reports must not matter.
        searcher.tell([trial_with(g, 0.9, 1.0, 1e9, error="" if g[0] else "broken") for g in batch])
    assert np.mean([genes[0] for genes in searcher.ask()]) > 0.9


def test_constraints_come_before_objectives() -> None:
    constraints = [Constraint("latency_ms", "max", 30.0)]
    searcher = WeightedNSGA2(CHOICES, constraints=constraints, population=16)
    for _ in range(15):
        searcher.tell([trial(genes) for genes in searcher.ask()])
    latencies = [trial(genes).latency_ms for genes in searcher.ask()]
    assert np.mean(np.array(latencies) <= 30) > 0.8


def test_all_failed_is_survived() -> None:
    searcher = WeightedNSGA2(CHOICES, population=4)
    for _ in range(3):
        searcher.tell([trial_with(genes, error="broken") for genes in searcher.ask()])
    assert len(searcher.ask()) == 4


def test_a_small_space_runs_dry() -> None:
    searcher = WeightedNSGA2((2, 2), population=3)
    asked: list[Genes] = []
    for _ in range(10):
        batch = searcher.ask()
        if not batch:
            break
        asked += batch
        searcher.tell([trial(genes) for genes in batch])
    assert sorted(asked) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_misuse_is_refused() -> None:
    searcher = WeightedNSGA2(CHOICES, population=4)
    with pytest.raises(SearchError, match="call ask"):
        searcher.tell([])
    batch = searcher.ask()
    with pytest.raises(SearchError, match="order"):
        searcher.tell([trial(genes) for genes in reversed(batch)])
    searcher.tell([trial(genes) for genes in batch])
    for bad in (
        {"choices": ()},
        {"choices": (0,)},
        {"choices": (2,), "objectives": ()},
        {"choices": (2,), "objectives": [Objective("accuracy", "max", 0.0)]},
        {"choices": (2,), "population": 1},
        {"choices": (2,), "mutation": 2.0},
        {"choices": (2,), "crossover": "no"},
        {"choices": (2,), "operator": "no"},
    ):
        with pytest.raises(SearchError):
            WeightedNSGA2(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["zdt1", "zdt2", "zdt3"])
def test_zdt_is_solved_as_by_pymoo(name: str) -> None:
    # Medians of pymoo's own NSGA-II, population 100, 200 generations; reference point (1.1, 1.1).
    own = {"zdt1": 0.8683, "zdt2": 0.5346, "zdt3": 1.3258}
    algorithm = NSGA2(pop_size=100, survival=weighted_survival([1, 1]))
    found = minimize(get_problem(name), algorithm, ("n_gen", 200), seed=1)
    assert hypervolume(found.F, ["min", "min"], [1.1, 1.1]) >= 0.98 * own[name]


def test_four_objectives() -> None:
    objectives = [
        *DEFAULT_OBJECTIVES,
        Objective("latency_ms@gpu", "min", 1.0),
    ]

    def found(genes: Genes) -> Trial:
        return Trial(genes, {**trial(genes).values, "latency_ms@gpu": 1.0 + sum(genes[::2])})

    def volume(all_genes: Sequence[Genes]) -> float:
        values = objective_values([found(genes) for genes in all_genes], objectives)
        return hypervolume(values, ["max", "min", "max", "min"], [0.5, 60.0, -1.0, 70.0])

    searcher = WeightedNSGA2(CHOICES, objectives, population=30)
    searched: list[Genes] = []
    for _ in range(20):
        batch = searcher.ask()
        searched += batch
        searcher.tell([found(genes) for genes in batch])
    drawn = np.random.default_rng(0).integers(12, size=(600, 14)).tolist()
    assert volume(searched) > volume([tuple(genes) for genes in drawn])

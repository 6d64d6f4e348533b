import json

import numpy as np
import pytest
from trials import trial_with

from latlas.profiler.errors import SearchError
from latlas.search.evolution import RegularisedEvolution
from latlas.search.objectives import Constraint
from latlas.search.protocols import Genes, Trial
from latlas.search.rewards import AccuracyReward, Score

CHOICES = (12,) * 14
SCORE = Score(AccuracyReward())


def trial(genes: Genes) -> Trial:
    return trial_with(genes, sum(genes) / (11 * 14), 1.0 + sum(genes))


def run(searcher: RegularisedEvolution, batches: int) -> list[list[Genes]]:
    found = []
    for _ in range(batches):
        found.append(searcher.ask())
        searcher.tell([trial(genes) for genes in found[-1]])
    return found


@pytest.mark.parametrize("batch", [1, 7, 30])
def test_it_climbs_whatever_the_batch(batch: int) -> None:
    searcher = RegularisedEvolution(CHOICES, SCORE, population=40, sample=10, batch=batch, seed=2)
    genes: list[Genes] = []
    while len(genes) < 900:
        genes += run(searcher, 1)[0]
    assert len(set(genes)) == len(genes)
    assert np.mean([sum(one) for one in genes[:40]]) < 95
    assert max(sum(one) for one in genes) > 125
    assert all(type(gene) is int for one in genes for gene in one)


def test_the_seed_and_the_tells_decide_everything() -> None:
    def fresh(seed: int = 3) -> RegularisedEvolution:
        return RegularisedEvolution(CHOICES, SCORE, population=20, sample=5, batch=8, seed=seed)

    first = run(fresh(), 10)
    assert run(fresh(4), 1) != first[:1]
    resumed = fresh()
    assert run(resumed, 5) == first[:5]
    assert resumed.ask() == resumed.ask() == first[5]
    assert run(resumed, 5) == first[5:]


def test_children_differ_from_a_living_parent_in_one_gene() -> None:
    searcher = RegularisedEvolution(CHOICES, SCORE, population=10, sample=3, batch=5)
    batches = run(searcher, 8)
    for number in range(2, 8):
        alive = [genes for batch in batches[number - 2 : number] for genes in batch]
        for child in batches[number]:
            assert min(sum(a != b for a, b in zip(child, one, strict=True)) for one in alive) == 1


def test_the_oldest_die_however_good() -> None:
    searcher = RegularisedEvolution(CHOICES, SCORE, population=4, sample=8, batch=4)
    best = searcher.ask()[0]
    searcher.tell([trial_with(genes, 1.0 if genes == best else 0.1) for genes in searcher.ask()])
    for _ in range(2):
        searcher.tell([trial_with(genes, 0.1) for genes in searcher.ask()])
    children = searcher.ask()
    assert min(sum(a != b for a, b in zip(one, best, strict=True)) for one in children) > 1


def test_the_spaces_own_mutation_is_used() -> None:
    def only_the_first(genes: Genes, rng: np.random.Generator) -> Genes:
        return (int(rng.integers(12)), *genes[1:])

    searcher = RegularisedEvolution(
        CHOICES, SCORE, population=4, sample=2, batch=2, mutate=only_the_first
    )
    tails = [{one[1:] for one in batch} for batch in run(searcher, 6)]
    assert set().union(*tails[2:]) <= set().union(*tails[:2])
    assert searcher.identity["mutation"] == "space"


def test_failures_and_broken_constraints_do_not_breed() -> None:
    score = Score(AccuracyReward(), (Constraint("latency_ms", "max", 60.0),))
    searcher = RegularisedEvolution(CHOICES, score, population=30, sample=10, batch=10)
    for _ in range(60):
        searcher.tell(
            [trial_with(g, error="broken") if g[0] < 6 else trial(g) for g in searcher.ask()]
        )
    children = searcher.ask()
    assert np.mean([one[0] >= 6 for one in children]) > 0.7
    assert np.mean([sum(one) for one in children]) < 66


def test_a_small_space_runs_dry() -> None:
    searcher = RegularisedEvolution((2, 3, 1), SCORE, population=4, sample=2, batch=4)
    genes: list[Genes] = []
    while batch := searcher.ask():
        genes += batch
        searcher.tell([trial(one) for one in batch])
    assert sorted(genes) == [(a, b, 0) for a in range(2) for b in range(3)]


def test_misuse_is_refused() -> None:
    for bad in ({"population": 0}, {"sample": 0}, {"batch": 0}):
        with pytest.raises(SearchError, match="at least 1"):
            RegularisedEvolution(CHOICES, SCORE, **bad)
    with pytest.raises(SearchError, match="choice"):
        RegularisedEvolution((0,), SCORE)
    searcher = RegularisedEvolution(CHOICES, SCORE)
    with pytest.raises(SearchError, match="call ask"):
        searcher.tell([])
    json.dumps(searcher.identity)

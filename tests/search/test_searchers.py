import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from trials import trial_with

from latlas.profiler.errors import SearchError, UsageError
from latlas.search.objectives import Constraint, Objective
from latlas.search.protocols import Genes
from latlas.search.rewards import MnasnetReward
from latlas.search.searchers import NAMES, open_searcher, searcher_class, settings_of
from latlas.search.spaces import MogaSpace

CONSTRAINTS = (Constraint("latency_ms", "max", 50.0),)


class OwnSearcher:
    @property
    def identity(self) -> dict[str, str]:
        return {"kind": "own"}

    def __init__(self, space: Any, seed: int, sharpness: float = 1.0, **_: Any) -> None:
        self.space, self.seed, self.sharpness = space, seed, sharpness

    def ask(self) -> list[Genes]:
        return []

    def tell(self, trials: Sequence[Any]) -> None:
        pass


def not_a_searcher(**_: Any) -> int:
    return 1


@pytest.mark.parametrize("name", NAMES)
def test_every_searcher_asks_and_is_told(name: str) -> None:
    settings = {"population": 6} if name in ("evolution", "nsga2") else {}
    reward = MnasnetReward.hard(40.0)
    searcher = open_searcher(
        name, MogaSpace(), constraints=CONSTRAINTS, reward=reward, seed=3, settings=settings
    )
    for _ in range(3):
        batch = searcher.ask()
        for genes in batch:
            MogaSpace().require(genes)
        searcher.tell([trial_with(genes, 0.5, 40.0, 1.0) for genes in batch])
    identity = json.loads(json.dumps(searcher.identity))
    assert identity["seed"] == 3
    if name in ("evolution", "ppo"):
        assert identity["reward"]["beta"] == -1.0
    if name != "random":
        assert identity["constraints"][0]["limit"] == 50.0


def test_the_spaces_own_mutation_is_used() -> None:
    class Space(MogaSpace):
        def mutate(self, genes: Genes, rng: np.random.Generator) -> Genes:
            return tuple(rng.integers(self.choices).tolist())

    assert open_searcher("evolution", Space()).identity["mutation"] == "space"


def test_settings_are_read_and_checked() -> None:
    searcher: Any = open_searcher(
        "nsga2",
        MogaSpace(),
        [Objective("accuracy", "max")],
        settings={"population": "12", "mutation": "0.2", "crossover": "one-point"},
    )
    assert (searcher.population, searcher.mutation, searcher.crossover) == (12, 0.2, "one-point")
    for settings, message in (
        ({"popluation": 3}, r"no setting 'popluation'; it has population \(40\), mutation"),
        ({"population": "many"}, "population of nsga2 is int, not 'many'"),
        ({"population": 2.5}, r"is int, not 2\.5"),
        ({"population": True}, "is int, not True"),
        ({"crossover": "two"}, "is uniform or one-point, not 'two'"),
        ({"seed": 3}, "no setting 'seed'"),
    ):
        with pytest.raises(UsageError, match=message):
            open_searcher("nsga2", MogaSpace(), settings=settings)
    with pytest.raises(SearchError, match="at least 2"):
        open_searcher("nsga2", MogaSpace(), settings={"population": 1})
    assert open_searcher("nsga2", MogaSpace(), settings={"mutation": None})
    assert settings_of(searcher_class("evolution")) == {
        "population": 100, "sample": 25, "batch": 10,
    }  # fmt: skip


def test_a_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "own_searchers", sys.modules[__name__])
    found: Any = open_searcher(
        "own_searchers:OwnSearcher", MogaSpace(), seed=7, settings={"sharpness": 2.0}
    )
    assert (found.seed, found.sharpness) == (7, 2.0)
    with pytest.raises(UsageError, match="is no searcher: it lacks ask, tell, identity"):
        open_searcher("own_searchers:not_a_searcher", MogaSpace())
    for name in ("fractions:Fraction", "builtins:dict"):
        with pytest.raises(UsageError, match="cannot be called"):
            open_searcher(name, MogaSpace())


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match="known are random, evolution, ppo, nsga2, and your own"):
        open_searcher("annealing", MogaSpace())

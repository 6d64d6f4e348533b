"""NSGA-II (Deb et al. 2002) with weighted objectives, as MoGA searches (Chu, Zhang and Xu 2020).

The machinery is pymoo's; what is added are genes without an order (a 7x7 kernel is not "more" than
3x3), weights in the crowding distance (`latlas.search.crowding`), architectures that failed, and
that none is asked for twice.

MoGA maximises parameters, as a stand-in for what a network can learn, beside accuracy and latency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination
from pymoo.operators.crossover.pntx import SinglePointCrossover
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

from latlas.profiler.errors import SearchError
from latlas.search.batch import as_tuples, require_asked, require_choices
from latlas.search.crowding import crowding_distance, normalise_weights
from latlas.search.mutation import resample_genes
from latlas.search.objectives import (
    DEFAULT_OBJECTIVES,
    Constraint,
    Objective,
    objective_values,
    violation,
)
from latlas.search.pareto import minimised
from latlas.search.protocols import Genes, Trial
from latlas.search.reinforced import Policy

_FAILED = 1e9
"""Violation of what failed: more than any constraint is broken by."""

CROSSOVERS = {"uniform": UniformCrossover, "one-point": SinglePointCrossover}


def weighted_survival(weights: Sequence[float]) -> RankAndCrowding:
    """Return pymoo's survival by rank and weighted crowding distance, for any of its problems.

    Equal weights give the unweighted algorithm. It is compared with through this function: pymoo's
    own crowding does not put copies of a point aside, this one does.

    Args:
        weights: one per objective, of any scale.

    Raises:
        SearchError: they are no weights.
    """
    normalise_weights(weights)

    def crowding(values: NDArray[np.float64], **_: Any) -> NDArray[np.float64]:
        return crowding_distance(values, weights)

    return RankAndCrowding(crowding_func=crowding)


class WeightedNSGA2:
    """Searches for a front of architectures; a `latlas.search.protocols.Searcher`.

    Args:
        choices: number of choices of every gene.
        objectives: at least one; their weights are those of the crowding distance.
        constraints: an architecture that breaks one loses to every one that breaks them less.
        population: architectures per generation.
        seed: of everything random.
        mutation: probability that a gene of a child is resampled; None is one gene a child.
        operator: "random" resamples genes alike; "reinforced" learns to what they should change
            (`latlas.search.reinforced`).
        crossover: "uniform" or "one-point".
        crossover_rate: probability that two parents mix their genes at all.

    Raises:
        SearchError: an argument is out of its range.

    >>> searcher = WeightedNSGA2([3, 3, 3], population=4)
    >>> batch = searcher.ask()
    >>> found = {"accuracy": 0.9, "latency_ms": 1.0, "params": 100.0}
    >>> searcher.tell([Trial(genes, found) for genes in batch])
    >>> len(searcher.ask())
    4
    """

    def __init__(
        self,
        choices: Sequence[int],
        objectives: Sequence[Objective] = DEFAULT_OBJECTIVES,
        constraints: Sequence[Constraint] = (),
        *,
        population: int = 40,
        seed: int = 0,
        mutation: float | None = None,
        operator: Literal["random", "reinforced"] = "random",
        crossover: Literal["uniform", "one-point"] = "uniform",
        crossover_rate: float = 0.9,
    ) -> None:
        self.choices = require_choices(choices)
        self.objectives = tuple(objectives)
        self.constraints = tuple(constraints)
        self.population = population
        self.seed = seed
        self.mutation = 1 / max(len(self.choices), 1) if mutation is None else mutation
        self.operator = operator
        self.crossover = crossover
        self.crossover_rate = crossover_rate
        self._check()
        self._policy = Policy(self.choices) if operator == "reinforced" else None
        self._mutation = _Mutation(self.choices, self.mutation, self._policy)
        self._seen: set[Genes] = set()
        self._batch: list[Genes] | None = None
        self._infills: Any = None
        self._algorithm = self._set_up()

    @property
    def identity(self) -> dict[str, Any]:
        """What it asks for depends on this and on what it is told, as plain values."""
        return {
            "kind": "weighted-nsga2",
            "objectives": [asdict(one) for one in self.objectives],
            "constraints": [asdict(one) for one in self.constraints],
            "population": self.population,
            "seed": self.seed,
            "mutation": self.mutation,
            "operator": self.operator,
            "crossover": self.crossover,
            "crossover_rate": self.crossover_rate,
        }

    def ask(self) -> list[Genes]:
        """Return the next generation, none of it asked for before; empty once nothing new is found.

        The same generation is returned until `tell` was called.
        """
        if self._batch is None:
            self._infills = self._algorithm.ask()
            self._batch = [] if self._infills is None else _genes_of(self._infills)
            self._seen.update(self._batch)
        return list(self._batch)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learn the results of the generation that was asked for, in its order.

        A trial with an error or without numbers loses to every other.

        Raises:
            SearchError: these are not the architectures that were asked for.
        """
        require_asked(self._batch, trials)
        values = minimised(
            objective_values(trials, self.objectives), [one.direction for one in self.objectives]
        )
        known = np.asarray(np.isfinite(values).all(axis=1))
        broken = np.array([violation(one, self.constraints) for one in trials])
        # What was left out since it breaks a constraint lacks values, but did not fail.
        failed = np.array([bool(one.error) for one in trials]) | (~known & (broken == 0))
        # pymoo compares violations before objectives, so a failure's numbers do not matter.
        self._infills.set("F", np.where(known[:, None], values, 0.0))
        self._infills.set("G", np.where(failed, _FAILED, np.minimum(broken, _FAILED))[:, None])
        for one in self._infills:
            one.evaluated.update({"F", "G"})
        children = _genes_of(self._infills)
        self._algorithm.tell(infills=self._infills)
        if self._policy is not None:
            self._reinforce(self._policy, children)
        self._batch = self._infills = None

    def _reinforce(self, policy: Policy, children: list[Genes]) -> None:
        """Tell the policy which of its children survived."""
        mutants = [
            (genes, self._mutation.changed[genes])
            for genes in children
            if genes in self._mutation.changed
        ]
        self._mutation.changed.clear()
        if not mutants:
            return  # the first generation was drawn
        alive = set(_genes_of(self._algorithm.pop))
        rewards = np.array([float(genes in alive) for genes, _ in mutants])
        policy.learn(
            np.array([genes for genes, _ in mutants]),
            np.array([changed for _, changed in mutants]),
            rewards - rewards.mean(),
        )

    def _check(self) -> None:
        if not self.objectives:
            raise SearchError("a search needs at least one objective")
        normalise_weights([one.weight for one in self.objectives])
        if self.population < 2:
            raise SearchError(f"a population is at least 2, not {self.population}")
        if not (0 <= self.mutation <= 1 and 0 <= self.crossover_rate <= 1):
            raise SearchError("mutation and crossover_rate are probabilities")
        if self.operator not in ("random", "reinforced"):
            raise SearchError(f'operator is "random" or "reinforced", not {self.operator!r}')
        if self.crossover not in CROSSOVERS:
            raise SearchError(f"crossover is one of {sorted(CROSSOVERS)}, not {self.crossover!r}")

    def _set_up(self) -> Any:
        algorithm = NSGA2(
            pop_size=self.population,
            sampling=self._first_generation(),
            crossover=CROSSOVERS[self.crossover](prob=self.crossover_rate),
            mutation=self._mutation,
            survival=weighted_survival([one.weight for one in self.objectives]),
            eliminate_duplicates=_NeverTwice(self._seen),
        )
        problem = Problem(
            n_var=len(self.choices),
            n_obj=len(self.objectives),
            n_ieq_constr=1,
            xl=0,
            xu=np.array(self.choices) - 1,
            vtype=int,
        )
        return algorithm.setup(problem, termination=NoTermination(), seed=self.seed)

    def _first_generation(self) -> NDArray[np.int64]:
        rng = np.random.default_rng([self.seed, 1])
        found: dict[Genes, None] = {}
        for _ in range(100):  # a space may be smaller than the population
            drawn = rng.integers(np.array(self.choices), size=(self.population, len(self.choices)))
            found.update(dict.fromkeys(tuple(one) for one in drawn.tolist()))
            if len(found) >= self.population:
                break
        return np.array(list(found)[: self.population], dtype=np.int64)


def _genes_of(population: Any) -> list[Genes]:
    return [tuple(int(gene) for gene in one.X) for one in population]


class _Mutation(Mutation):  # type: ignore[misc]
    """Resamples genes, and remembers which, for a policy to learn from."""

    def __init__(self, choices: Sequence[int], rate: float, policy: Policy | None) -> None:
        super().__init__()
        self.choices, self.rate, self.policy = choices, rate, policy
        self.changed: dict[Genes, NDArray[np.bool_]] = {}

    def _do(self, problem: Any, X: Any, *args: Any, random_state: Any = None, **kwargs: Any) -> Any:
        before = np.asarray(X, dtype=np.int64)
        if self.policy is None:
            return resample_genes(before, self.choices, self.rate, random_state)
        found = self.policy.mutate(before, self.rate, random_state)
        # Of equal children the first is kept: what is drawn after it to fill the batch goes.
        for child, changed in zip(as_tuples(found), found != before, strict=True):
            self.changed.setdefault(child, changed)
        return found


class _NeverTwice(DuplicateElimination):  # type: ignore[misc]
    """Drops what was asked for before, or is in the batch already."""

    def __init__(self, seen: set[Genes]) -> None:
        super().__init__()
        self.seen = seen

    def do(self, pop: Any, *args: Any, return_indices: bool = False, to_itself: bool = True) -> Any:
        taken = set(self.seen)
        for other in args:
            taken.update(_genes_of(other))
        kept: list[int] = []
        dropped: list[int] = []
        for position, genes in enumerate(_genes_of(pop)):
            (dropped if genes in taken else kept).append(position)
            taken.add(genes)
        found = pop[kept] if kept else Population.create()
        return (found, kept, dropped) if return_indices else found

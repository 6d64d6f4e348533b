"""Regularised evolution (Real et al. 2019, https://arxiv.org/abs/1802.01548): the oldest die.

A population of the latest architectures; the best of a random sample of it is mutated, the child
joins, and the oldest leaves, however good it was. There is no crossover.

The paper's population of 100 and sample of 25 are the defaults. It evaluates one child at a time;
a larger batch draws so many parents from the same population, so that a batch can be evaluated in
parallel and the search stays the same whatever finishes first. The paper trains a repeated
architecture again; here a child that was tried before is mutated further until it is new.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from latlas.profiler.errors import SearchError
from latlas.search.batch import MAX_DRAWS, as_tuples, require_asked, require_choices
from latlas.search.mutation import Mutate, resample_one
from latlas.search.protocols import Genes, Trial
from latlas.search.rewards import Score


class RegularisedEvolution:
    """Searches for the architecture of the highest score; a `latlas.search.protocols.Searcher`.

    Args:
        choices: number of choices of every gene.
        score: what is maximised.
        population: architectures that are alive.
        sample: how many of them compete to be a parent, drawn with repetition.
        batch: children asked for at a time.
        mutate: makes a child of a parent, as a space's own `mutate`; None gives one gene another
            of its choices.
        seed: of everything random.

    Raises:
        SearchError: an argument is out of its range.

    >>> from latlas.search.rewards import AccuracyReward
    >>> searcher = RegularisedEvolution([9] * 5, Score(AccuracyReward()), population=20, batch=5)
    >>> for _ in range(20):
    ...     batch = searcher.ask()
    ...     searcher.tell([Trial(genes, {"accuracy": sum(genes) / 40}) for genes in batch])
    >>> min(map(sum, searcher.ask())) > 20  # the mean of all is 20
    True
    """

    def __init__(
        self,
        choices: Sequence[int],
        score: Score,
        *,
        population: int = 100,
        sample: int = 25,
        batch: int = 10,
        mutate: Mutate | None = None,
        seed: int = 0,
    ) -> None:
        self.choices = require_choices(choices)
        self.score = score
        self.population = population
        self.sample = sample
        self.batch = batch
        self.seed = seed
        if min(population, sample, batch) < 1:
            raise SearchError(
                f"population, sample and batch are at least 1, not {population}, {sample}, {batch}"
            )
        self._own_mutation = mutate is not None
        self._mutate = mutate or resample_one(self.choices)
        self._rng = np.random.default_rng(seed)
        self._alive: deque[tuple[float, Genes]] = deque(maxlen=population)
        self._seen: set[Genes] = set()
        self._asked: list[Genes] | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What it asks for depends on this and on what it is told, as plain values."""
        return {
            "kind": "evolution",
            **self.score.identity,
            "population": self.population,
            "sample": self.sample,
            "batch": self.batch,
            "mutation": "space" if self._own_mutation else "one gene",
            "seed": self.seed,
        }

    def ask(self) -> list[Genes]:
        """Return the next batch, none of it asked for before; empty once nothing new is found.

        The same batch is returned until `tell` was called.
        """
        if self._asked is None:
            self._asked = self._children()
            self._seen.update(self._asked)
        return list(self._asked)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Let the batch that was asked for join the population, in its order.

        Raises:
            SearchError: these are not the architectures that were asked for.
        """
        require_asked(self._asked, trials)
        self._alive.extend((self.score(trial), tuple(trial.genes)) for trial in trials)
        self._asked = None

    def _children(self) -> list[Genes]:
        found: dict[Genes, None] = {}
        wanted = min(self.batch, max(self.population - len(self._alive), 0)) or self.batch
        for _ in range(wanted):
            child = (
                self._child(found) if len(self._alive) == self.population else self._first(found)
            )
            if child is not None:
                found[child] = None
        return list(found)

    def _first(self, taken: Collection[Genes]) -> Genes | None:
        """Return a random architecture that is new."""
        for _ in range(MAX_DRAWS):
            (genes,) = as_tuples(self._rng.integers(np.array(self.choices))[None])
            if genes not in self._seen and genes not in taken:
                return genes
        return self._child(taken) if self._alive else None

    def _child(self, taken: Collection[Genes]) -> Genes | None:
        """Return a new neighbour of the best of a sample of the population."""
        drawn = self._rng.integers(len(self._alive), size=self.sample)
        # Of equal scores the youngest wins: a plateau is no reason to stay where one was.
        position = max(drawn.tolist(), key=lambda i: (self._alive[i][0], i))
        genes = self._alive[position][1]
        for _ in range(MAX_DRAWS):
            genes = tuple(int(gene) for gene in self._mutate(genes, self._rng))
            if genes not in self._seen and genes not in taken:
                return genes
        return None

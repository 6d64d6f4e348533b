"""A search problem whose accuracy is a formula, and whose latency comes from measured kernels.

With ``x[i]`` the choice of gene i and P the network's parameters,

    accuracy = 0.6 + 0.05 * log2(P / 1e6) + sum over i of a[i][x[i]]
               + sum over i of b[i][x[i]][x[i + s]]

A gene of `moga` decides a layer, so its neighbour is the next gene (s = 1). A gene of `mnasnet` is
one of six decisions about a block, so its neighbour is the same decision about the next block
(s = 6). All a and b are drawn from normal distributions, seeded, and scaled so that over random
architectures either sum has a standard deviation of 0.02. The largest sum of both is found exactly
by dynamic programming along the s chains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latlas.predictor.genes import ChromosomeLatency
from latlas.search.protocols import Genes, Trial
from latlas.search.sizes import BlockSizes
from latlas.search.spaces import MnasnetSpace, MogaSpace

Array = NDArray[np.float64]
DEVIATION = 0.02
"""Of either sum of terms over random architectures."""

STRIDES = {"moga": 1, "mnasnet": 6}


@dataclass(frozen=True)
class Terms:
    """The additive part of the accuracy.

    Attributes:
        single: for every gene, a term per choice.
        pairs: for every gene that has a neighbour, a term per pair of choices.
        stride: how far on the neighbour is.
    """

    single: list[Array]
    pairs: list[Array]
    stride: int

    def __call__(self, genes: NDArray[np.integer]) -> Array:
        """Return the sum of terms, shape (chromosomes,)."""
        total = np.zeros(len(genes))
        for i, table in enumerate(self.single):
            total += table[genes[:, i]]
        for i, table in enumerate(self.pairs):
            total += table[genes[:, i], genes[:, i + self.stride]]
        return total

    def best(self) -> tuple[float, Genes]:
        """Return the largest sum of terms, and the chromosome that has it."""
        n, s = len(self.single), self.stride
        value = list(self.single)
        arrow: dict[int, NDArray[np.intp]] = {}
        for i in range(n - 1 - s, -1, -1):  # value[i]: the best of the chain from gene i on
            onward = self.pairs[i] + value[i + s]
            arrow[i] = onward.argmax(axis=1)
            value[i] = self.single[i] + onward.max(axis=1)
        genes = [int(value[i].argmax()) if i < s else 0 for i in range(n)]
        for i in range(n - s):
            genes[i + s] = int(arrow[i][genes[i]])
        return float(sum(value[i].max() for i in range(s))), tuple(genes)


def draw_terms(choices: Sequence[int], stride: int, seed: int) -> Terms:
    """Return seeded terms; every table has a mean of 0 and the same standard deviation."""
    rng = np.random.default_rng(seed)
    count = len(choices) - stride

    def table(*shape: int, tables: int) -> Array:
        drawn = rng.normal(size=shape)
        drawn -= drawn.mean()
        scaled: Array = DEVIATION / np.sqrt(tables) * drawn / max(float(drawn.std()), 1e-12)
        return scaled

    return Terms(
        [table(number, tables=len(choices)) for number in choices],
        [table(choices[i], choices[i + stride], tables=count) for i in range(count)],
        stride,
    )


class AnalyticProblem:
    """Accuracies, latencies and parameters of a space's chromosomes.

    Args:
        space: that is searched.
        latency: of its chromosomes.
        seed: of the terms.
    """

    def __init__(
        self, space: MogaSpace | MnasnetSpace, latency: ChromosomeLatency, seed: int = 0
    ) -> None:
        self.space = space
        self.latency = latency
        self.sizes = BlockSizes(space)
        self.terms = draw_terms(space.choices, STRIDES[space.name], seed)

    def accuracy(self, genes: NDArray[np.integer]) -> Array:
        """Return accuracies as fractions, shape (chromosomes,)."""
        size = np.log2(self.sizes.params(genes) / 1e6)
        found: Array = 0.6 + 0.05 * size + self.terms(genes)
        return found

    def trials(self, batch: Sequence[Genes]) -> list[Trial]:
        """Evaluate a batch."""
        genes = np.array(batch)
        columns = {
            "accuracy": self.accuracy(genes),
            "latency_ms": self.latency.latency_ms(genes),
            "params": self.sizes.params(genes),
        }
        rows = np.stack(list(columns.values()), axis=1).tolist()
        return [
            Trial(one, dict(zip(columns, row, strict=True)))
            for one, row in zip(batch, rows, strict=True)
        ]

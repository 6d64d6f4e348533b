"""Random mutation of chromosomes whose genes have no order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from latlas.search.protocols import Genes

Mutate = Callable[[Genes, np.random.Generator], Genes]
"""An architecture to a neighbour of it, such as a space's own ``mutate``."""


def resample_genes(
    genes: NDArray[np.integer],
    choices: Sequence[int],
    rate: float,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Give every gene, with probability `rate`, another of its choices, all equally likely.

    Args:
        genes: shape (chromosomes, genes).
        choices: number of choices of every gene; a gene with one stays.
        rate: probability per gene.
        rng: source of randomness.

    >>> resample_genes(np.array([[0, 1, 0]]), [2, 2, 1], 1.0, np.random.default_rng(0)).tolist()
    [[1, 0, 0]]
    """
    limits = np.asarray(choices)
    hit = (rng.random(genes.shape) < rate) & (limits > 1)
    # One of the others: 1 … n-1 steps further on the circle of choices.
    steps = 1 + np.floor(rng.random(genes.shape) * np.maximum(limits - 1, 1)).astype(np.int64)
    found: NDArray[np.int64] = np.where(hit, (genes + steps) % limits, genes).astype(np.int64)
    return found


def resample_one(choices: Sequence[int]) -> Mutate:
    """Return the mutation that gives one gene another of its choices, all equally likely.

    Args:
        choices: number of choices of every gene; one with a single choice is left alone.

    >>> resample_one([1, 2, 1])((0, 0, 0), np.random.default_rng(0))
    (0, 1, 0)
    """
    free = [position for position, number in enumerate(choices) if number > 1]

    def mutate(genes: Genes, rng: np.random.Generator) -> Genes:
        if not free:
            return genes
        position = free[int(rng.integers(len(free)))]
        other = (genes[position] + 1 + int(rng.integers(choices[position] - 1))) % choices[position]
        return (*genes[:position], other, *genes[position + 1 :])

    return mutate

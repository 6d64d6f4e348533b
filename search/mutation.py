"""Random mutation of chromosomes whose genes have no order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from latlas.search.protocols import Genes
from latlas.search.spaces.genes import mutate_gene

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
    positions = range(len(choices))

    def mutate(genes: Genes, rng: np.random.Generator) -> Genes:
        return mutate_gene(genes, choices, positions, rng) if max(choices) > 1 else genes

    return mutate

"""Random networks that together hold every choice of every gene equally often."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latlas.search.protocols import Genes


def covering_genes(choices: Sequence[int], networks: int, seed: int) -> list[Genes]:
    """Return chromosomes in which, round by round, a gene takes all of its choices once.

    Every gene runs through a random permutation of its choices, then through another: what strict
    fairness does for training (FairNAS, section 3), here for measuring.

    Args:
        choices: number of choices of every gene.
        networks: number of chromosomes. More of them begin with the same ones.
        seed: of the permutations.

    >>> genes = covering_genes((3, 3), 3, seed=0)
    >>> [sorted(column) for column in zip(*genes)]
    [[0, 1, 2], [0, 1, 2]]
    """
    columns = []
    for gene, count in enumerate(choices):
        rng = np.random.default_rng((seed, gene))
        rounds = max(1, -(-networks // count))
        column = np.concatenate([rng.permutation(count) for _ in range(rounds)])
        columns.append(column[:networks].tolist())
    return [tuple(genes) for genes in zip(*columns, strict=True)]

"""Parameters and multiply-adds of chromosomes, without building their networks again and again."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from latlas.predictor.genes import MAX_TUPLES, BlockSpace, as_genes
from latlas.profiler.count import Count, count
from latlas.search.evaluation import Sizes
from latlas.search.protocols import SearchSpace

CHECKS = 3
"""Random networks whose blocks must add up to the whole before blocks are trusted."""


def sizes_of(space: SearchSpace) -> Sizes:
    """Return what counts the networks of a space.

    Where the blocks of a space do not add up to its networks, or it has none, networks are built.

    >>> from latlas.search.spaces import MogaSpace
    >>> sizes_of(MogaSpace())((0,) * 14)["params"] == count(MogaSpace().decode((0,) * 14)).params
    True
    """

    def of_network(genes: Sequence[int]) -> dict[str, float]:
        found = count(space.decode(genes))
        return {"params": float(found.params), "madds": float(found.madds)}

    if not isinstance(space, BlockSpace):
        return of_network
    tuples = sum(math.prod(space.choices[i] for i in group) for group in space.groups)
    if tuples > MAX_TUPLES:
        return of_network
    blocks = BlockSizes(space)

    def of_blocks(genes: Sequence[int]) -> dict[str, float]:
        params, madds, _ = blocks.counts([tuple(genes)])[0].tolist()
        return {"params": params, "madds": madds}

    rng = np.random.default_rng(0)
    drawn = rng.integers(0, space.choices, size=(CHECKS, len(space.choices))).tolist()
    return of_blocks if all(of_blocks(one) == of_network(one) for one in drawn) else of_network


class BlockSizes:
    """Sizes of the networks of a space that is a chain of blocks; every block is counted once.

    Args:
        space: says which genes decide which block.

    >>> from latlas.search.spaces import MogaSpace
    >>> sizes = BlockSizes(MogaSpace())
    >>> sizes.params([(0,) * 14]).tolist() == [count(MogaSpace().decode((0,) * 14)).params]
    True
    """

    def __init__(self, space: BlockSpace) -> None:
        self.space = space
        shapes = [[space.choices[i] for i in group] for group in space.groups]
        # Params, multiply-adds, those of squeeze-and-excitation; NaN until they are asked for.
        self._tables = [np.full((*shape, 3), np.nan) for shape in shapes]

    def counts(self, genes: Sequence[Sequence[int]] | NDArray[np.integer]) -> NDArray[np.float64]:
        """Return params, multiply-adds, and those of squeeze-and-excitation.

        Args:
            genes: chromosomes, shape (chromosomes, genes).

        Returns:
            Shape (chromosomes, 3).

        Raises:
            SearchError: a gene has no such choice.
        """
        chosen = as_genes(genes, self.space.choices)
        total = np.zeros((len(chosen), 3))
        for index, (group, table) in enumerate(zip(self.space.groups, self._tables, strict=True)):
            at = tuple(chosen[:, list(group)].T)
            missing = np.isnan(table[at].reshape(-1, 3)[:, 0])
            if missing.any():
                wanted = chosen[:, list(group)][missing] if group else np.zeros((1, 0), int)
                for values in {tuple(one) for one in wanted.tolist()}:
                    table[values] = _row(count(self.space.block(index, values)))
            total += table[at]
        return total

    def params(self, genes: Sequence[Sequence[int]] | NDArray[np.integer]) -> NDArray[np.float64]:
        """Return learned numbers, shape (chromosomes,); see `counts`."""
        found: NDArray[np.float64] = self.counts(genes)[:, 0]
        return found


def _row(found: Count) -> tuple[int, int, int]:
    return found.params, found.madds, found.se_madds

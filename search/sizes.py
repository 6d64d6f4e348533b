"""Parameters and multiply-adds of chromosomes, without building their networks again and again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from latlas.predictor.genes import BlockSpace, as_genes
from latlas.profiler.count import Count, count


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

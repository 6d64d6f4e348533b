"""Parameters and multiply-adds of a space's networks, block by block where it has blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from latlas.predictor.genes import BlockSpace
from latlas.profiler.count import count
from latlas.profiler.graph import Graph
from latlas.search.evaluation import Sizes
from latlas.search.protocols import Genes, SearchSpace

CHECKS = 3
"""Random networks whose blocks must add up to the whole before blocks are trusted."""

MAX_BLOCKS = 200_000
"""Blocks whose sizes are kept."""


def sizes_of(space: SearchSpace) -> Sizes:
    """Return what counts the networks of a space.

    Every block is built and counted once, so that most networks cost a few look-ups. Where the
    blocks of a space do not add up to its networks, or it has none, networks are built.

    >>> from latlas.search.spaces import MogaSpace
    >>> sizes_of(MogaSpace())((0,) * 14)["params"] == count(MogaSpace().decode((0,) * 14)).params
    True
    """
    if isinstance(space, BlockSpace):
        blocks = _BlockSizes(space)
        rng = np.random.default_rng(0)
        drawn = rng.integers(0, space.choices, size=(CHECKS, len(space.choices)))
        genes = [tuple(one) for one in drawn.tolist()]
        if all(blocks(one) == _sizes(space.decode(one)) for one in genes):
            return blocks
    return lambda genes: _sizes(space.decode(genes))


def _sizes(graph: Graph) -> dict[str, float]:
    found = count(graph)
    return {"params": float(found.params), "madds": float(found.madds)}


class _BlockSizes:
    """Sums of what blocks have."""

    def __init__(self, space: BlockSpace) -> None:
        self.space = space
        self._known: dict[tuple[int, Genes], Mapping[str, float]] = {}

    def __call__(self, genes: Sequence[int]) -> Mapping[str, float]:
        total = {"params": 0.0, "madds": 0.0}
        for index, group in enumerate(self.space.groups):
            for name, value in self._block(index, tuple([genes[i] for i in group])).items():
                total[name] += value
        return total

    def _block(self, index: int, values: Genes) -> Mapping[str, float]:
        found = self._known.get((index, values))
        if found is None:
            found = _sizes(self.space.block(index, values))
            if len(self._known) < MAX_BLOCKS:
                self._known[index, values] = found
        return found

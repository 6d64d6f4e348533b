"""The forests of all kernel classes, walked at once: each row in the trees of its own class.

A network has a dozen classes of few kernels each. One walk for all of them takes a small part of
what a walk for every class does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from latlas.predictor.forest import BLOCK, Forest

NO_FOREST = -1
"""The position of a class that has none."""


class Grove:
    """Forests in one sequence of nodes.

    Args:
        forests: by class.
    """

    def __init__(self, forests: Mapping[str, Forest]) -> None:
        self._positions = {name: position for position, name in enumerate(forests)}
        trees = np.array([len(forest.roots) for forest in forests.values()], np.int64)
        self._trees = trees
        self._first = np.cumsum(trees) - trees  # position of every forest's first tree
        self._all = Forest.joined(list(forests.values()))

    def positions(self, classes: Iterable[str]) -> NDArray[np.intp]:
        """Return the number of every class's forest, `NO_FOREST` for one that has none."""
        return np.array([self._positions.get(name, NO_FOREST) for name in classes], np.intp)

    def predict_spread(
        self, x: NDArray[np.float32], positions: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the mean over the trees and their standard deviation, each of shape (rows,).

        Both are 0 for a row that has no forest.

        Args:
            x: features, shape (rows, columns).
            positions: of every row's forest, shape (rows,).
        """
        mean, spread = np.zeros(len(x)), np.zeros(len(x))
        known = np.flatnonzero(positions != NO_FOREST)
        for start in range(0, len(known), BLOCK):
            rows = known[start : start + BLOCK]
            mean[rows], spread[rows] = self._walk(x[rows], positions[rows])
        return mean, spread

    def _walk(
        self, x: NDArray[np.float32], positions: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        trees = self._trees[positions]
        starts = np.cumsum(trees) - trees  # of every row among all walks
        tree = np.arange(trees.sum()) + np.repeat(self._first[positions] - starts, trees)
        row = np.repeat(np.arange(len(x)), trees)
        values = self._all.value.take(self._all.leaves(x, row, tree)).astype(np.float64)
        mean = np.add.reduceat(values, starts) / trees
        off = values - np.repeat(mean, trees)
        return mean, np.sqrt(np.add.reduceat(off * off, starts) / trees)

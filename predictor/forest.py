"""A forest of regression trees as plain arrays.

scikit-learn grows the trees (Geurts et al. 2006, extremely randomised trees); here they are arrays
that any version of anything can read, walked for all rows and trees at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.errors import PredictorError

MAX_DEPTH = 64

MAX_TREES = 10_000
"""What is predicted takes memory in proportion to the trees, a file with very many hardly any."""

_LEAF = 255
"""Stands for a feature where a node has none."""

BLOCK = 1024
"""Rows that walk together: what they touch fits into the cache."""

LOOK_EVERY = 4
"""Steps after which walks that have come to a leaf are left out."""


@dataclass(frozen=True)
class Forest:
    """Trees whose predictions are averaged.

    Nodes of all trees stand in one sequence, each tree's breadth first. The children of a node are
    neighbours: `child` is the left one, the right one follows it; a leaf is its own child and
    splits at infinity.

    Attributes:
        roots: first node of every tree, shape (trees,), int32.
        feature: column that a node looks at, shape (nodes,), uint8.
        threshold: rows whose value is at most this go left, shape (nodes,), float32.
        child: left child, shape (nodes,), int32.
        value: prediction of a leaf, shape (nodes,), float32.
        depth: length of the longest path.
    """

    roots: NDArray[np.int32]
    feature: NDArray[np.uint8]
    threshold: NDArray[np.float32]
    child: NDArray[np.int32]
    value: NDArray[np.float32]
    depth: int

    @staticmethod
    def grow(
        x: NDArray[Any], y: NDArray[Any], weight: NDArray[Any], *, trees: int = 60, seed: int = 0
    ) -> Forest:
        """Grow extremely randomised trees with scikit-learn.

        Args:
            x: features, shape (rows, columns), at most 255 columns.
            y: target, shape (rows,).
            weight: weight of every row, shape (rows,).
            trees: number of trees, at most `MAX_TREES`.
            seed: makes the forest reproducible.

        Raises:
            PredictorError: these are too many trees to be read again.
        """
        if trees > MAX_TREES:
            raise PredictorError(f"a forest of {trees} trees: there may be {MAX_TREES} at most")
        from sklearn.ensemble import ExtraTreesRegressor

        model = ExtraTreesRegressor(
            trees, max_depth=MAX_DEPTH, max_features=0.8, random_state=seed, n_jobs=1
        )
        model.fit(x, y, sample_weight=weight)
        parts = [_breadth_first(estimator.tree_) for estimator in model.estimators_]
        return Forest._from_nodes(
            np.array([len(feature) for feature, _ in parts], np.int32),
            np.concatenate([feature for feature, _ in parts]),
            np.concatenate([number for _, number in parts]),
        )

    @staticmethod
    def _from_nodes(
        lengths: NDArray[np.int32], feature: NDArray[np.uint8], number: NDArray[np.float32]
    ) -> Forest:
        """Build the arrays that are walked from those that are kept.

        Breadth first, the children of a tree's node number k among those that split are its nodes
        2k + 1 and 2k + 2.

        Raises:
            PredictorError: these are no trees.
        """
        starts = np.cumsum(lengths, dtype=np.int64) - lengths
        leaf = feature == _LEAF
        splits = np.concatenate([[0], np.cumsum(~leaf)])
        if (2 * (splits[starts + lengths] - splits[starts]) + 1 != lengths).any():
            raise PredictorError("forest: a tree has a node too many or too few")
        start = np.repeat(starts, lengths)
        nodes = np.arange(len(feature))
        child = np.where(leaf, nodes, start + 2 * (splits[:-1] - splits[start]) + 1)
        if (child < nodes).any() or (child == nodes)[~leaf].any():
            raise PredictorError("forest: a node comes before the one that leads to it")
        return Forest(
            starts.astype(np.int32),
            np.where(leaf, 0, feature).astype(np.uint8),
            np.where(leaf, np.inf, number).astype(np.float32),
            child.astype(np.int32),
            np.where(leaf, number, 0).astype(np.float32),
            _depth(starts, child, leaf),
        )

    @staticmethod
    def joined(forests: Sequence[Forest]) -> Forest:
        """Return the trees of several forests, in order, as one."""
        counts = np.array([len(forest.feature) for forest in forests], np.int32)
        trees = np.array([len(forest.roots) for forest in forests], np.int32)
        offsets = np.cumsum(counts, dtype=np.int32) - counts

        def all_of(name: str, kind: type[np.generic]) -> NDArray[Any]:
            return np.concatenate([np.zeros(0, kind), *[getattr(f, name) for f in forests]])

        return Forest(
            all_of("roots", np.int32) + np.repeat(offsets, trees),
            all_of("feature", np.uint8),
            all_of("threshold", np.float32),
            all_of("child", np.int32) + np.repeat(offsets, counts),
            all_of("value", np.float32),
            max([forest.depth for forest in forests], default=0),
        )

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the mean over the trees.

        Args:
            x: features, shape (rows, columns).

        Returns:
            Predictions, shape (rows,).
        """
        found = np.empty(len(x))
        trees = len(self.roots)
        for start in range(0, len(x), BLOCK):
            rows = x[start : start + BLOCK]
            row = np.repeat(np.arange(len(rows)), trees)
            tree = np.tile(np.arange(trees), len(rows))
            values = self.value.take(self.leaves(rows, row, tree)).reshape(len(rows), trees)
            found[start : start + BLOCK] = values.mean(axis=1, dtype=np.float64)
        return found

    def leaves(
        self, x: NDArray[np.float32], row: NDArray[np.intp], tree: NDArray[np.intp]
    ) -> NDArray[np.int32]:
        """Return the leaf that every walk ends in, shape (walks,).

        Half of the walks are over at half of the depth: those that are go every few steps.

        Args:
            x: features, shape (rows, columns), at most `BLOCK` rows for speed.
            row: row of `x` that every walk looks at, shape (walks,).
            tree: tree that it walks through, shape (walks,).
        """
        flat = np.ascontiguousarray(x).ravel()
        node = self.roots.take(tree)
        row = row * x.shape[1]  # where it starts in flat
        leaves = node.copy()
        walking = np.arange(len(node))
        for step in range(1, self.depth + 1):
            seen = flat.take(row + self.feature.take(node))
            below = self.child.take(node) + (seen > self.threshold.take(node))
            if step % LOOK_EVERY == 0 or step == self.depth:
                leaves[walking] = below
                on = np.flatnonzero(below != node)
                walking, row, below = walking.take(on), row.take(on), below.take(on)
            node = below
        return leaves

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return what `from_arrays` reads: five bytes for every node."""
        leaf = self.threshold == np.inf
        ends = np.append(self.roots[1:], len(leaf))
        return {
            "lengths": (ends - self.roots).astype(np.int32),
            "feature": np.where(leaf, _LEAF, self.feature).astype(np.uint8),
            "number": np.where(leaf, self.value, self.threshold).astype(np.float32),
        }

    @staticmethod
    def from_arrays(arrays: dict[str, NDArray[Any]], columns: int) -> Forest:
        """Read what `to_arrays` gave, believing nothing.

        Raises:
            PredictorError: the arrays are no trees over so many columns.
        """
        kinds = {"lengths": np.int32, "feature": np.uint8, "number": np.float32}
        for name, kind in kinds.items():
            array = arrays.get(name)
            if array is None or array.dtype != kind or array.ndim != 1 or not array.size:
                raise PredictorError(f"forest: {name} is missing or has the wrong type")
        lengths, feature, number = (arrays[name] for name in kinds)
        if lengths.min() < 1 or lengths.sum(dtype=np.int64) != len(feature):
            raise PredictorError("forest: its trees and nodes differ in number")
        if len(feature) != len(number):
            raise PredictorError("forest: arrays differ in length")
        if len(lengths) > MAX_TREES:
            raise PredictorError(f"forest: {len(lengths)} trees, more than {MAX_TREES}")
        if feature[feature != _LEAF].max(initial=0) >= columns or not np.isfinite(number).all():
            raise PredictorError("forest: a number is outside its bounds")
        return Forest._from_nodes(lengths, feature, number)


def _breadth_first(tree: Any) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return column and threshold, or value, of the nodes of scikit-learn's tree in that order."""
    level = np.zeros(1, np.int64)
    order = []
    while level.size:
        order.append(level)
        inner = level[tree.children_left[level] >= 0]
        level = np.stack([tree.children_left[inner], tree.children_right[inner]], axis=1).ravel()
    nodes = np.concatenate(order)
    leaf = tree.children_left[nodes] < 0
    value = tree.value[nodes].reshape(len(nodes))
    number = np.where(leaf, value.astype(np.float32), _below(tree.threshold[nodes]))
    return np.where(leaf, _LEAF, tree.feature[nodes]).astype(np.uint8), number


def _below(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the largest float32 that are at most `threshold`: they split float32 rows alike."""
    rounded = threshold.astype(np.float32)
    return np.where(rounded > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _depth(roots: NDArray[np.int64], child: NDArray[np.int64], leaf: NDArray[np.bool_]) -> int:
    """Return the length of the longest path.

    Raises:
        PredictorError: it is longer than `MAX_DEPTH`.
    """
    level = roots[~leaf[roots]]
    depth = 0
    while level.size:
        depth += 1
        if depth > MAX_DEPTH:
            raise PredictorError(f"forest: a tree is deeper than {MAX_DEPTH}")
        below = np.concatenate([child[level], child[level] + 1])
        level = below[~leaf[below]]
    return depth

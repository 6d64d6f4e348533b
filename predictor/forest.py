"""A forest of regression trees as plain arrays.

scikit-learn grows the trees (Geurts et al. 2006, extremely randomised trees); here they are four
arrays that any version of anything can read, walked for all rows and trees at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.errors import PredictorError

MAX_DEPTH = 64

BLOCK = 1024
"""Rows that walk together: what they touch fits into the cache."""

LOOK_EVERY = 4
"""Steps after which walks that have come to a leaf are left out."""


@dataclass(frozen=True)
class Forest:
    """Trees whose predictions are averaged.

    Nodes of all trees stand in one sequence. The children of a node are neighbours: `child` is the
    left one, the right one follows it; a leaf is its own child and splits at infinity.

    Attributes:
        roots: first node of every tree, shape (trees,), int32.
        feature: column that a node looks at, shape (nodes,), int16.
        threshold: rows whose value is at most this go left, shape (nodes,), float32.
        child: left child, shape (nodes,), int32.
        value: prediction of a leaf, shape (nodes,), float32.
        depth: length of the longest path.
    """

    roots: NDArray[np.int32]
    feature: NDArray[np.int16]
    threshold: NDArray[np.float32]
    child: NDArray[np.int32]
    value: NDArray[np.float32]
    depth: int

    @staticmethod
    def grow(
        x: NDArray[Any], y: NDArray[Any], weight: NDArray[Any], *, trees: int = 100, seed: int = 0
    ) -> Forest:
        """Grow extremely randomised trees with scikit-learn.

        Args:
            x: features, shape (rows, columns).
            y: target, shape (rows,).
            weight: weight of every row, shape (rows,).
            trees: number of trees.
            seed: makes the forest reproducible.
        """
        from sklearn.ensemble import ExtraTreesRegressor

        model = ExtraTreesRegressor(
            trees, max_depth=MAX_DEPTH, max_features=0.5, random_state=seed, n_jobs=1
        )
        model.fit(x, y, sample_weight=weight)
        return Forest._from_trees([estimator.tree_ for estimator in model.estimators_])

    @staticmethod
    def _from_trees(trees: list[Any]) -> Forest:
        """Renumber scikit-learn's nodes breadth first, so that children are neighbours."""
        feature: list[int] = []
        threshold: list[float] = []
        child: list[int] = []
        value: list[float] = []
        roots = []
        depth = 0
        for tree in trees:
            roots.append(len(feature))
            depth = max(depth, int(tree.max_depth))
            level = [0]
            while level:
                start = len(feature)
                below: list[int] = []
                for index, node in enumerate(level):
                    left = int(tree.children_left[node])
                    leaf = left < 0
                    feature.append(0 if leaf else int(tree.feature[node]))
                    threshold.append(np.inf if leaf else _below(tree.threshold[node]))
                    value.append(float(tree.value[node].ravel()[0]))
                    child.append(start + index if leaf else start + len(level) + len(below))
                    if not leaf:
                        below += [left, int(tree.children_right[node])]
                level = below
        return Forest(
            np.asarray(roots, np.int32),
            np.asarray(feature, np.int16),
            np.asarray(threshold, np.float32),
            np.asarray(child, np.int32),
            np.asarray(value, np.float32),
            depth,
        )

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the mean over the trees.

        Args:
            x: features, shape (rows, columns).

        Returns:
            Predictions, shape (rows,).
        """
        return np.asarray(self._values(x).mean(axis=1, dtype=np.float64))

    def _values(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what every tree says of every row, shape (rows, trees)."""
        found = np.empty((len(x), len(self.roots)), np.float32)
        for start in range(0, len(x), BLOCK):
            rows = x[start : start + BLOCK]
            found[start : start + BLOCK] = self.value.take(self._leaves(rows)).reshape(
                len(rows), -1
            )
        return found

    def _leaves(self, x: NDArray[np.float32]) -> NDArray[np.int32]:
        """Return the leaf of every row in every tree, shape (rows * trees,).

        Half of the walks are over at half of the depth: those that are go every few steps.
        """
        flat = np.ascontiguousarray(x).ravel()
        node = np.tile(self.roots, len(x))
        row = np.repeat(np.arange(0, x.size, x.shape[1]), len(self.roots))  # where it starts in x
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
        """Return the arrays under the names of the attributes."""
        return {
            "roots": self.roots,
            "feature": self.feature,
            "threshold": self.threshold,
            "child": self.child,
            "value": self.value,
            "depth": np.asarray(self.depth, np.int32),
        }

    @staticmethod
    def from_arrays(arrays: dict[str, NDArray[Any]], columns: int) -> Forest:
        """Read what `to_arrays` gave, believing nothing.

        Raises:
            PredictorError: an index points outside the arrays, or a type or shape is wrong.
        """
        kinds = {
            "roots": np.int32,
            "feature": np.int16,
            "threshold": np.float32,
            "child": np.int32,
            "value": np.float32,
        }
        for name, kind in kinds.items():
            array = arrays.get(name)
            if array is None or array.dtype != kind or array.ndim != 1 or not array.size:
                raise PredictorError(f"forest: {name} is missing or has the wrong type")
        depth = arrays.get("depth")
        if depth is None or depth.shape != () or depth.dtype != np.int32:
            raise PredictorError("forest: depth is missing or has the wrong type")
        size = len(arrays["feature"])
        if any(len(arrays[name]) != size for name in ("threshold", "child", "value")):
            raise PredictorError("forest: arrays differ in length")
        right = arrays["child"].astype(np.int64) + (arrays["threshold"] < np.inf)
        if (
            not 0 <= int(depth) <= MAX_DEPTH
            or arrays["feature"].min() < 0
            or arrays["feature"].max() >= columns
            or arrays["roots"].min() < 0
            or arrays["roots"].max() >= size
            or arrays["child"].min() < 0
            or right.max() >= size
            or not np.isfinite(arrays["value"]).all()
            or np.isnan(arrays["threshold"]).any()
        ):
            raise PredictorError("forest: a number is outside its bounds")
        return Forest(**{name: arrays[name] for name in kinds}, depth=int(depth))


def _below(threshold: float) -> float:
    """Return the largest float32 that is at most `threshold`: it splits float32 rows alike."""
    rounded = np.float32(threshold)
    return float(np.nextafter(rounded, np.float32(-np.inf)) if rounded > threshold else rounded)

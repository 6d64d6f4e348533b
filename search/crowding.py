"""Crowding distance (Deb et al. 2002, NSGA-II) with a weight for every objective.

The distance of point i of a front is ``sum over m of w[m] * (f[m, i+1] - f[m, i-1]) / range[m]``,
its neighbours taken in the order of objective m. The first and the last of an order are at
infinity, as are all points of a front of one or two. An objective that is the same everywhere adds
nothing, neither distance nor infinite ends.

Weights are scaled to sum to 1: equal weights give the mean over objectives (as pymoo has it), and
the number of objectives times that is Deb's sum. Of points with equal objectives the first stands
for all, and the others get 0, so that copies never crowd out a neighbour.

MoGA (Chu, Zhang and Xu 2020) weighs accuracy, latency and parameters 2:2:1. Where its weights enter
could not be read; that they enter here is this project's decision.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.errors import SearchError


def normalise_weights(weights: Sequence[float]) -> NDArray[np.float64]:
    """Scale weights to sum to 1, shape (objectives,).

    Raises:
        SearchError: a weight is negative or not finite, or all are 0.

    >>> normalise_weights([2, 2, 1]).tolist()
    [0.4, 0.4, 0.2]
    """
    array = np.asarray(weights, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all() or (array < 0).any() or not array.any():
        raise SearchError(f"weights are non-negative numbers, one of them positive, not {weights}")
    normal: NDArray[np.float64] = array / array.sum()
    return normal


def crowding_distance(
    values: NDArray[np.float64], weights: Sequence[float] | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weighted crowding distance of every point of one front, shape (points,).

    Args:
        values: finite objectives, shape (points, objectives); directions do not matter.
        weights: one per objective, of any scale.

    Raises:
        SearchError: values are not finite, or there are not as many weights as objectives.

    >>> front = np.array([[1.0, 1.0], [1.0, 1.0], [0.5, 1.5], [0.0, 2.0]])
    >>> crowding_distance(front, [1, 1]).tolist()
    [inf, 0.0, 1.0, inf]
    """
    values = np.asarray(values, dtype=np.float64)
    scale = normalise_weights(list(weights))
    if values.ndim != 2 or values.shape[1] != len(scale):
        raise SearchError(f"{len(scale)} weights do not fit objectives of shape {values.shape}")
    if not np.isfinite(values).all():
        raise SearchError("objectives must be finite")
    if len(values) <= 2:
        return np.full(len(values), np.inf)
    first = np.sort(np.unique(values, axis=0, return_index=True)[1])
    distance = np.zeros(len(values))
    distance[first] = _of_distinct(values[first], scale)
    return distance


def _of_distinct(values: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(values) <= 2:
        return np.full(len(values), np.inf)
    distance = np.zeros(len(values))
    for column, weight in zip(values.T, scale, strict=True):
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        spread = ordered[-1] - ordered[0]
        if spread == 0 or weight == 0:
            continue
        distance[order[1:-1]] += weight * (ordered[2:] - ordered[:-2]) / spread
        distance[order[[0, -1]]] = np.inf
    return distance

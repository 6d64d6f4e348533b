"""Fronts that are chosen by one score and judged by another: what are they worth?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latlas.search.pareto import Direction, hypervolume, minimised, pareto_front

DIRECTIONS: tuple[Direction, Direction] = ("max", "min")
SUBSETS = 1000


def nearly_best(values: NDArray[np.float64], most: int) -> NDArray[np.intp]:
    """Return the positions of points that at most so many others are better than.

    Args:
        values: accuracies and latencies, shape (points, 2).
        most: others that are nowhere worse and somewhere better.

    >>> nearly_best(np.array([[0.9, 1.0], [0.8, 2.0], [0.7, 3.0]]), 1).tolist()
    [0, 1]
    """
    low = minimised(values, DIRECTIONS)
    better = [
        int(((low <= one).all(axis=1) & (low < one).any(axis=1)).sum()) for one in low
    ]  # fmt: skip
    return np.flatnonzero(np.array(better) <= most)


def volume(
    searched: NDArray[np.float64], reported: NDArray[np.float64], corner: tuple[float, float]
) -> float:
    """Return the hypervolume of a front that was chosen by one score and is worth another.

    Args:
        searched: accuracies of the search and latencies, shape (architectures, 2).
        reported: accuracies of the report, shape (architectures,); NaN where not scored again.
        corner: the reference point.

    Returns:
        A fraction of the box between the reference point and (1, 0 ms).
    """
    front = pareto_front(searched, DIRECTIONS)
    again = np.stack([reported[front], searched[front, 1]], axis=1)
    return hypervolume(again, DIRECTIONS, corner) / ((1 - corner[0]) * corner[1])


def interval(
    searched: NDArray[np.float64],
    reported: NDArray[np.float64],
    size: int,
    corner: tuple[float, float],
) -> tuple[float, float]:
    """Return what 95% of random searches come to, of subsets of what was tried at random.

    Subsets of a share f of a pool vary sqrt(1 - f) times as much as searches apart do.
    """
    rng = np.random.default_rng(0)
    subsets = [rng.choice(len(searched), size, replace=False) for _ in range(SUBSETS)]
    volumes = [volume(searched[index], reported[index], corner) for index in subsets]
    low, middle, high = np.quantile(volumes, (0.025, 0.5, 0.975))
    widened = 1 / np.sqrt(max(1 - size / len(searched), 1e-9))
    return float(middle - widened * (middle - low)), float(middle + widened * (high - middle))

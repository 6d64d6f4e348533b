"""Pareto fronts and their hypervolume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.errors import SearchError

Direction = Literal["min", "max"]


def minimised(
    values: NDArray[np.float64] | Sequence[Sequence[float]], directions: Sequence[Direction]
) -> NDArray[np.float64]:
    """Flip the sign of objectives to maximise, so that less is better everywhere.

    Args:
        values: objectives, shape (points, objectives).
        directions: "min" or "max" for every objective.

    Raises:
        SearchError: the directions do not fit.

    >>> minimised([[0.9, 12.0]], ["max", "min"]).tolist()
    [[-0.9, 12.0]]
    """
    array = np.asarray(values, dtype=np.float64)
    if not array.size:
        array = array.reshape(0, len(directions))
    if array.shape[1:] != (len(directions),) or set(directions) - {"min", "max"}:
        raise SearchError(
            f'directions are "min" or "max", one per objective, not {tuple(directions)} for values '
            f"of shape {array.shape}"
        )
    return array * np.where(np.array(directions) == "max", -1.0, 1.0)


def pareto_front(
    values: NDArray[np.float64] | Sequence[Sequence[float]], directions: Sequence[Direction]
) -> NDArray[np.intp]:
    """Return the positions of the points that no other point dominates, ascending.

    A point dominates another if it is nowhere worse and somewhere better; so of equal points all
    are kept. Points with a NaN are failures and never on the front.

    Args:
        values: objectives, shape (points, objectives).
        directions: "min" or "max" for every objective.

    Raises:
        SearchError: the directions do not fit.

    >>> pareto_front([[0.9, 12.0], [0.8, 15.0], [0.7, 5.0]], ["max", "min"]).tolist()
    [0, 2]
    """
    array = minimised(values, directions)
    known = np.flatnonzero(~np.isnan(array).any(axis=1))
    points = array[known]
    kept = [
        not ((points <= point).all(axis=1) & (points < point).any(axis=1)).any() for point in points
    ]
    front: NDArray[np.intp] = known[np.array(kept, dtype=bool)]
    return front


def beyond(
    values: NDArray[np.float64] | Sequence[Sequence[float]],
    directions: Sequence[Direction],
    margin: float = 0.1,
) -> tuple[float, ...]:
    """Return a reference point for `hypervolume` a little beyond the worst of all points.

    Args:
        values: objectives, shape (points, objectives).
        directions: "min" or "max" for every objective.
        margin: how far, as a share of the range of the points (where that is 0, of the value), so
            that the worst points count too.

    Raises:
        SearchError: there is no point without a NaN, or the directions do not fit.

    >>> [round(value, 6) for value in beyond([[0.9, 12.0], [0.7, 2.0]], ["max", "min"])]
    [0.68, 13.0]
    """
    points = minimised(values, directions)
    points = points[~np.isnan(points).any(axis=1)]
    if not len(points):
        raise SearchError("nothing succeeded: there are no points to compare")
    worst, ranges = points.max(axis=0), np.ptp(points, axis=0)
    step = np.where(ranges > 0, ranges, np.where(worst == 0, 1.0, np.abs(worst)))
    # Twice minimised is as it was.
    corner = minimised([(worst + margin * step).tolist()], directions)[0]
    return tuple(corner.tolist())


def hypervolume(
    values: NDArray[np.float64] | Sequence[Sequence[float]],
    directions: Sequence[Direction],
    reference: Sequence[float],
) -> float:
    """Return the volume that a front dominates up to a reference point (Zitzler and Thiele 1999).

    Args:
        values: objectives, shape (points, objectives); points beyond the reference add nothing.
        directions: "min" or "max" for every objective.
        reference: the worst value of every objective that still counts, in the units of `values`.

    Raises:
        SearchError: the directions or the reference do not fit.

    >>> round(hypervolume([[0.0, 1.0], [1.0, 0.0]], ["min", "min"], [1.1, 1.1]), 4)
    0.21
    """
    from pymoo.indicators.hv import HV  # imports half of pymoo

    points = minimised(values, directions)
    if len(reference) != len(directions):
        raise SearchError(f"a reference has {len(directions)} values, not {len(reference)}")
    corner = minimised([list(reference)], directions)[0]
    points = points[~np.isnan(points).any(axis=1)]
    points = points[(points < corner).all(axis=1)]
    return float(HV(ref_point=corner)(points)) if len(points) else 0.0

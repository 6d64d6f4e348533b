"""How far predicted latencies are from measured ones, in figures that the field uses.

Errors are relative to what was measured, because a millisecond is little of a second and much of
two. All of them are fractions: 0.05 is 5%.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.errors import PredictorError

_ROUNDING = 1e-9
"""An error of exactly 10% is within 10%, whatever the last bit of a float says."""

_Latencies = Sequence[float] | NDArray[Any]


@dataclass(frozen=True, slots=True)
class Metrics:
    """Agreement of predicted with measured latencies.

    Attributes:
        n: number of latencies.
        mape: mean absolute percentage error.
        rmspe: root mean square percentage error, which large errors dominate.
        within5, within10: share of predictions that are at most 5% or 10% off.
        spearman: rank correlation; None for fewer than two, or where all are equal.
        bias: mean of predicted / measured - 1; above 0, latencies are overestimated.
    """

    n: int
    mape: float
    rmspe: float
    within5: float
    within10: float
    spearman: float | None
    bias: float


def metrics(predicted: _Latencies, measured: _Latencies) -> Metrics:
    """Compare predicted with measured latencies, in any unit that both have.

    Args:
        predicted: shape (n,), finite.
        measured: shape (n,), finite and above 0.

    >>> metrics([1.0, 2.1, 2.7], [1.0, 2.0, 3.0]).within5
    0.6666666666666666

    Raises:
        PredictorError: there are none, their numbers differ, or one is out of bounds.
    """
    predicted, measured = _checked(predicted, measured)
    error = predicted / measured - 1
    return Metrics(
        n=len(error),
        mape=float(np.abs(error).mean()),
        rmspe=float(np.sqrt(np.square(error).mean())),
        within5=_within(error, 0.05),
        within10=_within(error, 0.10),
        spearman=spearman(predicted, measured),
        bias=float(error.mean()),
    )


def _checked(
    predicted: _Latencies, measured: _Latencies
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    predicted, measured = (np.asarray(each, np.float64) for each in (predicted, measured))
    if predicted.shape != measured.shape or predicted.ndim != 1 or not len(predicted):
        raise PredictorError(
            f"predicted latencies of shape {predicted.shape} were to be compared with measured "
            f"ones of shape {measured.shape}: both must have the same shape (n,), n at least 1"
        )
    if not np.isfinite(predicted).all() or not (np.isfinite(measured) & (measured > 0)).all():
        raise PredictorError(
            "a latency is not a finite number, or a measured one is not above 0: "
            "leave out what could not be measured"
        )
    return predicted, measured


def _within(error: NDArray[np.float64], share: float) -> float:
    return float((np.abs(error) <= share + _ROUNDING).mean())


def spearman(x: _Latencies, y: _Latencies) -> float | None:
    """Return the correlation of the ranks of two sequences, from -1 to 1.

    Equal values share the mean of their ranks. None where it does not exist: fewer than two
    values, or a sequence of equal ones.

    >>> spearman([1, 2, 3], [10, 20, 30])
    1.0
    """
    a, b = (_ranks(np.asarray(each, np.float64)) for each in (x, y))
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return min(1.0, max(-1.0, float(a @ b) / norm)) if norm else None


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks from 1; equal values have the mean of theirs."""
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2)[group], np.float64)


def share_within(low: _Latencies, high: _Latencies, measured: _Latencies) -> float:
    """Return the share of measured latencies that lie within their bounds, each of shape (n,).

    >>> share_within([1, 1], [3, 3], [2, 4])
    0.5

    Raises:
        PredictorError: there are none, their numbers differ, or one is out of bounds.
    """
    below, measured_low = _checked(low, measured)
    above, _ = _checked(high, measured)
    return float(((below <= measured_low) & (measured_low <= above)).mean())

"""Which items to measure, chosen before anything is measured.

Greedy I-optimal design: take the item that lowers the mean variance of the predictions most, and
again (Atkinson, Donev and Tobias, Optimum Experimental Designs, 2007, chapter 10). A variance does
not depend on the values, so that no measurement of the new device is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.errors import PredictorError


def i_optimal(
    covariances: Sequence[NDArray[np.float64]],
    noises: Sequence[float],
    count: int,
    candidates: NDArray[np.intp],
    targets: NDArray[np.intp],
    measured: Sequence[int] = (),
) -> list[int]:
    """Choose items for processes that are equally likely.

    Args:
        covariances: of every process, between all items, without noise, (items, items).
        noises: variance of the noise of every process.
        count: how many to choose.
        candidates: items that can be measured.
        targets: items whose predictions matter.
        measured: items that are measured anyway.

    Returns:
        `count` distinct candidates that are not measured yet, the most useful first.

    Raises:
        PredictorError: there are too few candidates.

    Alike items are measured once; the odd one tells little about them:

    >>> alike = np.array([[1, 0.9, 0.9, 0], [0.9, 1, 0.9, 0], [0.9, 0.9, 1, 0], [0, 0, 0, 1.0]])
    >>> everyone = np.arange(4)
    >>> i_optimal([alike], [0.01], 2, everyone, everyone)
    [0, 3]
    """
    left = np.setdiff1d(candidates, np.asarray(measured, np.intp))
    if len(left) < count:
        raise PredictorError(
            f"{count} items are to be chosen, there are {len(left)} that are not measured yet: "
            "choose fewer, or give more models"
        )
    open_ = [np.array(covariance, np.float64) for covariance in covariances]
    before = [float(np.diag(covariance)[targets].sum()) for covariance in open_]
    for item in measured:
        _observe(open_, noises, int(item))
    chosen: list[int] = []
    for _ in range(count):
        gain = np.zeros(len(left))
        for covariance, noise, total in zip(open_, noises, before, strict=True):
            seen = covariance[np.ix_(targets, left)]
            gain += (seen**2).sum(0) / (np.diag(covariance)[left] + noise) / max(total, 1e-30)
        best = int(left[np.argmax(gain)])
        chosen.append(best)
        left = left[left != best]
        _observe(open_, noises, best)
    return chosen


def _observe(
    covariances: Sequence[NDArray[np.float64]], noises: Sequence[float], item: int
) -> None:
    """Take off, in place, what a measurement of one item would tell."""
    for covariance, noise in zip(covariances, noises, strict=True):
        column = covariance[:, item].copy()
        covariance -= np.outer(column, column) / (column[item] + noise)


def middle(values: NDArray[np.float64], share: float) -> NDArray[np.intp]:
    """Return the indices of the middle share of values by rank.

    >>> middle(np.array([5.0, 1.0, 3.0, 2.0, 4.0]), 0.6).tolist()
    [2, 3, 4]
    """
    rank = np.empty(len(values))
    rank[np.argsort(values, kind="stable")] = (np.arange(len(values)) + 0.5) / len(values)
    return np.flatnonzero(np.abs(rank - 0.5) <= share / 2)

"""The same search for two targets: what is lost by taking the other's front.

MoGA (Chu et al. 2020, section 5, https://arxiv.org/abs/1908.01314) searches for a phone's GPU since
what is fast on a CPU is not on a GPU, and the same is so between runtimes. A front that was found
for one target is put on the other here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latlas.search.pareto import Direction, beyond, hypervolume

_DIRECTIONS: tuple[Direction, Direction] = ("max", "min")


@dataclass(frozen=True, eq=False)
class Front:
    """The networks that a search found for one target.

    Attributes:
        accuracy: fractions, shape (networks,).
        latency_ms: on every target, shape (networks, targets).
    """

    accuracy: NDArray[np.float64]
    latency_ms: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Loss:
    """What it costs on a target to take the front that was found for another.

    Attributes:
        ratios: for every network of the target's own front, the latency of the fastest one of the
            other front that is at least as accurate, over its own; NaN where none is.
        hypervolume: of the other front on this target, as a share of the own front's.
    """

    ratios: NDArray[np.float64]
    hypervolume: float

    @property
    def median_lost(self) -> float:
        """Median share of latency that is lost; negative where the other front is better."""
        known = self.ratios[~np.isnan(self.ratios)]
        return float(np.median(known)) - 1 if len(known) else math.nan

    @property
    def unreached(self) -> int:
        """Networks of the own front that nothing on the other front is as accurate as."""
        return int(np.isnan(self.ratios).sum())


def latency_ratios(
    accuracy: ArrayLike, latency_ms: ArrayLike, other_accuracy: ArrayLike, other_ms: ArrayLike
) -> NDArray[np.float64]:
    """Return for every network how much longer the other front takes for its accuracy.

    Args:
        accuracy: of a front, shape (networks,).
        latency_ms: of the same, on one target.
        other_accuracy: of another front, shape (others,).
        other_ms: of the other, on the same target.

    Returns:
        Latency of the fastest other network that is at least as accurate, over the network's own,
        shape (networks,); NaN where none is.

    >>> latency_ratios([0.7, 0.9], [10.0, 20.0], [0.8, 0.75], [15.0, 12.0]).tolist()
    [1.2, nan]
    """
    own, own_ms = np.asarray(accuracy, np.float64), np.asarray(latency_ms, np.float64)
    other = np.asarray(other_accuracy, np.float64)
    other_ms = np.asarray(other_ms, np.float64)
    known = (other[None] >= own[:, None]) & np.isfinite(other_ms[None])
    reached = np.where(known, other_ms[None], np.inf)
    fastest = reached.min(axis=1, initial=np.inf)
    return np.where(np.isfinite(fastest), fastest, np.nan) / own_ms


def loss(own: Front, other: Front, target: int) -> Loss:
    """Return what is lost on a target by taking another front than its own.

    Args:
        own: found for the target.
        other: found for another.
        target: column of the latencies.
    """
    ours = np.stack([own.accuracy, own.latency_ms[:, target]], axis=1)
    theirs = np.stack([other.accuracy, other.latency_ms[:, target]], axis=1)
    reference = beyond(np.concatenate([ours, theirs]), _DIRECTIONS)
    return Loss(
        latency_ratios(ours[:, 0], ours[:, 1], theirs[:, 0], theirs[:, 1]),
        hypervolume(theirs, _DIRECTIONS, reference) / hypervolume(ours, _DIRECTIONS, reference),
    )


def rank_correlation(fronts: Sequence[Front], left: int, right: int) -> float:
    """Return Kendall's tau of the latencies on two targets, over the networks of all fronts.

    NaN where there are fewer than 3 networks, or one target tells none of them apart.
    """
    from scipy.stats import kendalltau

    latencies = np.concatenate([front.latency_ms[:, [left, right]] for front in fronts])
    latencies = latencies[np.isfinite(latencies).all(axis=1)]
    if len(latencies) < 3:
        return math.nan
    return float(kendalltau(latencies[:, 0], latencies[:, 1]).statistic)

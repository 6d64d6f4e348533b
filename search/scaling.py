"""Searches at several latency targets against one network at several widths.

MnasNet (Tan et al. 2019, figure 5, https://arxiv.org/abs/1807.11626) asks what is better for a
tighter latency: to search anew, or to make the network that was found narrower.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from latlas.profiler.errors import SearchError
from latlas.search.best_means import scores_of
from latlas.search.objectives import Constraint
from latlas.search.protocols import Trial


@dataclass(frozen=True)
class Point:
    """A network in the plane of latency and accuracy.

    Attributes:
        name: what it is called: a search, or a width.
        latency_ms: by the same oracle as all others it is compared with.
        accuracy: a fraction, from the same source as all others.
    """

    name: str
    latency_ms: float
    accuracy: float


def chosen(
    trials: Sequence[Trial],
    score: Callable[[Trial], float],
    constraints: Sequence[Constraint] = (),
) -> Trial:
    """Return the trial that a search with one target is for: the best score, then the fastest.

    Raises:
        SearchError: none succeeded and keeps the constraints.
    """
    scores = scores_of(trials, score, constraints)
    good = [i for i in range(len(trials)) if np.isfinite(scores[i])]
    if not good:
        raise SearchError(f"none of {len(trials)} architectures succeeded within the constraints")
    return trials[min(good, key=lambda i: (-scores[i], trials[i].latency_ms))]


def scaled_accuracy(points: Sequence[Point], latency_ms: float) -> float:
    """Return the accuracy that a scaled network has at a latency, NaN beyond its widths.

    Between two widths it is taken linearly in the logarithm of the latency.

    Args:
        points: the network at different widths, in any order.
        latency_ms: where it is asked for.

    >>> points = [Point("0.5", 10.0, 0.6), Point("1.0", 40.0, 0.8)]
    >>> round(scaled_accuracy(points, 20.0), 6), scaled_accuracy(points, 50.0)
    (0.7, nan)
    """
    known = sorted(
        (point.latency_ms, point.accuracy)
        for point in points
        if math.isfinite(point.latency_ms) and math.isfinite(point.accuracy)
    )
    if not known or not known[0][0] <= latency_ms <= known[-1][0]:
        return math.nan
    latencies, accuracies = zip(*known, strict=True)
    return float(np.interp(math.log(latency_ms), np.log(latencies), accuracies))


def gains(searched: Sequence[Point], scaled: Sequence[Point]) -> list[float]:
    """Return how much more accurate what was searched is than the scaled network when as fast.

    A fraction for every point searched; NaN where the scaled network was never as fast or as slow.
    """
    return [point.accuracy - scaled_accuracy(scaled, point.latency_ms) for point in searched]

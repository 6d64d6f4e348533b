"""From samples to a figure and a verdict. Pure functions; times are in microseconds.

A figure is only as good as the machine was quiet while it was taken, and quiet means something
else on a phone's big core (0.2% from run to run) than on its GPU (9%). The gate for noise is
therefore derived from how much the reference kernel spreads on the same target.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.runner import Result

Verdict = Literal["stable", "noisy", "throttled", "not_delegated", "failed"]
VERDICTS: tuple[Verdict, ...] = ("stable", "noisy", "throttled", "not_delegated", "failed")

MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

MEDIAN_ERROR = 1.2533
"""Standard error of a median over that of a mean, of a normal distribution: sqrt(pi / 2)."""

PERCENTILES_TO_SIGMA = 1 / (2 * 1.6449)
"""Standard deviation of a normal distribution over the distance of its 5th and 95th percentile."""

PRINTED_US = 1.0
"""Resolution of percentiles that a tool prints instead of samples."""

MAX_US = 1e12
"""No run takes longer (twelve days): larger figures are errors."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The distribution of a model's samples; every figure but `n` is in microseconds.

    A tool that prints percentiles instead of samples leaves the quartiles and the deviations
    from the median unknown: they are None then, not guessed.

    Attributes:
        n: number of samples.
        median_us: the figure to report.
        p05_us: 5th percentile.
        p95_us: 95th percentile.
        mean_us: arithmetic mean.
        std_us: standard deviation (n - 1), 0 for a single sample.
        iqr_us: distance between the quartiles, or None.
        mad_us: median absolute deviation from the median, or None.
        min_us: fastest run.
        max_us: slowest run.
    """

    n: int
    median_us: float
    p05_us: float
    p95_us: float
    mean_us: float
    std_us: float
    iqr_us: float | None
    mad_us: float | None
    min_us: float
    max_us: float

    @property
    def robust_cv(self) -> float:
        """Spread over median, blind to a few outliers: 1.4826 MAD / median.

        Without a MAD, a normal distribution's standard deviation between the same percentiles,
        less the resolution of these: a steady run of 5.5 us is printed as 5 or as 6.
        """
        if self.mad_us is None:
            width_us = max(self.p95_us - self.p05_us - PRINTED_US, 0.0)
            return PERCENTILES_TO_SIGMA * width_us / self.median_us
        return MAD_TO_SIGMA * self.mad_us / self.median_us


def check_samples(samples_us: Sequence[float]) -> str:
    """Return what is wrong with samples, or an empty string.

    >>> check_samples([12.0, float("nan")])
    'a sample of nan us is impossible'
    """
    if not samples_us:
        return "there are no samples"
    # The sum is a NaN if a sample is one, which minimum and maximum may overlook.
    if min(samples_us) > 0 and max(samples_us) < MAX_US and sum(samples_us) > 0:
        return ""
    for sample in samples_us:
        if not 0 < sample < MAX_US:
            return f"a sample of {sample!r:.40} us is impossible"
    return ""


def summarise(samples_us: Sequence[float]) -> Summary:
    """Return the distribution of at least one sample.

    >>> summarise([3.0, 1.0, 2.0, 4.0, 90.0]).median_us
    3.0

    Raises:
        ValueError: there is no sample, or one is not a positive finite number.
    """
    problem = check_samples(samples_us)
    if problem:
        raise ValueError(problem)
    values = np.sort(np.asarray(samples_us, np.float64))
    # One interpolation for all: np.percentile costs more than a small kernel takes to run.
    places = np.array((0.05, 0.25, 0.5, 0.75, 0.95)) * (len(values) - 1)
    low = places.astype(np.intp)
    high = np.minimum(low + 1, len(values) - 1)
    quantiles = values[low] + (places - low) * (values[high] - values[low])
    p05, q1, median, q3, p95 = quantiles.tolist()
    deviations = np.abs(values - median)
    deviations.sort()
    middle = len(values) // 2
    mad = float((deviations[middle] + deviations[(len(values) - 1) // 2]) / 2)
    return Summary(
        n=len(values),
        median_us=median,
        p05_us=p05,
        p95_us=p95,
        mean_us=float(values.mean()),
        std_us=float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        iqr_us=q3 - q1,
        mad_us=mad,
        min_us=float(values[0]),
        max_us=float(values[-1]),
    )


def summary_of(result: Result) -> Summary:
    """Return the distribution of a result's samples, or the one that it came with.

    Raises:
        ValueError: there is neither, or a figure is impossible.
    """
    if result.summary is None:
        return summarise(result.samples_us)
    figures = asdict(result.summary)
    for name in ("iqr_us", "mad_us"):  # these take samples
        if figures[name] is None:
            del figures[name]
    for name, value in figures.items():
        possible = isinstance(value, int | float) and 0 <= value < MAX_US
        if not possible or (not value and name in ("n", "median_us")):
            raise ValueError(f"{name} of {value!r:.40} is impossible")
    return result.summary


def robust_cv(values: Sequence[float]) -> float:
    """Return 1.4826 MAD / median of positive numbers.

    >>> round(robust_cv([98.0, 99.0, 100.0, 101.0, 500.0]), 4)
    0.0148
    """
    return summarise(values).robust_cv


def fast_level(values: Sequence[float]) -> tuple[float, float]:
    """Return what an eighth of at least one number lie below, and its standard error.

    Times of a machine that somebody else's work slows down by turns lie on two levels. Their median
    may be on either; the lower octile is on the faster one, unless the turns are very long. The
    error is the spread of the octiles that a bootstrap would draw, worked out without drawing
    (Maritz and Jarrett 1978): where the numbers cannot tell the level, it says so.

    >>> value, error = fast_level([10.0, 10.1, 9.9, 13.0, 13.1])
    >>> value, round(error, 2)
    (9.9, 0.31)
    """
    ordered = np.sort(np.asarray(values, np.float64))
    weights = _octile_weights(len(ordered))
    error = math.sqrt(float(weights @ (ordered - weights @ ordered) ** 2))
    return float(ordered[_octile_rank(len(ordered)) - 1]), error


def _octile_rank(n: int) -> int:
    return -(-n // 8)


@cache
def _octile_weights(n: int) -> NDArray[np.float64]:
    """Return how probable it is that each of n sorted numbers is the octile of a resample."""
    from scipy.special import betainc

    rank = _octile_rank(n)
    return np.asarray(np.diff(betainc(rank, n - rank + 1, np.arange(n + 1) / n)), np.float64)


def thin(samples_us: Sequence[float], limit: int) -> tuple[float, ...]:
    """Return at most `limit` samples with the same distribution.

    Few samples stay as they are, in the order of time; many are replaced by evenly spaced
    quantiles, in ascending order.

    >>> thin([5.0, 3.0, 4.0, 1.0, 2.0], 2)
    (2.0, 4.0)
    """
    if len(samples_us) <= limit:
        return tuple(samples_us)
    values = np.sort(np.asarray(samples_us, np.float64))
    middles = (np.arange(limit) + 0.5) * len(values) / limit
    return tuple(values[middles.astype(np.intp)].tolist())


@dataclass(frozen=True, slots=True)
class NoiseGate:
    """What counts as quiet on one target.

    Attributes:
        spread: largest robust CV of the samples of one job.
        drift: largest relative change of the reference's median from one check to the next.
        cpu_share: smallest CPU time over wall time; 0 where the CPU only waits (GPU).
    """

    spread: float
    drift: float
    cpu_share: float = 0.0

    @staticmethod
    def learn(
        references: Sequence[Summary],
        *,
        spread_floor: float = 0.03,
        drift_floor: float = 0.03,
        factor: float = 3.0,
        cpu_share: float = 0.0,
    ) -> NoiseGate:
        """Derive the gate from repeated measurements of the reference kernel.

        A job may spread `factor` times as much as the reference typically does within one
        measurement, and the reference may drift `factor` times as much as its medians differ from
        one measurement to the next, but neither gate falls below its floor: few repeats can agree
        by chance. A device that changes its speed in between does not widen the gate.

        Raises:
            ValueError: there are no measurements.
        """
        if not references:
            raise ValueError("a noise gate is learned from at least one reference measurement")
        within = float(np.median([summary.robust_cv for summary in references]))
        medians = np.array([summary.median_us for summary in references])
        steps = np.abs(np.diff(medians)) if len(medians) > 1 else np.zeros(1)
        between = MAD_TO_SIGMA / np.sqrt(2) * float(np.median(steps) / np.median(medians))
        return NoiseGate(
            spread=max(spread_floor, factor * within),
            drift=max(drift_floor, float(factor * between)),
            cpu_share=cpu_share,
        )


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a result is worth.

    Attributes:
        verdict: the verdict.
        reason: why it is not ``stable``.
        summary: the distribution of the samples, where there are any worth the name.
    """

    verdict: Verdict
    reason: str = ""
    summary: Summary | None = None


def judge(result: Result, gate: NoiseGate) -> Judgement:
    """Judge what one run of a job gave, apart from the state of the device.

    >>> judge(Result("a", (10.0, 10.1, 10.0)), NoiseGate(spread=0.05, drift=0.05)).verdict
    'stable'
    """
    if result.kind == "not_delegated":
        return Judgement("not_delegated", result.error or "the delegate did not take all of it")
    if result.kind != "ok":
        return Judgement("failed", f"{result.kind}: {result.error or 'no message'}")
    try:
        summary = summary_of(result)
    except ValueError as problem:
        return Judgement("failed", str(problem))
    reason = _disturbance(summary, result.cpu_share, gate)
    return Judgement("noisy" if reason else "stable", reason, summary)


def _disturbance(summary: Summary, cpu_share: float, gate: NoiseGate) -> str:
    """Return what disturbed a measurement, or an empty string."""
    if summary.robust_cv > gate.spread:
        return (
            f"samples spread {summary.robust_cv:.1%} around their median, "
            f"this target allows {gate.spread:.1%}"
        )
    # A share that is not a number says nothing and is not held against the figure.
    if cpu_share < gate.cpu_share:
        return (
            f"the core was shared: {cpu_share:.0%} of the time was the model's, "
            f"at least {gate.cpu_share:.0%} is needed"
        )
    return ""

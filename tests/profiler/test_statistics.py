from __future__ import annotations

import itertools
import math
import random
import statistics
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latlas.profiler.runner import Result
from latlas.profiler.statistics import (
    NoiseGate,
    check_samples,
    fast_level,
    judge,
    robust_cv,
    summarise,
    summary_of,
    thin,
)

times = st.floats(0.01, 1e6)
samples = st.lists(times, min_size=1, max_size=300)
GATE = NoiseGate(spread=0.03, drift=0.03, cpu_share=0.8)


@given(samples)
def test_a_summary_agrees_with_the_standard_library(values: list[float]) -> None:
    summary = summarise(values)
    assert summary.n == len(values)
    assert summary.median_us == pytest.approx(statistics.median(values))
    assert summary.mean_us == pytest.approx(statistics.fmean(values))
    assert (summary.min_us, summary.max_us) == (min(values), max(values))
    middle = statistics.median(values)
    mad = statistics.median([abs(value - middle) for value in values])
    assert summary.mad_us == pytest.approx(mad, abs=1e-9 * max(values))
    assert summary.min_us <= summary.p05_us <= summary.median_us <= summary.p95_us
    assert summary.p95_us <= summary.max_us
    if len(values) > 1:
        assert summary.std_us == pytest.approx(statistics.stdev(values), abs=1e-6 * max(values))
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        assert summary.iqr_us == pytest.approx(high - low, abs=1e-9 * max(values))


def test_a_single_sample_has_no_spread() -> None:
    summary = summarise([7.0])
    assert (summary.std_us, summary.iqr_us, summary.robust_cv) == (0, 0, 0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0, 0.0, 1e13])
def test_impossible_samples_are_refused(bad: float) -> None:
    assert "impossible" in check_samples([1.0, bad])
    with pytest.raises(ValueError, match="impossible"):
        summarise([1.0, bad])
    with pytest.raises(ValueError, match="no samples"):
        summarise([])


def test_outliers_do_not_move_the_robust_spread() -> None:
    quiet = [100.0 + i % 3 for i in range(100)]
    assert robust_cv([*quiet, 5000.0, 9000.0]) == pytest.approx(robust_cv(quiet), rel=0.1)


@given(samples, st.integers(1, 50))
def test_thinning_keeps_the_distribution(values: list[float], limit: int) -> None:
    kept = thin(values, limit)
    assert len(kept) == min(limit, len(values))
    assert set(kept) <= set(values)
    if len(values) <= limit:
        assert kept == tuple(values)


def test_a_summary_without_samples_is_judged_by_its_percentiles() -> None:
    steady = replace(summarise([100.0]), n=50, p05_us=99.0, p95_us=101.0, mad_us=None, iqr_us=None)
    assert steady.robust_cv == pytest.approx(0.5 / 1.6449 / 100)
    # Whole microseconds: 5.5 us are printed as 5 or as 6.
    assert replace(steady, median_us=5, p05_us=5, p95_us=6).robust_cv == 0
    for width, verdict in ((5, "stable"), (40, "noisy")):
        result = Result("a", summary=replace(steady, p95_us=99.0 + width))
        assert summary_of(result) is result.summary
        assert judge(result, GATE).verdict == verdict
    wild = [random.Random(0).gauss(100, 10) for _ in range(5000)]
    known = summarise(wild)
    assert replace(known, mad_us=None).robust_cv == pytest.approx(known.robust_cv, rel=0.1)


@pytest.mark.parametrize("median", [0.0, -1.0, math.nan, math.inf])
def test_impossible_summaries_are_refused(median: float) -> None:
    result = Result("a", summary=replace(summarise([1.0]), median_us=median))
    assert judge(result, GATE).verdict == "failed"


@pytest.mark.parametrize(
    ("name", "us"),
    [
        ("std_us", -1.0),
        ("max_us", 1e12),
        ("mad_us", math.nan),
        ("mean_us", None),
        ("n", 0),
    ],
)
def test_a_runner_s_own_summary_holds_what_a_table_can_hold(name: str, us: Any) -> None:
    result = Result("a", summary=replace(summarise([1.0]), **{name: us}))
    judgement = judge(result, GATE)
    assert judgement.verdict == "failed" and name in judgement.reason


def test_thinned_samples_have_the_median_of_all() -> None:
    values = [float(i) for i in range(1, 10_001)]
    assert statistics.median(thin(values, 200)) == pytest.approx(5000, rel=0.01)


def test_the_gate_follows_the_noise_of_the_target() -> None:
    quiet = [summarise([100.0, 100.1, 99.9]) for _ in range(5)]
    assert NoiseGate.learn(quiet) == NoiseGate(0.03, 0.03)
    assert NoiseGate.learn(quiet, spread_floor=0.001).spread < 0.01
    medians = (95.0, 105.0, 95.0, 105.0, 100.0)
    loud = [summarise([middle * f for f in (0.9, 1.0, 1.1)]) for middle in medians]
    gate = NoiseGate.learn(loud)
    assert gate.spread == pytest.approx(3 * 1.4826 * 0.1)
    assert gate.drift == pytest.approx(3 * 1.4826 / math.sqrt(2) * 0.10)
    switches = [summarise([middle] * 3) for middle in (150.0, 151, 150, 100, 101, 100, 150, 151)]
    assert NoiseGate.learn(switches).drift == 0.03
    assert NoiseGate.learn(switches[:1]).drift == 0.03
    with pytest.raises(ValueError, match="at least one"):
        NoiseGate.learn([])


@pytest.mark.parametrize(
    ("result", "verdict", "reason"),
    [
        (Result("a", (10.0, 10.1, 9.9)), "stable", ""),
        (Result("a", (10.0, 12.0, 8.0)), "noisy", "29.7% around"),
        (Result("a", (10.0, 10.1, 9.9), cpu_share=0.5), "noisy", "core was shared"),
        (Result("a", (10.0, 10.1, 9.9), cpu_share=math.nan), "stable", ""),
        (Result("a", error="node 3", kind="not_delegated"), "not_delegated", "node 3"),
        (Result("a", error="signal 11", kind="crashed"), "failed", "crashed: signal 11"),
        (Result("a", kind="timeout"), "failed", "timeout: no message"),
        (Result("a"), "failed", "no samples"),
        (Result("a", (10.0, -3.0)), "failed", "impossible"),
    ],
)
def test_verdicts(result: Result, verdict: str, reason: str) -> None:
    judgement = judge(result, GATE)
    assert judgement.verdict == verdict
    assert reason in judgement.reason
    assert bool(judgement.reason) == (verdict != "stable")


@settings(max_examples=20)
@given(st.lists(st.floats(1, 100), min_size=1, max_size=5))
def test_the_error_of_a_fast_level_is_that_of_all_resamples(values: list[float]) -> None:
    found, error = fast_level(values)
    rank = math.ceil(len(values) / 8)
    assert found == sorted(values)[rank - 1]
    drawn = [sorted(each)[rank - 1] for each in itertools.product(values, repeat=len(values))]
    assert error == pytest.approx(statistics.pstdev(drawn), abs=1e-9)


def test_the_error_of_a_fast_level_of_many() -> None:
    values = np.random.default_rng(0).normal(50, 2, 5001)
    found, error = fast_level(values.tolist())
    assert found == pytest.approx(50 - 1.1503 * 2, abs=0.1)
    assert error == pytest.approx(1.605 * 2 / 5001**0.5, rel=0.3)


def test_times_on_two_levels() -> None:
    """Few times do not show which level is the faster one, and the error tells; more times do."""
    few = [10.0, 13.1, 13.0, 13.2, 13.1]
    assert fast_level(few)[1] > 1.0
    value, error = fast_level([10.0, 10.1, 13.0] * 10)
    assert value == 10.0 and error < 0.1

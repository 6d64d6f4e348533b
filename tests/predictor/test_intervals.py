from __future__ import annotations

import numpy as np
import pytest

from latlas.predictor.intervals import (
    FLOOR,
    NO_INTERVALS,
    UNKNOWN_ERROR,
    Intervals,
    interval_ms,
    quantile,
)


def half_width(predicted: float, spread: float, unknown: float) -> float:
    intervals = Intervals(measured=0.02, doubt=0.2, networks=30)
    columns = [np.array([value]) for value in (predicted, spread, unknown)]
    return float(intervals.half_width(*columns)[0])


def test_widths_follow_what_a_latency_rests_on() -> None:
    assert half_width(0, 0, 0) == pytest.approx(0.02)
    assert half_width(1, 0, 0) == pytest.approx(0.2 * FLOOR)
    assert half_width(1, 0.3, 0) == pytest.approx(0.2 * (FLOOR + 0.3))
    assert half_width(0, 0, 1) == pytest.approx(UNKNOWN_ERROR)
    assert half_width(0, 0, 0) < half_width(0.5, 0.1, 0) < half_width(1, 0.1, 0)


def test_nothing_known_is_no_certainty() -> None:
    for predicted in (0.0, 1.0):
        (half,) = NO_INTERVALS.half_width(np.array([predicted]), *np.zeros((2, 1)))
        assert half == pytest.approx(UNKNOWN_ERROR)


def test_bounds_are_a_factor_apart() -> None:
    assert interval_ms(10.0, np.log(2)) == pytest.approx((5, 20))
    low, high = interval_ms(10.0, 1e300)
    assert 0 < low < high < np.inf


@pytest.mark.parametrize("count", [9, 20, 100])
def test_new_errors_stay_below_the_quantile_nine_times_in_ten(count: int) -> None:
    rng = np.random.default_rng(0)
    held = [rng.exponential() <= quantile(rng.exponential(size=count)) for _ in range(4000)]
    assert 0.88 < np.mean(held) < 0.94


def test_few_errors() -> None:
    assert quantile(np.array([0.1, 0.3, 0.2])) == 0.3

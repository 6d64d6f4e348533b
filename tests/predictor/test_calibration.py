from __future__ import annotations

import numpy as np
import pytest

from latlas.predictor import calibration
from latlas.predictor.calibration import (
    GROUPS,
    MIN_NETWORKS,
    Calibration,
    fit_calibration,
    solve,
)
from latlas.profiler.errors import PredictorError


def networks(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Networks that differ in size and number of kernels, so that the coefficients show."""
    rng = np.random.default_rng(seed)
    return np.exp(rng.uniform(5, 10, count)), rng.integers(20, 200, count)


@pytest.mark.parametrize(
    ("a", "b_us", "c_us"), [(1.0, 0.0, 0.0), (1.1, 0.0, 30.0), (0.8, 2.0, 0.0), (1.3, 1.0, 50.0)]
)
def test_known_coefficients_are_recovered(a: float, b_us: float, c_us: float) -> None:
    sums, kernels = networks(60)
    found = fit_calibration(sums, kernels, a * sums + b_us * kernels + c_us)
    assert found.a == pytest.approx(a, rel=0.02)
    assert found.b_us == pytest.approx(b_us, abs=0.25)
    assert found.c_us == pytest.approx(c_us, abs=12)
    assert found.error < 0.02
    assert found.networks == 60


def test_networks_that_resemble_each_other_do_not_upset_it() -> None:
    sums = np.linspace(1000, 1050, 20)
    kernels = np.full(20, 60)
    found = fit_calibration(sums, kernels, 1.2 * sums)
    assert found.apply(sums, kernels) == pytest.approx(1.2 * sums, rel=0.01)
    much = found.apply(10 * sums, kernels)
    assert (much > 8 * sums).all()
    assert (much < 14 * sums).all()


def test_its_error_is_that_of_networks_left_out() -> None:
    sums, kernels = networks(200)
    noise = np.random.default_rng(1).normal(1, 0.05, 200)
    assert fit_calibration(sums, kernels, sums * noise).error == pytest.approx(0.05, rel=0.2)


def test_many_networks_are_left_out_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*columns: np.ndarray) -> np.ndarray:
        calls.append(len(columns[0]))
        return solve(*columns)

    monkeypatch.setattr(calibration, "solve", counted)
    for count, groups in ((7, 7), (90, GROUPS)):
        calls.clear()
        sums, kernels = networks(count)
        fit_calibration(sums, kernels, sums)
        assert len(calls) == groups + 1
        assert sum(count - call for call in calls) == count  # each is left out once


def test_latencies_grow_with_everything() -> None:
    sums, kernels = networks(10)
    found = fit_calibration(sums, kernels, 0.1 * sums)  # less than any sum explains
    assert found.a >= 0.2
    assert found.b_us >= 0
    assert found.c_us >= 0


def test_too_few_networks() -> None:
    sums, kernels = networks(MIN_NETWORKS)
    fit_calibration(sums, kernels, sums)
    with pytest.raises(PredictorError, match=f"{MIN_NETWORKS - 1} whole networks.*profile more"):
        fit_calibration(sums[1:], kernels[1:], sums[1:])


def test_applying() -> None:
    found = Calibration(2.0, 3.0, 5.0, 0.0, 9)
    assert found.apply(np.array([10.0, 20.0]), np.array([1, 2])).tolist() == [28.0, 51.0]

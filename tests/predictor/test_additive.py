from __future__ import annotations

import numpy as np
import pytest

from latlas.predictor.additive import additive_terms, fit_additive, spread_out
from latlas.profiler.errors import PredictorError


def device(noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 6, size=(300, 4)).astype(float)
    latency = 5 + counts @ [0.2, 1.0, 3.0, 0.5]
    return counts, latency * (1 + noise * rng.normal(size=300))


def test_what_adds_up_is_learned_from_few() -> None:
    counts, latency = device()
    known = np.arange(20)
    fitted = fit_additive(additive_terms({"counts": counts}), known, latency[known])
    predicted, _ = fitted.predict(np.arange(300))
    assert np.abs(predicted / latency - 1)[20:].mean() < 0.01


def test_a_curve_is_learned_as_well() -> None:
    counts, latency = device()
    latency = latency * (1 + 0.06 * (counts[:, 2] - 2.5) ** 2)
    known = np.arange(100)
    fitted = fit_additive(additive_terms({"counts": counts}), known, latency[known])
    line = np.column_stack([np.ones(300), counts])
    straight = line @ np.linalg.lstsq(line[known], latency[known], rcond=None)[0]
    error = np.abs(fitted.predict(np.arange(300))[0] / latency - 1)[100:].mean()
    assert error < 0.7 * np.abs(straight / latency - 1)[100:].mean()


def test_deviations_hold() -> None:
    counts, latency = device(noise=0.05)
    known = np.arange(60)
    fitted = fit_additive(additive_terms({"counts": counts}), known, latency[known])
    predicted, deviation = fitted.predict(np.arange(60, 300))
    held = np.abs(predicted - latency[60:]) <= 1.645 * deviation
    assert 0.8 < held.mean() < 0.97


def test_the_unit_of_latency_does_not_matter() -> None:
    counts, latency = device(noise=0.02)
    known, terms = np.arange(30), additive_terms({"counts": counts})
    one = fit_additive(terms, known, latency[known]).predict(np.arange(300))[0]
    other = fit_additive(terms, known, 1e3 * latency[known]).predict(np.arange(300))[0]
    assert np.allclose(1e3 * one, other, rtol=1e-3)


@pytest.mark.parametrize("latency", [[1.0, 2.0], [1.0, 2.0, 0.0], [1.0, np.nan, 2.0]])
def test_too_little_is_an_error(latency: list[float]) -> None:
    terms = additive_terms({"counts": device()[0]})
    with pytest.raises(PredictorError, match="at least 3 positive"):
        fit_additive(terms, np.arange(len(latency)), np.array(latency))


def test_columns_that_never_change_are_left_out() -> None:
    assert (spread_out(np.ones((5, 2))) == 0).all()

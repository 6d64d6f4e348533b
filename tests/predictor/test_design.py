from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latlas.predictor.design import i_optimal, middle
from latlas.profiler.errors import PredictorError


def covariance(seed: int, items: int = 12) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(items, 3))
    return np.asarray(x @ x.T)


def remaining(whole: np.ndarray, noise: float, chosen: list[int]) -> float:
    some = np.ix_(chosen, chosen)
    inverse = np.linalg.inv(whole[some] + noise * np.eye(len(chosen)))
    return float(np.trace(whole - whole[:, chosen] @ inverse @ whole[chosen]))


@given(st.integers(0, 1000), st.floats(0.01, 1.0))
def test_each_item_lowers_the_variance_most(seed: int, noise: float) -> None:
    whole, everyone = covariance(seed), np.arange(12)
    chosen = i_optimal([whole], [noise], 4, everyone, everyone)
    for length in range(4):
        best = min(
            remaining(whole, noise, [*chosen[:length], item])
            for item in everyone
            if item not in chosen[:length]
        )
        assert remaining(whole, noise, chosen[: length + 1]) <= best * (1 + 1e-6) + 1e-9


def test_what_is_measured_counts_and_is_not_chosen_again() -> None:
    whole, everyone = covariance(1), np.arange(12)
    chosen = i_optimal([whole], [0.1], 4, everyone, everyone)
    assert i_optimal([whole], [0.1], 2, everyone, everyone, chosen[:2]) == chosen[2:]


def test_input_is_not_changed() -> None:
    whole, everyone = covariance(2), np.arange(12)
    before = whole.copy()
    i_optimal([whole], [0.1], 3, everyone, everyone)
    assert (whole == before).all()


def test_too_few_candidates_are_an_error() -> None:
    with pytest.raises(PredictorError, match=r"2 that are not measured"):
        i_optimal([covariance(3)], [0.1], 3, np.arange(3), np.arange(12), [0])


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40), st.floats(0.1, 1.0))
def test_middle_is_between_what_it_leaves_out(values: list[float], share: float) -> None:
    array = np.array(values)
    kept = set(middle(array, share).tolist())
    below = [v for i, v in enumerate(values) if i not in kept]
    inside = [values[i] for i in kept]
    assert abs(len(inside) - share * len(values)) <= 2
    if inside:
        assert all(v <= min(inside) or v >= max(inside) for v in below)

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from latlas.predictor.gaussian_process import (
    Term,
    Variances,
    _negative_log_likelihood,
    condition,
    covariances,
    learn_variances,
    unit_features,
    usual_variances,
)

ITEMS = np.arange(30)


def terms(seed: int = 0) -> tuple[Term, Term]:
    x = np.random.default_rng(seed).normal(size=(30, 2))
    return Term("line", unit_features(x, ITEMS), 0.1), Term("smooth", x, 0.1, radial=True)


@given(st.integers(0, 1000))
def test_gradient_is_the_slope_of_the_likelihood(seed: int) -> None:
    rng = np.random.default_rng(seed)
    unit = covariances(terms(seed), ITEMS, ITEMS)
    value, variances = rng.normal(size=30), np.exp(rng.normal(size=3))
    _, gradient = _negative_log_likelihood(unit, value, variances)
    step = 1e-5
    for index in range(3):
        up, down = variances.copy(), variances.copy()
        up[index] *= np.exp(step)
        down[index] *= np.exp(-step)
        slope = (
            _negative_log_likelihood(unit, value, up)[0]
            - _negative_log_likelihood(unit, value, down)[0]
        ) / (2 * step)
        assert abs(slope - gradient[index]) < 1e-4 * (1 + abs(slope))


def test_variances_of_a_sample_are_found_again() -> None:
    rng = np.random.default_rng(3)
    everyone = terms()
    unit = covariances(everyone, ITEMS, ITEMS)
    whole = 0.5 * unit[0] + 1e-6 * unit[1] + 0.01 * np.eye(30)
    values = [np.linalg.cholesky(whole) @ rng.normal(size=30) for _ in range(40)]
    learned = learn_variances(
        [unit] * 40, values, usual_variances(everyone, 0.1), 10.0, [False, False]
    )
    assert 0.3 < learned.terms[0] < 0.8
    assert learned.terms[1] < 0.01
    assert 0.007 < learned.noise < 0.013


def test_fixed_variances_stay() -> None:
    everyone = terms()
    unit = covariances(everyone, ITEMS, ITEMS)
    usual = usual_variances(everyone, 0.1)
    learned = learn_variances([unit], [np.zeros(30)], usual, 10.0, [True, False])
    assert np.isclose(learned.terms[0], usual.terms[0])
    assert learned.terms[1] < usual.terms[1]


def test_an_outlier_does_not_bend_a_line() -> None:
    x = np.linspace(-1, 1, 30)[:, None]
    line = Term("line", x, 1.0)
    unit = covariances([line], ITEMS, ITEMS)
    values = 2 * x[:, 0]
    values[29] += 5.0
    learned = Variances(np.array([4.0]), 1e-4)
    posterior = condition(ITEMS, learned.sum(unit), values, learned.noise)
    found = posterior.mean(learned.sum(unit))
    assert np.abs(found - 2 * x[:, 0]).max() < 0.05


def test_variance_is_small_where_measured_and_large_elsewhere() -> None:
    x = np.array([[0.0], [0.1], [5.0]])
    term = Term("smooth", x, 1.0, radial=True)
    some, everyone = np.array([0, 1]), np.arange(3)
    posterior = condition(some, term.covariance(some, some), np.array([1.0, 1.1]), 1e-4)
    variance = posterior.variance(term.covariance(everyone, some), np.ones(3))
    assert variance[0] < 1e-3 < 0.99 < variance[2]

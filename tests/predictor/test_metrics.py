from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from latlas.predictor.metrics import metrics, share_within, spearman
from latlas.profiler.errors import PredictorError

LATENCIES = st.floats(1e-3, 1e6)
PAIRS = st.lists(st.tuples(LATENCIES, LATENCIES), min_size=1, max_size=50)


def test_figures_worked_out_by_hand() -> None:
    found = metrics([1.1, 2.0, 2.4, 9.5], [1.0, 2.0, 3.0, 10.0])
    assert found.n == 4
    assert found.mape == pytest.approx((0.1 + 0 + 0.2 + 0.05) / 4)
    assert found.rmspe == pytest.approx(math.sqrt((0.01 + 0 + 0.04 + 0.0025) / 4))
    assert (found.within5, found.within10) == (0.5, 0.75)  # both limits belong to it
    assert found.bias == pytest.approx((0.1 - 0.2 - 0.05) / 4)
    assert found.spearman == 1


@given(PAIRS)
def test_properties(pairs: list[tuple[float, float]]) -> None:
    predicted, measured = map(list, zip(*pairs, strict=True))
    found = metrics(predicted, measured)
    assert 0 <= abs(found.bias) <= found.mape * (1 + 1e-9)
    assert found.mape <= found.rmspe * (1 + 1e-9)
    assert 0 <= found.within5 <= found.within10 <= 1
    perfect = metrics(measured, measured)
    assert (perfect.mape, perfect.rmspe, perfect.bias, perfect.within5) == (0, 0, 0, 1)


@given(PAIRS, st.sampled_from([2**-10, 64.0]))
def test_the_unit_does_not_matter(pairs: list[tuple[float, float]], unit: float) -> None:
    predicted, measured = (np.array(each) for each in zip(*pairs, strict=True))
    one, other = metrics(predicted, measured), metrics(unit * predicted, unit * measured)
    assert other.mape == pytest.approx(one.mape)
    assert other.bias == pytest.approx(one.bias)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=30))
def test_rank_correlation_with_ties_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    x, y = zip(*pairs, strict=True)
    found = spearman(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def test_no_rank_correlation_of_one() -> None:
    assert metrics([1.0], [2.0]).spearman is None
    assert metrics([1.0, 1.0], [2.0, 3.0]).spearman is None


def test_bounds() -> None:
    assert share_within([1, 1, 1, 1], [3, 3, 3, 3], [0.5, 1, 3, 4]) == 0.5


@pytest.mark.parametrize(
    ("predicted", "measured"),
    [
        ([], []),
        ([1.0], [1.0, 2.0]),
        ([[1.0]], [[1.0]]),
        ([1.0], [0.0]),
        ([1.0], [-1.0]),
        ([1.0], [math.nan]),
        ([math.nan], [1.0]),
        ([math.inf], [1.0]),
    ],
)
def test_what_cannot_be_compared(predicted: list[float], measured: list[float]) -> None:
    with pytest.raises(PredictorError):
        metrics(predicted, measured)
    with pytest.raises(PredictorError):
        share_within(predicted, predicted, measured)

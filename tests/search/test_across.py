import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latlas.search.across import Front, latency_ratios, loss, rank_correlation

CPU = Front(np.array([0.6, 0.7]), np.array([[10.0, 30.0], [20.0, 20.0]]))
GPU = Front(np.array([0.65, 0.7]), np.array([[30.0, 5.0], [40.0, 8.0]]))


def test_what_the_front_of_another_target_costs() -> None:
    on_cpu = loss(CPU, GPU, 0)
    np.testing.assert_allclose(on_cpu.ratios, [3.0, 2.0])
    assert on_cpu.median_lost == pytest.approx(1.5)
    assert on_cpu.unreached == 0
    assert 0 <= on_cpu.hypervolume < 1
    on_gpu = loss(GPU, CPU, 1)
    np.testing.assert_allclose(on_gpu.ratios, [4.0, 2.5])
    assert rank_correlation([CPU, GPU], 0, 1) < 0


def test_its_own_front_costs_nothing() -> None:
    same = loss(CPU, CPU, 0)
    assert same.median_lost == 0
    assert same.hypervolume == pytest.approx(1.0)


def test_networks_without_a_latency_on_the_other_target() -> None:
    broken = Front(np.array([0.8, 0.7]), np.array([[math.nan, 1.0], [50.0, math.nan]]))
    found = loss(CPU, broken, 0)
    np.testing.assert_allclose(found.ratios, [5.0, 2.5])
    nothing = loss(CPU, Front(np.array([0.5]), np.array([[1.0, 1.0]])), 0)
    assert nothing.unreached == 2
    assert math.isnan(nothing.median_lost)
    assert math.isnan(rank_correlation([broken], 0, 1))


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(1, 100)), min_size=1, max_size=12),
    st.lists(st.tuples(st.floats(0, 1), st.floats(1, 100)), min_size=1, max_size=12),
)
def test_ratios_are_of_the_fastest_that_is_as_accurate(
    own: list[tuple[float, float]], other: list[tuple[float, float]]
) -> None:
    found = latency_ratios(*zip(*own, strict=True), *zip(*other, strict=True))
    for ratio, (accuracy, latency) in zip(found, own, strict=True):
        good = [ms for reached, ms in other if reached >= accuracy]
        if good:
            assert ratio == pytest.approx(min(good) / latency)
        else:
            assert math.isnan(ratio)

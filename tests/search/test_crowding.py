import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latlas.profiler.errors import SearchError
from latlas.search.crowding import crowding_distance, normalise_weights

INF = float("inf")


@pytest.mark.parametrize(
    ("front", "mean"),
    [
        ([[1, 1], [1, 1], [0.5, 1.5], [0, 2]], [INF, 0, 1, INF]),
        ([[1, 1], [1, 1], [1, 1], [0.5, 1.5], [0, 2]], [INF, 0, 0, 1, INF]),
        ([[1, 1.5, 0.5, 1], [1, 0.5, 1.5, 1], [1, 0, 2, 1.5]], [INF, 0.75, INF]),
    ],
)
def test_golden_values(front: list[list[float]], mean: list[float]) -> None:
    values = np.array(front, dtype=float)
    objectives = values.shape[1]
    found = crowding_distance(values, [1] * objectives)
    assert found == pytest.approx(mean)
    # Deb et al. sum over the objectives.
    inner = np.isfinite(found) & (found > 0)
    assert objectives * found[inner] == pytest.approx({2: [2.0], 4: [3.0]}[objectives])


def test_weights_by_hand() -> None:
    front = np.array([[0.0, 4.0, 1.0], [1.0, 2.0, 3.0], [4.0, 0.0, 2.0]])
    # Middle of objectives 1 and 2 (whole range each), an end of objective 3.
    assert crowding_distance(front, [2, 2, 1])[1] == INF
    front = np.array([[0.0, 4.0, 0.0], [1.0, 3.0, 1.0], [2.0, 1.0, 4.0], [4.0, 0.0, 5.0]])
    found = crowding_distance(front, [2, 2, 1])
    assert found[1] == pytest.approx(0.4 * 2 / 4 + 0.4 * 3 / 4 + 0.2 * 4 / 5)
    assert found[2] == pytest.approx(0.4 * 3 / 4 + 0.4 * 3 / 4 + 0.2 * 4 / 5)


def test_an_objective_without_weight_or_range_adds_nothing() -> None:
    base = np.array([[0.0, 3.0], [1.0, 2.0], [3.0, 0.0]])
    flat = np.column_stack([base, np.ones(3)])
    wild = np.column_stack([base, [5.0, 1.0, 9.0]])
    assert crowding_distance(flat, [1, 1, 1])[1] == pytest.approx(2 / 3)
    assert crowding_distance(wild, [1, 1, 0])[1] == pytest.approx(1.0)


def test_small_fronts_are_infinite() -> None:
    for size in range(3):
        assert np.isinf(crowding_distance(np.zeros((size, 3)), [1, 1, 1])).all()


def test_equal_weights_agree_with_pymoo() -> None:
    from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance

    values = np.random.default_rng(0).random((50, 3))
    assert crowding_distance(values, [3, 3, 3]) == pytest.approx(calc_crowding_distance(values))


@given(st.integers(3, 12), st.integers(0, 10**6))
def test_order_scale_and_sign_do_not_matter(points: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.permuted(np.tile(np.arange(points, dtype=float), (3, 1)), axis=1).T
    found = crowding_distance(values, [2, 2, 1])
    assert (found >= 0).all()
    changed = crowding_distance(values * [-1, 2, 10] + 7, [4, 4, 2])
    assert np.allclose(changed, found)
    order = rng.permutation(points)
    assert np.allclose(crowding_distance(values[order], [2, 2, 1]), found[order])


@pytest.mark.parametrize("weights", [[], [0, 0], [1, -1], [1, float("nan")]])
def test_bad_weights(weights: list[float]) -> None:
    with pytest.raises(SearchError, match="weights"):
        normalise_weights(weights)


def test_bad_values() -> None:
    with pytest.raises(SearchError, match="2 weights"):
        crowding_distance(np.zeros((3, 3)), [1, 1])
    with pytest.raises(SearchError, match="finite"):
        crowding_distance(np.array([[0.0], [1.0], [np.nan]]), [1])

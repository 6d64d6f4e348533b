from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor

from latlas.predictor.forest import MAX_DEPTH, MAX_TREES, Forest
from latlas.profiler.errors import PredictorError

COLUMNS = 5


def data(rows: int, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, COLUMNS)).astype(np.float32)
    x[:, 0] = np.round(x[:, 0])  # many equal values
    return x, x[:, 0] * 3 + np.sin(x[:, 1]), rng.uniform(0.5, 2, rows)


@pytest.fixture(scope="module")
def forest() -> Forest:
    return Forest.grow(*data(60), trees=5)


@pytest.mark.parametrize("rows", [1, 2, 7, 150])
def test_it_predicts_what_scikit_learn_predicts(rows: int) -> None:
    x, y, weight = data(rows)
    forest = Forest.grow(x, y, weight, trees=15, seed=3)
    model = ExtraTreesRegressor(15, max_depth=MAX_DEPTH, max_features=0.8, random_state=3)
    model.fit(x, y, sample_weight=weight)
    new = np.concatenate([x, data(2500, seed=1)[0]])  # more than walk together
    np.testing.assert_allclose(forest.predict(new), model.predict(new), rtol=1e-5, atol=1e-6)


def test_neighbouring_numbers_are_told_apart() -> None:
    """A threshold between two neighbours in float32 must not be rounded onto the upper one."""
    low = np.float32(1)
    high = np.nextafter(low, np.float32(2))
    x = np.array([[low], [high]] * 3, np.float32)
    y = np.array([0.0, 1.0] * 3)
    forest = Forest.grow(x, y, np.ones(6), trees=40)
    assert set(forest.threshold[forest.threshold < np.inf].tolist()) <= {float(low)}
    model = ExtraTreesRegressor(40, max_features=0.8, random_state=0).fit(x, y)
    np.testing.assert_allclose(forest.predict(x), model.predict(x), atol=1e-6)


def test_deep_trees_can_be_read_back() -> None:
    x = np.float32(2.0) ** np.arange(-100, 100, dtype=np.float32)[:, None]
    forest = Forest.grow(x, np.arange(200.0), np.ones(200), trees=10)
    assert forest.depth <= MAX_DEPTH
    Forest.from_arrays(forest.to_arrays(), 1)


def test_round_trip(forest: Forest) -> None:
    read = Forest.from_arrays(forest.to_arrays(), COLUMNS)
    x = data(40, seed=2)[0]
    assert (read.predict(x) == forest.predict(x)).all()
    assert forest.predict(x[:0]).shape == (0,)


def test_five_bytes_hold_a_node(forest: Forest) -> None:
    arrays = forest.to_arrays()
    size = sum(array.nbytes for array in arrays.values())
    assert size == 5 * len(forest.child) + 4 * len(forest.roots)


@pytest.mark.parametrize("name", ["lengths", "feature", "number"])
def test_missing_and_mistyped_arrays_are_refused(forest: Forest, name: str) -> None:
    arrays = forest.to_arrays()
    for wrong in (
        None,
        arrays[name].astype(np.float64),
        np.zeros(arrays[name].shape, ">i4"),
        arrays[name].reshape(1, 1, -1),
        np.array([], arrays[name].dtype),
        np.array(["a"]),
    ):
        changed = {key: value for key, value in arrays.items() if key != name}
        if wrong is not None:
            changed[name] = wrong
        with pytest.raises(PredictorError, match="forest"):
            Forest.from_arrays(changed, COLUMNS)


@pytest.mark.parametrize(
    ("name", "number", "match"),
    [
        ("lengths", -1, "trees and nodes"),
        ("lengths", 2**31 - 1, "trees and nodes"),
        ("feature", COLUMNS, "bounds"),
        ("feature", 255, "too many or too few"),
        ("number", np.nan, "bounds"),
        ("number", np.inf, "bounds"),
    ],
)
def test_numbers_out_of_bounds_are_refused(
    forest: Forest, name: str, number: float, match: str
) -> None:
    arrays = forest.to_arrays()
    changed = arrays[name].copy()
    changed[0] = number
    with pytest.raises(PredictorError, match=match):
        Forest.from_arrays(arrays | {name: changed}, COLUMNS)


def test_nodes_without_a_way_to_them_are_refused(forest: Forest) -> None:
    """As many splits as there should be, but the root is none: the rest hangs on nothing."""
    arrays = forest.to_arrays()
    feature = arrays["feature"].copy()
    first_leaf = int(np.argmax(feature == 255))
    feature[[0, first_leaf]] = feature[[first_leaf, 0]]
    with pytest.raises(PredictorError, match="before the one that leads to it"):
        Forest.from_arrays(arrays | {"feature": feature}, COLUMNS)


def test_trees_without_end_are_refused() -> None:
    depth = MAX_DEPTH + 1
    feature = np.concatenate([[0], np.array([255, 0] * (depth - 1), np.uint8), [255, 255]])
    arrays = {
        "lengths": np.array([len(feature)], np.int32),
        "feature": feature.astype(np.uint8),
        "number": np.zeros(len(feature), np.float32),
    }
    with pytest.raises(PredictorError, match="deeper than"):
        Forest.from_arrays(arrays, 1)


def test_more_trees_than_memory_are_refused() -> None:
    count = MAX_TREES + 1
    leaves = {
        "lengths": np.ones(count, np.int32),
        "feature": np.full(count, 255, np.uint8),
        "number": np.zeros(count, np.float32),
    }
    with pytest.raises(PredictorError, match="10001 trees"):
        Forest.from_arrays(leaves, 3)
    with pytest.raises(PredictorError, match="10001 trees"):
        Forest.grow(*data(10), trees=count)


def test_arrays_of_different_lengths_are_refused(forest: Forest) -> None:
    arrays = forest.to_arrays()
    for name, match in (("lengths", "differ"), ("feature", "differ"), ("number", "length")):
        with pytest.raises(PredictorError, match=match):
            Forest.from_arrays(arrays | {name: arrays[name][:-1]}, COLUMNS)


@given(st.data())
def test_whatever_is_accepted_can_be_evaluated(forest: Forest, data: st.DataObject) -> None:
    arrays = {name: array.copy() for name, array in forest.to_arrays().items()}
    nodes = len(arrays["feature"])
    for _ in range(data.draw(st.integers(1, 4))):
        one, other = data.draw(st.integers(0, nodes - 1)), data.draw(st.integers(0, nodes - 1))
        arrays["feature"][[one, other]] = arrays["feature"][[other, one]]
    if data.draw(st.booleans()):
        arrays["lengths"][data.draw(st.integers(0, 4))] += data.draw(st.integers(-3, 3))
    try:
        read = Forest.from_arrays(arrays, COLUMNS)
    except PredictorError:
        return
    assert np.isfinite(read.predict(np.zeros((3, COLUMNS), np.float32))).all()

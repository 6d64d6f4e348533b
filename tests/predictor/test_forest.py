from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor

from latlas.predictor.forest import MAX_DEPTH, Forest
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
    model = ExtraTreesRegressor(15, max_depth=MAX_DEPTH, max_features=0.5, random_state=3)
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
    model = ExtraTreesRegressor(40, max_features=0.5, random_state=0).fit(x, y)
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


@pytest.mark.parametrize("name", ["roots", "feature", "threshold", "child", "value", "depth"])
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
    ("name", "number"),
    [
        ("roots", -1),
        ("roots", 2**31 - 1),
        ("feature", -1),
        ("feature", COLUMNS),
        ("child", -1),
        ("child", 2**31 - 1),
        ("threshold", np.nan),
        ("value", np.nan),
        ("value", np.inf),
        ("depth", -1),
        ("depth", MAX_DEPTH + 1),
        ("depth", 2**31 - 1),
    ],
)
def test_numbers_out_of_bounds_are_refused(forest: Forest, name: str, number: float) -> None:
    arrays = forest.to_arrays()
    changed = arrays[name].copy()
    changed[(0,) * changed.ndim] = number
    with pytest.raises(PredictorError, match="bounds"):
        Forest.from_arrays(arrays | {name: changed}, COLUMNS)


def test_a_split_whose_right_child_is_missing_is_refused(forest: Forest) -> None:
    arrays = forest.to_arrays()
    child = arrays["child"].copy()
    child[0] = len(child) - 1
    with pytest.raises(PredictorError, match="bounds"):
        Forest.from_arrays(arrays | {"child": child}, COLUMNS)


def test_arrays_of_different_lengths_are_refused(forest: Forest) -> None:
    arrays = forest.to_arrays()
    for name in ("feature", "threshold", "child", "value"):
        with pytest.raises(PredictorError, match="length"):
            Forest.from_arrays(arrays | {name: arrays[name][:-1]}, COLUMNS)


@given(st.data())
def test_whatever_is_accepted_can_be_evaluated(forest: Forest, data: st.DataObject) -> None:
    """Even a tree with loops ends, after `depth` steps."""
    arrays = {name: array.copy() for name, array in forest.to_arrays().items()}
    for _ in range(data.draw(st.integers(1, 20))):
        array = arrays[data.draw(st.sampled_from(["roots", "feature", "child", "depth"]))]
        flat = array.reshape(-1)
        flat[data.draw(st.integers(0, flat.size - 1))] = data.draw(
            st.integers(-2, 200) | st.sampled_from([2**15 - 1])
        )
    try:
        read = Forest.from_arrays(arrays, COLUMNS)
    except PredictorError:
        return
    assert np.isfinite(read.predict(np.zeros((3, COLUMNS), np.float32))).all()

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor

from latlas.predictor.forest import BLOCK, MAX_DEPTH, Forest
from latlas.predictor.grove import NO_FOREST, Grove

COLUMNS = 5
TREES = {"conv2d": 5, "pool": 1, "mean": 9}


def data(rows: int, seed: int) -> tuple[NDArray[np.float32], NDArray[Any]]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, COLUMNS)).astype(np.float32)
    return x, x[:, 0] * 3 + np.sin(x[:, 1])


@pytest.fixture(scope="module")
def forests() -> dict[str, Forest]:
    return {
        name: Forest.grow(*data(60, seed), np.ones(60), trees=trees, seed=seed)
        for seed, (name, trees) in enumerate(TREES.items())
    }


def test_every_row_walks_through_the_forest_of_its_class(forests: dict[str, Forest]) -> None:
    grove = Grove(forests)
    x, _ = data(2 * BLOCK + 10, seed=7)
    classes = np.random.default_rng(0).choice([*TREES, "unknown"], len(x)).tolist()
    mean, spread = grove.predict_spread(x, grove.positions(classes))
    for name, forest in forests.items():
        own = np.array([each == name for each in classes])
        np.testing.assert_allclose(mean[own], forest.predict(x[own]), rtol=1e-12)
    none = np.array([each == "unknown" for each in classes])
    assert none.any()
    assert not mean[none].any()
    assert not spread[none].any()


def test_spread_is_that_between_the_trees(forests: dict[str, Forest]) -> None:
    x, y = data(60, seed=2)
    model = ExtraTreesRegressor(9, max_depth=MAX_DEPTH, max_features=0.8, random_state=2)
    model.fit(x, y, sample_weight=np.ones(60))
    new, _ = data(50, seed=4)
    grove = Grove(forests)
    _, spread = grove.predict_spread(new, grove.positions(["mean"] * 50))
    each = [tree.predict(new) for tree in model.estimators_]
    np.testing.assert_allclose(spread, np.std(each, axis=0), rtol=1e-4, atol=1e-5)


def test_a_row_has_one_prediction_whatever_stands_beside_it(forests: dict[str, Forest]) -> None:
    grove = Grove(forests)
    x, _ = data(40, seed=5)
    positions = np.arange(40) % 3
    mean, spread = grove.predict_spread(x, positions)
    for row in range(40):
        alone = grove.predict_spread(x[row : row + 1], positions[row : row + 1])
        assert (alone[0][0], alone[1][0]) == (mean[row], spread[row])


def test_without_forests_and_without_rows(forests: dict[str, Forest]) -> None:
    x, _ = data(3, seed=0)
    empty = Grove({})
    positions = empty.positions(["conv2d"] * 3)
    assert positions.tolist() == [NO_FOREST] * 3
    assert [each.tolist() for each in empty.predict_spread(x, positions)] == [[0.0] * 3] * 2
    grove = Grove(forests)
    mean, spread = grove.predict_spread(x[:0], grove.positions([]))
    assert mean.shape == spread.shape == (0,)

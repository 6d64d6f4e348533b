import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from latlas.profiler.errors import SearchError
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.random_weights import random_weights
from latlas.profiler.tflite.reader import load_tflite
from latlas.search.exporting import Exported, begin, converted, scored, trained, untrained


@pytest.fixture
def network(tmp_path: Path) -> Exported:
    b = GraphBuilder((1, 8, 8, 3))
    graph = b.build(b.fully_connected(b.mean(b.relu(b.conv(b.input, 4, 3))), 3))
    return Exported(1, (0,), graph, tmp_path / "network")


class Trainer:
    """Stands in for training; counts."""

    def __init__(self, error: str = "") -> None:
        self.calls = 0
        self.error = error

    def __call__(self, graph: Graph, checkpoint: Path) -> Any:
        self.calls += 1
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.touch()
        return SimpleNamespace(weights=random_weights(graph), accuracy=0.5, error=self.error)


def test_every_step_is_done_once(network: Exported) -> None:
    begin(network)
    assert Graph.from_text((network.folder / "network.txt").read_text().strip()) == network.graph
    train = Trainer()
    weights, accuracy = trained(network, train)
    again, same = trained(network, train)
    assert train.calls == 1
    assert (accuracy, same) == (0.5, 0.5)
    assert not (network.folder / "checkpoint.npz").exists()
    for name, array in weights.items():
        np.testing.assert_array_equal(again[name], array)

    images = [np.zeros((1, 8, 8, 3), np.float32), np.ones((1, 8, 8, 3), np.float32)]
    files = converted(network, weights, ("float", "int8"), lambda: images)
    before = {path: path.stat().st_mtime_ns for path in files.values()}
    converted(network, weights, ("float", "int8"), lambda: images)
    assert {path: path.stat().st_mtime_ns for path in files.values()} == before
    assert not load_tflite(files["int8"]).is_float

    asked = []

    def score(data: bytes) -> float:
        asked.append(len(data))
        return 0.25

    assert scored(network, {"float": files["float"]}, score) == {"float": 0.25}
    assert scored(network, files, score) == {"float": 0.25, "int8": 0.25}
    assert len(asked) == 2


def test_a_failed_training_leaves_nothing(network: Exported) -> None:
    with pytest.raises(SearchError, match="could not be trained: the loss"):
        trained(network, Trainer("the loss became nan"))
    assert not (network.folder / "weights.npz").exists()


def test_damaged_files_are_errors(network: Exported) -> None:
    trained(network, Trainer())
    other = Exported(1, (0,), GraphBuilder((1, 4, 4, 1)).build(0), network.folder)
    with pytest.raises(SearchError, match="another network"):
        trained(other, Trainer())
    path = network.folder / "weights.npz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(SearchError, match="delete it to train anew"):
        trained(network, Trainer())
    (network.folder / "scores.json").write_text(json.dumps({"float": "good"}))
    with pytest.raises(SearchError, match="delete it to score anew"):
        scored(network, {}, lambda data: 0.0)


def test_without_training(network: Exported) -> None:
    files = untrained(network, ("float", "fp16", "int8"))
    assert {form: load_tflite(path).is_float for form, path in files.items()} == {
        "float": True,
        "int8": False,
    }

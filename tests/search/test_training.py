from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from latlas.profiler.errors import CheckpointError, SearchError
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.tflite.writer import to_tflite
from latlas.search import training
from latlas.search.blocks import classifier, conv_bn, mbconv
from latlas.search.data import Dataset, Split, digits
from latlas.search.evaluation import measure_with
from latlas.search.image_data import ImageData, in_memory
from latlas.search.protocols import Genes
from latlas.search.recipe import Recipe, parse_recipe
from latlas.search.training import TrainOracle, train

RECIPE = parse_recipe(
    """
    epochs = 3
    batch_size = 40
    label_smoothing = 0.1
    recalibration_images = 200
    ema = 0.9
    [optimizer]
    weight_decay = 1e-4
    clip_norm = 5.0
    [learning_rate]
    value = 0.1
    per = 0
    [drop_path]
    rate = 0.2
    schedule = "scheduled"
    [augmentation]
    crop = "pad"
    padding = 1
    """
)


class TinySpace:
    """One convolution and one inverted bottleneck of 3 widths."""

    identity: dict[str, Any] = {"name": "tiny"}  # noqa: RUF012

    def decode(self, genes: Genes) -> Graph:
        b = GraphBuilder((1, 8, 8, 1))
        if genes[0] > 2:
            raise SearchError("no such choice")
        filters = 8 * (genes[0] + 1)
        x = conv_bn(b, b.input, filters, 3, stride=2, act="relu")
        x = mbconv(b, x, filters, 3, expanded=16)
        return b.build(classifier(b, b.mean(x), 10))


@pytest.fixture(scope="module")
def data() -> ImageData:
    """Four hundred digits to train on, two hundred each to score."""
    whole = digits(8)
    parts = [
        Split(part.images[:count], part.labels[:count])
        for part, count in ((whole.train, 400), (whole.search, 200), (whole.test, 200))
    ]
    return in_memory(Dataset("few-digits", *parts, classes=10))


def test_training_learns_and_what_is_written_computes_the_same(data: ImageData) -> None:
    graph = TinySpace().decode((1,))
    result = train(graph, data, replace(RECIPE, epochs=6, batch_size=20))
    assert result.error == ""
    assert result.images == 200
    assert len(result.losses) == 6
    assert result.losses[-1] < result.losses[0]
    assert result.accuracy > 0.3  # of ten classes
    interpreter = Interpreter(
        model_content=to_tflite(fold(graph.with_weights(result.weights))), num_threads=1
    )
    interpreter.allocate_tensors()
    correct = 0
    for images, labels in data.batches("search", 1):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
        interpreter.invoke()
        answer = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        correct += int(answer.argmax() == labels[0])
    assert correct / 200 == pytest.approx(result.accuracy, abs=0.011)


def test_a_stopped_training_goes_on_as_if_it_had_not(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = TinySpace().decode((0,))
    whole = train(graph, data, RECIPE, seed=4)
    path = tmp_path / "state.npz"
    before = training._Training.epoch

    def killed(self: Any, epoch: int) -> float:
        if epoch == 2:
            raise KeyboardInterrupt
        return before(self, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(training._Training, "epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            train(graph, data, RECIPE, seed=4, checkpoint=path)
    resumed = train(graph, data, RECIPE, seed=4, checkpoint=path)
    assert resumed.losses == pytest.approx(whole.losses, rel=1e-4)
    for key, values in whole.weights.items():
        np.testing.assert_allclose(resumed.weights[key], values, rtol=1e-2, atol=1e-3)
    with pytest.raises(SearchError, match="another training"):
        train(graph, data, RECIPE, seed=5, checkpoint=path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(SearchError, match="not a training's checkpoint"):
        train(graph, data, RECIPE, seed=4, checkpoint=path)


def test_a_loss_that_is_not_finite_is_a_failed_result(data: ImageData) -> None:
    recipe = Recipe(epochs=1, batch_size=40)
    wild = replace(recipe, learning_rate=replace(recipe.learning_rate, value=100.0, per=0))
    graph = TinySpace().decode((0,))
    weights = {
        key: np.full(shape, np.inf, np.float32) for key, shape in graph.weight_shapes().items()
    }
    result = train(graph.with_weights(weights), data, wild)
    assert math.isnan(result.accuracy)
    assert "lower the recipe's learning rate (100.0)" in result.error


@pytest.mark.parametrize("kind", ["rmsprop", "adam"])
def test_oracle(data: ImageData, kind: Any) -> None:
    recipe = replace(
        RECIPE,
        epochs=1,
        optimizer=replace(RECIPE.optimizer, kind=kind, epsilon=1e-2),
        learning_rate=replace(RECIPE.learning_rate, value=0.005),
    )
    oracle = TrainOracle(TinySpace(), data, recipe, folds=2 if kind == "adam" else 0)
    assert oracle.standard_error == pytest.approx(0.5 / math.sqrt((oracle.folds and 600) or 200))
    first = oracle.evaluate([(0,), (3,), (0,)])
    assert first[0] == first[2]
    assert 0 <= first[0] <= 1
    assert math.isnan(first[1])
    assert oracle.errors == {(3,): "no such choice"}
    assert oracle.identity["data"] == "few-digits"
    assert oracle.identity["recipe"]["optimizer"]["kind"] == kind


class Interrupted:
    """Counts the epochs that are trained, and interrupts one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.epochs: list[int] = []
        self.before = 10**9
        train_epoch = training._Training.epoch

        def epoch(one: Any, number: int) -> float:
            if len(self.epochs) == self.before:
                raise KeyboardInterrupt
            self.epochs.append(number)
            return train_epoch(one, number)

        monkeypatch.setattr(training._Training, "epoch", epoch)


@pytest.mark.parametrize(
    ("kind", "folds", "genes", "before"),
    [("rmsprop", 0, [(0,), (3,), (1,)], 4), ("adam", 2, [(0,)], 4)],
)
def test_an_oracle_goes_on_in_the_middle_of_an_architecture(
    data: ImageData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: Any,
    folds: int,
    genes: list[Genes],
    before: int,
) -> None:
    optimizer = replace(RECIPE.optimizer, kind=kind, epsilon=1e-2)
    rate = replace(RECIPE.learning_rate, value=0.005)
    recipe = replace(RECIPE, optimizer=optimizer, learning_rate=rate)

    def oracle(folder: Path | None = None) -> TrainOracle:
        return TrainOracle(TinySpace(), data, recipe, folds=folds, folder=folder, seed=3)

    counted = Interrupted(monkeypatch)
    undisturbed = oracle().evaluate(genes)
    assert len(counted.epochs) == 6

    counted.epochs, counted.before = [], before
    with pytest.raises(KeyboardInterrupt):
        oracle(tmp_path / "training").evaluate(genes)
    assert len(list((tmp_path / "training").iterdir())) == 1  # what is finished is removed
    counted.before = 10**9
    again = oracle(tmp_path / "training")
    if not folds:  # the history knows the first
        again._known[genes[0]] = float(undisturbed[0])
    np.testing.assert_array_equal(again.evaluate(genes), undisturbed)
    assert counted.epochs[before] == before % 3 > 0
    assert len(counted.epochs) == 6
    assert list((tmp_path / "training").iterdir()) == []


def test_a_checkpoint_that_is_damaged_is_no_fault_of_the_architecture(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Interrupted(monkeypatch)
    counted.before = 1
    with pytest.raises(KeyboardInterrupt):
        TrainOracle(TinySpace(), data, RECIPE, folder=tmp_path).evaluate([(0,)])
    (checkpoint,) = tmp_path.glob("*/0.npz")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-500])
    oracle = TrainOracle(TinySpace(), data, RECIPE, folder=tmp_path)
    with pytest.raises(CheckpointError, match="delete it to start anew"):
        measure_with(oracle.evaluate, "accuracy")([(0,)])
    counted.before = 10**9
    (tmp_path / "file").touch()
    blocked = TrainOracle(TinySpace(), data, RECIPE, folder=tmp_path / "file")
    with pytest.raises(CheckpointError, match="cannot write"):
        blocked.evaluate([(0,)])


def test_images_that_do_not_fit(data: ImageData) -> None:
    b = GraphBuilder((1, 16, 16, 1))
    with pytest.raises(SearchError, match="do not fit a network that takes"):
        train(b.build(b.fully_connected(0, 10)), data, RECIPE)
    for folds in (1, -1, 601):
        with pytest.raises(SearchError, match="folds are 0 or 2 to 600"):
            TrainOracle(TinySpace(), data, RECIPE, folds=folds)

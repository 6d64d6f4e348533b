"""Networks through Keras and back, against the written files."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from latlas.profiler.errors import SearchError
from latlas.profiler.fold import fold
from latlas.profiler.graph import Array, Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.ops import Binary, Gather, Reduce
from latlas.profiler.random_weights import random_weights
from latlas.profiler.tflite.writer import to_tflite
from latlas.search import zoo
from latlas.search.keras_view import initial_weights, set_weights, to_keras, weights_of
from latlas.search.spaces import FairnasSpace, MnasnetSpace, MogaSpace, NasnetSpace
from latlas.search.spaces.nasnet import NASNET_A


def interpret(data: bytes, image: Array) -> Array:
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def network(name: str) -> Graph:
    small: dict[str, Any] = {"resolution": 64, "classes": 10}
    cells = NasnetSpace(**small, cells=1, filters=8, kept=((1,), (3,)))
    match name:
        case "moga":
            space: Any = MogaSpace(**small, width=0.35)
            return space.decode(space.sample(1, seed=1)[0])
        case "fairnas":
            space = FairnasSpace(**small, width=0.35)
            return space.decode(space.sample(1, seed=1)[0])
        case "mnasnet":
            space = MnasnetSpace(**small, width=0.35)
            return space.decode(space.sample(2, seed=1)[1])
        case "nasnet":
            return cells.decode(cells.encode(*NASNET_A))
        case "nasnet_random":
            return cells.decode(cells.sample(1, seed=1)[0])
    return zoo.build(name, 64, 10)


def mixed() -> Graph:
    """Operators that the spaces have not: normalisation by parts, padding that is not SAME."""
    b = GraphBuilder((1, 9, 8, 4))
    x = b.conv(b.input, 8, 3, stride=2, padding=(1, 1, 0, 1), groups=1)
    x = b.depthwise(x, 3, padding=(2, 0, 1, 1), multiplier=2, activation="relu")
    mean = b.apply(Reduce("mean", (1, 2)), x)
    centred = b.apply(Binary("sub"), x, mean)
    variance = b.apply(Reduce("mean", (1, 2)), b.mul(centred, centred))
    scale = b.activation(b.apply(Binary("add", value=1e-3), variance), "rsqrt")
    x = b.apply(Binary("mul", constant=(16,)), b.mul(centred, scale))
    x = b.apply(Binary("sub", constant=(16,), swapped=True, activation="relu6"), x)
    x = b.concat([b.resize(x, (7, 6)), b.resize(x, (7, 6), half_pixel_centers=True)])
    x = b.slice(x, (0, 1, 2, 3), (1, 4, 3, 20))
    x = b.softmax(b.transpose(b.reshape(x, (1, 12, 20)), (0, 2, 1)))
    return b.build(b.dense(b.matmul(x, x, adj_y=True), 3))


@pytest.mark.parametrize(
    "name",
    ["moga", "fairnas", "mnasnet", "nasnet", "nasnet_random", "mobilenet_v3_small", "mixed"],
)
def test_keras_computes_what_the_written_file_does(name: str) -> None:
    graph = mixed() if name == "mixed" else network(name)
    graph = graph.with_weights(random_weights(graph, 1))
    model = to_keras(graph)
    weights = weights_of(model, graph)
    assert graph.weights is not None
    assert list(weights) == list(graph.weights)
    assert all(np.array_equal(weights[key], graph.weights[key]) for key in weights)
    image = np.random.default_rng(2).standard_normal(graph.inputs[0]).astype(np.float32)
    theirs = np.asarray(model(image, training=False))
    mine = interpret(to_tflite(fold(graph.with_weights(weights))), image)
    np.testing.assert_allclose(
        mine.reshape(theirs.shape), theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max()
    )


def test_noise_is_for_training_and_follows_the_clock() -> None:
    b = GraphBuilder((1, 4, 4, 2))
    x = b.add(0, b.apply(Binary("mul", value=2.0), 0), drop_path=0.5)
    graph = b.build(x)
    model = to_keras(graph, seed=3)
    images = np.ones((400, 4, 4, 2), np.float32)
    assert np.all(np.asarray(model(images)) == 3)

    def draw() -> Array:
        return np.asarray(model(images, training=True))

    first = draw()
    # the branch alone is dropped: whole examples of 1, the others 1 + 2 / 0.5
    assert set(np.unique(first)) == {1, 5}
    assert np.all(first.min(axis=(1, 2, 3)) == first.max(axis=(1, 2, 3)))
    assert np.mean(first == 1) == pytest.approx(0.5, abs=0.1)
    assert np.array_equal(draw(), first)
    model.clock.step.assign(1)
    assert not np.array_equal(draw(), first)
    model.clock.drop_path.assign(0.2)
    assert np.mean(draw() == 1) == pytest.approx(0.1, abs=0.06)
    model.clock.drop_path.assign(0.0)
    assert np.all(draw() == 3)


def test_dropout_is_of_what_a_node_reads() -> None:
    b = GraphBuilder((1, 1000))
    graph = b.build(b.fully_connected(0, 1, dropout=0.2))
    weights = {f"{graph.nodes[0].name}/kernel": np.ones((1, 1000), np.float32)}
    weights[f"{graph.nodes[0].name}/bias"] = np.zeros(1, np.float32)
    model = to_keras(graph, weights=weights)
    ones = np.ones((1, 1000), np.float32)
    assert float(model(ones)[0, 0]) == pytest.approx(1000)
    noisy = float(model(ones, training=True)[0, 0])
    assert noisy != pytest.approx(1000, abs=0.5)
    assert noisy == pytest.approx(1000, abs=100)


def test_initial_weights_are_seeded_and_calm() -> None:
    graph = network("moga")
    first, again, other = (initial_weights(graph, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert not all(np.array_equal(first[key], other[key]) for key in first)
    image = np.random.default_rng(0).standard_normal(graph.inputs[0]).astype(np.float32)
    assert np.abs(np.asarray(to_keras(graph)(image))).max() < 10


def test_refusals() -> None:
    b = GraphBuilder((1, 4, 4, 2))
    with pytest.raises(SearchError, match="no Keras form"):
        to_keras(b.build(b.apply(Gather(3, 1), 0)))
    b = GraphBuilder((1, 4, 4, 2))
    with pytest.raises(SearchError, match="one example"):
        to_keras(b.build(b.reshape(0, (4, 8))))
    b = GraphBuilder((1, 9, 9, 2))
    with pytest.raises(SearchError, match="dilated"):
        to_keras(b.build(b.conv(0, 2, 3, stride=2, dilation=2)))
    b = GraphBuilder((1, 4, 4, 2), types=["int8"])
    with pytest.raises(SearchError, match="quantised"):
        to_keras(b.build(b.relu(0)))
    b = GraphBuilder((1, 4, 4, 2))
    graph = b.build(b.conv(0, 2, 1))
    model = to_keras(graph)
    with pytest.raises(SearchError, match="is missing"):
        set_weights(model, graph, {})
    b = GraphBuilder((1, 4, 4, 2))
    with pytest.raises(SearchError, match="another graph"):
        weights_of(model, b.build(b.depthwise(0, 1)))

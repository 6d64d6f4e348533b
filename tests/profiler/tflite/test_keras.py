"""The reader and the writer against Keras and TensorFlow's converter."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Array, Graph
from latlas.profiler.kernel import split
from latlas.profiler.ops import BatchNorm, Conv2D, DepthwiseConv2D, FullyConnected
from latlas.profiler.tflite.reader import read_tflite
from latlas.profiler.tflite.writer import to_tflite
from latlas.search import zoo

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@dataclass(frozen=True)
class Case:
    """A Keras model, and what the converter makes of it."""

    keras: Any
    data: bytes

    @property
    def inputs(self) -> list[tuple[int, ...]]:
        return [(1, *self.keras.input_shape[1:])]


def randomise(model: Any) -> None:
    """Give batch norm statistics and biases that cannot be mistaken for one another."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            size = layer.gamma.shape
            low, high = [0.5] * 2, [1.5] * 2
            gamma, variance = (rng.uniform(a, b, size) for a, b in zip(low, high, strict=True))
            layer.set_weights([gamma, *rng.normal(0, 0.2, (2, *size)), variance])
        elif getattr(layer, "use_bias", False):
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, rng.normal(0, 0.2, bias.shape)])


def builders() -> dict[str, Callable[[], Any]]:
    import keras

    def family(member: Any) -> Any:
        """Return the module of a network: the function behind the family is not public."""
        return sys.modules[member.__module__]

    densenet = family(keras.applications.DenseNet121)
    efficientnet = family(keras.applications.EfficientNetB0)
    nasnet = family(keras.applications.NASNetMobile)
    resnet = family(keras.applications.ResNet50)
    return {
        "mobilenet_v2": lambda: keras.applications.MobileNetV2(
            weights=None, classifier_activation=None
        ),
        "mobilenet_v3_large": lambda: keras.applications.MobileNetV3Large(
            input_shape=(224, 224, 3),
            weights=None,
            classifier_activation=None,
            include_preprocessing=False,
        ),
        # The same layers as the published networks, but few and thin: conversion takes its time.
        "efficientnet": lambda: efficientnet.EfficientNet(
            0.25, 0.25, 64, weights=None, input_shape=(64, 64, 3), classes=10
        ),
        "resnet": lambda: resnet.ResNet(
            lambda x: resnet.stack_residual_blocks_v1(x, 8, 2, stride1=2, name="conv2"),
            preact=False,
            use_bias=True,
            weights=None,
            input_shape=(64, 64, 3),
            classes=10,
        ),
        "densenet": lambda: densenet.DenseNet(
            [2, 1, 1, 2], weights=None, input_shape=(64, 64, 3), classes=10
        ),
        "nasnet": lambda: nasnet.NASNet(
            input_shape=(64, 64, 3),
            penultimate_filters=96,
            num_blocks=1,
            stem_block_filters=8,
            weights=None,
            classes=10,
        ),
    }


@pytest.fixture(scope="module")
def convert() -> Iterator[Callable[[str], Case]]:
    import keras
    import tensorflow as tf

    made: dict[str, Case] = {}

    def case(name: str) -> Case:
        if name not in made:
            model = builders()[name]()
            randomise(model)
            made[name] = Case(model, tf.lite.TFLiteConverter.from_keras_model(model).convert())
        return made[name]

    yield case
    keras.backend.clear_session()


def transfer(model: Any, graph: Graph) -> Graph:
    """Return the graph with the weights of a Keras model; layers come in the same order."""
    layers = iter([layer for layer in model.layers if layer.get_weights()])
    weights: dict[str, Array] = {}
    for node in graph.nodes:
        shapes = node.op.weights(graph.input_shapes(node))
        if not shapes:
            continue
        arrays = next(layers).get_weights()
        match node.op:
            case Conv2D():
                arrays[0] = arrays[0].transpose(3, 0, 1, 2)
            case DepthwiseConv2D():
                arrays[0] = arrays[0].reshape(shapes["kernel"])
            case FullyConnected():
                arrays[0] = arrays[0].reshape(-1, arrays[0].shape[-1]).T
            case BatchNorm():
                pass  # gamma, beta, mean, variance on both sides
        for (name, shape), array in zip(shapes.items(), arrays, strict=True):
            assert array.shape == shape
            weights[f"{node.name}/{name}"] = array
    assert next(layers, None) is None
    return graph.with_weights(weights)


def assert_close(mine: Array, theirs: Array, tolerance: float = 1e-4) -> None:
    np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance * np.abs(theirs).max())


REFERENCES = ["mobilenet_v2", "mobilenet_v3_large"]
ALL = [*REFERENCES, "efficientnet", "resnet", "densenet", "nasnet"]


@pytest.mark.parametrize("name", REFERENCES)
def test_our_network_with_the_weights_of_keras_computes_the_same(
    name: str, convert: Callable[[str], Case], interpret: Callable[..., list[Array]]
) -> None:
    case = convert(name)
    graph = transfer(case.keras, zoo.build(name))
    image = np.random.default_rng(1).uniform(-1, 1, case.inputs[0]).astype(np.float32)
    (mine,) = interpret(to_tflite(fold(graph)), image)
    assert_close(mine.reshape(1, -1), np.asarray(case.keras(image, training=False)))


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("delegate", ["cpu", "gpu"])
def test_our_network_has_the_kernels_of_the_converted_one(
    name: str, delegate: Any, convert: Callable[[str], Case]
) -> None:
    def kernels(graph: Graph) -> list[str]:
        # Keras flattens behind its last convolution, where we have a fully connected layer
        found = split(fold(graph), rules_for(delegate))
        return [kernel.text for kernel in found if kernel.type != "reshape"]

    assert kernels(zoo.build(name)) == kernels(read_tflite(convert(name).data))


@pytest.mark.parametrize("name", ALL)
def test_converted_files_are_read_and_written_again(
    name: str, convert: Callable[[str], Case], interpret: Callable[..., list[Array]]
) -> None:
    case = convert(name)
    graph = read_tflite(case.data)
    assert graph.inputs == tuple(case.inputs)
    assert graph.shapes[graph.outputs[0]] == (1, *case.keras.output_shape[1:])
    folded = fold(graph)
    assert fold(folded) == folded
    image = np.random.default_rng(1).uniform(-1, 1, case.inputs[0]).astype(np.float32)
    again = to_tflite(folded)
    assert_close(interpret(again, image)[0], interpret(case.data, image)[0])
    assert fold(read_tflite(again)) == folded


def test_weights_stored_as_float16_are_widened(interpret: Callable[..., list[Array]]) -> None:
    import keras
    import tensorflow as tf

    layers = [
        keras.layers.Input((8, 8, 3)),
        keras.layers.Conv2D(4, 3, activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(5),
    ]
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Sequential(layers))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    data = converter.convert()
    graph = read_tflite(data)
    assert [node.op.name for node in graph.nodes] == ["conv2d", "mean", "fully_connected"]
    image = np.random.default_rng(1).uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32)
    assert_close(interpret(to_tflite(graph), image)[0], interpret(data, image)[0], 1e-3)

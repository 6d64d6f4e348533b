"""Every network of the zoo through Keras and TensorFlow's converter: the same kernels as ours."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Array, Graph
from latlas.profiler.kernel import split
from latlas.profiler.random_weights import random_weights
from latlas.profiler.tflite.reader import read_tflite
from latlas.profiler.tflite.writer import to_tflite
from latlas.search import zoo
from latlas.search.spaces.nasnet import NASNET_A, STACKINGS

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


LIKE_OTHERS = ("moga_a_fig", "mobilenet_v3_small_last1280", "nasnet_a_large")
"""The operators of moga_a, mobilenet_v3_small and nasnet_a_mobile; conversion takes its time."""


def small(name: str) -> Graph:
    """Return a network for few pixels and classes; of NASNet one cell at each resolution."""
    if name in STACKINGS:
        nasnet = replace(STACKINGS[name], resolution=64, cells=1, classes=10)
        graph = nasnet.decode(nasnet.encode(*NASNET_A))
    else:
        graph = zoo.build(name, 64, classes=10)
    rng = np.random.default_rng(0)  # all different: the converter merges what is equal
    return graph.with_weights(
        {
            key: value * rng.uniform(0.9, 1.1, value.shape).astype(np.float32)
            for key, value in random_weights(graph).items()
        }
    )


def converted(graph: Graph) -> bytes:
    """Return a network as TensorFlow writes it, for one image."""
    import keras
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants

    from latlas.search.keras_view import to_keras

    model = to_keras(graph)
    call = tf.function(lambda image: model(image, training=False))
    function = call.get_concrete_function(tf.TensorSpec(graph.inputs[0], tf.float32))
    # `TFLiteConverter.from_keras_model` does the same, and takes four times as long.
    frozen = convert_to_constants.convert_variables_to_constants_v2(function)
    data: bytes = tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert()
    keras.backend.clear_session()
    return data


def kernels(graph: Graph, delegate: Any) -> Counter[str]:
    # A reshape moves nothing; the converter flattens where we have a fully connected layer.
    found = split(fold(graph), rules_for(delegate))
    return Counter(kernel.text for kernel in found if kernel.type != "reshape")


def interpret(data: bytes, image: Array) -> list[Array]:
    """Return what a file computes, by the shapes of its outputs."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    outputs = [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
    return sorted(outputs, key=lambda array: array.shape)


@pytest.mark.parametrize("name", [name for name in zoo.names() if name not in LIKE_OTHERS])
def test_keras_and_the_converter_give_the_same_kernels(
    name: str,
) -> None:
    graph = small(name)
    data = converted(graph)
    theirs = read_tflite(data)
    # Which of its two inputs an addition joins on a GPU hangs on their order, which Keras changes
    # where branches are of unlike lengths, as in NASNet's cells.
    for delegate in ("cpu",) if name in STACKINGS else ("cpu", "gpu"):
        assert kernels(theirs, delegate) == kernels(graph, delegate)
    image = np.random.default_rng(1).uniform(-1, 1, graph.inputs[0]).astype(np.float32)
    mine, others = interpret(to_tflite(fold(graph)), image), interpret(data, image)
    for left, right in zip(mine, others, strict=True):
        assert np.isfinite(right).all()
        tolerance = 1e-3 * np.abs(right).max()
        np.testing.assert_allclose(left.reshape(right.shape), right, rtol=1e-3, atol=tolerance)

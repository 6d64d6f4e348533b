"""Trained networks as .tflite files: float32, float16 weights, int8; by TensorFlow's converter."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, get_args

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from latlas.profiler.errors import SearchError
from latlas.profiler.graph import Array, Graph
from latlas.search.keras_view import to_keras
from latlas.search.quiet import quiet_tensorflow

Format = Literal["float", "fp16", "int8"]
"""``fp16`` keeps weights in float16 and computes in float32, or in float16 on a GPU; ``int8`` is
post-training full-integer quantisation with inputs and outputs of float32."""

FORMATS: tuple[Format, ...] = get_args(Format)


class Converter:
    """Converts one network, for one example at a time.

    Args:
        graph: the training form, with its trained weights.

    Raises:
        SearchError: it has no weights, or no Keras form.
    """

    def __init__(self, graph: Graph) -> None:
        from tensorflow.python.framework import convert_to_constants

        if graph.weights is None:
            raise SearchError("a network without weights is not converted: train it first")
        self.graph = graph
        model = to_keras(graph)
        call = tf.function(lambda image: model(image, training=False))
        function = call.get_concrete_function(tf.TensorSpec(graph.inputs[0], tf.float32))
        # `TFLiteConverter.from_keras_model` does the same, and takes four times as long.
        self._frozen = convert_to_constants.convert_variables_to_constants_v2(function)

    def convert(self, form: Format, images: Iterable[Array] = ()) -> bytes:
        """Return a .tflite file.

        Args:
            form: of the file.
            images: for int8: what the network will see, each of shape (1, height, width, channels);
                the ranges of its values are taken from them.

        Raises:
            SearchError: int8 without images, or an operator that the converter does not take.
        """
        with _quiet():
            converter = tf.lite.TFLiteConverter.from_concrete_functions([self._frozen])
        if form != "float":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if form == "fp16":
            converter.target_spec.supported_types = [tf.float16]
        if form == "int8":
            seen = list(images)
            if not seen:
                raise SearchError("int8 takes images that show which values the network will see")
            converter.representative_dataset = lambda: ([image] for image in seen)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        try:
            with _quiet():
                data: bytes = converter.convert()
        except (RuntimeError, ValueError) as problem:  # ConverterError is an Exception of either
            raise SearchError(
                f"TensorFlow cannot convert the network to {form}: {str(problem)[:300]}"
            ) from problem
        return data


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to ourselves how the converter was called."""
    with quiet_tensorflow(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Statistics for quantized inputs were expected")
        yield


class File:
    """A .tflite file in TFLite's interpreter, to see what it computes.

    Args:
        data: a file that latlas or the converter wrote; a stranger's may crash the process.
    """

    def __init__(self, data: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=data, num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [one["index"] for one in self._interpreter.get_output_details()]

    def run(self, image: Array) -> list[Array]:
        """Return the outputs for one example, shape (1, height, width, channels)."""
        self._interpreter.set_tensor(self._input, image)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


def accuracy_of(
    data: bytes, batches: Iterable[tuple[NDArray[np.float32], NDArray[np.int32]]]
) -> float:
    """Return the fraction of images that a file classifies correctly.

    Args:
        data: the file.
        batches: images, shape (images, height, width, channels), and their classes.

    Raises:
        SearchError: there is no image.
    """
    file = File(data)
    correct: list[bool] = []
    for images, labels in batches:
        found: Sequence[int] = [int(file.run(image[None])[0].argmax()) for image in images]
        correct += (np.array(found) == labels).tolist()
    if not correct:
        raise SearchError("there are no images to score a network on")
    return sum(correct) / len(correct)

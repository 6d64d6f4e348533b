"""Transformers and other files of TensorFlow's converter: read, written again, split and listed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from scripts import benchmark

from latlas.profiler.count import count
from latlas.profiler.errors import LatlasError, ModelFileError
from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Array
from latlas.profiler.kernel import Kernel, split
from latlas.profiler.litert.local import LocalRunner
from latlas.profiler.runner import Effort, Job
from latlas.profiler.tflite.reader import read_tflite
from latlas.profiler.tflite.writer import to_tflite

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

RULES = rules_for("cpu")
keras_models = benchmark("keras_transformers")


def moving() -> Any:
    """Return a network of operators that move elements, or compute on few of them."""
    import keras
    import tensorflow as tf

    ops, layers = keras.ops, keras.layers

    class Moving(layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            left, right = ops.split(x, 2, axis=-1)
            x = ops.concatenate([left, right * 2.0, 1.0 - left], axis=-1)
            first, second, rest = ops.split(x, [2, 5], axis=1)
            x = ops.concatenate([second, first, rest], axis=1)
            rows = ops.unstack(x[:, :3], axis=1)
            x = x + ops.stack(rows[::-1] + rows[:1] + rows + rows[:1], axis=1)
            x = ops.take(x, [3, 1, 0, 0, 7, 5], axis=2)
            x = ops.squeeze(ops.expand_dims(x, 3), 3)
            x = x[:, ::2, 1:, :] + x[:, 1::2, :-1, :]
            gate = ops.max(x, axis=(1, 2), keepdims=True) - ops.sum(x, axis=-1, keepdims=True)
            x = ops.tile(ops.maximum(x, gate), [1, 1, 2, 1])
            x = tf.nn.space_to_depth(x[:, :, :8], 2)
            x = tf.nn.depth_to_space(ops.exp(-ops.abs(x)), 2)
            return ops.broadcast_to(x[:, :1], (1, 4, 8, 12)) / (2.0 + ops.square(x))

    image = keras.Input((8, 8, 8), batch_size=1)
    x = Moving()(image)
    x = layers.PReLU(shared_axes=(1, 2))(layers.Conv2D(6, 3, padding="same")(x))
    x = layers.LeakyReLU(0.3)(layers.Conv2DTranspose(6, 3, strides=2, padding="same")(x))
    x = layers.UpSampling2D(2, interpolation="bilinear")(layers.ELU()(x))
    x = layers.MaxPooling2D(2)(x)
    x = layers.ReLU()(x)
    return keras.Model(image, layers.Dense(5)(x))


MODELS: dict[str, Callable[[], Any]] = {
    "vit": lambda: keras_models.vit(),
    "vit of a mean": lambda: keras_models.vit(class_token=False, approximate=True, depth=1),
    "mobilevit": lambda: keras_models.mobilevit(),
    "mobilevit of Keras": lambda: keras_models.mobilevit(everywhere=True),
    "moving": moving,
}


@pytest.fixture(scope="module")
def convert() -> Iterator[Callable[[str], bytes]]:
    import keras
    import tensorflow as tf

    made: dict[str, bytes] = {}

    def data(name: str) -> bytes:
        if name not in made:
            keras.utils.set_random_seed(0)
            made[name] = tf.lite.TFLiteConverter.from_keras_model(MODELS[name]()).convert()
        return made[name]

    yield data
    keras.backend.clear_session()


@pytest.mark.parametrize("name", MODELS)
def test_files_are_read_and_written_again(
    name: str, convert: Callable[[str], bytes], interpret: Callable[..., list[Array]]
) -> None:
    graph = fold(read_tflite(convert(name)))
    assert fold(graph) == graph
    image = np.random.default_rng(1).uniform(-1, 1, graph.inputs[0]).astype(np.float32)
    again = to_tflite(graph)
    (mine,), (theirs,) = interpret(again, image), interpret(convert(name), image)
    np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())
    assert fold(read_tflite(again)) == graph


LISTED: dict[str, Sequence[str]] = {
    "conv2d": ("Convolution", "Fully Connected"),
    "depthwise_conv2d": ("Convolution",),
    "transpose_conv2d": ("Deconvolution",),
    "fully_connected": ("Fully Connected",),
    "batch_matmul": ("Batch Matrix Multiply",),
    "average_pool": ("Average Pooling",),
    "max_pool": ("Max Pooling",),
    "mean": ("Mean",),
    "reduce_mean": ("Mean",),
    "reduce_sum": ("Sum",),
    "reduce_max": ("Reduce Max",),
    "add": ("Add",),
    "sub": ("Subtract",),
    "mul": ("Multiply",),
    "div": ("Divide",),
    "maximum": ("Maximum",),
    "squared_difference": ("Squared Difference",),
    "concat": ("Copy", "kernel:CONCATENATION"),
    "slice": ("Slice", "kernel:STRIDED_SLICE"),
    "transpose": ("Transpose",),
    "softmax": ("Softmax",),
    "logistic": ("Sigmoid",),
    "gelu": ("GELU",),
    "gelu_tanh": ("ApproxGELU",),
    "elu": ("ELU",),
    "prelu": ("PReLU",),
    "leaky_relu": ("LeakyReLU",),
    "abs": ("Abs",),
    "exp": ("Exp",),
    "log": ("Log",),
    "neg": ("Negate",),
    "rsqrt": ("Reciprocal Square Root",),
    "square": ("Square",),
    "relu": ("Clamp",),
    "resize": ("Resize Bilinear",),
    "depth_to_space": ("Depth To Space",),
    "space_to_depth": ("Space To Depth",),
    "gather": ("kernel:GATHER",),
    "broadcast": ("kernel:BROADCAST_TO",),
    "tile": ("kernel:TILE",),
    "select": ("kernel:EQUAL", "kernel:SELECT_V2"),
}
"""How the runtime's profiler calls the operators of a kernel."""


def check_names(kernels: Sequence[Kernel], names: Sequence[str]) -> None:
    left = list(names)
    for kernel in kernels:
        listed = [left.pop(0) for _ in range(RULES.operators(kernel))]
        assert all(each.startswith(tuple(LISTED[kernel.type])) for each in listed), (
            kernel.text,
            listed,
            left[:5],
        )
    assert not left


@pytest.mark.parametrize("name", MODELS)
def test_every_listed_operator_belongs_to_a_kernel_of_its_kind(
    name: str, convert: Callable[[str], bytes]
) -> None:
    graph = fold(read_tflite(convert(name)))
    effort = Effort(min_runs=2, min_ms=0, max_ms=500, warmup_ms=0)
    with LocalRunner("cpu") as runner:
        (result,) = runner.run([Job("job", to_tflite(graph), effort, profile=True)])
    assert result.kind == "ok", result.error
    names = [op.name for op in result.ops if op.name not in RULES.unowned_operators]
    check_names(split(graph, RULES), names)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("delegate", ["cpu", "gpu"])
def test_every_kernel_can_be_measured_alone(
    name: str, delegate: Any, convert: Callable[[str], bytes]
) -> None:
    rules = rules_for(delegate)
    for kernel in set(split(fold(read_tflite(convert(name))), rules)):
        assert Kernel.from_text(kernel.text) == kernel
        assert fold(read_tflite(to_tflite(kernel.graph))).shapes[-1] == kernel.graph.shapes[-1]


def test_damaged_files_of_the_converter_raise_one_kind_of_error(
    convert: Callable[[str], bytes],
) -> None:
    data = convert("moving")
    rng = np.random.default_rng(0)
    values = np.array([0, 1, 2, 3, 4, 127, 128, 254, 255], np.uint8)
    for _ in range(1000):
        damaged = np.frombuffer(data, np.uint8).copy()
        where = rng.integers(8, len(data), rng.integers(1, 5))
        damaged[where] = rng.choice(values, len(where))
        try:
            fold(read_tflite(damaged.tobytes()))
        except LatlasError as error:
            assert isinstance(error, ModelFileError) and str(error)


def test_matrix_products_count(convert: Callable[[str], bytes]) -> None:
    tokens, width, blocks, hidden = 17, 32, 2, 4 * 32
    linear = tokens * (4 * width * width + 2 * width * hidden)
    attention = 2 * tokens * tokens * width
    stem, head = 16 * 8 * 8 * 3 * width, width * 10
    madds = count(read_tflite(convert("vit"))).madds
    assert madds == blocks * (linear + attention) + stem + head

"""A numpy reference of every operator, and LiteRT's interpreter to compare with."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from latlas.profiler.graph import Array, Graph
from latlas.profiler.ops import (
    Activation,
    BatchMatmul,
    BatchNorm,
    Binary,
    Broadcast,
    Concat,
    Constant,
    Conv2D,
    DepthToSpace,
    DepthwiseConv2D,
    FullyConnected,
    Gather,
    Mean,
    Op,
    Pad,
    Pool,
    Prelu,
    Reduce,
    Reshape,
    Select,
    Slice,
    Softmax,
    SpaceToDepth,
    Tile,
    Transpose,
    TransposeConv2D,
    same_padding,
)

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "none": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "logistic": lambda x: (1 + np.tanh(x / 2)) / 2,
    "tanh": np.tanh,
    "gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "elu": lambda x: np.where(x < 0, np.expm1(np.minimum(x, 0)), x),
    "leaky_relu": lambda x: np.where(x < 0, LEAK * x, x),
    "abs": np.abs,
    "cos": np.cos,
    "exp": np.exp,
    "floor": np.floor,
    "log": np.log,
    "neg": np.negative,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sin": np.sin,
    "sqrt": np.sqrt,
    "square": np.square,
}
LEAK = 0.2
BINARY = {
    "add": np.add,
    "mul": np.multiply,
    "sub": np.subtract,
    "div": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "squared_difference": lambda x, y: (x - y) ** 2,
    "pow": np.power,
}
REDUCE = {"mean": np.mean, "sum": np.sum, "max": np.max, "min": np.min, "prod": np.prod}


def pad(x: Array, padding: tuple[int, int, int, int], value: float = 0.0) -> Array:
    top, bottom, left, right = padding
    sides = ((0, 0), (top, bottom), (left, right), (0, 0))
    return np.pad(x, sides, constant_values=value)


def taps(x: Array, op: Conv2D | DepthwiseConv2D | Pool, value: float = 0.0) -> Array:
    """Return what every tap of a window sees: (rows, columns, batch, height, width, channels)."""
    x = pad(x, op.padding, value)
    dilation = (1, 1) if isinstance(op, Pool) else op.dilation
    spans = [(k - 1) * d + 1 for k, d in zip(op.kernel, dilation, strict=True)]
    height, width = [
        (length - span) // stride + 1
        for length, span, stride in zip(x.shape[1:3], spans, op.stride, strict=True)
    ]
    rows = []
    for i in range(op.kernel[0]):
        row = []
        for j in range(op.kernel[1]):
            top, left = i * dilation[0], j * dilation[1]
            row.append(x[:, top :: op.stride[0], left :: op.stride[1]][:, :height, :width])
        rows.append(np.stack(row))
    return np.stack(rows)


def transpose_convolution(op: TransposeConv2D, x: Array, kernel: Array) -> Array:
    """Add what every pixel spreads, and cut off what the padding would."""
    batch, height, width, _ = x.shape
    sides = (0, 0, 0, 0)
    if op.same:
        sides = same_padding(op.size, op.kernel, op.stride)
    whole = np.zeros(
        (batch, op.size[0] + sum(sides[:2]), op.size[1] + sum(sides[2:]), op.filters), x.dtype
    )
    for i in range(op.kernel[0]):
        for j in range(op.kernel[1]):
            part = np.einsum("bhwc,oc->bhwo", x, kernel[:, i, j])
            rows = slice(i, i + height * op.stride[0], op.stride[0])
            columns = slice(j, j + width * op.stride[1], op.stride[1])
            whole[:, rows, columns] += part[:, : len(range(whole.shape[1])[rows])]
    top, left = sides[0], sides[2]
    return whole[:, top : top + op.size[0], left : left + op.size[1]]


def apply(op: Op, xs: list[Array], weights: dict[str, Array]) -> Array:
    x = xs[0] if xs else np.zeros(0)
    bias = weights.get("bias", np.float32(0))
    match op:
        case Conv2D():
            seen = np.split(taps(x, op), op.groups, axis=-1)
            kernels = np.split(weights["kernel"], op.groups)
            parts = [
                np.einsum("ijbhwc,oijc->bhwo", s, k) for s, k in zip(seen, kernels, strict=True)
            ]
            return ACTIVATIONS[op.activation](np.concatenate(parts, -1) + bias)
        case DepthwiseConv2D():
            seen = np.repeat(taps(x, op), op.multiplier, axis=-1)
            found = np.einsum("ijbhwc,ijc->bhwc", seen, weights["kernel"][0])
            return ACTIVATIONS[op.activation](found + bias)
        case FullyConnected():
            rows = x if op.keepdims else x.reshape(len(x), -1)
            return ACTIVATIONS[op.activation](rows @ weights["kernel"].T + bias)
        case TransposeConv2D():
            return transpose_convolution(op, x, weights["kernel"]) + bias
        case BatchMatmul(adj_x, adj_y):
            other = xs[1] if len(xs) == 2 else weights["constant"]
            return (x.swapaxes(-1, -2) if adj_x else x) @ (
                other.swapaxes(-1, -2) if adj_y else other
            )
        case Reduce(kind, axes, keepdims):
            return np.asarray(REDUCE[kind](x, axis=axes, keepdims=keepdims))
        case Transpose(perm):
            return x.transpose(perm)
        case Gather(axis):
            return np.take(x, weights["indices"], axis)
        case Broadcast(shape):
            return np.broadcast_to(x, shape)
        case Tile(multiples):
            return np.tile(x, multiples)
        case DepthToSpace(block):
            n, h, w, c = x.shape
            parts = x.reshape(n, h, w, block, block, c // block**2).transpose(0, 1, 3, 2, 4, 5)
            return parts.reshape(n, h * block, w * block, -1)
        case SpaceToDepth(block):
            n, h, w, c = x.shape
            parts = x.reshape(n, h // block, block, w // block, block, c)
            return parts.transpose(0, 1, 3, 2, 4, 5).reshape(n, h // block, w // block, -1)
        case Prelu():
            return np.where(x < 0, weights["alpha"] * x, x)
        case Select(value, number):
            return np.where(x == value, xs[1], np.float32(number))
        case Constant():
            return weights["value"]
        case BatchNorm(epsilon):
            scale = weights["gamma"] / np.sqrt(weights["variance"] + epsilon)
            return (x - weights["mean"]) * scale + weights["beta"]
        case Binary():
            other = xs[1] if len(xs) == 2 else weights.get("constant", op.value)
            pair = (other, x) if op.swapped else (x, other)
            return ACTIVATIONS[op.activation](BINARY[op.kind](*pair))
        case Pool(kind="max"):
            return taps(x, op, -np.inf).max((0, 1))
        case Pool():
            return taps(x, op).sum((0, 1)) / taps(np.ones_like(x), op).sum((0, 1))
        case Concat(axis):
            return np.concatenate(xs, axis)
        case Mean(keepdims):
            return x.mean((1, 2), keepdims=keepdims)
        case Reshape(shape):
            return x.reshape(shape)
        case Pad(padding):
            return pad(x, padding)
        case Slice(begin, size, steps):
            triples = zip(begin, size, steps or (1,) * len(size), strict=True)
            return x[tuple(slice(b, b + (s - 1) * step + 1, step) for b, s, step in triples)]
        case Softmax():
            powers = np.exp(x - x.max(-1, keepdims=True))
            return powers / powers.sum(-1, keepdims=True)
        case Activation(kind):
            return ACTIVATIONS[kind](x)
    raise AssertionError(op)


def _evaluate(graph: Graph, *inputs: Array) -> list[Array]:
    values = list(inputs)
    for node in graph.nodes:
        assert graph.weights is not None
        names = node.op.weights(graph.input_shapes(node))
        weights = {name: graph.weights[f"{node.name}/{name}"] for name in names}
        with np.errstate(divide="ignore", invalid="ignore"):  # a random network may divide by 0
            values.append(apply(node.op, [values[value] for value in node.inputs], weights))
    return [values[value] for value in graph.outputs]


def _interpret(data: bytes, *inputs: Array) -> list[Array]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=1)
    details = interpreter.get_input_details()
    for detail, values in zip(details, inputs, strict=True):
        if tuple(detail["shape"]) != values.shape:
            interpreter.resize_tensor_input(detail["index"], values.shape)
    interpreter.allocate_tensors()
    for detail, values in zip(details, inputs, strict=True):
        interpreter.set_tensor(detail["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


@pytest.fixture(scope="session")
def evaluate() -> Callable[..., list[Array]]:
    """Run a graph, in either form, in numpy."""
    return _evaluate


@pytest.fixture(scope="session")
def interpret() -> Callable[..., list[Array]]:
    """Run a .tflite in LiteRT's interpreter (with XNNPACK)."""
    return _interpret


@pytest.fixture(scope="session")
def numbers() -> Callable[[Graph], list[Array]]:
    """Draw inputs for a graph."""

    def draw(graph: Graph) -> list[Array]:
        rng = np.random.default_rng(0)
        return [rng.standard_normal(shape, dtype=np.float32) for shape in graph.inputs]

    return draw

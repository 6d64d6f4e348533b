"""A network as a Keras model, for training, and back.

The Keras model is the training form: batch norm is a layer, dropout and drop path are at work while
it trains. Its layers carry the names and order of the graph's nodes, so that `weights_of` finds
what was trained; ``to_tflite(fold(graph.with_weights(weights_of(model, graph))))`` is the trained
network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from latlas.profiler.errors import SearchError
from latlas.profiler.graph import Array, Graph, Node, Weights
from latlas.profiler.ops import (
    Activation,
    BatchMatmul,
    BatchNorm,
    Binary,
    Concat,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Mean,
    Op,
    Pad,
    Padding,
    Pair,
    Pool,
    Prelu,
    Reduce,
    Reshape,
    Resize,
    Shape,
    Slice,
    Softmax,
    Transpose,
    same_padding,
)
from latlas.search import keras_layers
from latlas.search.keras_layers import Clock

BATCH_NORM_MOMENTUM = 0.99
"""Share of the old statistics that batch norm keeps at every step; Keras' and MnasNet's."""

ops, layers = keras.ops, keras.layers


def to_keras(
    graph: Graph,
    *,
    weights: Weights | None = None,
    batch_norm_momentum: float = BATCH_NORM_MOMENTUM,
    seed: int = 0,
) -> keras.Model:
    """Return a network as a Keras model, whose batches may have any size.

    Args:
        graph: the training form, or the inference form.
        weights: in the layout of the graph; by default the graph's own, or those of
            `initial_weights` if it has none.
        batch_norm_momentum: share of the old statistics that batch norm keeps at every step.
        seed: of initial weights and of the noise of training.

    Returns:
        A model that takes and returns float32; ``model.clock`` is the `Clock` of its noise.

    Raises:
        SearchError: the graph has an operator without a Keras form, mixes examples of a batch, or
            the weights are not its own.

    >>> from latlas.profiler.graph_builder import GraphBuilder
    >>> b = GraphBuilder((1, 8, 8, 3))
    >>> to_keras(b.build(b.relu6(b.batch_norm(b.conv(b.input, 4, 3))))).output_shape
    (None, 8, 8, 4)
    """
    if keras.backend.backend() != "tensorflow":
        raise SearchError(
            f"Keras runs on {keras.backend.backend()}; training takes TensorFlow: unset "
            "KERAS_BACKEND, or set it to tensorflow"
        )
    view = _View(graph, batch_norm_momentum, Clock(seed))
    model = view.model()
    model.clock = view.clock
    if weights is None:
        weights = graph.weights if graph.weights is not None else initial_weights(graph, seed)
    set_weights(model, graph, weights)
    return model


def weights_of(model: keras.Model, graph: Graph) -> Weights:
    """Return the weights of a Keras model that `to_keras` made, in the layout of its graph.

    Raises:
        SearchError: the model was made from another graph.
    """
    found: dict[str, Array] = {}
    for node, layer, shapes in _weighted(model, graph):
        arrays = [np.asarray(array) for array in layer.get_weights()]
        for (name, shape), array in zip(shapes.items(), arrays, strict=True):
            found[f"{node.name}/{name}"] = _from_keras(node.op, name, array, shape)
    return found


def set_weights(model: keras.Model, graph: Graph, weights: Weights) -> None:
    """Give a Keras model that `to_keras` made other weights, in the layout of its graph.

    Raises:
        SearchError: a weight is missing or has another shape, or the model was made from another
            graph.
    """
    for node, layer, shapes in _weighted(model, graph):
        arrays = []
        for (name, shape), variable in zip(shapes.items(), layer.weights, strict=True):
            key = f"{node.name}/{name}"
            array = weights.get(key)
            if array is None or array.shape != shape:
                got = "is missing" if array is None else f"has the shape {array.shape}"
                raise SearchError(f"weight {key!r} {got}; expected an array of shape {shape}")
            arrays.append(_to_keras(node.op, name, array, tuple(variable.shape)))
        layer.set_weights(arrays)


def initial_weights(graph: Graph, seed: int = 0) -> Weights:
    """Draw the weights that training begins with (He et al. 2015); the same everywhere.

    Batch norm begins as the identity, biases at 0, and the last layer at a tenth of its size, so
    that all classes are equally likely.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for node in graph.nodes:
        for name, shape in node.op.weights(graph.input_shapes(node)).items():
            last = isinstance(node.op, FullyConnected)
            found[f"{node.name}/{name}"] = _initial(rng, node.op, name, shape, last)
    return found


def _initial(rng: np.random.Generator, op: Op, name: str, shape: Shape, last: bool) -> Array:
    if name == "kernel":
        taps = math.prod(shape[1:3] if isinstance(op, DepthwiseConv2D) else shape[1:])
        deviation = math.sqrt(2 / taps) * (0.1 if last else 1.0)
        values = rng.standard_normal(shape, dtype=np.float32)
        return np.clip(values, -2, 2, out=values) * np.float32(deviation)
    ones = name in ("gamma", "variance") or (isinstance(op, Binary) and op.kind in ("mul", "div"))
    return np.full(shape, 1.0 if ones else 0.25 if name == "alpha" else 0.0, np.float32)


def _weighted(
    model: keras.Model, graph: Graph
) -> list[tuple[Node, keras.layers.Layer, dict[str, Shape]]]:
    """Return the nodes that have weights, with their layers and the shapes of the weights."""
    by_name = {layer.name: layer for layer in model.layers}
    found = []
    for position, node in enumerate(graph.nodes):
        shapes = node.op.weights(graph.input_shapes(node))
        if not shapes:
            continue
        layer = by_name.get(_name(position, node))
        if layer is None or len(layer.weights) != len(shapes):
            raise SearchError(
                f"the Keras model has no layer for node {position} ({node.op.name}): it was made "
                "from another graph"
            )
        found.append((node, layer, shapes))
    return found


def _name(position: int, node: Node) -> str:
    # Names of nodes may repeat, or hold what Keras forbids.
    return f"{node.op.name}_{position}"


def _to_keras(op: Op, name: str, array: Array, shape: Shape) -> Array:
    if name == "kernel":
        if isinstance(op, Conv2D):
            array = array.transpose(1, 2, 3, 0)
        elif isinstance(op, FullyConnected):
            array = array.T
    return array.reshape(shape)


def _from_keras(op: Op, name: str, array: Array, shape: Shape) -> Array:
    if name == "kernel":
        if isinstance(op, Conv2D):
            array = array.transpose(3, 0, 1, 2)
        elif isinstance(op, FullyConnected):
            array = array.T
    if array.size != math.prod(shape):
        raise SearchError(f"{op.name}: its layer's {name} is of another graph: {array.shape}")
    return np.ascontiguousarray(array.reshape(shape), np.float32)


class _View:
    """Translates the nodes of one graph."""

    def __init__(self, graph: Graph, momentum: float, clock: Clock) -> None:
        self.graph = graph
        self.momentum = momentum
        self.clock = clock

    def model(self) -> keras.Model:
        graph = self.graph
        if not graph.is_float:
            raise SearchError("a quantised network is not trained: train its float form")
        batches = {shape[:1] for shape in graph.shapes}
        if batches != {(1,)}:
            raise SearchError(
                "every value of a network that is trained has one example (a first axis of 1); "
                f"this one has first axes of {sorted(batches)}"
            )
        inputs = [keras.Input(shape[1:], name=f"x{i}") for i, shape in enumerate(graph.inputs)]
        values = list(inputs)
        for position, node in enumerate(graph.nodes):
            value = self.node(position, node, [values[i] for i in node.inputs])
            wanted = self.graph.shapes[len(values)]
            if tuple(value.shape[1:]) != wanted[1:]:
                raise SearchError(
                    f"node {position} ({node.op.name}) has the shape {wanted} in the graph and "
                    f"{value.shape} in Keras"
                )
            values.append(value)
        outputs = [values[value] for value in graph.outputs]
        return keras.Model(
            inputs if len(inputs) > 1 else inputs[0], outputs if len(outputs) > 1 else outputs[0]
        )

    def node(self, position: int, node: Node, xs: list[Any]) -> Any:
        """Return a node's value, with its noise."""
        if node.dropout:
            xs = [
                keras_layers.Dropout(
                    node.dropout, self.clock, position, name=f"dropout_{position}"
                )(x)
                for x in xs
            ]
        drop = None
        if node.drop_path:
            drop = keras_layers.DropPath(
                node.drop_path, self.clock, position, name=f"drop_path_{position}"
            )
            if _is_addition(node):
                xs, drop = [xs[0], drop(xs[1])], None
        name, shapes = _name(position, node), self.graph.input_shapes(node)
        x = self.translate(node.op, xs, shapes, name)
        activation = getattr(node.op, "activation", "none")
        if activation != "none":
            x = layers.ReLU(6.0 if activation == "relu6" else None, name=f"{name}_relu")(x)
        return x if drop is None else drop(x)

    def translate(self, op: Op, xs: list[Any], shapes: tuple[Shape, ...], name: str) -> Any:
        """Return the value of an operator, without its fused activation."""
        match op:
            case Conv2D() | DepthwiseConv2D():
                return self.convolve(op, xs[0], shapes[0], name)
            case FullyConnected():
                x = xs[0]
                if not op.keepdims and len(shapes[0]) > 2:
                    x = layers.Reshape((math.prod(shapes[0][1:]),))(x)
                return layers.Dense(op.units, use_bias=op.bias, name=name, **_BLANK)(x)
            case BatchNorm(epsilon):
                return layers.BatchNormalization(
                    momentum=self.momentum, epsilon=epsilon, name=name
                )(xs[0])
            case Binary():
                return _binary(op, xs, name)
            case Concat(axis):
                return layers.Concatenate(axis % len(shapes[0]), name=name)(xs)
            case Pool():
                kind = layers.MaxPooling2D if op.kind == "max" else layers.AveragePooling2D
                padding = _keras_padding(op.padding, shapes[0], op.kernel, op.stride)
                if not padding:
                    raise SearchError(f"{name}: Keras pools with SAME padding or none: {op}")
                return kind(op.kernel, op.stride, padding, name=name)(xs[0])
            case Mean(keepdims):
                return layers.GlobalAveragePooling2D(keepdims=keepdims, name=name)(xs[0])
            case Pad((top, bottom, left, right)):
                return layers.ZeroPadding2D(((top, bottom), (left, right)), name=name)(xs[0])
            case Reshape(shape):
                return layers.Reshape(shape[1:], name=name)(xs[0])
            case Transpose(perm) if perm[0] == 0:
                return layers.Permute(perm[1:], name=name)(xs[0])
            case Softmax():
                return layers.Softmax(name=name)(xs[0])
            case Resize(size, method, align, half):
                return keras_layers.Resize(size, method, align, half, name=name)(xs[0])
            case Prelu(alpha):
                return keras_layers.Scale(alpha, _prelu, name=name)(xs[0])
            case Slice():
                return _slice(op, xs[0])
            case Reduce(kind, axes, keepdims) if 0 not in axes:
                return _REDUCTIONS[kind](xs[0], axis=axes, keepdims=keepdims)
            case BatchMatmul(adj_x, adj_y, None):
                left, right = (
                    ops.swapaxes(x, -1, -2) if turned else x
                    for x, turned in zip(xs, (adj_x, adj_y), strict=True)
                )
                return ops.matmul(left, right)
            case Activation("relu" | "relu6" as kind):
                return layers.ReLU(6.0 if kind == "relu6" else None, name=name)(xs[0])
            case Activation("leaky_relu", alpha):
                return layers.LeakyReLU(alpha, name=name)(xs[0])
            case Activation(kind):
                return _ACTIVATIONS[kind](xs[0])
        raise SearchError(f"{name}: {op} has no Keras form, so that this network cannot be trained")

    def convolve(self, op: Conv2D | DepthwiseConv2D, x: Any, shape: Shape, name: str) -> Any:
        """Return a convolution, after zeros that Keras cannot express as its padding."""
        if max(op.stride) > 1 and max(op.dilation) > 1:
            raise SearchError(f"{name}: Keras does not stride a dilated convolution: {op}")
        padding = _keras_padding(op.padding, shape, op.kernel, op.stride, op.dilation)
        if not padding:
            top, bottom, left, right = op.padding
            x = layers.ZeroPadding2D(((top, bottom), (left, right)), name=f"{name}_pad")(x)
            padding = "valid"
        options: dict[str, Any] = {
            "strides": op.stride,
            "padding": padding,
            "dilation_rate": op.dilation,
            "use_bias": op.bias,
            "name": name,
        }
        if isinstance(op, Conv2D):
            return layers.Conv2D(op.filters, op.kernel, groups=op.groups, **options, **_BLANK)(x)
        if op.stride[0] != op.stride[1]:
            raise SearchError(f"{name}: TensorFlow strides depthwise convolutions evenly, not {op}")
        return layers.DepthwiseConv2D(
            op.kernel, depth_multiplier=op.multiplier, depthwise_initializer="zeros", **options
        )(x)


_BLANK = {"kernel_initializer": "zeros"}
"""Layers begin empty, since `set_weights` fills them."""


def _is_addition(node: Node) -> bool:
    return isinstance(node.op, Binary) and node.op.kind == "add" and len(node.inputs) == 2


def _keras_padding(
    padding: Padding, shape: Shape, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)
) -> str:
    """Return Keras' word for a padding, or "" where it has none."""
    if not any(padding):
        return "valid"
    same = same_padding((shape[1], shape[2]), kernel, stride, dilation)
    return "same" if padding == same else ""


def _prelu(x: Any, alpha: Any) -> Any:
    return ops.relu(x) - alpha * ops.relu(-x)


def _slice(op: Slice, x: Any) -> Any:
    steps = op.steps or (1,) * len(op.size)
    boxes = [
        slice(begin, begin + (size - 1) * step + 1, step)
        for begin, size, step in zip(op.begin, op.size, steps, strict=True)
    ]
    return x[(slice(None), *boxes[1:])]


def _binary(op: Binary, xs: list[Any], name: str) -> Any:
    function = _BINARY[op.kind]
    if op.constant is not None:
        apply = (lambda x, c: function(c, x)) if op.swapped else function
        return keras_layers.Scale(op.constant, apply, name=name)(xs[0])
    if op.value is not None:
        return function(op.value, xs[0]) if op.swapped else function(xs[0], op.value)
    return function(*xs)


_BINARY: Mapping[str, Callable[[Any, Any], Any]] = {
    "add": ops.add,
    "mul": ops.multiply,
    "sub": ops.subtract,
    "div": ops.divide,
    "maximum": ops.maximum,
    "minimum": ops.minimum,
    "squared_difference": lambda x, y: ops.square(ops.subtract(x, y)),
    "pow": ops.power,
}

_REDUCTIONS: Mapping[str, Callable[..., Any]] = {
    "mean": ops.mean,
    "sum": ops.sum,
    "max": ops.max,
    "min": ops.min,
    "prod": ops.prod,
}

_ACTIVATIONS: Mapping[str, Callable[[Any], Any]] = {
    "hard_swish": lambda x: x * (ops.relu6(x + 3.0) * (1 / 6)),
    "hard_sigmoid": lambda x: ops.relu6(x + 3.0) * (1 / 6),
    "logistic": ops.sigmoid,
    "tanh": ops.tanh,
    "gelu": lambda x: ops.gelu(x, approximate=False),
    "gelu_tanh": lambda x: ops.gelu(x, approximate=True),
    "elu": ops.elu,
    "abs": ops.abs,
    "cos": ops.cos,
    "exp": ops.exp,
    "floor": ops.floor,
    "log": ops.log,
    "neg": ops.negative,
    "rsqrt": ops.rsqrt,
    "sin": ops.sin,
    "sqrt": ops.sqrt,
    "square": ops.square,
}

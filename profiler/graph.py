"""A network: operators in topological order, NHWC, with concrete shapes.

`Graph` is the training form: batch norm is an operator, dropout and drop path are attributes of
nodes. `latlas.profiler.fold.fold` gives the inference form, the only one that the .tflite writer
and the kernel splitter take.

Values are numbered: first the inputs, then one value per node, in order. Each has an element type:
float32, or int8 in a quantised network, where `Quantize` and `Dequantize` lead from one to the
other. A graph holds no scales: they do not change the work.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.errors import GraphError
from latlas.profiler.op_text import (
    format_shape,
    from_text,
    parse_integer,
    parse_number,
    parse_shape,
    to_text,
)
from latlas.profiler.ops import (
    MAX_ELEMENTS,
    MAX_RANK,
    Activation,
    BatchMatmul,
    BatchNorm,
    Binary,
    Concat,
    Conv2D,
    DataType,
    DepthwiseConv2D,
    Dequantize,
    FullyConnected,
    FusedActivation,
    Gather,
    Mean,
    Op,
    Pad,
    Padding,
    Pair,
    Pool,
    Quantize,
    Reshape,
    Resize,
    Shape,
    Slice,
    Softmax,
    Transpose,
    same_padding,
)

Array = NDArray[Any]
_CONVERSIONS = frozenset({Quantize, Dequantize})

Weights = Mapping[str, Array]
"""Arrays by ``"node name/weight name"``, in the layout that `Op.weights` states."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operator, the values that it reads, and how it is regularised in training.

    `name` names the node's weights and takes no part in equality. `dropout` is the rate at which
    elements of what the node reads are dropped; `drop_path` the rate at which an example's output
    is, and of an addition, its right operand alone.
    """

    op: Op
    inputs: tuple[int, ...]
    name: str = field(default="", compare=False)
    dropout: float = 0.0
    drop_path: float = 0.0


@dataclass(frozen=True)
class Graph:
    """A network.

    Args:
        inputs: shape of every input, batch first.
        nodes: operators in topological order.
        outputs: the values that the network returns.
        weights: arrays by node and weight name, or None where only the structure is known; real
            numbers in a quantised network too.
        input_types: element type of every input; empty where all are float32.

    Raises:
        GraphError: a node reads a value that is not yet there, or shapes or types do not fit.

    >>> b = GraphBuilder((1, 8, 8, 3))
    >>> graph = b.build(b.conv(b.input, 4, 3, stride=2))
    >>> graph.shapes
    ((1, 8, 8, 3), (1, 4, 4, 4))
    """

    inputs: tuple[Shape, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]
    weights: Weights | None = field(default=None, compare=False, repr=False)
    input_types: tuple[DataType, ...] = ()

    def __post_init__(self) -> None:
        """Check the graph by working out every shape and type."""
        self.shapes  # noqa: B018
        if self.input_types:
            _check_types(self.input_types, self.inputs)
        if not self.is_float:
            self.types  # noqa: B018

    @staticmethod
    def of_shapes(
        inputs: tuple[Shape, ...],
        nodes: tuple[Node, ...],
        outputs: tuple[int, ...],
        weights: Weights | None,
        input_types: tuple[DataType, ...],
        shapes: tuple[Shape, ...],
    ) -> Graph:
        """Return a graph whose shapes are known, without working them out and checking it again.

        Args:
            inputs, nodes, outputs, weights, input_types: as of any graph.
            shapes: of every value, as the nodes infer them.
        """
        graph = object.__new__(Graph)
        graph.__dict__.update(
            inputs=inputs,
            nodes=nodes,
            outputs=outputs,
            weights=weights,
            input_types=input_types,
            shapes=shapes,
        )
        return graph

    @cached_property
    def is_float(self) -> bool:
        """Whether all values are float32, as nearly always."""
        return not self.input_types and _CONVERSIONS.isdisjoint(
            [type(node.op) for node in self.nodes]
        )

    @cached_property
    def types(self) -> tuple[DataType, ...]:
        """Element type of every value."""
        floats: list[DataType] = ["float32"]
        types = list(self.input_types) or floats * len(self.inputs)
        if self.is_float:
            return tuple(types + floats * len(self.nodes))
        for node in self.nodes:
            types.append(node.op.infer_type(tuple([types[value] for value in node.inputs])))
        return tuple(types)

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """Shape of every value."""
        shapes = list(self.inputs)
        for shape in shapes:
            check_shape(shape, "an input")
        for position, node in enumerate(self.nodes):
            if any(not 0 <= value < len(shapes) for value in node.inputs):
                raise GraphError(
                    f"node {position} ({node.op.name}) reads a value that is not there"
                )
            shape = node.op.infer(tuple([shapes[value] for value in node.inputs]))
            check_shape(shape, node.op.name)
            shapes.append(shape)
        if not self.outputs or any(not 0 <= value < len(shapes) for value in self.outputs):
            raise GraphError(f"outputs {self.outputs} are not values of the graph")
        return tuple(shapes)

    def input_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the shapes of the values that a node reads."""
        return tuple([self.shapes[value] for value in node.inputs])

    @cached_property
    def consumers(self) -> tuple[tuple[int, ...], ...]:
        """For every value, the positions of the nodes that read it."""
        found: list[list[int]] = [[] for _ in range(len(self.inputs) + len(self.nodes))]
        for position, node in enumerate(self.nodes):
            for value in node.inputs:
                found[value].append(position)
        return tuple(map(tuple, found))

    @cached_property
    def returned(self) -> frozenset[int]:
        """The values that are outputs, of which a hostile file may list very many."""
        return frozenset(self.outputs)

    def weight(self, node: Node, name: str) -> Array | None:
        """Return one weight of a node, or None where the graph carries no weights."""
        return None if self.weights is None else self.weights[f"{node.name}/{name}"]

    def to_text(self) -> str:
        """Write the structure (no weights, no names) on one line; `from_text` reads it back.

        >>> b = GraphBuilder((1, 8, 8, 3))
        >>> b.build(b.relu6(b.conv(b.input, 4, 1))).to_text()
        '1x8x8x3 | conv2d filters=4 kernel=1x1 @0 | activation kind=relu6 @1 | @2'
        """
        heads = map(format_shape, self.inputs)
        if self.input_types:
            heads = map(_typed, heads, self.input_types)
        parts = [",".join(heads)]
        for node in self.nodes:
            extra = "".join(
                f" {key}={float(value)!r}"
                for key, value in (("dropout", node.dropout), ("drop_path", node.drop_path))
                if value
            )
            parts.append(f"{to_text(node.op)}{extra} @{','.join(map(str, node.inputs))}")
        parts.append("@" + ",".join(map(str, self.outputs)))
        return " | ".join(parts)

    @staticmethod
    def from_text(text: str) -> Graph:
        """Read what `Graph.to_text` wrote.

        Raises:
            GraphError: the text is not a graph.
        """
        head, *body = text.split(" | ")
        if not body:
            raise GraphError(f"not a graph: {text[:80]!r}")
        try:
            heads = [part.partition(":") for part in head.split(",")]
            inputs = tuple(parse_shape(shape) for shape, _, _ in heads)
            types = tuple(_parse_type(colon, kind) for _, colon, kind in heads)
            nodes = tuple(
                _node_from_text(part, position) for position, part in enumerate(body[:-1])
            )
            outputs = _read_values(body[-1].removeprefix("@"))
        except ValueError as error:
            raise GraphError(f"not a graph: {text[:80]!r} ({error})") from error
        return Graph(inputs, nodes, outputs, input_types=plain_types(types))

    def with_weights(self, weights: Weights | None) -> Graph:
        """Return the same structure with other weights."""
        return replace(self, weights=weights)

    def weight_shapes(self) -> dict[str, Shape]:
        """Return the shape of every weight, by ``"node name/weight name"``.

        Raises:
            GraphError: a weight would be larger than any tensor may be.
        """
        shapes = {
            f"{node.name}/{name}": shape
            for node in self.nodes
            for name, shape in node.op.weights(self.input_shapes(node)).items()
        }
        for name, shape in shapes.items():
            check_shape(shape, name)
        return shapes


def plain_types(types: Sequence[DataType]) -> tuple[DataType, ...]:
    """Return types of inputs as a graph holds them: none where all are float32.

    >>> plain_types(["float32", "float32"]), plain_types(["int8"])
    ((), ('int8',))
    """
    return tuple(types) if "int8" in types else ()


def _typed(shape: str, kind: DataType) -> str:
    return shape if kind == "float32" else f"{shape}:{kind}"


def _parse_type(colon: str, text: str) -> DataType:
    if not colon:
        return "float32"
    if text != "int8":
        raise ValueError(f"unknown element type {text[:20]!r}; expected int8, or nothing")
    return "int8"


def _check_types(types: tuple[DataType, ...], inputs: tuple[Shape, ...]) -> None:
    if len(types) != len(inputs) or plain_types(types) != types:
        raise GraphError(
            f"input_types {types} do not fit {len(inputs)} input(s): expected one each, with an "
            "int8 among them, or none at all"
        )


def check_shape(shape: Shape, what: str) -> None:
    """Raise `GraphError` unless a tensor can have a shape; the message says of `what`."""
    if len(shape) > MAX_RANK or any(size < 1 for size in shape) or math.prod(shape) >= MAX_ELEMENTS:
        raise GraphError(f"{what} has the impossible shape {shape}")


def _node_from_text(text: str, position: int) -> Node:
    body, _, values = text.rpartition(" @")
    rates: dict[str, float] = {}
    words = []
    for word in body.split():
        key, _, value = word.partition("=")
        if key in rates:
            raise ValueError(f"{key} is given twice")
        if key in ("dropout", "drop_path"):
            rates[key] = parse_number(value)
            if not 0 <= rates[key] < 1:
                raise ValueError(f"{key} must be at least 0 and below 1, not {value}")
        else:
            words.append(word)
    if not words:
        raise GraphError(f"not a node: {text[:80]!r}")
    op = from_text(" ".join(words))
    return Node(op, _read_values(values), f"{op.name}_{position}", **rates)


def _read_values(text: str) -> tuple[int, ...]:
    return tuple([parse_integer(value) for value in text.split(",")]) if text else ()


def random_weights(graph: Graph, seed: int = 0) -> Weights:
    """Draw weights that keep activations finite and near unit variance (He et al. 2015).

    A timing needs real numbers: zeros, infinities and denormals run at speeds of their own. Values
    are cut from one pool of normal numbers, since drawing millions costs more than a measurement.
    """
    pool = _normal_pool(seed)
    shapes = graph.weight_shapes()
    sizes = [math.prod(shape) for shape in shapes.values()]
    memory = np.empty(sum(sizes), np.float32)  # one block: many of their own cost ten times more
    weights: dict[str, Array] = {}
    start = 0
    for (key, shape), size in zip(shapes.items(), sizes, strict=True):
        values = memory[start : start + size]
        start += size
        part = pool[: min(size, len(pool))]
        match key.rpartition("/")[2]:
            case "kernel":
                depthwise = shape[0] == 1 and len(shape) == 4
                fan_in = math.prod(shape[1:3]) if depthwise else math.prod(shape[1:])
                part = part * np.float32(math.sqrt(2 / fan_in))
            case "variance":
                part = np.abs(part) + np.float32(0.5)
            case "gamma" | "constant":
                part = 1 + np.float32(0.1) * part
            case "indices":
                continue  # below, since they depend on what is gathered from
            case _:
                part = np.float32(0.1) * part
        whole = size // len(part) * len(part)
        values[:whole].reshape(-1, len(part))[:] = part
        values[whole:] = part[: size - whole]
        weights[key] = values.reshape(shape)
    for node in graph.nodes:
        if isinstance(node.op, Gather):
            steps = np.linspace(0, graph.input_shapes(node)[0][node.op.axis] - 1, node.op.count)
            weights[f"{node.name}/indices"] = steps.astype(np.int32)
    return weights


@lru_cache(maxsize=4)
def _normal_pool(seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(1 << 16, dtype=np.float32)


class GraphBuilder:
    """Writes a graph operator by operator; every method returns the new value.

    >>> b = GraphBuilder((1, 32, 32, 3))
    >>> x = b.relu6(b.batch_norm(b.conv(b.input, 8, 3, stride=2, bias=False)))
    >>> [node.name for node in b.build(x).nodes]
    ['conv2d_0', 'batch_norm_1', 'activation_2']

    `types` are the element types of the inputs, float32 by default:

    >>> b = GraphBuilder((1, 8, 8, 4), types=["int8"])
    >>> b.build(b.conv(b.input, 4, 1)).to_text()
    '1x8x8x4:int8 | conv2d filters=4 kernel=1x1 @0 | @1'
    """

    def __init__(self, *inputs: Shape, types: Sequence[DataType] = ()) -> None:
        self._inputs = inputs
        self._types = plain_types(types)
        self._shapes = list(inputs)
        self._nodes: list[Node] = []

    @property
    def input(self) -> int:
        """The first input."""
        return 0

    def shape(self, value: int) -> Shape:
        """Return the shape of a value."""
        return self._shapes[value]

    def apply(
        self, op: Op, *inputs: int, dropout: float = 0.0, drop_path: float = 0.0, name: str = ""
    ) -> int:
        """Append any operator."""
        shape = op.infer(tuple([self._shapes[value] for value in inputs]))
        name = name or f"{op.name}_{len(self._nodes)}"
        self._nodes.append(Node(op, inputs, name, dropout, drop_path))
        self._shapes.append(shape)
        return len(self._shapes) - 1

    def drop_path(self, value: int, rate: float) -> None:
        """Let the node behind a value drop it for some examples in training."""
        position = value - len(self._inputs)
        self._nodes[position] = replace(self._nodes[position], drop_path=rate)

    def build(self, *outputs: int, weights: Weights | None = None) -> Graph:
        """Return the graph that ends in these values."""
        return Graph(self._inputs, tuple(self._nodes), outputs, weights, self._types)

    def _padding(
        self, value: int, kernel: Pair, stride: Pair, dilation: Pair, padding: str | Padding
    ) -> Padding:
        if padding == "same":
            shape = self._shapes[value]
            return same_padding((shape[1], shape[2]), kernel, stride, dilation)
        if padding == "valid":
            return (0, 0, 0, 0)
        if isinstance(padding, str):
            raise GraphError(f'padding is "same", "valid" or four integers, not {padding!r}')
        return padding

    def conv(
        self,
        value: int,
        filters: int,
        kernel: int | Pair,
        *,
        stride: int | Pair = 1,
        dilation: int | Pair = 1,
        padding: str | Padding = "same",
        groups: int = 1,
        bias: bool = True,
        activation: FusedActivation = "none",
    ) -> int:
        """Append a convolution."""
        k, s, d = _pair(kernel), _pair(stride), _pair(dilation)
        pads = self._padding(value, k, s, d, padding)
        return self.apply(Conv2D(filters, k, s, pads, d, groups, bias, activation), value)

    def depthwise(
        self,
        value: int,
        kernel: int | Pair,
        *,
        stride: int | Pair = 1,
        dilation: int | Pair = 1,
        padding: str | Padding = "same",
        multiplier: int = 1,
        bias: bool = True,
        activation: FusedActivation = "none",
    ) -> int:
        """Append a depthwise convolution."""
        k, s, d = _pair(kernel), _pair(stride), _pair(dilation)
        pads = self._padding(value, k, s, d, padding)
        return self.apply(DepthwiseConv2D(k, s, pads, d, multiplier, bias, activation), value)

    def fully_connected(
        self, value: int, units: int, *, bias: bool = True, dropout: float = 0.0
    ) -> int:
        """Append a fully connected layer."""
        return self.apply(FullyConnected(units, bias), value, dropout=dropout)

    def batch_norm(self, value: int, epsilon: float = 1e-3) -> int:
        """Append a batch normalisation."""
        return self.apply(BatchNorm(epsilon), value)

    def add(
        self,
        left: int,
        right: int,
        *,
        activation: FusedActivation = "none",
        drop_path: float = 0.0,
    ) -> int:
        """Append an addition."""
        return self.apply(Binary("add", activation), left, right, drop_path=drop_path)

    def mul(self, left: int, right: int, *, activation: FusedActivation = "none") -> int:
        """Append a multiplication."""
        return self.apply(Binary("mul", activation), left, right)

    def concat(self, values: Sequence[int], axis: int = -1) -> int:
        """Append a concatenation."""
        return self.apply(Concat(axis), *values)

    def average_pool(
        self,
        value: int,
        kernel: int | Pair,
        *,
        stride: int | Pair = 1,
        padding: str | Padding = "same",
    ) -> int:
        """Append an average pooling."""
        k, s = _pair(kernel), _pair(stride)
        pads = self._padding(value, k, s, (1, 1), padding)
        return self.apply(Pool("average", k, s, pads), value)

    def max_pool(
        self,
        value: int,
        kernel: int | Pair,
        *,
        stride: int | Pair = 1,
        padding: str | Padding = "same",
    ) -> int:
        """Append a max pooling."""
        k, s = _pair(kernel), _pair(stride)
        return self.apply(Pool("max", k, s, self._padding(value, k, s, (1, 1), padding)), value)

    def mean(self, value: int, *, keepdims: bool = True) -> int:
        """Append a global average pooling."""
        return self.apply(Mean(keepdims), value)

    def reshape(self, value: int, shape: Iterable[int]) -> int:
        """Append a reshape."""
        return self.apply(Reshape(tuple(shape)), value)

    def pad(self, value: int, padding: Padding) -> int:
        """Append zeros around height and width."""
        return self.apply(Pad(padding), value)

    def transpose(self, value: int, perm: Iterable[int]) -> int:
        """Append a transpose."""
        return self.apply(Transpose(tuple(perm)), value)

    def matmul(self, left: int, right: int, *, adj_x: bool = False, adj_y: bool = False) -> int:
        """Append a product of matrices over the last two axes."""
        return self.apply(BatchMatmul(adj_x, adj_y), left, right)

    def dense(self, value: int, units: int, *, bias: bool = True) -> int:
        """Append a fully connected layer over the last axis."""
        return self.apply(FullyConnected(units, bias, keepdims=True), value)

    def slice(self, value: int, begin: Shape, size: Shape) -> int:
        """Append a slice."""
        return self.apply(Slice(begin, size), value)

    def resize(self, value: int, size: Pair, *, half_pixel_centers: bool = False) -> int:
        """Append a bilinear resizing."""
        return self.apply(Resize(size, half_pixel_centers=half_pixel_centers), value)

    def quantize(self, value: int) -> int:
        """Append a conversion to int8."""
        return self.apply(Quantize(), value)

    def dequantize(self, value: int) -> int:
        """Append a conversion to float32."""
        return self.apply(Dequantize(), value)

    def softmax(self, value: int) -> int:
        """Append a softmax."""
        return self.apply(Softmax(), value)

    def relu(self, value: int) -> int:
        """Append max(x, 0)."""
        return self.apply(Activation("relu"), value)

    def relu6(self, value: int) -> int:
        """Append min(max(x, 0), 6)."""
        return self.apply(Activation("relu6"), value)

    def hard_swish(self, value: int) -> int:
        """Append x * relu6(x + 3) / 6."""
        return self.apply(Activation("hard_swish"), value)

    def hard_sigmoid(self, value: int) -> int:
        """Append relu6(x + 3) / 6."""
        return self.apply(Activation("hard_sigmoid"), value)

    def logistic(self, value: int) -> int:
        """Append 1 / (1 + exp(-x))."""
        return self.apply(Activation("logistic"), value)

    def activation(self, value: int, kind: str) -> int:
        """Append an activation by name; "none" appends nothing."""
        if kind == "none":
            return value
        op = from_text(f"activation kind={kind}")
        return self.apply(op, value)


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value

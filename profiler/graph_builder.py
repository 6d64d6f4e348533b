"""Writes graphs operator by operator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache

from latlas.profiler.errors import GraphError
from latlas.profiler.graph import Graph, Node, Weights, plain_types
from latlas.profiler.op_text import from_text
from latlas.profiler.ops import (
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
        return self.apply(_activation(kind), value)


@lru_cache(64)
def _activation(kind: str) -> Op:
    return from_text(f"activation kind={kind}")


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value

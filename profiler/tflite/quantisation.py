"""Scales and zero points for the values of a quantised network, and its weights as integers.

A graph says which values are int8, not what they stand for: ``real = scale * (q - zero_point)``.
Here every one gets a scale, nominal but legal: equal on both sides of operators that only move
elements, prescribed for softmax, logistic and tanh, and near each other everywhere else, so that
the factors between them stay in the range that XNNPACK takes. They do not change how long a network
takes, only where its values saturate.

The rules are those of TFLite's 8-bit quantisation specification; weights are symmetric and scaled
channel by channel, biases have the product of both scales (Jacob et al. 2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from latlas.profiler.errors import GraphError
from latlas.profiler.graph import Array, Graph, Node
from latlas.profiler.ops import (
    Activation,
    BatchMatmul,
    Binary,
    Broadcast,
    Concat,
    DepthToSpace,
    Gather,
    Op,
    Pad,
    Pool,
    Quantize,
    Reshape,
    Resize,
    Slice,
    Softmax,
    SpaceToDepth,
    Tile,
    Transpose,
)

MOVES = (
    Broadcast,
    Concat,
    DepthToSpace,
    Gather,
    Pad,
    Pool,
    Reshape,
    Resize,
    Slice,
    SpaceToDepth,
    Tile,
    Transpose,
)
"""Operators whose int8 inputs and outputs must share one scale."""

LIMIT = 8.0
"""Real numbers beyond this saturate, in values that nothing says more about."""

_STEP = 1.25
"""A change of scale must change something, or the runtime would copy."""

_SMALLEST, _LARGEST = 2.0**-16, 2.0**8


@dataclass(frozen=True, slots=True)
class Scale:
    """What the integers of a tensor stand for: ``real = scale * (q - zero_point)``."""

    scale: float
    zero_point: int = 0

    @property
    def low(self) -> float:
        """The smallest real number that there is an integer for."""
        return self.scale * (-128 - self.zero_point)

    @property
    def high(self) -> float:
        """The largest one."""
        return self.scale * (127 - self.zero_point)


_POSITIVE = Scale(LIMIT / 255, -128)
_SIGNED = Scale(LIMIT / 128, -1)
_EVEN = Scale(LIMIT / 128, 0)


def fixed_scale(op: Op) -> Scale | None:
    """Return the scale that TFLite prescribes for an operator's result, if it does.

    >>> fixed_scale(Softmax())
    Scale(scale=0.00390625, zero_point=-128)
    """
    if isinstance(op, Softmax) or op == Activation("logistic"):
        return Scale(1 / 256, -128)
    return Scale(1 / 128, 0) if op == Activation("tanh") else None


def scales(graph: Graph) -> tuple[Scale | None, ...]:
    """Return a scale for every value of a graph, None for those of float32.

    Raises:
        GraphError: an operator joins values whose scales are prescribed and differ.

    >>> graph = Graph.from_text("1x2x2x3:int8 | softmax @0 | quantize @1 | @2")
    >>> [round(256 * scale.scale, 2) for scale in scales(graph) if scale]
    [16.0, 1.0, 1.25]
    """
    types = graph.types
    root = shared_scales(graph)
    first = len(graph.inputs)
    found: dict[int, Scale] = {}
    signed: dict[int, bool] = {}
    even = {
        root[node.inputs[1]]
        for node in graph.nodes
        if isinstance(node.op, BatchMatmul) and node.op.symmetric and len(node.inputs) == 2
    }
    for value, node in enumerate(graph.nodes, first):
        if types[value] != "int8":
            continue
        fixed = fixed_scale(node.op)
        if fixed is not None and found.setdefault(root[value], fixed) != fixed:
            raise GraphError(
                f"node {value - first} ({node.op.name}) shares a scale with a value of another "
                "prescribed scale: put a quantize between them"
            )
        if not isinstance(node.op, MOVES):
            signed[root[value]] = signed.get(root[value], False) or not _is_positive(node.op)
    if any(value in found and found[value].zero_point for value in even):
        raise GraphError("the right operand of a symmetric product has another prescribed scale")
    for value in range(first + len(graph.nodes)):
        if types[value] != "int8" or root[value] in found:
            continue
        usual = _SIGNED if signed.get(root[value], True) else _POSITIVE
        if root[value] in even:
            usual = _EVEN
        if value < first:
            found[root[value]] = usual
            continue
        node = graph.nodes[value - first]
        read = [found[root[each]].scale for each in node.inputs if root[each] in found]
        size = min(max(_size(node.op, read, usual.scale), _SMALLEST), _LARGEST)
        found[root[value]] = Scale(size, usual.zero_point)
    return tuple([found.get(root[value]) for value in range(first + len(graph.nodes))])


def shared_scales(graph: Graph) -> list[int]:
    """Return for every value one that stands for all that must have the same scale."""
    first = len(graph.inputs)
    parent = list(range(first + len(graph.nodes)))

    def find(value: int) -> int:
        while parent[value] != value:
            parent[value] = value = parent[parent[value]]
        return value

    for value, node in enumerate(graph.nodes, first):
        if isinstance(node.op, MOVES) and graph.types[value] == "int8":
            for each in node.inputs:
                parent[find(each)] = find(value)
    return [find(value) for value in parent]


def _is_positive(op: Op) -> bool:
    kind = op.kind if isinstance(op, Activation) else getattr(op, "activation", "none")
    return kind in ("relu", "relu6", "hard_sigmoid", "logistic") or isinstance(op, Softmax)


def _size(op: Op, read: list[float], usual: float) -> float:
    """Return the scale of an operator's result, from those of what it reads."""
    if isinstance(op, Quantize):
        return _STEP * read[0] if read else usual
    if not isinstance(op, Binary):
        return usual
    if op.kind == "mul" and op.value:
        return read[0] * abs(op.value)
    return max(read)


def quantise_channels(kernel: Array, axis: int) -> tuple[Array, Array]:
    """Return a kernel as int8, and the scale of every channel along an axis.

    >>> quantise_channels(np.array([[1.0, -2.0], [0.0, 0.0]], np.float32), 0)[0].tolist()
    [[64, -127], [0, 0]]
    """
    others = tuple(each for each in range(kernel.ndim) if each != axis % kernel.ndim)
    most = np.abs(kernel).max(axis=others)
    size = np.where(most > 0, most / np.float32(127), np.float32(1)).astype(np.float32)
    shape = [1] * kernel.ndim
    shape[axis] = -1
    return np.rint(kernel / size.reshape(shape)).astype(np.int8), size


def quantise_bias(bias: Array, size: Array) -> Array:
    """Return a bias as int32; `size` is the scale of every channel."""
    whole = np.rint(bias.astype(np.float64) / size)
    return np.clip(whole, -(2**31), 2**31 - 1).astype("<i4")


def quantise_constant(
    values: Array, least: float, *, symmetric: bool = False
) -> tuple[Array, Scale]:
    """Return a constant operand as int8, with a scale of `least` or more.

    Where it shall be `symmetric`, its zero point is 0.
    """
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if not math.isfinite(high - low):
        raise GraphError("a constant that is not finite cannot be quantised")
    if symmetric:
        high = max(high, -low)
        low = -high * 128 / 127
    size = max((high - low) / 255, least)
    zero = int(np.clip(round(-128 - low / size), -128, 127))
    whole = np.clip(np.rint(values / size) + zero, -128, 127)
    return whole.astype(np.int8), Scale(size, zero)


def channel_axis(node: Node) -> int:
    """Return the axis of a node's kernel that its output channels lie on."""
    return -1 if node.op.name == "depthwise_conv2d" else 0

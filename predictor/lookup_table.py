"""Look-up tables of ProxylessNAS and Once-for-all: layers by name, with their mean time.

Cai et al., "ProxylessNAS" (ICLR 2019), https://arxiv.org/abs/1812.00332, and Cai et al.,
"Once-for-All" (ICLR 2020), https://arxiv.org/abs/1908.09791. Both look a layer up by a key such as
``expanded_conv-input:56x56x24-output:28x28x32-expand:3-kernel:5-stride:2-idskip:0`` in a YAML file
and take its ``mean``, in milliseconds. In ProxylessNAS's dialect ``expand`` is the ratio; in that
of OFA's MobileNetV3 it is the number of expanded channels, and ``se`` and ``hs`` say whether the
block has squeeze-and-excitation and hard swish.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from latlas.predictor.observations import at_usual_speed, fixed_cost_us, whole_us
from latlas.profiler.count import squeeze_excite_nodes
from latlas.profiler.errors import TableError
from latlas.profiler.graph import Graph, Node
from latlas.profiler.ops import (
    Activation,
    Binary,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Mean,
    Pool,
    Shape,
)
from latlas.profiler.table import Table

Dialect = Literal["proxylessnas", "ofa"]


@dataclass(frozen=True, slots=True)
class Entry:
    """The time of one layer.

    Attributes:
        mean: milliseconds, without the fixed cost of an invocation.
        count: samples that it rests on.
    """

    mean: float
    count: int


@dataclass(frozen=True)
class LookupTable:
    """Layers by their key in one dialect, and what has none.

    Attributes:
        dialect: of the keys.
        entries: time by key, ordered by key.
        left_out: names of measured kernels and blocks that the dialect has no key for, with why.
    """

    dialect: Dialect
    entries: Mapping[str, Entry]
    left_out: Mapping[str, str]

    def to_yaml(self) -> str:
        """Return the file's text: JSON, which every reader of YAML takes.

        >>> print(LookupTable("ofa", {"Conv_1-input:7x7x160-output:7x7x960": Entry(0.5, 20)}, {}
        ...     ).to_yaml(), end="")
        {
          "Conv_1-input:7x7x160-output:7x7x960": {
            "mean": 0.5,
            "count": 20
          }
        }
        """
        plain = {key: {"mean": e.mean, "count": e.count} for key, e in self.entries.items()}
        return json.dumps(plain, indent=2, allow_nan=False) + "\n"


def lookup_table(table: Table, dialect: Dialect) -> LookupTable:
    """Return the layers of a latency table under the keys of a dialect.

    Blocks (`latlas profile --granularity block`) give the ``expanded_conv`` keys; kernels measured
    alone give those of single layers. Where several have one key (they differ in what the key does
    not say, such as the activation), their times are averaged.

    Raises:
        TableError: nothing in the table has a key.
    """
    usable = at_usual_speed(table)
    layers = [m for m in usable if m.unit in ("block", "kernel")]
    smallest_us = min(map(whole_us, layers), default=0.0)
    fixed_us = {
        unit: fixed_cost_us(
            [m for m in usable if m.unit == "probe"],
            min((whole_us(m) for m in layers if m.unit == unit), default=smallest_us),
        )
        for unit in ("block", "kernel")
    }
    found: dict[str, list[Entry]] = {}
    left_out = {}
    for each in layers:
        graph = each.to_graph()
        key = key_of(graph, dialect)
        if key is None:
            left_out[f"{each.unit} {each.graph}"] = why_not(graph, dialect)
            continue
        count = each.summary.n if each.summary else 0
        # What is the smallest of all takes a nanosecond at least.
        time_us = max(whole_us(each) - fixed_us[each.unit], 1e-3)
        found.setdefault(key, []).append(Entry(time_us / 1e3, count))
    if not found:
        raise TableError(
            f"the table {table.folder} has no layer that {dialect} has a key for: profile a space "
            "of inverted residuals (moga, fairnas) with --granularity block"
        )
    return LookupTable(dialect, {key: _mean(found[key]) for key in sorted(found)}, left_out)


def _mean(entries: Iterable[Entry]) -> Entry:
    entries = list(entries)
    mean = fmean(entry.mean for entry in entries)
    return Entry(round(mean, 9), sum(entry.count for entry in entries))


def why_not(graph: Graph, dialect: Dialect) -> str:
    """Return why `key_of` gives a graph no key."""
    if not graph.is_float:
        return "int8"
    if dialect == "proxylessnas" and key_of(graph, "ofa") is not None:
        return "squeeze-and-excitation or hard swish: --format ofa has keys for it"
    return "no layer of its own there"


def key_of(graph: Graph, dialect: Dialect) -> str | None:
    """Return the key of a layer in inference form, or None where the dialect has none.

    >>> from latlas.profiler.graph import Graph
    >>> key_of(Graph.from_text("1x7x7x160 | conv2d filters=960 kernel=1x1 @0 | @1"), "ofa")
    'Conv_1-input:7x7x160-output:7x7x960'
    """
    if not graph.is_float or len(graph.inputs) != 1 or len(graph.outputs) != 1:
        return None
    source, target = graph.inputs[0], graph.shapes[graph.outputs[0]]
    if len(source) not in (2, 4) or source[0] != 1:
        return None
    block = _inverted_residual(graph)
    if block is not None:
        return block.key(source, target, dialect)
    layer = _single_layer(graph, dialect)
    if layer is None:
        return None
    if layer == "Logits":
        size = (1, 1, *source[1:]) if len(source) == 2 else source[1:]
        return f"Logits-input:{_text(size)}-output:{target[-1]}"
    return f"{layer}-input:{_text(source[1:])}-output:{_text(target[1:])}"


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _single_layer(graph: Graph, dialect: Dialect) -> str | None:
    """Return the type of a layer that is no block: ``Conv``, ``Conv_1``, ``Logits`` …"""
    nodes = _without_activations(graph)
    kinds = [type(node.op) for node in nodes]
    source = graph.inputs[0]
    pooled = bool(nodes) and _is_global(nodes[0], graph)
    if pooled and kinds[1:] == [FullyConnected] and dialect == "proxylessnas":
        return "Logits"  # all that follows the last convolution
    if kinds == [FullyConnected] and dialect == "ofa":
        return "Logits"
    if pooled and len(nodes) == 1 and dialect == "ofa":
        return "AvgPool2D"
    if kinds != [Conv2D]:
        return None
    op = nodes[0].op
    assert isinstance(op, Conv2D)
    if op.groups != 1 or op.dilation != (1, 1):
        return None
    if op.kernel == (3, 3) and op.stride == (2, 2) and source[3] == 3:
        return "Conv"
    if op.kernel != (1, 1) or op.stride != (1, 1):
        return None
    if source[1:3] == (1, 1):
        return "Conv_2" if dialect == "ofa" else None
    return "Conv_1"


def _is_global(node: Node, graph: Graph) -> bool:
    """Tell whether a node averages whole planes."""
    height, width = (*graph.input_shapes(node)[0], 0, 0)[1:3]
    if isinstance(node.op, Pool):
        return node.op.kind == "average" and node.op.kernel == (height, width)
    return isinstance(node.op, Mean)


def _without_activations(graph: Graph) -> list[Node]:
    """Return the nodes of a chain without its activations; none where it is no chain."""
    for position, node in enumerate(graph.nodes):
        if node.inputs != (position,):
            return []
    return [node for node in graph.nodes if not isinstance(node.op, Activation)]


@dataclass(frozen=True, slots=True)
class _InvertedResidual:
    """A 1x1 convolution that expands, a depthwise one, one that projects, and what is beside."""

    middle: int
    kernel: int
    stride: int
    skip: bool
    squeeze: bool
    swish: bool

    def key(self, source: Shape, target: Shape, dialect: Dialect) -> str | None:
        expand = self.middle
        if dialect == "proxylessnas":
            if self.squeeze or self.swish or self.middle % source[3]:
                return None
            expand = self.middle // source[3]
        key = (
            f"expanded_conv-input:{_text(source[1:])}-output:{_text(target[1:])}-expand:{expand}"
            f"-kernel:{self.kernel}-stride:{self.stride}-idskip:{self.skip:d}"
        )
        return key if dialect == "proxylessnas" else f"{key}-se:{self.squeeze:d}-hs:{self.swish:d}"


def _inverted_residual(graph: Graph) -> _InvertedResidual | None:
    """Return what describes an inverted residual (Sandler et al. 2018), or None for another."""
    inside = squeeze_excite_nodes(graph)
    nodes = [
        node
        for position, node in enumerate(graph.nodes)
        if not (position in inside or isinstance(node.op, Activation))
    ]
    if inside:  # its mean and the product that applies it belong to it
        nodes = [n for n in nodes if not (isinstance(n.op, Mean) or _is_product(n))]
    skip = bool(nodes) and nodes[-1] is graph.nodes[-1] and _adds_input(nodes[-1])
    ops = [node.op for node in (nodes[:-1] if skip else nodes)]
    if len(ops) == 2:  # without expansion
        ops.insert(0, Conv2D(graph.inputs[0][-1], (1, 1)))
    match ops:
        case [
            Conv2D(kernel=(1, 1), stride=(1, 1), groups=1) as expand,
            DepthwiseConv2D(multiplier=1, dilation=(1, 1)) as depthwise,
            Conv2D(kernel=(1, 1), stride=(1, 1), groups=1),
        ]:
            pass
        case _:
            return None
    square = depthwise.kernel[0] == depthwise.kernel[1]
    if not square or depthwise.stride[0] != depthwise.stride[1]:
        return None
    swish = any(
        isinstance(node.op, Activation) and node.op.kind == "hard_swish" for node in graph.nodes
    )
    return _InvertedResidual(
        expand.filters, depthwise.kernel[0], depthwise.stride[0], skip, bool(inside), swish
    )


def _adds_input(node: Node) -> bool:
    """Tell whether a node adds the block's own input to what the block computes."""
    return isinstance(node.op, Binary) and node.op.kind == "add" and 0 in node.inputs


def _is_product(node: Node) -> bool:
    return isinstance(node.op, Binary) and node.op.kind == "mul" and len(node.inputs) == 2

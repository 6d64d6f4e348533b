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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

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
    DataType,
    Dequantize,
    Op,
    Quantize,
    Shape,
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

    >>> from latlas.profiler.graph_builder import GraphBuilder
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

        >>> from latlas.profiler.graph_builder import GraphBuilder
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

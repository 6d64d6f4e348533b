"""The kernel: what a delegate launches as one, and what is measured and predicted.

Fusion rules say which nodes of a network go together; `split` makes a canonical `Kernel` of every
such group, so that the same work has the same name in whichever network and file it is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Protocol

from latlas.profiler.canonical import canonical, neutral
from latlas.profiler.errors import GraphError
from latlas.profiler.fold import require_folded
from latlas.profiler.graph import Graph, Node, plain_types
from latlas.profiler.ops import (
    Activation,
    BatchMatmul,
    Binary,
    DataType,
    Op,
    Pool,
    Reduce,
    Shape,
    Transpose,
)


@dataclass(frozen=True, slots=True)
class Kernel:
    """One fused unit, itself a tiny network: its first node does the work, the rest are fused.

    Attributes:
        inputs: shape of every activation that it reads, the main one first.
        nodes: operators in order; the last one's value is the output.
        input_types: element type of every input; empty where all are float32.
        first_shape: of the first node's value, where it is known already.
    """

    inputs: tuple[Shape, ...]
    nodes: tuple[Node, ...]
    input_types: tuple[DataType, ...] = ()
    first_shape: Shape | None = field(default=None, compare=False, repr=False)

    @property
    def op(self) -> Op:
        """The operator that does the work."""
        return self.nodes[0].op

    @property
    def dtype(self) -> DataType:
        """Element type of what the kernel reads; of its weights too, and nearly always its output.

        Only ``quantize`` and ``dequantize`` write another type than they read.
        """
        return self.input_types[0] if self.input_types else "float32"

    @property
    def type(self) -> str:
        """What a predictor learns apart: ``conv2d``, ``average_pool``, ``conv2d:int8`` …

        Several int8 operators that one lookup table stands for are a ``lookup:int8``.
        """
        if not self.input_types:
            return op_type(self.op)
        return f"{op_type(self.op) if len(self.nodes) == 1 else LOOKUP}:{self.dtype}"

    @property
    def graph(self) -> Graph:
        """The kernel as a network of its own, ready to be written and measured."""
        outputs = (len(self.inputs) + len(self.nodes) - 1,)
        return Graph(self.inputs, self.nodes, outputs, input_types=self.input_types)

    @property
    def text(self) -> str:
        """The kernel's stable name; `Kernel.from_text` reads it back."""
        return self.graph.to_text()

    @staticmethod
    def single(
        op: Op,
        inputs: tuple[Shape, ...],
        input_types: tuple[DataType, ...] = (),
        *,
        first_shape: Shape | None = None,
    ) -> Kernel:
        """Return the kernel of one operator that reads the inputs in order; else as `Kernel`."""
        node = Node(op, tuple(range(len(inputs))), _first_name(op.name))
        return Kernel(inputs, (node,), input_types, first_shape)

    @staticmethod
    def from_text(text: str) -> Kernel:
        """Read what `Kernel.text` gave.

        >>> text = "1x8x8x4 | conv2d filters=8 kernel=1x1 @0 | @1"
        >>> Kernel.from_text(text).text == text
        True

        Raises:
            GraphError: the text is not a kernel.
        """
        return Kernel.of(Graph.from_text(text))

    @staticmethod
    def of(graph: Graph) -> Kernel:
        """Return the kernel that a network of its own is: the inverse of `Kernel.graph`.

        Raises:
            GraphError: the network is no kernel: it has other outputs than its last value, or its
                first operator reads nothing.
        """
        last = len(graph.inputs) + len(graph.nodes) - 1
        if graph.outputs != (last,) or not graph.nodes or not graph.nodes[0].inputs:
            raise GraphError(f"not a kernel: {graph.to_text()[:80]!r}")
        return Kernel(graph.inputs, graph.nodes, graph.input_types)


LOOKUP = "lookup"
"""The type of kernels that are one table of 256 bytes, however many operators stand behind it."""


def op_type(op: Op) -> str:
    """Return the name under which an operator is measured and predicted.

    >>> op_type(Reduce("max", (1,)))
    'reduce_max'
    """
    match op:
        case Binary() | Activation():
            return op.kind
        case Pool():
            return f"{op.kind}_pool"
        case Reduce():
            return f"reduce_{op.kind}"
        case _:
            return op.name


class FusionRules(Protocol):
    """Which nodes a delegate runs as one kernel."""

    @property
    def version(self) -> str:
        """Names the rules in tables; changes whenever they do."""
        ...

    def groups(self, graph: Graph) -> list[tuple[int, ...]]:
        """Return groups of node positions, in execution order; a node that costs nothing has none.

        Inside a group, every node but the first reads the result of the one before it.
        """
        ...

    @property
    def unowned_operators(self) -> frozenset[str]:
        """Names of operators that the runtime's profiler lists but that belong to no kernel."""
        ...

    def operators(self, kernel: Kernel) -> int:
        """Return how many operators the profiler lists for a kernel, unowned ones aside."""
        ...


def split(graph: Graph, rules: FusionRules) -> tuple[Kernel, ...]:
    """Return the kernels of a network in execution order.

    Raises:
        GraphError: the graph is not in the inference form.
    """
    require_folded(graph, "the kernel splitter")
    return tuple([_kernel(graph, group) for group in rules.groups(graph)])


def _kernel(graph: Graph, group: Sequence[int]) -> Kernel:
    """Cut a group of nodes out of a graph, in canonical form."""
    first = len(graph.inputs)
    if len(group) == 1:  # nearly all of them, so worth a short way
        node = graph.nodes[group[0]]
        op, shapes = node.op, graph.input_shapes(node)
        # TFLite has no square of int8
        op, spelled = canonical(*(_squared(node, shapes) if graph.is_float else (op, shapes)))
        known = graph.shapes[first + group[0]] if op is node.op and spelled is shapes else None
        if graph.is_float:
            return Kernel.single(op, spelled, first_shape=known)
        types = plain_types([graph.types[value] for value in node.inputs])
        return Kernel.single(op, spelled, types, first_shape=known)
    if _turns_operand(graph, group):
        return _product(graph, *group)
    inside = {first + position: index for index, position in enumerate(group)}
    outside: dict[int, int] = {}
    for position in group:
        for value in graph.nodes[position].inputs:
            if value not in inside:
                outside.setdefault(value, len(outside))
    numbers = outside | {value: len(outside) + index for value, index in inside.items()}
    nodes = tuple(
        Node(
            neutral(graph.nodes[position].op),
            tuple([numbers[value] for value in graph.nodes[position].inputs]),
            f"{graph.nodes[position].op.name}_{index}",
        )
        for index, position in enumerate(group)
    )
    types = plain_types([graph.types[value] for value in outside])
    return Kernel(tuple([graph.shapes[value] for value in outside]), nodes, types)


@cache
def _first_name(name: str) -> str:
    return f"{name}_0"


_PRODUCT = Binary("mul")


def _squared(node: Node, shapes: tuple[Shape, ...]) -> tuple[Op, tuple[Shape, ...]]:
    """Spell the product of a value with itself as a square, which is what is computed."""
    if type(node.op) is Binary and node.inputs[0] == node.inputs[-1] and node.op == _PRODUCT:
        return Activation("square"), shapes[:1]
    return node.op, shapes


def _turns_operand(graph: Graph, group: Sequence[int]) -> bool:
    ops = [graph.nodes[position].op for position in group]
    return len(ops) == 2 and isinstance(ops[0], Transpose) and isinstance(ops[1], BatchMatmul)


def _product(graph: Graph, transpose: int, position: int) -> Kernel:
    """Return a product of matrices that turns its right operand itself, one transpose the less."""
    node = graph.nodes[position]
    assert isinstance(node.op, BatchMatmul)
    shapes = graph.shapes[node.inputs[0]], *graph.input_shapes(graph.nodes[transpose])
    op, shapes = canonical(replace(node.op, adj_y=not node.op.adj_y), shapes)
    return Kernel.single(op, shapes)

"""What XNNPACK, the CPU delegate, runs as one kernel.

TFLite's operators map one to one to XNNPACK's, with these exceptions: zeros go into the convolution
behind them (`latlas.profiler.fold` has done that already), what clips its input (a ReLU, a maximum
with a number) goes into a convolution, fully connected layer, pooling or another clip before it, a
transpose of the right operand's last two axes into the matrix product that alone reads it
(``xnn_subgraph_fusion``), and a reshape moves no data, though its profiler lists one, also for
every change of rank inside other operators.

In a quantised network, a chain of element-wise operators on one int8 value is one table of 256
bytes (``xnn_subgraph_fuse_unary_quantized_into_lut``): ``x * logistic(x)`` is a single kernel.

What XNNPACK does not take runs in TFLite's own kernels. A delegate gets whole parts of a network,
so that operators in between change the order of all (``PartitionGraphIntoIndependentNodeSubsets``).
"""

from __future__ import annotations

from heapq import heappop, heappush

from latlas.profiler.graph import Graph, Node
from latlas.profiler.kernel import Kernel
from latlas.profiler.ops import (
    Activation,
    BatchMatmul,
    Binary,
    Broadcast,
    Concat,
    Constant,
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    FullyConnected,
    Gather,
    Mean,
    Op,
    Pool,
    Quantize,
    Reduce,
    Reshape,
    Resize,
    Select,
    Slice,
    Softmax,
    Tile,
    Transpose,
    TransposeConv2D,
)

MAX_CONCAT = 5
"""XNNPACK joins no more tensors at once."""

MAX_RANK = 6
"""Its tensors have no more axes."""

_LEFT_TO_TFLITE = (Broadcast, Gather, Select, Tile)
_SURE = frozenset({Conv2D, DepthwiseConv2D, FullyConnected, Activation, Mean, Softmax, Reshape})
"""Taken whatever their options, where all is float32."""

_JOINED = frozenset({Transpose, Activation, Binary})
"""Among them are those that go into another operator's kernel, where all is float32."""

_CLIPPING = (Conv2D, DepthwiseConv2D, FullyConnected, Pool, TransposeConv2D)

MAX_LOOKUP = 10
"""Operators that one table may stand for."""

_LEFT_OF_INT8 = frozenset(
    {
        *("relu", "relu6", "hard_swish", "gelu", "gelu_tanh"),
        *("exp", "log", "neg", "abs", "sqrt", "rsqrt"),
        *("maximum", "minimum", "squared_difference"),
    }
)
"""Kinds of activations and of operators on two values that it does not take where all is int8."""


class XnnpackRules:
    """Fusion rules of XNNPACK as it ships in LiteRT 2.3."""

    version = "xnnpack-1"
    unowned_operators = frozenset({"Static Reshape (NC)", "kernel:RESHAPE"})

    def groups(self, graph: Graph) -> list[tuple[int, ...]]:
        """Return one group per node, or per several that run as one; reshapes cost nothing."""
        taken = [_is_taken(graph, node) for node in graph.nodes]
        order = range(len(taken)) if all(taken) else _execution_order(graph, taken)
        chains = _fused(graph, taken)
        if not graph.is_float:
            chains |= _lookups(graph, taken)
        inside = {position for chain in chains.values() for position in chain}
        return [
            chains.get(i, (i,))
            for i in order
            if i in chains or not (i in inside or isinstance(graph.nodes[i].op, Reshape | Constant))
        ]

    def operators(self, kernel: Kernel) -> int:
        """Return 2 for additions and multiplications with a ReLU, which XNNPACK does not fuse.

        Of int8 and a number, both are in one table. A left operand is transposed apart, and a
        choice is a comparison first.
        """
        op = kernel.op
        if isinstance(op, BatchMatmul):
            return 2 if op.adj_x and (kernel.dtype != "int8" or op.symmetric) else 1
        if isinstance(op, Select):
            return 2
        if not isinstance(op, Binary) or op.activation == "none" or len(kernel.nodes) > 1:
            return 1
        return 1 if kernel.dtype == "int8" and op.value is not None else 2


def _is_taken(graph: Graph, node: Node) -> bool:
    """Tell whether XNNPACK runs a node, and not TFLite itself."""
    op = node.op
    if graph.is_float and type(op) in _SURE and len(graph.shapes[node.inputs[0]]) <= MAX_RANK:
        return True  # nearly all, so worth a short way
    if isinstance(op, _LEFT_TO_TFLITE):
        return False
    if isinstance(op, Concat):
        return len(node.inputs) <= MAX_CONCAT
    if isinstance(op, Slice) and op.steps:
        return False
    if isinstance(op, Binary) and op.kind == "pow":
        return False
    if isinstance(op, Reduce) and op.kind == "prod":
        return False
    if any(len(shape) > MAX_RANK for shape in graph.input_shapes(node)):
        return False
    if isinstance(op, Resize):
        return op.method == "bilinear"
    if isinstance(op, Pool) and op.kernel == (1, 1):
        return False
    if graph.is_float or isinstance(op, Constant) or graph.types[node.inputs[0]] == "float32":
        return True
    if isinstance(op, Activation | Binary):
        return op.kind not in _LEFT_OF_INT8
    if isinstance(op, BatchMatmul):
        return op.symmetric
    if isinstance(op, Softmax):
        return False
    return not (isinstance(op, Pool) and op.kind == "average")


def _execution_order(graph: Graph, taken: list[bool]) -> list[int]:
    """Return the nodes in the order in which they run: part by part, delegated or not in turn."""
    first = len(graph.inputs)
    stored = {first + i for i, node in enumerate(graph.nodes) if isinstance(node.op, Constant)}
    missing = [
        sum(value >= first and value not in stored for value in node.inputs) for node in graph.nodes
    ]
    ready: dict[bool, list[int]] = {True: [], False: []}  # heaps: nodes run in the file's order
    for position, count in enumerate(missing):
        if not count and first + position not in stored:
            ready[taken[position]].append(position)
    order: list[int] = []
    while any(ready.values()):
        part = min((kind for kind in ready if ready[kind]), key=lambda kind: ready[kind][0])
        while ready[part]:
            position = heappop(ready[part])
            order.append(position)
            for reader in graph.consumers[first + position]:
                missing[reader] -= 1
                if not missing[reader]:
                    heappush(ready[taken[reader]], reader)
    return order


def _fused(graph: Graph, taken: list[bool]) -> dict[int, tuple[int, ...]]:
    """Return the float nodes that run as one, by the position of the one that gives the order."""
    first = len(graph.inputs)
    groups: dict[int, tuple[int, ...]] = {}
    inside: set[int] = set()
    if not any(type(node.op) in _JOINED and _joins(node.op) for node in graph.nodes):
        return groups
    for start, node in enumerate(graph.nodes):
        clips = isinstance(node.op, _CLIPPING) or _is_clip(node.op)
        if start in inside or not taken[start] or not (clips or isinstance(node.op, Transpose)):
            continue
        if graph.types[first + start] != "float32":
            continue
        group = [start]
        reader = _only_reader(graph, start)
        if isinstance(node.op, Transpose):
            if reader is not None and _absorbs(graph, reader, start):
                groups[reader] = (start, reader)
                inside.add(start)
            continue
        while reader is not None and taken[reader] and _is_clip(graph.nodes[reader].op):
            group.append(reader)
            reader = _only_reader(graph, reader)
        if len(group) > 1:
            groups[start] = tuple(group)
            inside.update(group)
    return groups


def _joins(op: Op) -> bool:
    return isinstance(op, Transpose) or _is_clip(op)


def _only_reader(graph: Graph, position: int) -> int | None:
    """Return the node that alone reads a node's value, once, if there is one."""
    value = len(graph.inputs) + position
    readers = graph.consumers[value]
    return readers[0] if len(readers) == 1 and value not in graph.returned else None


def _is_clip(op: Op) -> bool:
    if isinstance(op, Activation):
        return op.kind in ("relu", "relu6")
    return isinstance(op, Binary) and op.kind in ("maximum", "minimum") and op.value is not None


def _absorbs(graph: Graph, position: int, transpose: int) -> bool:
    """Tell whether a node is a product whose right matrices a transpose turns."""
    node, op = graph.nodes[position], graph.nodes[transpose].op
    if not isinstance(node.op, BatchMatmul) or not isinstance(op, Transpose):
        return False
    rank = len(op.perm)
    turned = (*range(rank - 2), rank - 1, rank - 2)
    return op.perm == turned and node.inputs[1:] == (len(graph.inputs) + transpose,)


def _lookups(graph: Graph, taken: list[bool]) -> dict[int, tuple[int, ...]]:
    """Return the chains of nodes that become one table, by the position of the last."""
    first = len(graph.inputs)
    chains: dict[int, tuple[int, ...]] = {}
    inside: set[int] = set()
    for start, node in enumerate(graph.nodes):
        if start in inside or not taken[start] or isinstance(node.op, Constant):
            continue
        if graph.types[node.inputs[0]] != "int8":
            continue
        chain: list[int] = []
        known: set[int] = set()
        position = start
        while taken[position] and len(chain) < MAX_LOOKUP:
            if not _is_unary(graph.nodes[position], known):
                break
            chain.append(position)
            known.update((*graph.nodes[position].inputs, first + position))
            readers = graph.consumers[first + position]
            if len(readers) != 1 or first + position in graph.returned:
                break
            position = readers[0]
        while chain and graph.types[first + chain[-1]] != "int8":
            chain.pop()
        if len(chain) > 1:
            chains[chain[-1]] = tuple(chain)
            inside.update(chain)
    return chains


def _is_unary(node: Node, known: set[int]) -> bool:
    """Tell whether a node computes each element from one of a value that is already in `known`."""
    if isinstance(node.op, Activation | Quantize | Dequantize):
        return True
    if not isinstance(node.op, Binary) or node.op.constant is not None:
        return False
    return node.op.value is not None or known.issuperset(node.inputs)

"""Fusion rules that were found out by measuring: which types of operators merge, and when.

Groups are built greedily, as delegates do: a node merges into the operator before it where their
types were seen to be run as one, and where what was learned about several readers, second inputs
and longer chains allows it. What was not measured, or not decided, does not merge.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from latlas.profiler.errors import GraphError
from latlas.profiler.graph import Graph, Node
from latlas.profiler.kernel import Kernel, op_type
from latlas.profiler.ops import Constant, Conv2D, DepthwiseConv2D, Op, Shape, same_padding

MOVERS = frozenset({"pad", "reshape"})
"""Types that only move data: one that merges with a neighbour costs nothing, and is no kernel."""

PREFIX = "detected-"
"""How the versions of detected rules begin."""

MAX_VERSION = 1 << 19
"""Characters of a version; no rule file holds pairs for more."""

INT8 = (
    "fusion rules are detected with float32 operators, and int8 networks are split by others: "
    "leave the detected rules away, or use float32 networks"
)

_FLAGS = ("several-readers", "second-input", "broadcast", "chains")
_PAIRS = re.compile("[a-z][a-z0-9_]{0,59}>[a-z0-9_,]+(;[a-z][a-z0-9_]{0,59}>[a-z0-9_,]+)*")


@dataclass(frozen=True)
class DetectedRules:
    """Fusion rules of a delegate whose rules were found out by measuring.

    Attributes:
        fused: pairs of types of operators that are run as one, in order.
        several_readers: whether they are so even where the value between them has other readers
            or is an output.
        second_input: whether they are so where the value is not the first input.
        broadcast: whether they are so where, besides, the value is smaller than the result.
        chains: whether three and more are run as one where each two of them are.
    """

    fused: frozenset[tuple[str, str]]
    several_readers: bool = False
    second_input: bool = False
    broadcast: bool = False
    chains: bool = True

    @property
    def version(self) -> str:
        """The rules as one line, which begins with a short name: tables and predictors hold it.

        >>> DetectedRules(frozenset({("conv2d", "relu"), ("conv2d", "relu6")})).version
        'detected-4089ba8a chains conv2d>relu,relu6'
        """
        values = self.several_readers, self.second_input, self.broadcast, self.chains
        flags = zip(_FLAGS, values, strict=True)
        followers: dict[str, list[str]] = {}
        for first, second in sorted(self.fused):
            followers.setdefault(first, []).append(second)
        pairs = ";".join(f"{first}>{','.join(names)}" for first, names in followers.items())
        words = [*(name for name, is_set in flags if is_set), *filter(None, [pairs])]
        content = " ".join(words)
        digest = hashlib.sha256(content.encode()).hexdigest()[:8]
        return " ".join([PREFIX + digest, *words])

    @staticmethod
    def from_version(text: str) -> DetectedRules:
        """Read what `version` gave.

        >>> rules = DetectedRules(frozenset({("conv2d", "relu")}), second_input=True)
        >>> DetectedRules.from_version(rules.version) == rules
        True

        Raises:
            GraphError: the text is no version of detected rules.
        """
        _, *words = text[:MAX_VERSION].split(" ")
        pairs = words.pop() if words and _PAIRS.fullmatch(words[-1]) else ""
        fused = [
            (first, second)
            for first, _, names in (part.partition(">") for part in filter(None, pairs.split(";")))
            for second in names.split(",")
        ]
        flags = [flag in words for flag in _FLAGS]
        rules = DetectedRules(frozenset(fused), *flags)
        if rules.version != text:
            raise GraphError(f"not a version of detected fusion rules: {text!r:.80}")
        return rules

    @property
    def unowned_operators(self) -> frozenset[str]:
        """No names: what a runtime lists was not looked at."""
        return frozenset()

    def groups(self, graph: Graph) -> list[tuple[int, ...]]:
        """Return chains of nodes; one that only moves data and merges has none.

        Raises:
            GraphError: the graph is a quantised network.
        """
        if not graph.is_float:
            raise GraphError(INT8)
        first = len(graph.inputs)
        stored = {i for i, node in enumerate(graph.nodes) if isinstance(node.op, Constant)}
        values = {first + position for position in stored}
        taken = stored | {i for i, node in enumerate(graph.nodes) if self._is_free(graph, i, node)}
        groups = []
        for root in range(len(graph.nodes)):
            if root in taken:
                continue
            chain = [root]
            while (follower := self._follower(graph, chain, taken, values)) is not None:
                chain.append(follower)
                taken.add(follower)
            groups.append(tuple(chain))
        return groups

    def operators(self, kernel: Kernel) -> int:
        """Return how many parts of a kernel do not merge with the part before them.

        A convolution whose padding a .tflite file cannot express begins with a pad, and a fused
        activation is a part of its own where it was seen not to merge.
        """
        count = 1
        for node in kernel.nodes:
            parts = list(_parts(node.op, kernel.graph.input_shapes(node)))
            count += sum(pair not in self.fused for pair in pairwise(parts))
        return count

    def _follower(
        self, graph: Graph, chain: list[int], taken: set[int], stored: set[int]
    ) -> int | None:
        """Return the node that merges into the end of a chain, if there is one.

        Values that are stored in the model are always ready, and no inputs.
        """
        first, last = len(graph.inputs), graph.nodes[chain[-1]]
        if not self.chains and (len(chain) > 1 or _tail(last.op) != op_type(last.op)):
            return None
        value = first + chain[-1]
        for reader in self._readers(graph, value):
            node = graph.nodes[reader]
            if reader in taken or (_tail(last.op), op_type(node.op)) not in self.fused:
                continue
            inputs = [other for other in node.inputs if other not in stored]
            equal = graph.shapes[value] == graph.shapes[first + reader]
            if inputs[0] != value and not (self.second_input if equal else self.broadcast):
                continue
            # What else it reads must be there when the chain runs.
            if all(other == value or other < first + chain[0] for other in inputs):
                return reader
        return None

    def _readers(self, graph: Graph, value: int) -> tuple[int, ...]:
        """Return the nodes that may merge with the node that writes a value."""
        readers = graph.consumers[value]
        alone = len(readers) == 1 and value not in graph.returned
        return readers if alone or self.several_readers else ()

    def _is_free(self, graph: Graph, position: int, node: Node) -> bool:
        kind, first = op_type(node.op), len(graph.inputs)
        if kind not in MOVERS:
            return False
        source = node.inputs[0] - first
        behind = source >= 0 and (_tail(graph.nodes[source].op), kind) in self.fused
        if behind and position in self._readers(graph, node.inputs[0]):
            return True
        return any(
            (kind, op_type(graph.nodes[reader].op)) in self.fused
            for reader in self._readers(graph, first + position)
        )


def _tail(op: Op) -> str:
    """Return the type of what an operator does last."""
    activation = getattr(op, "activation", "none")
    return op_type(op) if activation == "none" else str(activation)


def _parts(op: Op, shapes: tuple[Shape, ...]) -> Iterator[str]:
    """Yield the types of the operators that one node may be."""
    if isinstance(op, Conv2D | DepthwiseConv2D) and any(op.padding):
        size = shapes[0][1], shapes[0][2]
        if op.padding != same_padding(size, op.kernel, op.stride, op.dilation):
            yield "pad"
    yield op_type(op)
    if _tail(op) != op_type(op):
        yield _tail(op)

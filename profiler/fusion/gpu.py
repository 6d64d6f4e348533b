"""What TFLite's GPU delegate runs as one kernel, by the rules of its source (``MergeNodes``).

A node merges into its consumer when its value is no output of the network and has exactly one
consumer, which reads it as its first input, is element-wise, and finds its other inputs ready.
ADD and MUL of equal shapes read the input that was written last first. Whether the newer ML Drift
accelerators (OpenCL, WebGPU) follow exactly these rules is not verified.

A convolution that is large enough goes by way of Winograd's algorithm, as three kernels
(``conv_2d.cc``, ``IsSuitableForWinograd4x4To6x6``).
"""

from __future__ import annotations

import re

from latlas.profiler.errors import GraphError
from latlas.profiler.graph import Graph, Node
from latlas.profiler.kernel import Kernel
from latlas.profiler.ops import Activation, Binary, Constant, Conv2D, Prelu
from latlas.profiler.target import INT8_ON_GPU


class GpuDelegateRules:
    """Fusion rules of the GPU delegate.

    Args:
        adapter: the GPU as its driver names it, e.g. ``Adreno (TM) 640``.
    """

    version = "gpu-delegate-1"
    unowned_operators: frozenset[str] = frozenset()

    def __init__(self, adapter: str = "") -> None:
        self.adapter = adapter

    def groups(self, graph: Graph) -> list[tuple[int, ...]]:
        """Return chains of nodes: a root and the element-wise nodes merged into it.

        Raises:
            GraphError: the graph is a quantised network.
        """
        if not graph.is_float:
            raise GraphError(INT8_ON_GPU)
        first = len(graph.inputs)
        stored = {
            first + position
            for position, node in enumerate(graph.nodes)
            if isinstance(node.op, Constant)
        }
        merged: set[int] = set()
        groups = []
        for root in range(len(graph.nodes)):
            if root in merged or first + root in stored:
                continue
            chain = [root]
            while True:
                value = first + chain[-1]
                consumers = graph.consumers[value]
                if value in graph.returned or len(consumers) != 1:
                    break
                node = graph.nodes[consumers[0]]
                if not isinstance(node.op, Binary | Activation | Prelu):
                    break
                others = [other for other in node.inputs if other != value and other not in stored]
                if any(other >= first + root for other in others):
                    break  # not ready when the root runs
                if not stored.intersection(node.inputs) and _main_input(graph, node) != value:
                    break
                chain.append(consumers[0])
                merged.add(consumers[0])
            groups.append(tuple(chain))
        return groups

    def operators(self, kernel: Kernel) -> int:
        """Return 3 for a convolution by Winograd's algorithm, else 1: what is merged is one."""
        return 3 if self.is_winograd(kernel) else 1

    def is_winograd(self, kernel: Kernel) -> bool:
        """Return whether the delegate runs a kernel by Winograd's algorithm."""
        op = kernel.op
        if not isinstance(op, Conv2D) or (op.kernel, op.stride) != ((3, 3), (1, 1)):
            return False
        if op.dilation != (1, 1) or op.groups != 1:
            return False
        _, height, width, filters = op.infer((kernel.inputs[0],))
        tiles = _quarters(height) * _quarters(width)
        read, written = _quarters(kernel.inputs[0][3]), _quarters(filters)
        name = self.adapter.lower()
        if "adreno" in name:
            enough = 128 if re.search(r"\b6\d\d\b", name) else 64
            return min(read, written) >= 32 and tiles >= enough
        if any(amd in name for amd in ("amd", "radeon", "xclipse")):
            return read >= 16 and written >= 8 and tiles >= 32
        return min(read, written) >= 16 and tiles >= 32


def _quarters(size: int) -> int:
    """Return how many fours hold a size: the delegate's slices of channels and tiles of pixels."""
    return -(-size // 4)


def _main_input(graph: Graph, node: Node) -> int:
    shapes = graph.input_shapes(node)
    if len(shapes) == 2 and shapes[0] == shapes[1]:
        return max(node.inputs)
    return node.inputs[0]

"""What TFLite's GPU delegate runs as one kernel, by the rules of its source (``MergeNodes``).

A node merges into its consumer when its value is no output of the network and has exactly one
consumer, which reads it as its first input, is element-wise, and finds its other inputs ready.
ADD and MUL of equal shapes read the input that was written last first. Whether the newer ML Drift
accelerators (OpenCL, WebGPU) follow exactly these rules is not verified.
"""

from __future__ import annotations

from latlas.profiler.graph import Graph, Node
from latlas.profiler.kernel import Kernel
from latlas.profiler.ops import Activation, Binary


class GpuDelegateRules:
    """Fusion rules of the GPU delegate."""

    version = "gpu-delegate-1"
    unowned_operators: frozenset[str] = frozenset()

    def groups(self, graph: Graph) -> list[tuple[int, ...]]:
        """Return chains of nodes: a root and the element-wise nodes merged into it."""
        first = len(graph.inputs)
        outputs = set(graph.outputs)
        merged: set[int] = set()
        groups = []
        for root in range(len(graph.nodes)):
            if root in merged:
                continue
            chain = [root]
            while True:
                value = first + chain[-1]
                consumers = graph.consumers[value]
                if value in outputs or len(consumers) != 1:
                    break
                node = graph.nodes[consumers[0]]
                if not isinstance(node.op, Binary | Activation):
                    break
                others = [other for other in node.inputs if other != value]
                if any(other >= first + root for other in others):
                    break  # not ready when the root runs
                if _main_input(graph, node) != value:
                    break
                chain.append(consumers[0])
                merged.add(consumers[0])
            groups.append(tuple(chain))
        return groups

    def operators(self, kernel: Kernel) -> int:
        """Return 1: what the delegate merges, it lists as one."""
        return 1


def _main_input(graph: Graph, node: Node) -> int:
    shapes = graph.input_shapes(node)
    if len(shapes) == 2 and shapes[0] == shapes[1]:
        return max(node.inputs)
    return node.inputs[0]

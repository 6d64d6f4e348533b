"""What XNNPACK, the CPU delegate, runs as one kernel.

TFLite's operators map one to one to XNNPACK's, with these exceptions: zeros go into the convolution
behind them and a lone ReLU or ReLU6 into the operator before it (`fold` has done both already), and
a reshape moves no data, though its profiler lists one, also for every change of rank inside other
operators.
"""

from __future__ import annotations

from latlas.profiler.graph import Graph
from latlas.profiler.kernel import Kernel
from latlas.profiler.ops import Binary, Reshape


class XnnpackRules:
    """Fusion rules of XNNPACK as it ships in LiteRT 2.3."""

    version = "xnnpack-1"
    unowned_operators = frozenset({"Static Reshape (NC)"})

    def groups(self, graph: Graph) -> list[tuple[int, ...]]:
        """Return one group per node; reshapes cost nothing."""
        return [(i,) for i, node in enumerate(graph.nodes) if not isinstance(node.op, Reshape)]

    def operators(self, kernel: Kernel) -> int:
        """Return 2 for additions and multiplications with a ReLU, which XNNPACK does not fuse."""
        return 2 if isinstance(kernel.op, Binary) and kernel.op.activation != "none" else 1

"""What XNNPACK, the CPU delegate, runs as one kernel.

TFLite's operators map one to one to XNNPACK's, with these exceptions: padding with zeros goes into
the convolution that follows it (a rule of XNNPACK's subgraph optimiser), a lone ReLU or ReLU6 into
the operator before it (`fold` has done so already), and a reshape moves no data.
"""

from __future__ import annotations

from latlas.profiler.graph import Graph
from latlas.profiler.ops import Reshape


class XnnpackRules:
    """Fusion rules of XNNPACK as it ships in LiteRT 2.3."""

    version = "xnnpack-1"

    def groups(self, graph: Graph) -> list[tuple[int, ...]]:
        """Return one group per node; reshapes cost nothing."""
        return [(i,) for i, node in enumerate(graph.nodes) if not isinstance(node.op, Reshape)]

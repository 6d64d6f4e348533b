"""Where drop path is at work, and how much (Larsson et al. 2017; Zoph et al. 2018).

ScheduledDropPath of NASNet: the rate grows with the cell, and with the progress of training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from latlas.profiler.errors import SearchError
from latlas.profiler.graph import Graph
from latlas.profiler.ops import Binary


def with_drop_path(graph: Graph, rate: float) -> Graph:
    """Return a network whose residual branches are dropped, the last one at this rate.

    The rate grows evenly with depth. Where nodes of the network have rates of their own, as in
    NASNet's cells, these stay in proportion, and the largest becomes this rate. Of an addition,
    the right operand is dropped. At a rate of 0 nothing is dropped.

    Raises:
        SearchError: the network has no branch beside a residual.
    """
    marked = {i: node.drop_path for i, node in enumerate(graph.nodes) if node.drop_path}
    if not rate:
        return graph if not marked else _marked(graph, dict.fromkeys(marked, 0.0))
    if not marked:
        marked = {position: i + 1.0 for i, position in enumerate(_residual_additions(graph))}
    if not marked:
        raise SearchError(
            "drop path needs residual connections, and this network has none: set drop_path.rate "
            "to 0 in the recipe"
        )
    largest = max(marked.values())
    return _marked(graph, {position: rate * own / largest for position, own in marked.items()})


def _marked(graph: Graph, rates: Mapping[int, float]) -> Graph:
    nodes = [
        replace(node, drop_path=rates[i]) if i in rates else node
        for i, node in enumerate(graph.nodes)
    ]
    return replace(graph, nodes=tuple(nodes))


def _residual_additions(graph: Graph) -> list[int]:
    """Return additions of a value and what was computed from it, the right operand."""
    first = len(graph.inputs)
    behind: list[frozenset[int]] = [frozenset()] * first
    found = []
    for position, node in enumerate(graph.nodes):
        behind.append(frozenset(node.inputs).union(*[behind[value] for value in node.inputs]))
        if isinstance(node.op, Binary) and node.op.kind == "add" and len(node.inputs) == 2:
            left, right = node.inputs
            if left in behind[right]:
                found.append(position)
    return found

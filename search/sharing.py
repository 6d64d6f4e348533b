"""Networks that compute nothing twice."""

from __future__ import annotations

from latlas.profiler.graph import Graph, Node
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.ops import Op


def shared(graph: Graph) -> Graph:
    """Return a float network in which equal operators without weights on equal values are one.

    TensorFlow's converter does so: the ReLU and the pooling that several operators of a cell begin
    with are computed once. Noise of training decides nothing that is measured: nodes that are equal
    but for it are one as well, with the noise of the first, and dropped together.

    >>> b = GraphBuilder((1, 8, 8, 4))
    >>> both = b.conv(b.relu(b.input), 4, 1), b.depthwise(b.relu(b.input), 3)
    >>> len(shared(b.build(b.add(*both))).nodes)
    4
    """
    b = GraphBuilder(*graph.inputs)
    values = list(range(len(graph.inputs)))
    seen: dict[tuple[Op, tuple[int, ...]], int] = {}
    for node in graph.nodes:
        inputs = tuple([values[value] for value in node.inputs])
        if node.op.weights(graph.input_shapes(node)):
            values.append(_apply(b, node, inputs))
            continue
        if (node.op, inputs) not in seen:
            seen[node.op, inputs] = _apply(b, node, inputs)
        values.append(seen[node.op, inputs])
    return b.build(*(values[value] for value in graph.outputs))


def _apply(b: GraphBuilder, node: Node, inputs: tuple[int, ...]) -> int:
    return b.apply(node.op, *inputs, dropout=node.dropout, drop_path=node.drop_path)

"""Parameters and multiply-adds of a network.

The convention is that of the MobileNet papers: multiply-adds are those of convolutions, depthwise
convolutions and fully connected layers, where biases, batch norm, activations, pooling and
additions are free; the convolutions of squeeze-and-excitation are counted apart. Parameters are
weights, biases, and batch norm's gamma and beta; moving statistics are not learned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from latlas.profiler.graph import Graph
from latlas.profiler.ops import BatchNorm, Binary, Mean


@dataclass(frozen=True)
class Count:
    """Size of a network.

    Attributes:
        params: learned numbers (of the training form) or stored numbers (of the inference form).
        madds: multiply-adds, squeeze-and-excitation excluded.
        se_madds: multiply-adds of squeeze-and-excitation.
        training_form: whether batch norm was still there to be counted.
    """

    params: int
    madds: int
    se_madds: int
    training_form: bool


def squeeze_excite_nodes(graph: Graph) -> frozenset[int]:
    """Return the positions of the nodes inside squeeze-and-excitation (Hu et al. 2018).

    That is every node between ``mean(x)`` and a ``mul`` of its result with the very same ``x``, so
    that a network read from a file is counted like one that was built here.
    """
    first = len(graph.inputs)
    means = [-1] * first  # by value, the mean that it is computed from by nodes of one input
    found: set[int] = set()
    for position, node in enumerate(graph.nodes):
        if isinstance(node.op, Mean):
            means.append(position)
        else:
            means.append(means[node.inputs[0]] if len(node.inputs) == 1 else -1)
        if not (isinstance(node.op, Binary) and node.op.kind == "mul" and len(node.inputs) == 2):
            continue
        for scaled, gate in (node.inputs, node.inputs[::-1]):
            mean = means[gate]
            if mean < 0 or graph.nodes[mean].inputs[0] != scaled:
                continue
            inside = gate - first
            while inside != mean and inside not in found:
                found.add(inside)
                inside = graph.nodes[inside].inputs[0] - first
    return frozenset(found)


def count(graph: Graph) -> Count:
    """Count a network in either form.

    >>> from latlas.profiler.graph_builder import GraphBuilder
    >>> b = GraphBuilder((1, 4, 4, 3))
    >>> count(b.build(b.batch_norm(b.conv(b.input, 8, 3, bias=False))))
    Count(params=232, madds=3456, se_madds=0, training_form=True)
    """
    params = madds = se_madds = 0
    inside = squeeze_excite_nodes(graph)
    training_form = False
    for position, node in enumerate(graph.nodes):
        inputs = graph.input_shapes(node)
        for name, shape in node.op.weights(inputs).items():
            if name not in ("mean", "variance"):
                params += math.prod(shape)
        training_form |= isinstance(node.op, BatchNorm)
        if position in inside:
            se_madds += node.op.madds(inputs)
        else:
            madds += node.op.madds(inputs)
    return Count(params, madds, se_madds, training_form)

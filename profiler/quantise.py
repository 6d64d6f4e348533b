"""From a network of float32 to its int8 form, as TFLite's converter makes it, for measuring.

Post-training full-integer quantisation leaves the structure of the inference form as it is: every
value becomes int8, with a conversion at each end. Where a concatenation reads a value of prescribed
scale (of a logistic, tanh or softmax), which the others cannot share, it is rescaled first.

What values stand for is nominal (see `latlas.profiler.tflite.quantisation`): the int8 form is as
fast as the one that a converter makes with representative data, but knows nothing of accuracy.
"""

from __future__ import annotations

from dataclasses import replace

from latlas.profiler.errors import GraphError
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph, Node
from latlas.profiler.kernel import Kernel
from latlas.profiler.ops import Concat, Constant, DataType, Dequantize, Quantize, Select
from latlas.profiler.tflite.quantisation import MOVES, Scale, fixed_scale


def quantise(graph: Graph, *, int8_ends: bool = False) -> Graph:
    """Return the int8 form of a network; one that holds int8 already is folded only.

    Args:
        graph: a network in either form; its weights, if any, stay real numbers.
        int8_ends: whether inputs and outputs are int8 too, instead of being converted.

    Raises:
        GraphError: an operator has no int8 form.

    >>> from latlas.profiler.graph_builder import GraphBuilder
    >>> b = GraphBuilder((1, 8, 8, 3))
    >>> graph = b.build(b.relu6(b.conv(b.input, 4, 1)))
    >>> quantise(graph, int8_ends=True).to_text()
    '1x8x8x3:int8 | conv2d filters=4 kernel=1x1 activation=relu6 @0 | @1'
    >>> [node.op.name for node in quantise(graph).nodes]
    ['quantize', 'conv2d', 'dequantize']
    """
    folded = fold(graph)
    if not folded.is_float:
        return folded
    refused = {node.op.name for node in folded.nodes if isinstance(node.op, Constant | Select)}
    if refused:
        raise GraphError(
            f"no int8 form is known of {', '.join(sorted(refused))}: convert the network with a "
            "representative data set, or measure it in float32"
        )
    return _quantised(folded, int8_ends)


def quantise_kernel(kernel: Kernel) -> Kernel:
    """Return the int8 form of a kernel.

    >>> kernel = Kernel.from_text("1x8x8x4 | conv2d filters=8 kernel=1x1 @0 | @1")
    >>> quantise_kernel(kernel).type
    'conv2d:int8'
    """
    if not kernel.graph.is_float:
        return kernel
    return replace(kernel, input_types=_all_int8(len(kernel.inputs)))


def for_precision(graph: Graph, precision: str) -> Graph:
    """Return the inference form of a network that a target of this precision runs.

    Args:
        graph: a network in either form.
        precision: of a `latlas.profiler.target.Target`.

    Raises:
        GraphError: the network holds int8 and the target does not.
    """
    if precision == "int8":
        return quantise(graph)
    if not graph.is_float:
        raise GraphError(
            f"the network is quantised to int8 and the target's precision is {precision}: figures "
            "of int8 networks belong to a target of their own (--precision int8)"
        )
    return fold(graph)


def _quantised(graph: Graph, int8_ends: bool) -> Graph:
    count = len(graph.inputs)
    nodes: list[Node] = []
    numbers = list(range(count))  # of the values of `graph`, in the new one
    if not int8_ends:
        nodes = [Node(Quantize(), (value,), f"quantize_{value}") for value in range(count)]
        numbers = list(range(count, 2 * count))
    prescribed = _prescribed(graph)

    def append(node: Node) -> int:
        nodes.append(node)
        return count + len(nodes) - 1

    for node in graph.nodes:
        inputs = [numbers[value] for value in node.inputs]
        if isinstance(node.op, Concat):
            for place, value in enumerate(node.inputs):
                if prescribed[value] is not None:
                    name = f"{node.name}_rescale_{place}"
                    inputs[place] = append(Node(Quantize(), (inputs[place],), name))
        numbers.append(append(replace(node, inputs=tuple(inputs))))
    outputs = [numbers[value] for value in graph.outputs]
    if not int8_ends:
        outputs = [
            append(Node(Dequantize(), (value,), f"dequantize_{place}"))
            for place, value in enumerate(outputs)
        ]
        return Graph(graph.inputs, tuple(nodes), tuple(outputs), graph.weights)
    return Graph(graph.inputs, tuple(nodes), tuple(outputs), graph.weights, _all_int8(count))


def _all_int8(count: int) -> tuple[DataType, ...]:
    int8: DataType = "int8"
    return (int8,) * count


def _prescribed(graph: Graph) -> list[Scale | None]:
    """Return for every value the scale that it cannot choose, carried on by what moves elements."""
    found: list[Scale | None] = [None] * len(graph.inputs)
    for node in graph.nodes:
        scale = fixed_scale(node.op)
        if isinstance(node.op, MOVES) and not isinstance(node.op, Concat):
            scale = found[node.inputs[0]]
        found.append(scale)
    return found

"""From a network to its drawing: layers with kernel sizes and expansions, as papers show them.

What is drawn is found in the graph itself, so that files are drawn like architectures of a space:
a depthwise convolution, the 1x1 convolution that widened what it reads, squeeze-and-excitation and
the 1x1 convolution that narrows it again are one inverted bottleneck.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from latlas.profiler.count import squeeze_excite_nodes
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph, Node
from latlas.profiler.ops import (
    Activation,
    Binary,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Mean,
    Op,
    Pool,
    TransposeConv2D,
)
from latlas.report.figure import Drawing, Layer

MAX_LAYERS = 80
"""Of a deeper network, no more layers are drawn."""


def architecture_drawing(graph: Graph, title: str) -> Drawing:
    """Return the drawing of a network in either form.

    Raises:
        GraphError: the network cannot be brought into the inference form.
    """
    layers = layers_of(graph)
    notes = []
    if len(layers) > MAX_LAYERS:
        notes.append(f"The first {MAX_LAYERS} of {len(layers)} layers.")
    return Drawing(title, tuple(layers[:MAX_LAYERS]), " ".join(notes))


def layers_of(graph: Graph) -> list[Layer]:
    """Return the layers of a network in order; those without a window or weights are left out.

    >>> from latlas.profiler.graph_builder import GraphBuilder
    >>> b = GraphBuilder((1, 8, 8, 4))
    >>> x = b.conv(b.depthwise(b.conv(b.input, 24, 1), 5, stride=2), 8, 1)
    >>> layers_of(b.build(b.mean(x)))[0]
    Layer(name='MB6 5×5', shape='4×4×8', kernel=5, expansion=6.0, stride=2)
    """
    folded = fold(graph)
    bottlenecks = _bottlenecks(folded)
    inside = {p for one in bottlenecks.values() for p in (one.expand, one.project) if p is not None}
    inside |= squeeze_excite_nodes(folded)
    return list(_layers(folded, bottlenecks, inside))


def block_text(graph: Graph) -> str:
    """Return a block in a line: its layers, their activations, the shapes between which it stands.

    >>> from latlas.profiler.graph_builder import GraphBuilder
    >>> b = GraphBuilder((1, 8, 8, 4))
    >>> x = b.depthwise(b.conv(b.input, 24, 1, activation="relu"), 5, stride=2, activation="relu")
    >>> block_text(b.build(b.conv(x, 8, 1)))
    'MB6 5×5 /2, relu, 8×8×4 to 4×4×8'

    Raises:
        GraphError: the block cannot be brought into the inference form.
    """
    folded = fold(graph)
    inside = squeeze_excite_nodes(folded)
    kinds = {
        node.op.kind if isinstance(node.op, Activation) else getattr(node.op, "activation", "none")
        for position, node in enumerate(folded.nodes)
        if position not in inside
    }
    layers = layers_text(layers_of(folded)) or ", ".join(node.op.name for node in folded.nodes)
    ends = (folded.inputs[0], folded.shapes[folded.outputs[0]])
    shapes = " to ".join("×".join(map(str, shape[1:])) for shape in ends)
    return ", ".join([layers, *sorted(kinds - {"none"}), shapes])


def layers_text(layers: Sequence[Layer]) -> str:
    """Return layers in a line, what follows itself once and how often.

    >>> layers_text([Layer("MB6 3×3", "8×8×4", 3, 6.0, 2), *2 * [Layer("FC 4", "4", 1, 1.0)]])
    'MB6 3×3 /2, FC 4 (2 times)'
    """
    names = [f"{one.name} /{one.stride}" if one.stride > 1 else one.name for one in layers]
    groups = [(name, len(list(same))) for name, same in groupby(names)]
    return ", ".join(name if n == 1 else f"{name} ({n} times)" for name, n in groups)


@dataclass(frozen=True)
class _Bottleneck:
    """Positions of the convolutions around a depthwise one, None where there is none."""

    expand: int | None
    project: int | None
    squeeze_excite: bool
    skip: bool


def _bottlenecks(graph: Graph) -> dict[int, _Bottleneck]:
    """Return what surrounds every depthwise convolution, by its position."""
    inside = squeeze_excite_nodes(graph)
    found = {}
    for position, node in enumerate(graph.nodes):
        if isinstance(node.op, DepthwiseConv2D):
            expand = _expansion(graph, node)
            project, squeezed = _projection(graph, position, inside)
            start = graph.nodes[expand].inputs[0] if expand is not None else node.inputs[0]
            skip = project is not None and any(
                isinstance(graph.nodes[p].op, Binary) and start in graph.nodes[p].inputs
                for p in graph.consumers[len(graph.inputs) + project]
            )
            found[position] = _Bottleneck(expand, project, squeezed, skip)
    return found


def _is_pointwise(op: Op) -> bool:
    return isinstance(op, Conv2D) and op.kernel == op.stride == (1, 1) and op.groups == 1


def _expansion(graph: Graph, node: Node) -> int | None:
    """Return the position of the convolution that widened what a node reads."""
    value = node.inputs[0]
    while value >= len(graph.inputs) and len(graph.consumers[value]) == 1:
        position = value - len(graph.inputs)
        before = graph.nodes[position]
        if isinstance(before.op, Activation):
            value = before.inputs[0]
            continue
        wider = graph.shapes[value][3] > graph.input_shapes(before)[0][-1]
        return position if _is_pointwise(before.op) and wider else None
    return None


def _projection(graph: Graph, position: int, inside: frozenset[int]) -> tuple[int | None, bool]:
    """Return where a depthwise convolution is narrowed, and whether channels are gated before."""
    squeezed = False
    for _ in graph.nodes[position:]:  # every step goes on, so that there is an end
        readers = graph.consumers[len(graph.inputs) + position]
        ops = [graph.nodes[p].op for p in readers]
        gates = [p for p in readers if isinstance(graph.nodes[p].op, Binary) and p not in inside]
        if any(isinstance(op, Mean) for op in ops) and len(gates) == 1:
            squeezed, position = True, gates[0]
        elif len(readers) == 1 and isinstance(ops[0], Activation):
            position = readers[0]
        elif len(readers) == 1 and _is_pointwise(ops[0]):
            return readers[0], squeezed
        else:
            # `x * sigmoid(x)` in two nodes: the product is read on.
            kinds = [p for p in readers if isinstance(graph.nodes[p].op, Binary)]
            others = [p for p in readers if isinstance(graph.nodes[p].op, Activation)]
            if len(kinds) == len(others) == 1 and len(readers) == 2:
                position = kinds[0]
                continue
            return None, squeezed
    return None, squeezed


def _layers(graph: Graph, bottlenecks: dict[int, _Bottleneck], inside: set[int]) -> Iterator[Layer]:
    for position, node in enumerate(graph.nodes):
        if position in inside:
            continue
        shape = _shape(graph, position)
        match node.op:
            case DepthwiseConv2D():
                yield _bottleneck(graph, position, node.op, bottlenecks[position])
            case Conv2D():
                kernel, stride = max(node.op.kernel), max(node.op.stride)
                groups = f" g{node.op.groups}" if node.op.groups > 1 else ""
                yield Layer(f"Conv {_window(node.op.kernel)}{groups}", shape, kernel, 1.0, stride)
            case TransposeConv2D():
                kernel = max(node.op.kernel)
                yield Layer(f"Transposed {_window(node.op.kernel)}", shape, kernel, 1.0)
            case Pool():
                stride = max(node.op.stride)
                name = f"{node.op.kind.capitalize()} pool {_window(node.op.kernel)}"
                yield Layer(name, shape, 0, 1.0, stride)
            case Mean():
                if not any(p in inside for p in graph.consumers[len(graph.inputs) + position]):
                    yield Layer("Global average", shape, 0, 1.0)
            case FullyConnected():
                yield Layer(f"FC {node.op.units}", shape, 1, 1.0)
            case _:
                pass


def _bottleneck(graph: Graph, position: int, op: DepthwiseConv2D, around: _Bottleneck) -> Layer:
    expansion = 1.0
    if around.expand is not None:
        read = graph.input_shapes(graph.nodes[around.expand])[0][3]
        expansion = graph.shapes[len(graph.inputs) + around.expand][3] / max(read, 1)
    name = "DW" if around.project is None else "Sep"
    if around.expand is not None:
        name = f"MB{expansion:.3g}"
    gated = " SE" if around.squeeze_excite else ""
    skip = " +" if around.skip else ""
    end = position if around.project is None else around.project
    stride = max(op.stride)
    kernel = max(op.kernel)
    text = f"{name} {_window(op.kernel)}{gated}{skip}"
    return Layer(text, _shape(graph, end), kernel, expansion, stride)


def _window(kernel: tuple[int, int]) -> str:
    return f"{kernel[0]}×{kernel[1]}"


def _shape(graph: Graph, position: int) -> str:
    return "×".join(map(str, graph.shapes[len(graph.inputs) + position][1:]))

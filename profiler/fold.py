"""From the training form of a network to its inference form.

`fold` does what TensorFlow's converter does: batch norm disappears into the convolution before it
(elsewhere it becomes a multiplication and an addition), a ReLU or ReLU6 becomes the fused
activation of the operator before it, zeros go into the convolution behind them, hard-sigmoid
becomes its TFLite form ``relu6(x + 3) / 6`` with the 3 in the bias before it where there is one,
every convolution and fully connected layer has a bias, and dropout and drop path go.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from latlas.profiler.errors import GraphError
from latlas.profiler.graph import Array, Graph, Node
from latlas.profiler.ops import (
    Activation,
    BatchNorm,
    Binary,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Op,
    Pad,
    TransposeConv2D,
    changed,
)

_Linear = Conv2D | DepthwiseConv2D | FullyConnected


@dataclass(slots=True)
class _Step:
    """A node of the graph under construction; `inputs` name values of the original graph."""

    op: Op
    inputs: tuple[int, ...]
    name: str
    value: int
    """The value of the original graph that this node's result stands for, or -1."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Fields of the operator that will differ: it is made anew once, when all are known."""

    @property
    def takes_activation(self) -> bool:
        """Whether the operator has a place for an activation, and none is there yet."""
        op = self.op
        if not isinstance(op, _Linear) and not (isinstance(op, Binary) and op.fuses):
            return False
        return op.activation == "none" and "activation" not in self.changes

    @property
    def is_open(self) -> bool:
        """Whether the result is a linear function of weights that can still change."""
        return isinstance(self.op, _Linear) and self.takes_activation


class _Folder:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.weights: dict[str, Array] | None = None if graph.weights is None else {}
        self.steps: list[_Step | None] = []
        self.made_by: dict[int, int] = {}  # original value -> position in steps
        # Values that the original graph does not have are numbered after its own.
        self.shapes = list(graph.shapes)
        self.uses = [0] * len(self.shapes)
        for values in (graph.outputs, *[node.inputs for node in graph.nodes]):
            for value in values:
                self.uses[value] += 1

    def producer(self, value: int) -> _Step | None:
        """Return the step behind a value, if nothing else reads that value."""
        position = self.made_by.get(value)
        return None if position is None or self.uses[value] != 1 else self.steps[position]

    def append(self, op: Op, inputs: tuple[int, ...], name: str, value: int) -> _Step:
        self.made_by[value] = len(self.steps)
        step = _Step(op, inputs, name, value)
        self.steps.append(step)
        return step

    def extend(self, step: _Step, value: int) -> None:
        """Let an existing step do the work of a node: its result now stands for `value`."""
        self.made_by[value] = self.made_by.pop(step.value)
        step.value = value

    def new_value(self, like: int) -> int:
        """Return the number of a new value, of the shape of another one."""
        self.uses.append(1)
        self.shapes.append(self.shapes[like])
        return len(self.shapes) - 1

    def copy_weights(self, node: Node) -> None:
        if self.weights is None or self.graph.weights is None:
            return
        for name in node.op.weights(self.graph.input_shapes(node)):
            key = f"{node.name}/{name}"
            self.weights[key] = self.graph.weights[key]

    def fold_node(self, node: Node, value: int) -> None:
        match node.op:
            case BatchNorm():
                self.fold_batch_norm(node, node.op, value)
            case Activation(kind="relu" | "relu6" as kind):
                step = self.producer(node.inputs[0])
                if step is not None and step.takes_activation:
                    step.changes["activation"] = kind
                    self.extend(step, value)
                else:
                    self.append(node.op, node.inputs, node.name, value)
            case Activation(kind="hard_sigmoid"):
                self.fold_hard_sigmoid(node, value)
            case Conv2D() | DepthwiseConv2D() | FullyConnected() | TransposeConv2D():
                self.fold_linear(node, node.op, value)
            case _:
                self.copy_weights(node)
                self.append(node.op, node.inputs, node.name, value)

    def fold_linear(self, node: Node, op: _Linear | TransposeConv2D, value: int) -> None:
        """Give it a bias, as it has in every .tflite, and the padding of the steps before it."""
        self.copy_weights(node)
        changes: dict[str, Any] = {}
        if not op.bias:
            changes["bias"] = True
            if self.weights is not None:
                channels = self.graph.shapes[value][-1]
                self.weights[f"{node.name}/bias"] = np.zeros(channels, np.float32)
        inputs = node.inputs
        while isinstance(op, Conv2D | DepthwiseConv2D):
            step = self.producer(inputs[0])
            if step is None or not isinstance(step.op, Pad):
                break
            padding = changes.get("padding", op.padding)
            changes["padding"] = tuple(map(sum, zip(padding, step.op.padding, strict=True)))
            self.steps[self.made_by.pop(inputs[0])] = None
            inputs = step.inputs
        self.append(op, inputs, node.name, value).changes = changes

    def fold_hard_sigmoid(self, node: Node, value: int) -> None:
        step = self.producer(node.inputs[0])
        clipped = node.inputs[0]
        if step is not None and step.is_open:
            key = f"{step.name}/bias"
            if self.weights is not None:
                self.weights[key] = self.weights[key] + np.float32(3)
            step.changes["activation"] = "relu6"
            self.extend(step, clipped)
        else:
            clipped = self.new_value(clipped)
            name = f"{node.name}_shift"
            self.append(Binary("add", "relu6", value=3.0), node.inputs, name, clipped)
        self.append(Binary("mul", value=1 / 6), (clipped,), node.name, value)

    def fold_batch_norm(self, node: Node, op: BatchNorm, value: int) -> None:
        terms = self.batch_norm_terms(node, op)
        step = self.producer(node.inputs[0])
        if step is not None and step.is_open:
            self.extend(step, value)
            if terms is not None:
                self.scale(step, *terms)
            return
        channels = self.shapes[value][-1:]
        scaled = self.new_value(value)
        self.append(Binary("mul", constant=channels), node.inputs, f"{node.name}_scale", scaled)
        self.append(Binary("add", constant=channels), (scaled,), f"{node.name}_shift", value)
        if self.weights is not None and terms is not None:
            self.weights[f"{node.name}_scale/constant"] = terms[0]
            self.weights[f"{node.name}_shift/constant"] = terms[1]

    def scale(self, step: _Step, scale: Array, shift: Array) -> None:
        """Let the weights of a step do what a scale and a shift of every channel would."""
        assert self.weights is not None
        kernel, bias = self.weights[f"{step.name}/kernel"], f"{step.name}/bias"
        rows = kernel.ndim == 4 and isinstance(step.op, DepthwiseConv2D)
        spread = scale if rows else scale.reshape(-1, *(1,) * (kernel.ndim - 1))
        self.weights[f"{step.name}/kernel"] = kernel * spread
        self.weights[bias] = self.weights[bias] * scale + shift

    def batch_norm_terms(self, node: Node, op: BatchNorm) -> tuple[Array, Array] | None:
        """Return the scale and shift of every channel, or None where there are no weights."""
        weights = self.graph.weights
        if weights is None:
            return None
        gamma, beta, mean, variance = (
            weights[f"{node.name}/{name}"] for name in ("gamma", "beta", "mean", "variance")
        )
        scale = (gamma / np.sqrt(variance + np.float32(op.epsilon))).astype(np.float32)
        return scale, (beta - mean * scale).astype(np.float32)

    def result(self) -> Graph:
        graph = self.graph
        renumbered = {value: value for value in range(len(graph.inputs))}
        nodes: list[Node] = []
        shapes = list(graph.inputs)
        for step in self.steps:
            if step is None:
                continue
            inputs = tuple([renumbered[value] for value in step.inputs])
            renumbered[step.value] = len(graph.inputs) + len(nodes)
            op = changed(step.op, **step.changes) if step.changes else step.op
            nodes.append(Node(op, inputs, step.name))
            shapes.append(self.shapes[step.value])
        outputs = tuple(renumbered[value] for value in graph.outputs)
        return Graph.of_shapes(
            *(graph.inputs, tuple(nodes), outputs, self.weights),
            graph.input_types,
            tuple(shapes),
        )


def is_folded(graph: Graph) -> bool:
    """Tell whether a graph is in the inference form.

    >>> from latlas.profiler.graph_builder import GraphBuilder
    >>> b = GraphBuilder((1, 4, 4, 3))
    >>> graph = b.build(b.batch_norm(b.conv(b.input, 8, 3, bias=False)))
    >>> is_folded(graph), is_folded(fold(graph))
    (False, True)
    """
    for node in graph.nodes:
        if node.dropout or node.drop_path or isinstance(node.op, BatchNorm):
            return False
        if isinstance(node.op, Activation) and node.op.kind == "hard_sigmoid":
            return False
    return True


def _is_plain(graph: Graph) -> bool:
    """Tell whether a graph is in the inference form and nothing in it could be part of another.

    Networks that were read from files mostly are.
    """
    if not is_folded(graph):
        return False
    for node in graph.nodes:
        op = node.op
        if isinstance(op, Pad) or (isinstance(op, Activation) and op.kind in ("relu", "relu6")):
            return False
        if isinstance(op, _Linear | TransposeConv2D) and not op.bias:
            return False
    return True


def require_folded(graph: Graph, what: str) -> None:
    """Raise `GraphError` unless a graph is in the inference form."""
    if not is_folded(graph):
        raise GraphError(f"{what} takes the inference form of a network: call fold(graph) first")


def fold(graph: Graph) -> Graph:
    """Return the inference form of a network; its weights, if any, are folded along.

    Folding twice changes nothing.

    >>> from latlas.profiler.graph_builder import GraphBuilder
    >>> b = GraphBuilder((1, 4, 4, 3))
    >>> x = b.relu6(b.batch_norm(b.conv(b.input, 8, 3, bias=False)))
    >>> fold(b.build(x)).to_text()
    '1x4x4x3 | conv2d filters=8 kernel=3x3 padding=1x1x1x1 activation=relu6 @0 | @1'
    """
    if _is_plain(graph):
        return graph
    folder = _Folder(graph)
    for position, node in enumerate(graph.nodes):
        folder.fold_node(node, len(graph.inputs) + position)
    return folder.result()

"""Models that show whether a delegate runs two operators as one.

Every model ends in a slice that keeps a corner of the last value: `ending` the slice alone,
`alone` an operator and the slice, `joined` two operators and the slice. In

    alone(A) + alone(B) - joined(A, B) - ending

the fixed cost of an invocation, the slices, and what reading inputs and outputs costs cancel: what
is left is what the delegate saves by running A and B as one. (The idea of measuring A, B and A+B
is nn-Meter's, MobiSys 2021, doi 10.1145/3458864.3467882; there the fixed cost stays in.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from latlas.profiler.graph import Graph, Node
from latlas.profiler.kernel import op_type
from latlas.profiler.ops import (
    Activation,
    Binary,
    Concat,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Mean,
    Op,
    Pad,
    Pool,
    Reshape,
    Resize,
    Shape,
    Slice,
    Softmax,
)

_CHANNELS = 32
_CORNER = 4


@dataclass(frozen=True, slots=True)
class Sample:
    """One operator with the shapes that it reads, as it stands in a probe.

    Attributes:
        op: the operator.
        inputs: shapes of what it reads, batch first.
    """

    op: Op
    inputs: tuple[Shape, ...]

    @property
    def type(self) -> str:
        """The name under which rules know it, e.g. ``conv2d`` or ``relu6``."""
        return op_type(self.op)

    @property
    def output(self) -> Shape:
        """Shape of what it writes."""
        return self.op.infer(self.inputs)


@dataclass(frozen=True, slots=True)
class Stage:
    """An operator of a probe and where its inputs come from.

    Attributes:
        sample: the operator.
        reads: for every input, the earlier stage whose value it is; None for an input of the model.
    """

    sample: Sample
    reads: tuple[int | None, ...]


def _map(elements: int) -> Shape:
    """Return a square map of about so many elements."""
    side = max(4, 2 * math.isqrt(elements // (4 * _CHANNELS)))
    return (1, side, side, _CHANNELS)


def _other(shape: Shape) -> Shape:
    """Return another shape of a map's elements, without an axis that is much longer."""
    batch, height, width, channels = shape
    if height % 2 == 0:
        return (batch, height // 2, 2 * width, channels)
    return (batch, height, 1, width * channels)


def _activation(kind: str) -> Callable[[Shape], Sample]:
    return lambda shape: Sample(Activation(kind), (shape,))  # type: ignore[arg-type]


_ACTIVATIONS = ("relu", "relu6", "hard_swish", "logistic", "tanh")

_ANY: Mapping[str, Callable[[Shape], Sample]] = {
    "add": lambda shape: Sample(Binary("add"), (shape, shape)),
    "mul": lambda shape: Sample(Binary("mul"), (shape, shape)),
    "sub": lambda shape: Sample(Binary("sub"), (shape, shape)),
    **{kind: _activation(kind) for kind in _ACTIVATIONS},
    "concat": lambda shape: Sample(Concat(), (shape, shape)),
    "softmax": lambda shape: Sample(Softmax(), (shape,)),
}
"""Readers of values of any shape."""

_MAPS: Mapping[str, Callable[[Shape], Sample]] = {
    "conv2d": lambda shape: Sample(Conv2D(8, (3, 3), (2, 2)), (shape,)),
    "depthwise_conv2d": lambda shape: Sample(DepthwiseConv2D((3, 3), (2, 2)), (shape,)),
    "average_pool": lambda shape: Sample(Pool("average", (2, 2), (2, 2)), (shape,)),
    "max_pool": lambda shape: Sample(Pool("max", (2, 2), (2, 2)), (shape,)),
    "mean": lambda shape: Sample(Mean(), (shape,)),
    "pad": lambda shape: Sample(Pad((1, 1, 1, 1)), (shape,)),
    "resize": lambda shape: Sample(Resize((shape[1] // 2, shape[2] // 2)), (shape,)),
    "reshape": lambda shape: Sample(Reshape(_other(shape)), (shape,)),
    "slice": lambda s: Sample(Slice((0, 0, 0, 0), (1, s[1] // 2, s[2], s[3])), (s,)),
}
"""Readers of maps."""

_VECTORS: Mapping[str, Callable[[Shape], Sample]] = {
    "fully_connected": lambda shape: Sample(FullyConnected(8), (shape,)),
    "reshape": lambda s: Sample(Reshape((1, s[-1]) if len(s) == 4 else (1, 1, 1, s[-1])), (s,)),
    "slice": lambda s: Sample(Slice((0,) * len(s), (*s[:-1], s[-1] // 2)), (s,)),
}
"""Readers of vectors: of rank 2, or maps of one pixel."""


def _writers(elements: int) -> dict[str, Sample]:
    shape = _map(elements)
    side = shape[1]
    narrow = (1, side, side, 8)
    size = math.prod(shape)
    return {
        "conv2d": Sample(Conv2D(_CHANNELS, (1, 1)), (narrow,)),
        "depthwise_conv2d": Sample(DepthwiseConv2D((3, 3), padding=(1, 1, 1, 1)), (shape,)),
        "fully_connected": Sample(FullyConnected(size), ((1, 4),)),
        "average_pool": Sample(Pool("average", (2, 2), (2, 2)), ((1, 2 * side, 2 * side, 32),)),
        "max_pool": Sample(Pool("max", (2, 2), (2, 2)), ((1, 2 * side, 2 * side, 32),)),
        "mean": Sample(Mean(), ((1, 2, 2, size),)),
        "concat": Sample(Concat(), ((1, side, side, 16), (1, side, side, 16))),
        "pad": Sample(Pad((1, 1, 1, 1)), ((1, side - 2, side - 2, _CHANNELS),)),
        "resize": Sample(Resize((side, side)), ((1, side // 2, side // 2, _CHANNELS),)),
        "reshape": Sample(Reshape(shape), ((1, side // 2, 2 * side, _CHANNELS),)),
        "slice": Sample(Slice((0, 0, 0, 0), shape), ((1, 2 * side, side, _CHANNELS),)),
        **{name: _ANY[name](shape) for name in ("add", "mul", "sub", *_ACTIVATIONS, "softmax")},
    }


def writer(kind: str, elements: int) -> Sample:
    """Return an operator of a type that writes about `elements` elements.

    >>> writer("conv2d", 1 << 13).output
    (1, 16, 16, 32)

    Raises:
        KeyError: there is no sample of that type.
    """
    return _writers(elements)[kind]


def reader(kind: str, shape: Shape) -> Sample | None:
    """Return an operator of a type that reads a value of a shape, first of its inputs; or None."""
    vector = len(shape) == 2 or shape[1:3] == (1, 1)
    make = _ANY.get(kind) or (_VECTORS if vector else _MAPS).get(kind)
    return None if make is None else make(shape)


TYPES = tuple(_writers(1 << 13))
"""Types of operators that there are samples of."""


def model(stages: Sequence[Stage], ends: Sequence[int]) -> Graph:
    """Return the graph of stages whose outputs are corners of some of their values.

    A corner is cut right behind the stage whose value it is cut from, before that value's other
    readers run, so that these may overwrite it as they might without the corner.

    Args:
        stages: in topological order.
        ends: the stages whose values are cut; one that is named twice is cut twice.
    """
    inputs = [
        shape
        for stage in stages
        for shape, read in zip(stage.sample.inputs, stage.reads, strict=True)
        if read is None
    ]
    free = iter(range(len(inputs)))
    nodes: list[Node] = []
    values: list[int] = []
    outputs: list[int] = []

    def append(op: Op, *reads: int) -> int:
        nodes.append(Node(op, reads, f"{op.name}_{len(nodes)}"))
        return len(inputs) + len(nodes) - 1

    for position, (sample, reads) in enumerate((stage.sample, stage.reads) for stage in stages):
        values.append(append(sample.op, *[next(free) if r is None else values[r] for r in reads]))
        corner = _corner(sample.output)
        outputs += [append(corner, values[-1]) for end in ends if end == position]
    return Graph(tuple(inputs), tuple(nodes), tuple(outputs))


def _corner(shape: Shape) -> Slice:
    size = (1,) * (len(shape) - 1) + (min(_CORNER, shape[-1]),)
    return Slice((0,) * len(shape), size)


def ending(*shapes: Shape) -> Graph:
    """Return slices alone, of inputs of the given shapes."""
    count = len(shapes)
    nodes = tuple(Node(_corner(shape), (i,), f"slice_{i}") for i, shape in enumerate(shapes))
    return Graph(shapes, nodes, tuple(range(count, 2 * count)))


def alone(sample: Sample, *, cuts: int = 1) -> Graph:
    """Return one operator and the slice, or several equal slices."""
    return model((_first(sample),), (0,) * cuts)


def joined(*chain: Sample, position: int = 0, exposed: bool = False) -> Graph:
    """Return operators that each read what the one before writes, and the slice.

    Args:
        chain: the operators.
        position: of the value among the inputs of the last operator.
        exposed: whether the value that the last operator reads is cut as well, so that it has
            a second reader.

    >>> conv = writer("conv2d", 1 << 13)
    >>> relu6 = reader("relu6", conv.output)
    >>> joined(conv, relu6).to_text().split(" | ")[1:3]
    ['conv2d filters=32 kernel=1x1 @0', 'activation kind=relu6 @1']
    """
    last = len(chain) - 1
    stages = [_first(chain[0])]
    for i, sample in enumerate(chain[1:]):
        reads: list[int | None] = [None] * len(sample.inputs)
        reads[position if i + 1 == last else 0] = i
        stages.append(Stage(sample, tuple(reads)))
    return model(stages, (last - 1, last) if exposed else (last,))


def _first(sample: Sample) -> Stage:
    return Stage(sample, (None,) * len(sample.inputs))

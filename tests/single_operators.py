"""Networks of one operator, one for every way of it that a .tflite file has."""

from __future__ import annotations

from latlas.profiler.graph import Graph, GraphBuilder
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
    Slice,
    Softmax,
)

MAP = (1, 9, 8, 4)
OPS: list[tuple[Op, tuple[tuple[int, ...], ...]]] = [
    (Conv2D(6, (1, 1)), (MAP,)),
    (Conv2D(6, (3, 3), (1, 1), (1, 1, 1, 1), activation="relu6"), (MAP,)),
    (Conv2D(6, (3, 3), (2, 2), (1, 1, 0, 1), activation="relu"), (MAP,)),
    (Conv2D(6, (3, 3), (2, 2), (1, 1, 1, 1)), (MAP,)),
    (Conv2D(6, (5, 3), (1, 1)), (MAP,)),
    (Conv2D(6, (3, 3), (1, 1), (2, 2, 2, 2), (2, 2)), (MAP,)),
    (Conv2D(6, (3, 3), padding=(1, 1, 1, 1), groups=2), (MAP,)),
    (Conv2D(6, (3, 3), padding=(1, 1, 1, 1)), ((3, 9, 8, 4),)),
    (DepthwiseConv2D((3, 3), padding=(1, 1, 1, 1), activation="relu6"), (MAP,)),
    (DepthwiseConv2D((5, 5), (2, 2), (2, 2, 1, 2)), (MAP,)),
    (DepthwiseConv2D((3, 3), (2, 2), (0, 2, 3, 1)), (MAP,)),
    (DepthwiseConv2D((3, 3), padding=(1, 1, 1, 1), multiplier=2), (MAP,)),
    (DepthwiseConv2D((3, 3), padding=(2, 2, 2, 2), dilation=(2, 2)), (MAP,)),
    (FullyConnected(5), ((1, 7),)),
    (FullyConnected(5, activation="relu"), ((2, 3, 2, 4),)),
    (Binary("add"), (MAP, MAP)),
    (Binary("add", "relu"), (MAP, MAP)),
    (Binary("mul"), (MAP, (1, 1, 1, 4))),
    (Binary("sub", "relu6"), (MAP, MAP)),
    (Binary("mul", value=0.1), (MAP,)),
    (Binary("mul", value=1 / 6), (MAP,)),
    (Binary("sub", value=-2.5), (MAP,)),
    (Binary("add", "relu6", value=3.0), (MAP,)),
    (Binary("mul", constant=(4,)), (MAP,)),
    (Binary("add", constant=(9, 8, 4)), (MAP,)),
    (Concat(), (MAP, (1, 9, 8, 2), MAP)),
    (Concat(1), (MAP, (1, 2, 8, 4))),
    (Pool("average", (3, 3), (1, 1), (1, 1, 1, 1)), (MAP,)),
    (Pool("average", (2, 2), (2, 2)), (MAP,)),
    (Pool("max", (3, 3), (2, 2), (1, 1, 0, 1)), (MAP,)),
    (Mean(), (MAP,)),
    (Mean(False), (MAP,)),
    (Reshape((1, 72, 4)), (MAP,)),
    (Pad((1, 0, 2, 3)), (MAP,)),
    (Slice((0, 1, 2, 1), (1, 5, 6, 2)), (MAP,)),
    (Resize((5, 17)), (MAP,)),
    (Resize((18, 16), half_pixel_centers=True), (MAP,)),
    (Resize((17, 15), align_corners=True), (MAP,)),
    (Resize((18, 16), "nearest"), (MAP,)),
    (Resize((18, 16), "nearest", half_pixel_centers=True), (MAP,)),
    (Softmax(), ((2, 7),)),
    *((Activation(kind), (MAP,)) for kind in ("relu", "relu6", "hard_swish", "logistic", "tanh")),
]


def single(op: Op, inputs: tuple[tuple[int, ...], ...]) -> Graph:
    b = GraphBuilder(*inputs)
    return b.build(b.apply(op, *range(len(inputs))))

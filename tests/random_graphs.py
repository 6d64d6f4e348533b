"""Random networks for hypothesis, small enough to be evaluated in numpy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from latlas.profiler.errors import GraphError
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.op_text import from_text
from latlas.profiler.ops import (
    BatchMatmul,
    Binary,
    Broadcast,
    Constant,
    FullyConnected,
    Op,
    Reduce,
    Select,
    Slice,
    Tile,
)

FUSED = st.sampled_from(["none", "relu", "relu6"])
KINDS = st.sampled_from(["relu", "relu6", "hard_swish", "hard_sigmoid", "logistic", "tanh"])
PADDING = st.sampled_from(["same", "valid", (0, 1, 2, 0)])
TENSOR_OPS = ["unary", "pair", "reduce", "transpose", "matmul", "dense", "strided", "tile"]
TENSOR_OPS += ["broadcast", "select", "stored"]
RATES = st.sampled_from([0.0, 0.0, 0.2])
MAX_SIZE = 6000


def _append(draw: Callable[..., Any], b: GraphBuilder, x: int, y: int, tensors: bool) -> int:
    """Append a random operator that reads `x` and, where it takes two inputs, `y`."""
    shape = b.shape(x)
    if not shape:
        raise GraphError("nothing but element-wise work is left")
    map_ops = ["conv", "depthwise", "pool", "mean", "pad", "resize"] if len(shape) == 4 else []
    match draw(
        st.sampled_from(
            ["batch_norm", "binary", "constant", "value", "concat", "fc", "reshape", "slice"]
            + ["softmax", "activation", "activation", *map_ops * 2]
            + TENSOR_OPS * tensors
        )
    ):
        case "conv":
            groups = draw(st.sampled_from([g for g in (1, 2, 4) if shape[3] % g == 0]))
            kernel = draw(st.integers(1, 3)), draw(st.integers(1, 3))
            return b.conv(
                x,
                groups * draw(st.integers(1, 3)),
                kernel,
                stride=draw(st.integers(1, 2)),
                dilation=draw(st.integers(1, 2)),
                padding="valid" if kernel == (1, 1) else draw(PADDING),
                groups=groups,
                bias=draw(st.booleans()),
                activation=draw(FUSED),
            )
        case "depthwise":
            return b.depthwise(
                x,
                draw(st.integers(2, 3)),
                stride=draw(st.integers(1, 2)),
                padding=draw(PADDING),
                multiplier=draw(st.integers(1, 2)),
                bias=draw(st.booleans()),
            )
        case "pool":
            kernel, stride = draw(st.integers(2, 3)), draw(st.integers(1, 2))
            append = b.average_pool if draw(st.booleans()) else b.max_pool
            return append(
                x, kernel, stride=stride, padding=draw(st.sampled_from(["same", "valid"]))
            )
        case "mean":
            return b.mean(x, keepdims=draw(st.booleans()))
        case "pad":
            side = st.integers(0, 2)
            return b.pad(x, (draw(side), draw(side), draw(side), draw(side)))
        case "resize":
            return b.resize(x, (draw(st.integers(1, 6)), draw(st.integers(1, 6))))
        case "batch_norm":
            return b.batch_norm(x)
        case "binary":
            kind = draw(st.sampled_from(["add", "mul", "sub"]))
            rate = draw(RATES)
            return b.apply(Binary(kind, draw(FUSED)), x, y, drop_path=rate)
        case "constant":
            kind = draw(st.sampled_from(["add", "mul"]))
            return b.apply(Binary(kind, constant=shape[-1:]), x)
        case "value":
            value = draw(st.floats(-4, 4, width=32))
            return b.apply(Binary("mul", draw(FUSED), value=value), x)
        case "concat":
            return b.concat([x, y, x])
        case "fc":
            return b.fully_connected(x, draw(st.integers(1, 5)), dropout=draw(RATES))
        case "reshape":
            return b.reshape(x, (1, math.prod(shape)))
        case "slice":
            begin = tuple(draw(st.integers(0, length - 1)) for length in shape)
            return b.slice(
                x, begin, tuple(length - b for length, b in zip(shape, begin, strict=True))
            )
        case "softmax":
            return b.softmax(x)
        case "unary":
            return b.activation(
                x, draw(st.sampled_from(["gelu", "gelu_tanh", "neg", "abs", "exp"]))
            )
        case "pair":
            kind = draw(st.sampled_from(["div", "maximum", "minimum", "squared_difference"]))
            return b.apply(Binary(kind), x, y)
        case "reduce":
            axes = draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
            kind = draw(st.sampled_from(["mean", "sum", "max", "min", "prod"]))
            return b.apply(Reduce(kind, tuple(sorted(axes)), draw(st.booleans())), x)
        case "transpose":
            return b.transpose(x, draw(st.permutations(range(len(shape)))))
        case "matmul":
            adj = draw(st.booleans()), draw(st.booleans())
            if draw(st.booleans()):
                return b.apply(BatchMatmul(*adj), x, y)
            width = shape[-2 if adj[0] else -1]
            return b.apply(BatchMatmul(*adj, (3, width) if adj[1] else (width, 3)), x)
        case "dense":
            op = FullyConnected(draw(st.integers(1, 5)), keepdims=True, activation=draw(FUSED))
            return b.apply(op, x)
        case "strided":
            size = tuple((length + 1) // 2 for length in shape)
            return b.apply(Slice((0,) * len(shape), size, (2,) * len(shape)), x)
        case "tile":
            return b.apply(Tile(tuple(draw(st.integers(1, 2)) for _ in shape)), x)
        case "broadcast":
            wanted = tuple(3 if length == 1 else length for length in shape)
            return b.apply(Broadcast(wanted), x)
        case "select":
            return b.apply(Select(), x, y)
        case "stored":
            return b.concat([x, b.apply(Constant(shape))], draw(st.integers(0, len(shape) - 1)))
        case _:
            return b.activation(x, draw(KINDS))


@st.composite
def graphs(draw: Callable[..., Any], most: int = 8, tensors: bool = True) -> Graph:
    """Networks of up to `most` operators in the training form; every value is read or an output.

    Without `tensors` they have none of the operators that transformers bring.
    """
    sizes = st.integers(1, 6)
    b = GraphBuilder((1, draw(sizes), draw(sizes), draw(st.sampled_from([1, 2, 4]))))
    values = [b.input]
    for _ in range(draw(st.integers(1, most))):
        # Mostly the newest value, so that chains are long enough to be fused.
        x = values[-1] if draw(st.integers(0, 3)) else draw(st.sampled_from(values))
        try:
            added = _append(draw, b, x, draw(st.sampled_from(values)), tensors)
        except GraphError:  # shapes that do not go together
            continue
        if math.prod(b.shape(added)) > MAX_SIZE:
            break
        values.append(added)
    others = draw(st.lists(st.sampled_from(values[1:] or values), max_size=1))
    whole = b.build(values[-1])
    unread = [value for value, readers in enumerate(whole.consumers) if not readers]
    return b.build(*dict.fromkeys([*unread, *others]))


def every_op() -> list[Op]:
    """One operator of every kind, no field at its default where it has one."""
    return [
        from_text(text)
        for text in (
            "conv2d filters=8 kernel=3x5 stride=2x1 padding=0x1x2x3 dilation=1x2 groups=4 bias=0 "
            "activation=relu6",
            "depthwise_conv2d kernel=5x3 stride=1x2 padding=1x0x0x1 dilation=2x1 multiplier=2 "
            "bias=0 activation=relu",
            "fully_connected units=7 bias=0 activation=relu6",
            "batch_norm epsilon=1e-05",
            "binary kind=sub activation=relu constant=1x8",
            "binary kind=mul value=-0.16666666666666666",
            "concat axis=2",
            "pool kind=max kernel=2x3 stride=3x2 padding=1x0x1x0",
            "mean keepdims=0",
            "reshape shape=1x4x2x9",
            "pad padding=1x2x3x4",
            "slice begin=0x1x2x3 size=1x2x3x4",
            "resize size=5x6 method=nearest align_corners=1 half_pixel_centers=1",
            "softmax",
            "activation kind=hard_sigmoid",
            "activation kind=leaky_relu alpha=0.2",
            "transpose_conv2d filters=7 kernel=3x5 stride=2x1 size=8x9 same=0 bias=0",
            "batch_matmul adj_x=1 adj_y=1 constant=2x3x4",
            "binary kind=div value=2.0 swapped=1",
            "reduce kind=max axes=1x3 keepdims=0",
            "transpose perm=0x3x1x2",
            "gather axis=1 count=3",
            "broadcast shape=2x3",
            "tile multiples=1x2",
            "depth_to_space block=2",
            "space_to_depth block=3",
            "prelu alpha=1x5",
            "select value=1.0 other=-2.5",
            "constant shape=scalar",
            "quantize",
            "dequantize",
        )
    ]

"""Translate the operators that convolutional networks bring: layers, arithmetic, and maps.

One function per operator, or kind of operator; what transformers bring is in
`latlas.profiler.tflite.tensors`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, cast

from latlas.profiler.errors import GraphError, UnsupportedOpError
from latlas.profiler.graph import Array
from latlas.profiler.op_text import from_text
from latlas.profiler.ops import (
    Binary,
    Concat,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    FusedActivation,
    Op,
    Pad,
    Padding,
    Pair,
    Pool,
    Reshape,
    Resize,
    Shape,
    Slice,
    Softmax,
    TransposeConv2D,
    same_padding,
)
from latlas.profiler.tflite.model import MAX_RANK, Operator
from latlas.profiler.tflite.schema import FUSED_CODES, SAME, VALID, Code
from latlas.profiler.tflite.spelling import BINARY
from latlas.profiler.tflite.tensors import fully_connected_rows, reshape_to

if TYPE_CHECKING:
    from latlas.profiler.tflite.translate import Translator

_FUSED: dict[int, FusedActivation] = {
    code: cast(FusedActivation, name) for name, code in FUSED_CODES.items()
}
_BINARY = {code: from_text(f"binary kind={kind}") for kind, code in BINARY.items()}
_NO_PADDING = (0, 0, 0, 0)


def _fused(options: dict[str, float]) -> FusedActivation:
    code = int(options["activation"])
    if code not in _FUSED:
        raise UnsupportedOpError(
            f"its fused activation has the number {code}; latlas reads {', '.join(FUSED_CODES)}"
        )
    return _FUSED[code]


def _pair(options: dict[str, float], name: str) -> Pair:
    height, width = int(options[f"{name}_h"]), int(options[f"{name}_w"])
    if height < 1 or width < 1:
        raise GraphError(f"its {name} is {height}x{width}")
    return height, width


def _map_size(shape: Shape) -> Pair:
    if len(shape) != 4:
        raise GraphError(f"it reads {shape}; expected batch, height, width and channels")
    return shape[1], shape[2]


def _padding(options: dict[str, float], same: Callable[[], Padding]) -> Padding:
    code = int(options["padding"])
    if code not in (SAME, VALID):
        raise GraphError(f"its padding has the unknown number {code}")
    return same() if code == SAME else _NO_PADDING


def _weights(t: Translator, operator: Operator, x: int, rank: int, fused: str) -> dict[str, Array]:
    """Return kernel and bias, the latter only where there is one."""
    kernel = t.parameter(operator, 1, x)
    if kernel.ndim != rank:
        raise GraphError(f"its kernel has the shape {kernel.shape}; expected rank {rank}")
    if len(operator.inputs) < 3 or operator.inputs[2] == -1:
        return {"kernel": kernel}
    bias = t.parameter(operator, 2, x)
    if fused == "relu6" and t.types[x] == "float32":
        t.model.spend(bias)  # copied where it turns out to be a hard-sigmoid's
    return {"kernel": kernel, "bias": bias.reshape(-1)}


def convolution(t: Translator, operator: Operator) -> None:
    """Translate a convolution, depthwise or not."""
    options = operator.options()
    x = t.source(operator)
    size = _map_size(t.shapes[x])
    channels = t.shapes[x][3]
    fused = _fused(options)
    arrays = _weights(t, operator, x, 4, fused)
    rows, height, width, depth = arrays["kernel"].shape
    kernel = height, width
    stride, dilation = _pair(options, "stride"), _pair(options, "dilation")
    padding = _padding(options, lambda: same_padding(size, kernel, stride, dilation))
    bias = "bias" in arrays
    op: Op
    if operator.code == Code.CONV_2D:
        if channels % depth:
            raise GraphError(f"its kernel of {depth} channels does not fit {channels} channels")
        groups = channels // depth
        op = Conv2D(rows, kernel, stride, padding, dilation, groups, bias, fused)
    else:
        if depth % channels:
            raise GraphError(f"its kernel of {depth} channels does not fit {channels} channels")
        op = DepthwiseConv2D(kernel, stride, padding, dilation, depth // channels, bias, fused)
    t.emit(op, [x], operator.output, arrays)


def fully_connected(t: Translator, operator: Operator) -> None:
    """Translate a fully connected layer, with the reshape that TFLite leaves to it."""
    options = operator.options()
    x = t.source(operator)
    if options["weights_format"]:
        raise UnsupportedOpError("its weights are shuffled; latlas reads the default format")
    fused = _fused(options)
    arrays = _weights(t, operator, x, 2, fused)
    units, width = arrays["kernel"].shape
    keepdims = bool(options["keep_num_dims"]) and len(t.shapes[x]) != 2
    if not keepdims:
        rows = fully_connected_rows(t.shapes[x], width)
        x = x if rows is None else t.append(Reshape(rows), [x])
    op = FullyConnected(units, "bias" in arrays, fused, keepdims)
    t.emit(op, [x], operator.output, arrays)


def transpose_convolution(t: Translator, operator: Operator) -> None:
    """Translate a transposed convolution."""
    options = operator.options()
    if len(operator.inputs) < 3:
        raise GraphError(f"it has {len(operator.inputs)} operands")
    x = t.activation(operator.inputs[2])
    shape, kernel = t.ints(operator, 0), t.parameter(operator, 1, x)
    if len(shape) != 4 or kernel.ndim != 4 or kernel.shape[3] != (t.shapes[x] or (0,))[-1]:
        raise GraphError(f"its kernel of {kernel.shape} makes no {shape} of {t.shapes[x]}")
    arrays = {"kernel": kernel}
    if len(operator.inputs) > 3 and operator.inputs[3] != -1:
        arrays["bias"] = t.parameter(operator, 3, x).reshape(-1)
    padding = int(options["padding"])
    if padding not in (SAME, VALID):
        raise GraphError(f"its padding has the unknown number {padding}")
    op = TransposeConv2D(
        kernel.shape[0],
        (kernel.shape[1], kernel.shape[2]),
        _pair(options, "stride"),
        (shape[1], shape[2]),
        padding == SAME,
        "bias" in arrays,
    )
    t.emit(op, [x], operator.output, arrays, _fused(options))


def binary(t: Translator, operator: Operator) -> None:
    """Translate element-wise arithmetic, of which one operand may be constant."""
    if len(operator.inputs) != 2:
        raise GraphError(f"it has {len(operator.inputs)} operands")
    plain = _BINARY[operator.code]
    assert isinstance(plain, Binary)
    fused = _fused(operator.options()) if plain.fuses else "none"
    left, right = operator.inputs
    constant = [t.constant(tensor) is not None for tensor in (left, right)]
    if constant in ([False, False], [True, True]):
        values = [t.activation(left), t.activation(right)]
        t.emit(replace(plain, activation=fused), values, operator.output)
        return
    swapped = constant[0]
    x = t.activation(right if swapped else left)
    array = t.parameter(operator, 0 if swapped else 1, x)
    if array.size == 1 and t.types[x] == "int8":
        array = t.model.real(left if swapped else right, array)
    while 1 < array.ndim <= len(t.shapes[x]) and array.shape[0] == 1:
        array = array[0]  # a constant of shape (1, 1, 1, c) is spelled (c)
    op = replace(plain, activation=fused, swapped=swapped and not plain.commutes)
    if array.size == 1 and array.ndim <= len(t.shapes[x]):
        t.emit(replace(op, value=t.number(array.reshape(-1)[0])), [x], operator.output)
    else:
        t.emit(replace(op, constant=array.shape), [x], operator.output, {"constant": array})


def concat(t: Translator, operator: Operator) -> None:
    """Translate a concatenation."""
    options = operator.options()
    values = [t.activation(tensor) for tensor in operator.inputs]
    axis = int(options["axis"])
    last = axis == len(t.shapes[values[0]]) - 1
    t.emit(Concat(-1 if last else axis), values, operator.output, fused=_fused(options))


def pool(t: Translator, operator: Operator) -> None:
    """Translate a pooling."""
    options = operator.options()
    x = t.source(operator)
    size = _map_size(t.shapes[x])
    kernel, stride = _pair(options, "filter"), _pair(options, "stride")
    padding = _padding(options, lambda: same_padding(size, kernel, stride))
    kind: Literal["average", "max"] = "max"
    if operator.code == Code.AVERAGE_POOL_2D:
        kind = "average"
    t.emit(Pool(kind, kernel, stride, padding), [x], operator.output, fused=_fused(options))


def reshape(t: Translator, operator: Operator) -> None:
    """Translate a reshape, of which one axis may be what is left."""
    x = t.source(operator)
    if len(operator.inputs) > 1:
        shape = t.ints(operator, 1)
    else:
        table = operator.table.table(4)
        shape = list((table.ints(0, MAX_RANK) if table else None) or ())
    if len(shape) > MAX_RANK:
        raise GraphError(f"it has {len(shape)} dimensions")
    if shape.count(-1) == 1:
        known = -math.prod(shape)
        shape[shape.index(-1)] = math.prod(t.shapes[x]) // known if known > 0 else 0
    reshape_to(t, x, tuple(shape), operator.output)


def pad(t: Translator, operator: Operator) -> None:
    """Translate zeros around height and width."""
    x = t.source(operator)
    sides = t.ints(operator, 1)
    if len(t.shapes[x]) != 4 or len(sides) != 8 or any(sides[:2] + sides[6:]):
        raise UnsupportedOpError(
            f"it adds {sides} to {t.shapes[x]}; latlas reads zeros around height and width"
        )
    t.emit(Pad((sides[2], sides[3], sides[4], sides[5])), [x], operator.output)


def slice_(t: Translator, operator: Operator) -> None:
    """Translate a slice of constant place and size."""
    x = t.source(operator)
    shape = t.shapes[x]
    begin, size = t.ints(operator, 1), t.ints(operator, 2)
    if not len(begin) == len(size) == len(shape):
        raise GraphError(f"it takes {size} from {begin} of {shape}")
    size = [
        length - first if count == -1 else count
        for first, count, length in zip(begin, size, shape, strict=True)
    ]
    t.emit(Slice(tuple(begin), tuple(size)), [x], operator.output)


def resize(t: Translator, operator: Operator) -> None:
    """Translate a resizing."""
    x = t.source(operator)
    size = t.ints(operator, 1)
    if len(size) != 2:
        raise GraphError(f"its size is {size}")
    options = operator.options()
    op = Resize(
        (size[0], size[1]),
        "bilinear" if operator.code == Code.RESIZE_BILINEAR else "nearest",
        bool(options["align_corners"]),
        bool(options["half_pixel_centers"]),
    )
    t.emit(op, [x], operator.output)


def softmax(t: Translator, operator: Operator) -> None:
    """Translate a softmax."""
    beta = operator.options()["beta"]
    if not abs(beta - 1) < 1e-6:
        raise UnsupportedOpError(f"its beta is {beta}; latlas reads 1")
    t.emit(Softmax(), [t.source(operator)], operator.output)


TRANSLATORS: dict[Code, Callable[[Translator, Operator], None]] = {
    **dict.fromkeys(_BINARY, binary),
    Code.AVERAGE_POOL_2D: pool,
    Code.CONCATENATION: concat,
    Code.CONV_2D: convolution,
    Code.DEPTHWISE_CONV_2D: convolution,
    Code.FULLY_CONNECTED: fully_connected,
    Code.MAX_POOL_2D: pool,
    Code.PAD: pad,
    Code.RESHAPE: reshape,
    Code.RESIZE_BILINEAR: resize,
    Code.RESIZE_NEAREST_NEIGHBOR: resize,
    Code.SLICE: slice_,
    Code.SOFTMAX: softmax,
    Code.TRANSPOSE_CONV: transpose_convolution,
}
"""The function that translates an operator of maps."""

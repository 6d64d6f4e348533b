"""Translate the operators that transformers bring: products, reductions, and what moves elements.

Operators of several outputs become one slice for each, a dropped or added axis becomes a reshape.
One function per operator, or kind of operator, as in
`latlas.profiler.tflite.translate`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from latlas.profiler.errors import GraphError, UnsupportedOpError
from latlas.profiler.graph import Array, check_shape
from latlas.profiler.ops import (
    Activation,
    BatchMatmul,
    Broadcast,
    Concat,
    DepthToSpace,
    Gather,
    Mean,
    Op,
    Prelu,
    Reduce,
    Reshape,
    Select,
    Shape,
    Slice,
    SpaceToDepth,
    Tile,
    Transpose,
    broadcast,
)
from latlas.profiler.tflite.integers import slices
from latlas.profiler.tflite.model import MAX_RANK, Operator
from latlas.profiler.tflite.schema import Code
from latlas.profiler.tflite.spelling import REDUCTIONS

if TYPE_CHECKING:
    from latlas.profiler.tflite.translate import Translator

_REDUCTIONS = {code: kind for kind, code in REDUCTIONS.items()}

MAX_PARTS = 1024
"""Outputs of one operator, or elements that one gathers."""


def _axis(value: float, rank: int) -> int:
    axis = int(value)
    if not -rank <= axis < rank:
        raise GraphError(f"axis {axis} is outside the rank {rank}")
    return axis % rank


def _only_axis(t: Translator, operator: Operator, index: int, rank: int) -> int:
    """Return the axis that an operand names."""
    axes = t.ints(operator, index)
    if len(axes) != 1:
        raise GraphError(f"it names the axes {axes}; expected one")
    return _axis(axes[0], rank)


def reduce(t: Translator, operator: Operator) -> None:
    """Translate a reduction; means over height and width are global average poolings."""
    x = t.source(operator)
    rank = len(t.shapes[x])
    axes = tuple(sorted({_axis(axis, rank) for axis in t.ints(operator, 1)}))
    keepdims = bool(operator.options()["keep_dims"])
    kind = _REDUCTIONS[operator.code]
    if kind == "mean" and rank == 4 and axes == (1, 2):
        t.emit(Mean(keepdims), [x], operator.output)
    else:
        literal = cast(Literal["mean", "sum", "max", "min", "prod"], kind)
        t.emit(Reduce(literal, axes, keepdims), [x], operator.output)


def batch_matmul(t: Translator, operator: Operator) -> None:
    """Translate a product of matrices, of which the right ones may be constant."""
    if len(operator.inputs) != 2:
        raise GraphError(f"it has {len(operator.inputs)} operands")
    options = operator.options()
    adj = bool(options["adj_x"]), bool(options["adj_y"])
    left, right = operator.inputs
    x = t.activation(left)
    zeros = t.model.zero_points(right)
    symmetric = t.types[x] == "int8" and len(zeros) > 0 and not zeros.any()
    if t.constant(right) is None:
        op = BatchMatmul(*adj, symmetric=symmetric)
        t.emit(op, [x, t.activation(right)], operator.output)
        return
    array = t.parameter(operator, 1, x)
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    op = BatchMatmul(*adj, array.shape, symmetric)
    t.emit(op, [x], operator.output, {"constant": array})


def transpose(t: Translator, operator: Operator) -> None:
    """Translate a change of the axes' order."""
    x = t.source(operator)
    rank = len(t.shapes[x])
    perm = tuple([_axis(axis, rank) for axis in t.ints(operator, 1)])
    t.emit(Transpose(perm), [x], operator.output)


def gelu(t: Translator, operator: Operator) -> None:
    """Translate either form of GELU (Hendrycks and Gimpel 2016)."""
    approximate = operator.options()["approximate"]
    op = Activation("gelu_tanh" if approximate else "gelu")
    t.emit(op, [t.source(operator)], operator.output)


def leaky_relu(t: Translator, operator: Operator) -> None:
    """Translate a leaky ReLU."""
    alpha = t.number(np.float32(operator.options()["alpha"]))
    t.emit(Activation("leaky_relu", alpha), [t.source(operator)], operator.output)


def prelu(t: Translator, operator: Operator) -> None:
    """Translate a parametric ReLU."""
    x = t.source(operator)
    alpha = t.parameter(operator, 1, x)
    while alpha.ndim > 1 and alpha.shape[0] == 1:
        alpha = alpha[0]
    t.emit(Prelu(alpha.shape), [x], operator.output, {"alpha": alpha})


def reshape_to(t: Translator, value: int, shape: Shape, output: int) -> None:
    """Append a reshape; `output` is the tensor that it computes."""
    t.emit(Reshape(shape), [value], output)


def squeeze(t: Translator, operator: Operator) -> None:
    """Translate the dropping of axes of size 1: those that are listed, or all."""
    x = t.source(operator)
    shape = t.shapes[x]
    table = operator.table.table(4)
    listed = (table.ints(0, MAX_RANK) if table else None) or ()
    dropped = {_axis(axis, len(shape)) for axis in listed}
    if any(shape[axis] != 1 for axis in dropped):
        raise GraphError(f"it drops the axes {sorted(dropped)} of {shape}")
    if not listed:
        dropped = {axis for axis, size in enumerate(shape) if size == 1}
    kept = tuple([size for axis, size in enumerate(shape) if axis not in dropped])
    reshape_to(t, x, kept, operator.output)


def expand_dims(t: Translator, operator: Operator) -> None:
    """Translate a new axis of size 1."""
    x = t.source(operator)
    shape = t.shapes[x]
    axis = _only_axis(t, operator, 1, len(shape) + 1)
    reshape_to(t, x, (*shape[:axis], 1, *shape[axis:]), operator.output)


def pack(t: Translator, operator: Operator) -> None:
    """Translate tensors put beside each other on a new axis: reshapes and a concatenation."""
    values = [t.activation(tensor) for tensor in operator.inputs]
    shape = t.shapes[values[0]]
    axis = _axis(operator.options()["axis"], len(shape) + 1)
    if any(t.shapes[value] != shape for value in values):
        raise GraphError("it packs tensors of several shapes")
    longer = (*shape[:axis], 1, *shape[axis:])
    parts = [t.append(Reshape(longer), [value]) for value in values]
    t.emit(Concat(-1 if axis == len(shape) else axis), parts, operator.output)


def unpack(t: Translator, operator: Operator) -> None:
    """Translate the way back: slices and reshapes."""
    x = t.source(operator)
    shape = t.shapes[x]
    axis = _axis(operator.options()["axis"], len(shape))
    if len(operator.outputs) != shape[axis]:
        raise GraphError(f"it takes {len(operator.outputs)} parts of axis {axis} of {shape}")
    for index, output in enumerate(operator.outputs):
        part = t.append(_cut(shape, axis, index, 1), [x])
        reshape_to(t, part, (*shape[:axis], *shape[axis + 1 :]), output)


def _cut(shape: Shape, axis: int, begin: int, size: int) -> Slice:
    """Return the slice of one axis."""
    begins, sizes = [0] * len(shape), list(shape)
    begins[axis], sizes[axis] = begin, size
    return Slice(tuple(begins), tuple(sizes))


def split(t: Translator, operator: Operator) -> None:
    """Translate a cut into equal parts: one slice for each."""
    x = t.activation(operator.inputs[-1])
    shape = t.shapes[x]
    axis, count = _only_axis(t, operator, 0, len(shape)), len(operator.outputs)
    if shape[axis] % count:
        raise GraphError(f"axis {axis} of {shape} is not {count} equal parts")
    _parts(t, operator, x, axis, [shape[axis] // count] * count)


def split_v(t: Translator, operator: Operator) -> None:
    """Translate a cut into parts of given sizes, one of which may be the rest."""
    if len(operator.inputs) != 3:
        raise GraphError(f"it has {len(operator.inputs)} operands")
    x = t.source(operator)
    shape = t.shapes[x]
    sizes, axis = t.ints(operator, 1), _only_axis(t, operator, 2, len(shape))
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = shape[axis] - sum(sizes) - 1
    if len(sizes) != len(operator.outputs) or sum(sizes) != shape[axis]:
        raise GraphError(f"it cuts axis {axis} of {shape} into {sizes}")
    _parts(t, operator, x, axis, sizes)


def _parts(t: Translator, operator: Operator, x: int, axis: int, sizes: list[int]) -> None:
    if len(sizes) > MAX_PARTS:
        raise UnsupportedOpError(f"it has {len(sizes)} outputs; latlas reads {MAX_PARTS}")
    begin = 0
    for size, output in zip(sizes, operator.outputs, strict=True):
        t.emit(_cut(t.shapes[x], axis, begin, size), [x], output)
        begin += size


def strided_slice(t: Translator, operator: Operator) -> None:
    """Translate a slice by bounds and strides; axes that it drops or adds become a reshape."""
    x = t.source(operator)
    shape = t.shapes[x]
    begin, end, strides = (t.ints(operator, index) for index in (1, 2, 3))
    if not len(begin) == len(end) == len(strides) <= len(shape):
        raise GraphError(f"it takes {begin} to {end} of {shape}")
    try:
        index = slices(begin, end, strides, operator.options())
    except ValueError as error:
        raise UnsupportedOpError(str(error)) from error
    firsts, sizes, steps, kept = [], [], [], []
    for axis, length in enumerate(shape):
        part = index[axis] if axis < len(index) else slice(None)
        if isinstance(part, int):
            taken = range(part + length * (part < 0), length)[:1]
        else:
            if part.step is not None and part.step < 1:
                raise UnsupportedOpError(
                    f"it goes backwards or stands still ({strides}); latlas reads forward"
                )
            taken = range(length)[part]
            kept.append(len(taken))
        if not taken or taken[0] < 0:
            raise GraphError(f"it takes nothing of axis {axis} of {shape}")
        firsts.append(taken[0])
        sizes.append(len(taken))
        steps.append(taken.step if len(taken) > 1 else 1)
    stride = tuple(steps) if max(steps, default=1) > 1 else ()
    op = Slice(tuple(firsts), tuple(sizes), stride)
    if len(kept) == len(shape):
        t.emit(op, [x], operator.output)
    else:
        value = x if op.size == shape else t.append(op, [x])
        reshape_to(t, value, tuple(kept), operator.output)


def gather(t: Translator, operator: Operator) -> None:
    """Translate the choice of slices by constant indices; a run of them is a slice."""
    x = t.source(operator)
    shape = t.shapes[x]
    options = operator.options()
    if options["batch_dims"]:
        raise UnsupportedOpError("it has batch dimensions; latlas reads it without")
    indices = t.constant(operator.inputs[1]) if len(operator.inputs) > 1 else None
    if indices is None or indices.dtype.kind != "i":
        raise UnsupportedOpError("its indices are computed; latlas reads constant ones")
    axis = _axis(options["axis"], len(shape))
    flat = indices.reshape(-1).astype(np.int64)
    if not flat.size or flat.min() < 0 or flat.max() >= shape[axis]:
        raise GraphError(f"its indices lie outside axis {axis} of {shape}")
    t.model.spend(flat)
    op: Op
    arrays: dict[str, Array] = {}
    if (np.diff(flat) == 1).all():
        op = _cut(shape, axis, int(flat[0]), flat.size)
    else:
        op, arrays = Gather(axis, flat.size), {"indices": flat.astype(np.int32)}
    whole = (*shape[:axis], *indices.shape, *shape[axis + 1 :])
    if indices.ndim == 1:
        t.emit(op, [x], operator.output, arrays)
    else:
        reshape_to(t, t.append(op, [x], arrays), whole, operator.output)


def broadcast_to(t: Translator, operator: Operator) -> None:
    """Translate a repetition along axes of size 1; where nothing is repeated there is no node."""
    source, output = operator.inputs[0], operator.output
    shape = tuple(t.ints(operator, 1))
    if source in t.masks:
        mask = t.masks[source]
        if broadcast("its shape", t.shapes[mask[0]], shape) != t.shapes[mask[0]]:
            raise UnsupportedOpError("it repeats a condition; latlas reads one of equal shape")
        t.masks[output] = mask
        return
    array = t.constant(source)
    if array is not None and array.dtype == np.float32:
        t.computed[output] = _repeated(array, shape)
        return
    x = t.activation(source)
    if t.shapes[x] == shape:
        t.values[output] = x
    else:
        t.emit(Broadcast(shape), [x], output)


def _repeated(array: Array, shape: Shape) -> Array:
    """Repeat a constant, which takes no memory until it is a weight."""
    check_shape(shape, "its output")
    if broadcast("its shape", array.shape, shape) != shape:
        raise GraphError(f"{array.shape} does not become {shape}")
    return np.broadcast_to(array, shape)


def tile(t: Translator, operator: Operator) -> None:
    """Translate a repetition along every axis."""
    t.emit(Tile(tuple(t.ints(operator, 1))), [t.source(operator)], operator.output)


def blocks(t: Translator, operator: Operator) -> None:
    """Translate the exchange of channels and pixels."""
    block = int(operator.options()["block_size"])
    op: Op = DepthToSpace(block)
    if operator.code == Code.SPACE_TO_DEPTH:
        op = SpaceToDepth(block)
    t.emit(op, [t.source(operator)], operator.output)


def equal(t: Translator, operator: Operator) -> None:
    """Note a comparison with a number, for the `select` that reads it."""
    if len(operator.inputs) != 2:
        raise GraphError(f"it has {len(operator.inputs)} operands")
    x = t.source(operator)
    t.masks[operator.output] = x, _scalar(t, operator.inputs[1], "compares with")


def select(t: Translator, operator: Operator) -> None:
    """Translate a choice between a tensor and a number by a comparison noted before."""
    if len(operator.inputs) != 3:
        raise GraphError(f"it has {len(operator.inputs)} operands")
    condition, kept, other = operator.inputs
    if condition not in t.masks:
        raise UnsupportedOpError("its condition is no comparison with a number")
    tested, value = t.masks[condition]
    op = Select(value, _scalar(t, other, "puts in"))
    t.emit(op, [tested, t.activation(kept)], operator.output)


def _scalar(t: Translator, tensor: int, what: str) -> float:
    """Return a constant of which all elements are one number."""
    if tensor in t.numbers:
        return t.numbers[tensor]
    array = t.constant(tensor)
    if array is None or array.dtype != np.float32 or not array.size:
        raise UnsupportedOpError(f"it {what} a tensor; latlas reads a number there")
    # Of what is repeated, one is looked at: the whole may be larger than any memory.
    array = array[(*(slice(None) if stride else slice(1) for stride in array.strides), ...)]
    t.model.spend(array)
    first = np.float32(array[(0,) * array.ndim])
    if array.size > 1 and (array != first).any():
        raise UnsupportedOpError(f"it {what} several numbers; latlas reads one")
    t.numbers[tensor] = t.number(first)
    return t.numbers[tensor]


def fully_connected_rows(shape: Shape, width: int) -> Shape | None:
    """Return the matrix that a fully connected layer makes of a tensor, or None where it is one.

    Raises:
        GraphError: the tensor is no whole number of rows of `width`.

    >>> fully_connected_rows((1, 16, 32), 32)
    (16, 32)
    """
    if len(shape) >= 2 and math.prod(shape[1:]) == width:
        return None
    if not width or math.prod(shape) % width:
        raise GraphError(f"{shape} is no whole number of rows of {width}")
    return math.prod(shape) // width, width


TRANSLATORS: dict[Code, Callable[[Translator, Operator], None]] = {
    Code.BATCH_MATMUL: batch_matmul,
    Code.BROADCAST_TO: broadcast_to,
    Code.DEPTH_TO_SPACE: blocks,
    Code.EQUAL: equal,
    Code.EXPAND_DIMS: expand_dims,
    Code.GATHER: gather,
    Code.GELU: gelu,
    Code.LEAKY_RELU: leaky_relu,
    Code.MEAN: reduce,
    Code.PACK: pack,
    Code.PRELU: prelu,
    Code.REDUCE_MAX: reduce,
    Code.REDUCE_MIN: reduce,
    Code.REDUCE_PROD: reduce,
    Code.SELECT: select,
    Code.SELECT_V2: select,
    Code.SPACE_TO_DEPTH: blocks,
    Code.SPLIT: split,
    Code.SPLIT_V: split_v,
    Code.SQUEEZE: squeeze,
    Code.STRIDED_SLICE: strided_slice,
    Code.SUM: reduce,
    Code.TILE: tile,
    Code.TRANSPOSE: transpose,
    Code.UNPACK: unpack,
}
"""The function that translates an operator on activations."""

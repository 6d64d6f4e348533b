"""The one spelling of a kernel that is a single operator: equal work has equal names.

A tensor's shape says more than what the work is. Axes of size 1 and the borders between axes that
an operator treats alike go; what is left is a map (batch, height, width, channels) where the
operator is one of maps, so that tokens and feature maps share what is known about them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from latlas.profiler.ops import (
    Activation,
    BatchMatmul,
    Binary,
    Broadcast,
    Concat,
    Conv2D,
    Dequantize,
    FullyConnected,
    Gather,
    Mean,
    Op,
    Prelu,
    Quantize,
    Reduce,
    Reshape,
    Shape,
    Slice,
    Softmax,
    Tile,
    Transpose,
)

_Form = tuple[Op, tuple[Shape, ...]]

MAP_RANK = 4
"""Batch, height, width and channels."""


_LADEN = frozenset({Activation, Binary, Slice})
"""Operators that may say what does not change the work."""


def neutral(op: Op) -> Op:
    """Drop what does not change the work: the number behind a scalar constant, where a slice is.

    A power's exponent stays, since runtimes know some of them.
    """
    match op:
        case Binary(kind=kind, value=float()) if kind != "pow":
            return replace(op, value=1.0)
        case Activation(kind="leaky_relu"):
            return replace(op, alpha=0.0)
        case Slice():
            return replace(op, begin=(0,) * len(op.begin))
        case _:
            return op


def canonical(op: Op, shapes: tuple[Shape, ...]) -> _Form:
    """Return an operator and the shapes of its inputs in the one spelling of their work.

    A 1x1 convolution of a 1x1 map is a fully connected layer; rank-2 tensors are 1x1 maps for
    element-wise operators; the larger input of an element-wise operator comes first.

    >>> canonical(Transpose((0, 2, 1, 3)), ((1, 196, 3, 64),))
    (Transpose(perm=(1, 0, 2)), ((196, 3, 64),))
    """
    if type(op) in _LADEN:
        op = neutral(op)
    form = _FORMS.get(type(op))
    return (op, shapes) if form is None else form(op, shapes)


def _convolution(op: Conv2D, shapes: tuple[Shape, ...]) -> _Form:
    shape = shapes[0]
    pointwise = op.kernel == (1, 1) and op.groups == 1 and not any(op.padding)
    if shape[1:3] == (1, 1) and pointwise:
        return FullyConnected(op.filters, op.bias, op.activation), ((shape[0], shape[3]),)
    return op, shapes


def _fully_connected(op: FullyConnected, shapes: tuple[Shape, ...]) -> _Form:
    shape = shapes[0]
    taken = shape[-1:] if op.keepdims else shape[1:]
    width = math.prod(taken)
    plain = replace(op, keepdims=False) if op.keepdims else op
    return plain, ((math.prod(shape) // width, width),)


def _rows(op: Op, shapes: tuple[Shape, ...]) -> _Form:
    """Spell what works on the rows of one tensor."""
    return op, (_as_rows(shapes[0]),)


def _as_rows(shape: Shape) -> Shape:
    if len(shape) == MAP_RANK:
        return shape
    if len(shape) == 2:
        return shape[0], 1, 1, shape[1]
    return (1, 1, math.prod(shape[:-1]), *(shape[-1:] or (1,)))


def _binary(op: Binary, shapes: tuple[Shape, ...]) -> _Form:
    constant = op.constant or ()
    rank = max(*map(len, shapes), len(constant))
    if rank == MAP_RANK:
        shapes = tuple([_padded(s, MAP_RANK) if len(s) == 2 else s for s in shapes])
    elif rank <= 2 and (len(constant) < 2 or constant[0] == 1):
        shapes = tuple([(s[0], 1, 1, s[1]) if len(s) == 2 else s for s in shapes])
    else:
        merged = _merged((*shapes, constant))
        if op.constant is not None:
            op = replace(op, constant=_without_leading_ones(merged[-1]))
        shapes = tuple([_padded(shape, MAP_RANK) for shape in merged[: len(shapes)]])
    if len(shapes) == 2 and op.commutes:
        shapes = tuple(sorted(shapes, key=math.prod, reverse=True))
    return op, shapes


def _without_leading_ones(shape: Shape) -> Shape:
    while shape[:1] == (1,) and len(shape) > 1:
        shape = shape[1:]
    return shape


def _padded(shape: Shape, rank: int) -> Shape:
    return (1,) * (rank - len(shape)) + shape


def _merged(shapes: Sequence[Shape]) -> list[Shape]:
    """Merge neighbouring axes that broadcast alike, after dropping those that are 1 everywhere."""
    rank = max(map(len, shapes))
    columns = [c for c in zip(*(_padded(s, rank) for s in shapes), strict=True) if max(c) > 1]
    return _transposed(
        _runs(columns, lambda column: tuple([size > 1 for size in column])), len(shapes)
    )


def _runs(
    columns: Sequence[tuple[int, ...]], key: Callable[[tuple[int, ...]], object]
) -> list[tuple[int, ...]]:
    """Multiply neighbouring columns of the same key into one."""
    found: list[tuple[int, ...]] = []
    last: object = None
    for column in columns:
        if found and key(column) == last:
            found[-1] = tuple([a * b for a, b in zip(found[-1], column, strict=True)])
        else:
            found.append(column)
        last = key(column)
    return found


def _transposed(columns: Sequence[tuple[int, ...]], count: int) -> list[Shape]:
    return [tuple([column[index] for column in columns]) for index in range(count)]


def _mean(op: Mean, shapes: tuple[Shape, ...]) -> _Form:
    return Mean(), shapes


def _reduce(op: Reduce, shapes: tuple[Shape, ...]) -> _Form:
    """Leave runs of axes that are kept and reduced in turn; a mean over pixels is `Mean`."""
    columns = [(n, int(i in op.axes)) for i, n in enumerate(shapes[0]) if n > 1]
    runs: list[tuple[int, int]] = []
    for size, reduced in columns:
        if runs and runs[-1][1] == reduced:
            runs[-1] = runs[-1][0] * size, reduced
        else:
            runs.append((size, reduced))
    if [reduced for _, reduced in runs] == [1, 0] and op.kind == "mean":
        return Mean(), ((1, runs[0][0], 1, runs[1][0]),)
    if all(reduced == 0 for _, reduced in runs):  # of single elements: a copy
        runs.append((1, 1))
    axes = tuple([axis for axis, (_, reduced) in enumerate(runs) if reduced])
    return Reduce(op.kind, axes), (tuple([size for size, _ in runs]),)


def _transpose(op: Transpose, shapes: tuple[Shape, ...]) -> _Form:
    """Merge axes that stay neighbours."""
    shape = shapes[0]
    groups: list[list[int]] = []
    kept = [axis for axis in range(len(shape)) if shape[axis] > 1]
    places = {axis: place for place, axis in enumerate(kept)}
    for axis in op.perm:
        if shape[axis] == 1:
            continue
        if groups and places[groups[-1][-1]] + 1 == places[axis]:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    order = sorted(groups) or [[]]
    sizes = tuple([math.prod(shape[axis] for axis in group) for group in order])
    perm = tuple([order.index(group) for group in groups]) or (0,)
    return Transpose(perm), (sizes,)


def _reshape(op: Reshape, shapes: tuple[Shape, ...]) -> _Form:
    size = math.prod(shapes[0])
    return Reshape((size,)), ((1, size),)


def _batch_matmul(op: BatchMatmul, shapes: tuple[Shape, ...]) -> _Form:
    """Leave one batch axis where the operands agree on it, else those that broadcast unlike."""
    operands = shapes if op.constant is None else (*shapes, op.constant)
    batches = [_padded(batch, 1) for batch in _merged([shape[:-2] for shape in operands])]
    left, right = [b + s[-2:] for b, s in zip(batches, operands, strict=True)]
    if op.constant is None:
        return op, (left, right)
    return replace(op, constant=_without_leading_ones_but(right, 2)), (left,)


def _without_leading_ones_but(shape: Shape, rank: int) -> Shape:
    while shape[:1] == (1,) and len(shape) > rank:
        shape = shape[1:]
    return shape


def _as_map(rank: int) -> int:
    """Return how many axes a tensor gets: a map's, or those that it has beyond."""
    return max(rank, MAP_RANK)


def _concat(op: Concat, shapes: tuple[Shape, ...]) -> _Form:
    rank = len(shapes[0])
    if rank == MAP_RANK:
        return op, shapes
    axis = op.axis % rank
    outer, inner = math.prod(shapes[0][:axis]), math.prod(shapes[0][axis + 1 :])
    if inner == 1:
        return Concat(), tuple([(1, 1, outer, shape[axis]) for shape in shapes])
    return Concat(2), tuple([(1, outer, shape[axis], inner) for shape in shapes])


def _slice(op: Slice, shapes: tuple[Shape, ...]) -> _Form:
    missing = _as_map(len(shapes[0])) - len(shapes[0])
    steps = op.steps and (1,) * missing + op.steps
    return (
        Slice((0,) * missing + op.begin, (1,) * missing + op.size, steps),
        ((1,) * missing + shapes[0],),
    )


def _gather(op: Gather, shapes: tuple[Shape, ...]) -> _Form:
    shape = shapes[0]
    outer, inner = math.prod(shape[: op.axis]), math.prod(shape[op.axis + 1 :])
    return Gather(1, op.count), ((outer, shape[op.axis], inner),)


def _broadcast(op: Broadcast, shapes: tuple[Shape, ...]) -> _Form:
    small, large = _merged((shapes[0], op.shape))
    return Broadcast(large or (1,)), (small or (1,),)


def _tile(op: Tile, shapes: tuple[Shape, ...]) -> _Form:
    missing = _as_map(len(shapes[0])) - len(shapes[0])
    return Tile((1,) * missing + op.multiples), ((1,) * missing + shapes[0],)


def _prelu(op: Prelu, shapes: tuple[Shape, ...]) -> _Form:
    shape = shapes[0]
    if len(shape) == MAP_RANK or len(_without_leading_ones(op.alpha)) > 1:
        return replace(op, alpha=_without_leading_ones(op.alpha)), shapes
    return Prelu(_without_leading_ones(op.alpha)), (_as_rows(shape),)


_FORMS: dict[type[Op], Callable[..., _Form]] = {
    Activation: _rows,
    BatchMatmul: _batch_matmul,
    Binary: _binary,
    Broadcast: _broadcast,
    Concat: _concat,
    Conv2D: _convolution,
    Dequantize: _rows,
    FullyConnected: _fully_connected,
    Gather: _gather,
    Mean: _mean,
    Prelu: _prelu,
    Quantize: _rows,
    Reduce: _reduce,
    Reshape: _reshape,
    Slice: _slice,
    Softmax: _rows,
    Tile: _tile,
    Transpose: _transpose,
}

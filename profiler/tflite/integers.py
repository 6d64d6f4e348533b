"""The integer arithmetic on shapes that a converter leaves in files with a dynamic batch.

Once the input's shape is known all of it is constant: nothing of it reaches the graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from latlas.profiler.graph import Array
from latlas.profiler.tflite.schema import Code

MAX_INTEGERS = 64
"""Elements of one integer tensor: they are shapes, paddings and axes."""

INTEGER_CODES = frozenset(
    {
        Code.ADD,
        Code.BROADCAST_ARGS,
        Code.CAST,
        Code.CONCATENATION,
        Code.GATHER,
        Code.MUL,
        Code.PACK,
        Code.REDUCE_PROD,
        Code.RESHAPE,
        Code.STRIDED_SLICE,
        Code.SUB,
    }
)
"""The operators that `evaluate` knows."""


def slices(
    begin: Sequence[int], end: Sequence[int], strides: Sequence[int], options: Mapping[str, float]
) -> tuple[slice | int, ...]:
    """Return a STRIDED_SLICE as an index of Python.

    Raises:
        ValueError: the operator uses what no file of a float network needs.
    """
    masks = {name: int(value) for name, value in options.items()}
    if masks["ellipsis_mask"] or masks["new_axis_mask"] or masks["offset"]:
        raise ValueError("ellipsis, new axes and relative ends are not read")
    index: list[slice | int] = []
    for axis, (first, last, step) in enumerate(zip(begin, end, strides, strict=True)):
        if masks["shrink_axis_mask"] >> axis & 1:
            index.append(first)
        else:
            low = None if masks["begin_mask"] >> axis & 1 else first
            high = None if masks["end_mask"] >> axis & 1 else last
            index.append(slice(low, high, step))
    return tuple(index)


def _broadcast(left: list[int], right: list[int]) -> list[int]:
    """Return the shape of element-wise work on two shapes."""
    rank = max(len(left), len(right))
    pairs = zip([1] * (rank - len(left)) + left, [1] * (rank - len(right)) + right, strict=True)
    return [b if a == 1 else a for a, b in pairs]


def evaluate(code: Code, inputs: Sequence[Array], options: Mapping[str, float]) -> Array:
    """Return the result of one integer operator.

    Args:
        code: one of `INTEGER_CODES`.
        inputs: 64-bit integers.
        options: of the operator, by name.

    Raises:
        ValueError, IndexError: the operands do not fit together.

    >>> evaluate(Code.PACK, [np.array(1), np.array(5)], {"axis": 0})
    array([1, 5])
    """
    if len(inputs) > MAX_INTEGERS:
        raise ValueError(f"{len(inputs)} operands")
    axis = int(options.get("axis", 0))
    first = inputs[0]
    result: Any
    # Hostile numbers may overflow; what comes of it is refused as a shape.
    with np.errstate(all="ignore"):
        match code:
            case Code.CAST:
                result = first
            case Code.PACK:
                result = np.stack(inputs, axis)
            case Code.CONCATENATION:
                result = np.concatenate(inputs, axis)
            case Code.GATHER:
                if options["batch_dims"]:
                    raise ValueError("batch dimensions are not read")
                result = np.take(first, inputs[1], axis)
            case Code.REDUCE_PROD:
                axes = tuple(inputs[1].reshape(-1).tolist())
                keep: Any = bool(options["keep_dims"])  # NumPy 2.5 types only literals
                result = np.prod(first, axis=axes, keepdims=keep)
            case Code.RESHAPE:
                result = first.reshape(inputs[1].reshape(-1).tolist())
            case Code.STRIDED_SLICE:
                bounds = [values.reshape(-1).tolist() for values in inputs[1:4]]
                result = first[slices(bounds[0], bounds[1], bounds[2], options)]
            case Code.BROADCAST_ARGS:
                result = _broadcast(first.reshape(-1).tolist(), inputs[1].reshape(-1).tolist())
            case Code.ADD:
                result = np.add(first, inputs[1])
            case Code.SUB:
                result = np.subtract(first, inputs[1])
            case Code.MUL:
                result = np.multiply(first, inputs[1])
            case _:
                raise ValueError("not an operator on integers")
    array: Array = np.asarray(result, np.int64)
    if array.size > MAX_INTEGERS:
        raise ValueError(f"{array.size} integers")
    return array

"""A cell of NASNet (Zoph et al. 2018): combinations of two operators on two earlier states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.layer_norm import layer_norm
from latlas.search.blocks import conv_bn

OPERATORS = (
    *("identity", "conv_1x3_3x1", "conv_1x7_7x1", "dilated_3x3", "average_3x3", "max_3x3"),
    *("max_5x5", "max_7x7", "conv_1x1", "conv_3x3", "separable_3x3", "separable_5x5"),
    "separable_7x7",
)
COMBINATIONS = ("add", "concat", "add_layer_norm", "add_instance_norm")
"""NASNet-A's space has the first two."""


class Combination(NamedTuple):
    """How a new state comes from two earlier ones."""

    left: int
    right: int
    left_operator: str
    right_operator: str
    combine: str = "add"


Cell = tuple[Combination, ...]


def append_cell(
    b: GraphBuilder,
    cell: Cell,
    x: int,
    before: int | None,
    filters: int,
    *,
    stride: int = 1,
    kept: tuple[int, ...] = (),
    drop_path: float = 0.0,
) -> int:
    """Append a cell.

    Args:
        b: takes the operators.
        cell: its combinations.
        x: the cell before.
        before: the cell before that; None where there is none.
        filters: of every new state, twice that where the combination is a concatenation.
        stride: of the operators on the two inputs.
        kept: states that are concatenated even if read.
        drop_path: rate at which results of operators are dropped, the identity's excepted.
    """
    previous = x if before is None else _match(b, before, x, filters)
    states = [_project(b, x, filters), previous]
    used = _combine(b, cell, states, filters, stride, drop_path)
    output = [
        _reduce(b, state, states[-1], filters) if index < 2 else state
        for index, state in enumerate(states)
        if index in kept or index not in used
    ]
    return output[0] if len(output) == 1 else b.concat(output)


def append_open_cell(
    b: GraphBuilder,
    cell: Cell,
    read: Sequence[int],
    filters: int,
    *,
    stride: int = 1,
    drop_path: float = 0.0,
) -> list[int]:
    """Append a cell whose new states are not concatenated, and return them.

    Args:
        b: takes the operators.
        cell: its combinations.
        read: the states of the cell before, of one height and width.
        filters: of every new state, twice that where the combination is a concatenation.
        stride: of the operators on the inputs.
        drop_path: as of `append_cell`.
    """
    fitted = {
        value: value if b.shape(value)[3] == filters else _project(b, value, filters)
        for value in dict.fromkeys(read)
    }
    states = [fitted[value] for value in read]
    _combine(b, cell, states, filters, stride, drop_path)
    return states[len(read) :]


def _combine(
    b: GraphBuilder, cell: Cell, states: list[int], filters: int, stride: int, drop_path: float
) -> set[int]:
    """Append the new states of a cell behind its inputs; return the positions that were read."""
    used: set[int] = set()
    inputs = len(states)
    for left, right, left_operator, right_operator, combine in cell:
        used |= {left, right}
        parts = [
            append_operator(b, operator, states[state], filters, stride if state < inputs else 1)
            for state, operator in ((left, left_operator), (right, right_operator))
        ]
        for part, operator in zip(parts, (left_operator, right_operator), strict=True):
            if operator != "identity" and drop_path:
                b.drop_path(part, drop_path)
        x = b.concat(parts) if combine == "concat" else b.add(*parts)
        if combine == "add_layer_norm":
            x = layer_norm(b, x, axes=(1, 2, 3))
        elif combine == "add_instance_norm":
            x = layer_norm(b, x, axes=(1, 2))
        states.append(x)
    return used


def append_operator(b: GraphBuilder, operator: str, x: int, filters: int, stride: int) -> int:
    """Append an operator on a state; its result has `filters` channels."""
    kind, *sizes = operator.split("_")
    windows = [(int(height), int(width)) for height, width in (s.split("x") for s in sizes)]
    if kind == "identity":
        same = stride == 1 and b.shape(x)[3] == filters
        return x if same else _project(b, x, filters, stride)
    if kind in ("average", "max"):
        pool = b.average_pool if kind == "average" else b.max_pool
        y = pool(x, windows[0], stride=stride)
        return y if b.shape(y)[3] == filters else b.batch_norm(b.conv(y, filters, 1, bias=False))
    if kind == "separable":
        for step in (stride, 1):
            x = b.depthwise(b.relu(x), windows[0], stride=step, bias=False)
            x = b.batch_norm(b.conv(x, filters, 1, bias=False))
        return x
    dilation = 2 if kind == "dilated" else 1
    if dilation > 1 and stride > 1:  # frameworks do not stride a dilated convolution
        x, stride = b.average_pool(x, 1, stride=stride, padding="valid"), 1
    for window in windows:
        # Of 1x3 and 3x1, each strides along its length.
        height, width = (stride if size == max(window) else 1 for size in window)
        x = b.relu(x)
        x = b.conv(x, filters, window, stride=(height, width), dilation=dilation, bias=False)
        x = b.batch_norm(x)
    return x


def _project(b: GraphBuilder, x: int, filters: int, stride: int = 1) -> int:
    return conv_bn(b, b.relu(x), filters, 1, stride=stride)


def _match(b: GraphBuilder, x: int, like: int, filters: int) -> int:
    """Bring the cell before the last to the height and width of the last, and to `filters`."""
    same = b.shape(x)[1:3] == b.shape(like)[1:3]
    return x if same and b.shape(x)[3] == filters else _reduce(b, b.relu(x), like, filters)


def _reduce(b: GraphBuilder, x: int, like: int, filters: int) -> int:
    if b.shape(x)[1:3] != b.shape(like)[1:3]:
        return _factorized_reduction(b, x, filters)
    return x if b.shape(x)[3] == filters else conv_bn(b, x, filters, 1)


def _factorized_reduction(b: GraphBuilder, x: int, filters: int) -> int:
    """Halve height and width by two 1x1 convolutions that read different pixels."""
    _, height, width, channels = b.shape(x)
    shifted = b.slice(b.pad(x, (0, 1, 0, 1)), (0, 1, 1, 0), (1, height, width, channels))
    halves = [
        b.conv(b.average_pool(path, 1, stride=2, padding="valid"), count, 1, bias=False)
        for path, count in ((x, filters // 2), (shifted, filters - filters // 2))
    ]
    return b.batch_norm(b.concat(halves))

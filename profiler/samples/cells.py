"""Networks of cells with two inputs (Zoph et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from latlas.profiler.samples.sketch import Sketch

Operation = Callable[[Sketch, int, int], int]


def cells(s: Sketch, x: int) -> int:
    """One random normal cell and one random reduction cell, repeated."""
    pairs = s.between(3, 5)
    normal, reduction = _draw_cell(s, pairs), _draw_cell(s, pairs)
    before = x
    for stage in s.stages(x, per_block=10 * pairs):
        width = s.round(stage.width / 2)
        for block in range(stage.blocks):
            strided = stage.stride == 2 and block == 0
            cell = reduction if strided else normal
            before, x = x, _cell(s, before, x, width, cell, 2 if strided else 1)
    return s.activate(x, "relu")


def _draw_cell(s: Sketch, pairs: int) -> list[tuple[int, str, int, str]]:
    """Return, for every pair, two hidden states and what is done to each."""
    names = ("separable3", "separable3", "separable5", "separable7", "average", "max", "identity")
    return [
        (int(s.rng.integers(i + 2)), s.pick(names), int(s.rng.integers(i + 2)), s.pick(names))
        for i in range(pairs)
    ]


def _cell(
    s: Sketch,
    before: int,
    x: int,
    width: int,
    cell: list[tuple[int, str, int, str]],
    stride: int,
) -> int:
    states = [_adjusted(s, before, x, width), s.conv(s.b.relu(x), width, 1, act="none")]
    used: set[int] = set()
    for left, left_name, right, right_name in cell:
        steps = []
        for state, name in ((left, left_name), (right, right_name)):
            step = stride if state < 2 else 1  # later states have been reduced already
            steps.append(_OPERATIONS[name](s, states[state], step))
            used.add(state)
        states.append(s.b.add(*steps))
    loose = [value for i, value in enumerate(states) if i >= 2 and i not in used]
    if stride == 1:
        loose = [states[i] for i in (0, 1) if i not in used] + loose
    return s.b.concat(loose) if len(loose) > 1 else loose[0]


def _adjusted(s: Sketch, before: int, x: int, width: int) -> int:
    """Return the older input in the size and the width of the newer one."""
    if s.map_size(before) == s.map_size(x):
        return s.conv(s.b.relu(before), width, 1, act="none")
    before = s.b.relu(before)
    left = s.conv(s.pool(before, 1, 2, "average"), s.round(width / 2), 1, act="none")
    batch, rows, columns, channels = s.b.shape(before)
    shifted = s.b.pad(before, (0, 1, 0, 1))
    shifted = s.b.slice(shifted, (0, 1, 1, 0), (batch, rows, columns, channels))
    right = s.conv(
        s.pool(shifted, 1, 2, "average"), max(width - s.channels(left), 1), 1, act="none"
    )
    joined = s.b.concat((left, right))
    return joined if s.channels(joined) == width else s.conv(joined, width, 1, act="none")


def _separable(kernel: int, s: Sketch, x: int, stride: int) -> int:
    width = s.channels(x)
    for step in (stride, 1):
        x = s.depthwise(s.b.relu(x), kernel, stride=step, act="none")
        x = s.conv(x, width, 1, act="none")
    return x


def _pool(kind: str, s: Sketch, x: int, stride: int) -> int:
    return s.pool(x, 3, stride, kind)


def _identity(s: Sketch, x: int, stride: int) -> int:
    return x if stride == 1 else s.pool(x, 3, stride, "average")


_OPERATIONS: dict[str, Operation] = {
    "separable3": partial(_separable, 3),
    "separable5": partial(_separable, 5),
    "separable7": partial(_separable, 7),
    "average": partial(_pool, "average"),
    "max": partial(_pool, "max"),
    "identity": _identity,
}

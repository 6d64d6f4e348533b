"""Networks of parallel branches (Szegedy et al. 2016), residual ones too (Szegedy et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable

from latlas.profiler.ops import Binary
from latlas.profiler.samples.sketch import Sketch


def inception(s: Sketch, x: int) -> int:
    """Modules that concatenate branches; reductions that do so with half of the map."""
    residual = s.chance(0.25)
    for stage in s.stages(x, per_block=11):
        if stage.stride == 2:
            x = _reduction(s, x, stage.width)
        for _ in range(stage.blocks):
            y = _module(s, x, stage.width)
            if residual:
                y = s.conv(y, s.channels(x), 1, act="none")
                y = s.b.apply(Binary("mul", value=0.2), y)
                x = s.activate(s.b.add(x, y), s.act)
            else:
                x = y
    return x


def _module(s: Sketch, x: int, width: int) -> int:
    kinds: tuple[Callable[[Sketch, int, int], int], ...] = (
        _pointwise,
        _window,
        _twice,
        _factorised,
        _split,
        _pooled,
    )
    count = s.between(2, 4)
    order = s.rng.permutation(len(kinds))[:count]
    shares = s.rng.dirichlet([4.0] * count)
    branches = [
        kinds[kind](s, x, s.round(width * share)) for kind, share in zip(order, shares, strict=True)
    ]
    return s.b.concat(branches)


def _pointwise(s: Sketch, x: int, width: int) -> int:
    return s.conv(x, width, 1)


def _narrow(s: Sketch, x: int, width: int) -> int:
    return s.conv(x, s.round(width * s.pick((0.5, 0.75, 1.0))), 1)


def _window(s: Sketch, x: int, width: int) -> int:
    return s.conv(_narrow(s, x, width), width, s.pick((3, 3, 5)))


def _twice(s: Sketch, x: int, width: int) -> int:
    return s.conv(s.conv(_narrow(s, x, width), width, 3), width, 3)


def _factorised(s: Sketch, x: int, width: int) -> int:
    x = _narrow(s, x, width)
    taps = s.pick((3, 5, 7, 7))
    for _ in range(s.pick((1, 1, 2))):
        x = s.conv(s.conv(x, width, (1, taps)), width, (taps, 1))
    return x


def _split(s: Sketch, x: int, width: int) -> int:
    x = _narrow(s, x, width)
    half = s.round(width / 2)
    return s.b.concat((s.conv(x, half, (1, 3)), s.conv(x, half, (3, 1))))


def _pooled(s: Sketch, x: int, width: int) -> int:
    return s.conv(s.pool(x, 3, 1, s.pick(("average", "average", "max"))), width, 1)


def _reduction(s: Sketch, x: int, width: int) -> int:
    padding = s.pick(("same", "valid"))
    narrow = _narrow(s, x, s.round(width / 2))
    branches = [
        s.conv(narrow, s.round(width / 2), 3, stride=2, padding=padding),
        s.pool(x, 3, 2, "max", padding),
    ]
    if s.chance(0.5):
        y = s.conv(_narrow(s, x, s.round(width / 4)), s.round(width / 4), 3)
        branches.append(s.conv(y, s.round(width / 4), 3, stride=2, padding=padding))
    return s.b.concat(branches)

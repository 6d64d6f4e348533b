"""Residual networks: basic and bottleneck blocks, grouped ones, and those normalised first."""

from __future__ import annotations

from latlas.profiler.samples.sketch import Sketch


def basic(s: Sketch, x: int) -> int:
    """Two 3x3 convolutions with a shortcut (He et al. 2016)."""
    excited = s.chance(0.2)
    for stage in s.stages(x, per_block=4):
        for block in range(stage.blocks):
            stride = stage.stride if block == 0 else 1
            shortcut = _shortcut(s, x, stage.width, stride)
            y = s.conv(x, s.about(stage.width), 3, stride=stride)
            y = s.conv(y, stage.width, s.pick((3, 3, 3, 1)), act="none")
            if excited:
                y = s.squeeze_excite(y, stage.width // 16)
            x = s.add(shortcut, y, s.act)
    return x


def bottleneck(s: Sketch, x: int) -> int:
    """Narrow, convolve, widen (He et al. 2016)."""
    ratio = s.pick((2, 4, 4))
    return _bottlenecks(s, x, ratio=ratio, group_width=0)


def grouped(s: Sketch, x: int) -> int:
    """Bottlenecks whose convolution is grouped (Xie et al. 2017, Radosavovic et al. 2020)."""
    return _bottlenecks(s, x, ratio=s.pick((1, 1, 2)), group_width=s.pick((4, 8, 8, 16, 24, 32)))


def _bottlenecks(s: Sketch, x: int, *, ratio: int, group_width: int) -> int:
    excited = s.chance(0.2)
    for stage in s.stages(x, per_block=5):
        inner = s.round(stage.width / ratio)
        outer = stage.width
        groups = 1
        if group_width:
            groups = max(1, round(inner / group_width))
            inner = groups * group_width
            outer = inner if ratio == 1 else outer
        for block in range(stage.blocks):
            stride = stage.stride if block == 0 else 1
            shortcut = _shortcut(s, x, outer, stride)
            middle = inner if groups > 1 else s.about(inner)
            y = s.conv(x, middle, 1)
            y = s.conv(y, middle, 3, stride=stride, groups=groups)
            if excited:
                y = s.squeeze_excite(y, middle // s.pick((4, 8, 16)))
            x = s.add(shortcut, s.conv(y, outer, 1, act="none"), s.act)
    return x


def preactivated(s: Sketch, x: int) -> int:
    """Blocks that normalise first, the shortcut being free of activations (He et al. 2016b)."""
    ratio = s.pick((1, 2, 4))
    for stage in s.stages(x, per_block=7):
        for block in range(stage.blocks):
            stride = stage.stride if block == 0 else 1
            inner = s.about(stage.width / ratio)
            y = s.normalise(x, s.act)
            if s.channels(x) != stage.width:
                shortcut = s.conv(y, stage.width, 1, stride=stride, act="none")
            else:
                shortcut = s.pool(x, 1, stride, "max") if stride == 2 else x
            if ratio > 1:
                y = s.conv(y, inner, 1)
            y = s.conv(y, inner, 3, stride=stride)
            x = s.b.add(shortcut, s.conv(y, stage.width, 3 if ratio == 1 else 1, act="none"))
    return s.normalise(x, s.act)


def _shortcut(s: Sketch, x: int, width: int, stride: int) -> int:
    if stride == 2 and s.chance(0.15):  # pooled before it is projected
        x, stride = s.pool(x, 2, 2, "average"), 1
    if s.channels(x) == width and stride == 1:
        return x
    return s.conv(x, width, 1, stride=stride, act="none")

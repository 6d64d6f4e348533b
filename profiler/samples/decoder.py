"""Networks that give a map back: dilated convolutions, resized and joined maps."""

from __future__ import annotations

from latlas.profiler.samples.sketch import Sketch


def decoder(s: Sketch, x: int) -> int:
    """An encoder of separable blocks, a pyramid of dilations (Chen et al. 2018), a way back up."""
    levels = []
    for stage in s.stages(x, per_block=3):
        if stage.stride == 2:
            levels.append(x)
        for block in range(stage.blocks):
            y = s.depthwise(x, s.pick((3, 3, 5)), stride=stage.stride if block == 0 else 1)
            y = s.conv(y, stage.width, 1)
            x = s.b.add(x, y) if s.b.shape(x) == s.b.shape(y) else y
    width = s.width(24, 96)
    x = _pyramid(s, x, width)
    added = s.chance(0.5)
    for level in reversed(levels[-s.between(1, 3) :]):
        height, columns = s.b.shape(level)[1:3]
        x = s.b.resize(x, (height, columns), half_pixel_centers=s.chance(0.5))
        lateral = s.conv(level, s.channels(x) if added else s.round(width / 2), 1)
        x = s.add(x, lateral) if added else s.b.concat((x, lateral))
        x = s.conv(s.depthwise(x, 3), width, 1) if s.chance(0.5) else s.conv(x, width, 3)
    return x


def _pyramid(s: Sketch, x: int, width: int) -> int:
    branches = [s.conv(x, width, 1)]
    for dilation in s.pick(((2, 4), (2, 3, 5), (6, 12))):
        if s.chance(0.5):
            y = s.conv(s.depthwise(x, 3, dilation=dilation), width, 1)
        else:
            y = s.conv(x, width, 3, dilation=dilation)
        branches.append(y)
    return s.conv(s.b.concat(branches), width, 1)

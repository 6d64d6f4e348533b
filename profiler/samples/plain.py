"""Networks without branches, or with the smallest: stacks of convolutions and fire modules."""

from __future__ import annotations

from latlas.profiler.samples.sketch import Sketch


def plain(s: Sketch, x: int) -> int:
    """Stacks of convolutions (Simonyan and Zisserman 2015)."""
    pooled = s.chance(0.6)
    for stage in s.stages(x, per_block=2):
        if stage.stride == 2 and pooled:
            x = s.pool(x, s.pick((2, 2, 3)), 2, s.pick(("max", "max", "average")))
        for block in range(stage.blocks):
            stride = stage.stride if block == 0 and not pooled else 1
            x = s.conv(x, stage.width, s.pick((3, 3, 3, 3, 1, 5)), stride=stride)
    return x


def fire(s: Sketch, x: int) -> int:
    """Fire modules (Iandola et al. 2016): a squeezed map, expanded in two ways."""
    for stage in s.stages(x, per_block=4):
        if stage.stride == 2:
            x = s.pool(x, 3, 2, "max")
        for _ in range(stage.blocks):
            squeezed = s.conv(x, s.round(stage.width * s.pick((0.125, 0.25, 0.5))), 1)
            share = s.pick((0.25, 0.5, 0.5, 0.75))
            y = s.b.concat(
                (
                    s.conv(squeezed, s.round(stage.width * (1 - share)), 1),
                    s.conv(squeezed, s.round(stage.width * share), 3),
                )
            )
            same = s.channels(x) == s.channels(y)
            x = s.add(x, y) if same and s.chance(0.3) else y
    return x

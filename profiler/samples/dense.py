"""Networks that keep every map that they have made (Huang et al. 2017)."""

from __future__ import annotations

from latlas.profiler.samples.sketch import Sketch


def dense(s: Sketch, x: int) -> int:
    """Dense blocks of normalised bottlenecks, with transitions that halve the map."""
    growth = s.width(12, 48)
    stages = s.stages(x, per_block=6)
    for index, stage in enumerate(stages):
        for _ in range(stage.blocks):
            y = s.normalise(x, s.act)
            if s.chance(0.9):
                y = s.conv(y, s.about(growth * 4), 1)
            y = s.conv(y, growth, 3, act="none")
            x = s.b.concat((x, y))
        x = s.normalise(x, s.act)
        if index + 1 < len(stages):
            x = s.conv(x, s.round(s.channels(x) / 2), 1, act="none")
            if stages[index + 1].stride == 2:
                x = s.pool(x, 2, 2, "average", "valid")
    return x

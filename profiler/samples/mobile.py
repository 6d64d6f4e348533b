"""Networks of depthwise convolutions: separable, inverted and shuffled blocks."""

from __future__ import annotations

from latlas.profiler.ops import Transpose
from latlas.profiler.samples.sketch import Sketch


def separable(s: Sketch, x: int) -> int:
    """Depthwise, then pointwise convolutions (Howard et al. 2017)."""
    for stage in s.stages(x, per_block=2):
        for block in range(stage.blocks):
            x = s.depthwise(x, s.pick((3, 3, 3, 5)), stride=stage.stride if block == 0 else 1)
            x = s.conv(x, stage.width, 1)
    return x


def extreme(s: Sketch, x: int) -> int:
    """Activation, depthwise, pointwise, in residual groups (Chollet 2017)."""
    length = s.pick((2, 3))
    for stage in s.stages(x, per_block=3 * length + 2):
        for block in range(stage.blocks):
            stride = stage.stride if block == 0 else 1
            changed = stride == 2 or s.channels(x) != stage.width
            y = x
            for _ in range(length):
                y = s.activate(y, s.act)
                y = s.depthwise(y, 3, act="none")
                y = s.conv(y, stage.width, 1, act="none")
            if stride == 2:
                y = s.pool(y, 3, 2, "max")
            shortcut = s.conv(x, stage.width, 1, stride=stride, act="none") if changed else x
            x = s.b.add(y, shortcut)
    return x


def inverted(s: Sketch, x: int) -> int:
    """Inverted residuals (Sandler et al. 2018) with any kernel, expansion and excitation."""
    excited = s.pick((0.0, 0.0, 0.5, 1.0))
    fused = s.chance(0.15)  # a full convolution in place of the first two (Tan and Le 2021)
    for position, stage in enumerate(s.stages(x, per_block=5)):
        for block in range(stage.blocks):
            stride = stage.stride if block == 0 else 1
            channels = s.channels(x)
            expanded = s.round(channels * s.pick((1, 2, 3, 4, 6, 6)))
            kernel = s.pick((3, 3, 3, 5, 5, 7))
            if fused and position < 2:
                y = s.conv(x, expanded, 3, stride=stride)
            else:
                y = s.conv(x, expanded, 1) if expanded != channels else x
                y = s.depthwise(y, kernel, stride=stride)
            if s.chance(excited):
                base = s.pick((channels, expanded))
                y = s.squeeze_excite(y, max(4, base // 4))
            y = s.conv(y, stage.width, 1, act="none")
            x = s.b.add(x, y) if stride == 1 and channels == stage.width else y
    return x


def shuffled(s: Sketch, x: int) -> int:
    """Half of the channels are worked on, the halves are joined (Ma et al. 2018)."""
    kernel, mixed = s.pick((3, 3, 5)), s.chance(0.8)
    for stage in s.stages(x, per_block=6):
        width = s.round(stage.width / 2)
        x = _halved(s, x, width, kernel, stage.stride)
        for _ in range(stage.blocks - 1):
            batch, height, rows, channels = s.b.shape(x)
            half = channels // 2
            kept = s.b.slice(x, (0, 0, 0, 0), (batch, height, rows, half))
            y = s.b.slice(x, (0, 0, 0, half), (batch, height, rows, channels - half))
            y = s.conv(y, width, 1)
            y = s.conv(s.depthwise(y, kernel, act="none"), channels - half, 1)
            x = _mixed(s, s.b.concat((kept, y))) if mixed else s.b.concat((kept, y))
    return x


def _mixed(s: Sketch, x: int) -> int:
    """Append a channel shuffle of two groups (Zhang et al. 2018)."""
    batch, height, rows, channels = s.b.shape(x)
    if channels % 2:
        return x
    y = s.b.reshape(x, (batch, height, rows, 2, channels // 2))
    y = s.b.apply(Transpose((0, 1, 2, 4, 3)), y)
    return s.b.reshape(y, (batch, height, rows, channels))


def inverted_residual(
    s: Sketch, x: int, width: int, expansion: int, kernel: int, stride: int
) -> int:
    """Append one inverted residual without excitation."""
    channels = s.channels(x)
    y = s.conv(x, s.round(channels * expansion), 1)
    y = s.conv(s.depthwise(y, kernel, stride=stride), width, 1, act="none")
    return s.b.add(x, y) if stride == 1 and channels == width else y


def _halved(s: Sketch, x: int, width: int, kernel: int, stride: int) -> int:
    left = s.conv(s.depthwise(x, kernel, stride=stride, act="none"), width, 1)
    right = s.depthwise(s.conv(x, width, 1), kernel, stride=stride, act="none")
    return s.b.concat((left, s.conv(right, width, 1)))

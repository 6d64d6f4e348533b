"""A random network while it is drawn: a graph builder with a style and a stream of choices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.ops import Binary, FusedActivation, Pair

T = TypeVar("T")

MIN_WIDTH, MAX_WIDTH = 4, 2048
"""No layer has fewer or more channels."""

SMALLEST_MAP = 6
"""A map of fewer rows is not halved again: networks end at about 7x7."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks of one width.

    Attributes:
        width: channels.
        blocks: how many there are.
        stride: of the first of them.
    """

    width: int
    blocks: int
    stride: int


@dataclass
class Sketch:
    """What a family draws on.

    Attributes:
        b: the graph as far as it is drawn.
        rng: of all choices.
        scale: factor on every width that is not given by another: it decides the multiply-adds.
        divisor: what widths are multiples of.
        act: activation behind convolutions: ``relu``, ``relu6``, ``hard_swish`` or ``swish``.
        operators: about how many operators the network shall have.
        symmetric: share of products whose right operand has the zero point 0, in int8.
    """

    b: GraphBuilder
    rng: np.random.Generator
    scale: float
    divisor: int
    act: str
    operators: int
    symmetric: float = 0.0

    def chance(self, probability: float) -> bool:
        """Return True as often as asked."""
        return bool(self.rng.random() < probability)

    def pick(self, choices: Sequence[T]) -> T:
        """Return one of the choices, all alike likely; name one twice to favour it."""
        return choices[int(self.rng.integers(len(choices)))]

    def between(self, low: float, high: float) -> int:
        """Return an integer from `low` to `high`, uniform in its logarithm."""
        return round(math.exp(self.rng.uniform(math.log(low), math.log(high))))

    def round(self, channels: float) -> int:
        """Return the nearest width that the style allows."""
        rounded = self.divisor * max(1, round(channels / self.divisor))
        return int(min(max(rounded, MIN_WIDTH), MAX_WIDTH))

    def width(self, low: float, high: float) -> int:
        """Return a width between bounds that hold at scale 1."""
        return self.round(self.scale * self.between(low, high))

    def about(self, channels: float) -> int:
        """Return a width near another: kernels that differ teach more than equal ones."""
        return self.round(channels * self.rng.uniform(0.7, 1.4))

    def stages(self, x: int, per_block: int) -> list[Stage]:
        """Return stages that narrow a map to about 7x7 while they widen it.

        Args:
            x: the map.
            per_block: about how many operators a block has.
        """
        halvings = max(0, int(math.log2(min(self.b.shape(x)[1:3]) / SMALLEST_MAP)))
        first = int(self.chance(0.6))  # a stage that keeps the size of the map
        count = min(max(halvings + first, 2), 5)
        blocks = max(count, round(self.operators / per_block))
        shares = self.rng.dirichlet([3.0] * count)
        width = float(self.between(12, 64))
        stages = []
        for index in range(count):
            strided = first <= index < first + halvings
            stages.append(
                Stage(
                    self.round(self.scale * width),
                    max(1, round(blocks * shares[index])),
                    2 if strided else 1,
                )
            )
            width = min(width * self.pick((1.4, 1.7, 2.0, 2.0, 2.2)), 1536)
        return stages

    def channels(self, x: int) -> int:
        """Return the channels of a map."""
        return self.b.shape(x)[3]

    def map_size(self, x: int) -> int:
        """Return the rows or columns of a map, whichever are fewer."""
        return min(self.b.shape(x)[1:3])

    def conv(
        self,
        x: int,
        filters: int,
        kernel: int | Pair,
        *,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        act: str | None = None,
        padding: str = "same",
    ) -> int:
        """Append a convolution with its activation, by default that of the style."""
        act = self.act if act is None else act
        y = self.b.conv(
            *(x, filters, kernel),
            stride=stride,
            groups=groups,
            dilation=dilation,
            padding=padding,
            activation=_fused(act),
        )
        return self.activate(y, act) if _fused(act) == "none" else y

    def depthwise(
        self, x: int, kernel: int, *, stride: int = 1, dilation: int = 1, act: str | None = None
    ) -> int:
        """Append a depthwise convolution with its activation, by default that of the style."""
        act = self.act if act is None else act
        y = self.b.depthwise(*(x, kernel), stride=stride, dilation=dilation, activation=_fused(act))
        return self.activate(y, act) if _fused(act) == "none" else y

    def activate(self, x: int, act: str) -> int:
        """Append an activation of its own; ``swish`` is spelled out, as in .tflite files."""
        if act == "swish":
            return self.b.mul(x, self.b.logistic(x))
        return self.b.activation(x, act)

    def add(self, x: int, y: int, act: str = "none") -> int:
        """Append an addition with its activation."""
        z = self.b.add(x, y, activation=_fused(act))
        return self.activate(z, act) if _fused(act) == "none" else z

    def normalise(self, x: int, act: str) -> int:
        """Append a batch norm that no convolution takes in: a multiplication and an addition."""
        shape = (self.channels(x),)
        x = self.b.apply(Binary("mul", constant=shape), x)
        x = self.b.apply(Binary("add", _fused(act), constant=shape), x)
        return self.activate(x, act) if _fused(act) == "none" else x

    def squeeze_excite(self, x: int, squeezed: int) -> int:
        """Append squeeze-and-excitation (Hu et al. 2018)."""
        act = self.act if self.act in ("swish", "relu6") else "relu"
        y = self.conv(self.b.mean(x), max(1, squeezed), 1, act=act)
        y = self.conv(y, self.channels(x), 1, act="none")
        if self.act == "hard_swish":  # its gate is relu6(y + 3) / 6
            y = self.b.apply(Binary("mul", value=1 / 6), self.b.relu6(y))
        else:
            y = self.b.logistic(y)
        return self.b.mul(x, y)

    def pool(self, x: int, kernel: int, stride: int, kind: str, padding: str = "same") -> int:
        """Append an average or max pooling."""
        append = self.b.max_pool if kind == "max" else self.b.average_pool
        return append(x, kernel, stride=stride, padding=padding)


def _fused(act: str) -> FusedActivation:
    return "relu" if act == "relu" else "relu6" if act == "relu6" else "none"

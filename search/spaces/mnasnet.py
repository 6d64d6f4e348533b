"""The factorised hierarchical search space of MnasNet (Tan et al. 2019): 7 blocks of 432 options.

All layers of a block are alike; its first one has the block's stride. Six decisions make a block:
operator, kernel, squeeze-and-excitation, skip, filters and layers, so that a chromosome is 42
integers. What the paper leaves open is decided thus:

- Four operators give its 432 options: convolution, depthwise separable convolution, and inverted
  bottlenecks of expansion 3 and 6.
- Filters are 0.75, 1 and 1.25 times MobileNetV2's, rounded as there, so that some choices of the
  narrow blocks coincide; layers are one fewer, as many and one more than MobileNetV2's, but at
  least one.
- A pooling skip adds the input after a 3x3 average pooling of the layer's stride; like the identity
  it is there only where it fits: the identity at stride 1, both where channels stay.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from latlas.profiler.errors import SearchError
from latlas.profiler.graph import GraphBuilder
from latlas.profiler.ops import Shape
from latlas.search.blocks import (
    classifier,
    conv_bn,
    depthwise_bn,
    round_channels,
    separable,
    squeeze_excite,
)
from latlas.search.spaces.blockwise import BlockwiseSpace

OPERATORS = ("conv", "separable", "mbconv3", "mbconv6")
KERNELS = (3, 5)
SQUEEZE_EXCITE = (0.0, 0.25)
"""Squeezed channels over a layer's input channels."""
SKIPS = ("pool", "identity", "none")

STRIDES = (1, 2, 2, 2, 1, 2, 1)
BASE_FILTERS = (16, 24, 32, 64, 96, 160, 320)
BASE_LAYERS = (1, 2, 3, 4, 3, 3, 1)
"""MobileNetV2's blocks."""

FILTERS = tuple(
    tuple(round_channels(factor * base) for factor in (0.75, 1.0, 1.25)) for base in BASE_FILTERS
)
PUBLISHED_FILTERS = (
    *((16, 16, 24), (24, 24, 32), (24, 32, 40), (48, 64, 80)),
    *((72, 96, 120, 112), (120, 160, 200, 192), (240, 320, 400)),
)
"""`FILTERS` with those of MnasNet-A1 and -B1, which lie outside of them."""

DECISIONS = 6
"""Genes of a block: operator, kernel, squeeze-and-excitation, skip, filters, layers."""
_FILTERS = 4


class Block(NamedTuple):
    """A block in words."""

    operator: str
    kernel: int
    squeeze_excite: float
    skip: str
    filters: int
    layers: int


@dataclass(frozen=True)
class MnasnetSpace(BlockwiseSpace):
    """MnasNet's space at one resolution, width and number of classes.

    Attributes:
        filters: what every block may choose from; `PUBLISHED_FILTERS` holds the authors' networks.

    >>> MnasnetSpace().size == 432**7
    True
    """

    filters: tuple[tuple[int, ...], ...] = FILTERS

    name: ClassVar[str] = "mnasnet"

    @property
    def choices(self) -> tuple[int, ...]:
        """Number of choices of every gene."""
        fixed = (len(OPERATORS), len(KERNELS), len(SQUEEZE_EXCITE), len(SKIPS))
        return tuple([n for filters in self.filters for n in (*fixed, len(filters), 3)])

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """A block's own genes and the filters of the block before it."""
        starts = range(0, len(self.choices), DECISIONS)
        own = [tuple(range(start, start + DECISIONS)) for start in starts]
        before = [(), *((start + _FILTERS,) for start in starts)]
        return ((), *map(operator.add, before, own), before[-1])

    def encode(self, blocks: Sequence[Block]) -> tuple[int, ...]:
        """Return the chromosome of an architecture.

        Raises:
            SearchError: it is not in this space.
        """
        if len(blocks) != len(STRIDES):
            raise SearchError(f"MnasNet's space has {len(STRIDES)} blocks, not {len(blocks)}")
        genes: list[int] = []
        for index, block in enumerate(blocks):
            try:
                genes += [
                    OPERATORS.index(block.operator),
                    KERNELS.index(block.kernel),
                    SQUEEZE_EXCITE.index(block.squeeze_excite),
                    SKIPS.index(block.skip),
                    self.filters[index].index(block.filters),
                    _layers(index).index(block.layers),
                ]
            except ValueError as error:
                raise SearchError(
                    f"block {index + 1} is not in this space ({error}): {block}; it chooses from "
                    f"the filters {self.filters[index]} and the layers {_layers(index)}"
                ) from error
        return tuple(genes)

    def input_shape(self, index: int, values: Sequence[int]) -> Shape:
        """Return the shape that a block reads: the block before decides on its channels."""
        if index == 0:
            return 1, self.resolution, self.resolution, self.channels
        side = self.side([2, *STRIDES[: index - 1]])
        filters = 32 if index == 1 else self.filters[index - 2][values[0]]
        return 1, side, side, self.scaled(filters)

    def append(self, b: GraphBuilder, x: int, index: int, values: Sequence[int]) -> int:
        """Append the stem, a block or the tail."""
        if index == 0:
            return conv_bn(b, x, self.scaled(32), 3, stride=2, act="relu")
        if index > len(STRIDES):
            return classifier(b, b.mean(conv_bn(b, x, 1280, 1, act="relu")), self.classes)
        op, kernel, squeezed, skip, filters, layers = values[-DECISIONS:]
        block = Block(
            OPERATORS[op],
            KERNELS[kernel],
            SQUEEZE_EXCITE[squeezed],
            SKIPS[skip],
            self.scaled(self.filters[index - 1][filters]),
            _layers(index - 1)[layers],
        )
        for layer in range(block.layers):
            x = _append_layer(b, x, block, STRIDES[index - 1] if layer == 0 else 1)
        return x


def _layers(index: int) -> tuple[int, int, int]:
    base = BASE_LAYERS[index]
    return max(base - 1, 1), base, base + 1


def _append_layer(b: GraphBuilder, x: int, block: Block, stride: int) -> int:
    channels = b.shape(x)[3]
    squeezed = max(1, int(channels * block.squeeze_excite)) if block.squeeze_excite else 0
    if block.operator == "conv":
        y = conv_bn(b, x, block.filters, block.kernel, stride=stride, act="relu")
        if squeezed:
            y = squeeze_excite(b, y, squeezed, act="relu", gate="logistic")
    elif block.operator == "separable":
        y = separable(
            *(b, x, block.filters, block.kernel),
            stride=stride,
            act="relu",
            se_channels=squeezed,
            se_gate="logistic",
        )
    else:
        y = conv_bn(b, x, channels * int(block.operator[-1]), 1, act="relu")
        y = depthwise_bn(b, y, block.kernel, stride=stride, act="relu")
        if squeezed:
            y = squeeze_excite(b, y, squeezed, act="relu", gate="logistic")
        y = conv_bn(b, y, block.filters, 1)
    if block.skip == "none" or channels != block.filters:
        return y
    if block.skip == "pool":
        return b.add(b.average_pool(x, 3, stride=stride), y)
    return b.add(x, y) if stride == 1 else y


ARCHITECTURES: dict[str, tuple[Block, ...]] = {
    "mnasnet_a1": (
        Block("separable", 3, 0.0, "none", 16, 1),
        Block("mbconv6", 3, 0.0, "identity", 24, 2),
        Block("mbconv3", 5, 0.25, "identity", 40, 3),
        Block("mbconv6", 3, 0.0, "identity", 80, 4),
        Block("mbconv6", 3, 0.25, "identity", 112, 2),
        Block("mbconv6", 5, 0.25, "identity", 160, 3),
        Block("mbconv6", 3, 0.0, "identity", 320, 1),
    ),
    "mnasnet_b1": (
        Block("separable", 3, 0.0, "none", 16, 1),
        Block("mbconv3", 3, 0.0, "identity", 24, 3),
        Block("mbconv3", 5, 0.0, "identity", 40, 3),
        Block("mbconv6", 5, 0.0, "identity", 80, 3),
        Block("mbconv6", 3, 0.0, "identity", 96, 2),
        Block("mbconv6", 5, 0.0, "identity", 192, 4),
        Block("mbconv6", 3, 0.0, "identity", 320, 1),
    ),
}
"""Tan et al.'s networks, chromosomes of a space with `PUBLISHED_FILTERS`."""

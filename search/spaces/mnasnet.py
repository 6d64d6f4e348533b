"""The factorised hierarchical search space of MnasNet (Tan et al. 2019): blocks of 432 options.

All layers of a block are alike; its first one has the block's stride. Six decisions make a block:
operator, kernel, squeeze-and-excitation, skip, filters and layers, so that a chromosome of the 7
blocks is 42 integers. What the paper leaves open is decided thus:

- Four operators give its 432 options: convolution, depthwise separable convolution, and inverted
  bottlenecks of expansion 3 and 6.
- Filters are 0.75, 1 and 1.25 times MobileNetV2's, rounded as there, so that some choices of the
  narrow blocks coincide; layers are one fewer, as many and one more than MobileNetV2's, but at
  least one.
- The paper counts 432^5 networks, of five blocks; its own networks have seven. Five blocks are
  MobileNetV2's with those of one resolution made one: their layers together, and the filters of
  the one with more layers.
- A pooling skip adds the input after a 3x3 average pooling of the layer's stride; like the identity
  it is there only where it fits: the identity at stride 1, both where channels stay.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self, cast

from latlas.profiler.errors import SearchError
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.ops import Shape
from latlas.search.blocks import classifier, conv_bn, round_channels
from latlas.search.protocols import Genes
from latlas.search.spaces.blockwise import BlockwiseSpace
from latlas.search.spaces.layer import Layer, append_layer
from latlas.search.spaces.settings import Settings
from latlas.search.spaces.shared import SharedLayer, Skeleton, shared

OPERATORS = ("conv", "separable", "mbconv3", "mbconv6")
KERNELS = (3, 5)
SQUEEZE_EXCITE = (0.0, 0.25)
"""Squeezed channels over a layer's input channels."""
SKIPS = ("pool", "identity", "none")

STRIDES = (1, 2, 2, 2, 1, 2, 1)
BASE_FILTERS = (16, 24, 32, 64, 96, 160, 320)
BASE_LAYERS = (1, 2, 3, 4, 3, 3, 1)
"""MobileNetV2's blocks."""


class BaseBlock(NamedTuple):
    """A block of MobileNetV2, from which a searched one departs."""

    filters: int
    layers: int
    stride: int


SKELETONS: dict[int, tuple[BaseBlock, ...]] = {
    5: tuple(map(BaseBlock, (16, 24, 32, 64, 160), (1, 2, 3, 7, 4), (1, 2, 2, 2, 2))),
    7: tuple(map(BaseBlock, BASE_FILTERS, BASE_LAYERS, STRIDES)),
}
"""The blocks by their number."""


def multiplied(blocks: int) -> tuple[tuple[int, ...], ...]:
    """Return 0.75, 1 and 1.25 times the filters of every block of a skeleton."""
    return tuple(
        tuple(round_channels(factor * base.filters) for factor in (0.75, 1.0, 1.25))
        for base in SKELETONS[blocks]
    )


FILTERS = multiplied(7)
PUBLISHED_FILTERS = (
    *((16, 16, 24), (24, 24, 32), (24, 32, 40), (48, 64, 80)),
    *((72, 96, 120, 112), (120, 160, 200, 192), (240, 320, 400)),
)
"""`FILTERS` with those of MnasNet-A1 and -B1, which lie outside of them."""

DECISIONS = 6
"""Genes of a block: operator, kernel, squeeze-and-excitation, skip, filters, layers."""
_FILTERS = 4
_MAX_WIDTHS, _MAX_FILTERS = 16, 4096
_WIDTHS = re.compile(r"[0-9]{1,4}(?:,[0-9]{1,4})*(?:/[0-9]{1,4}(?:,[0-9]{1,4})*)*")


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
        filters: what every block may choose from, of 5 or 7 blocks;
            `latlas.search.spaces.mnasnet.PUBLISHED_FILTERS` holds the authors' networks.

    >>> MnasnetSpace().size == 432**7
    True
    >>> MnasnetSpace(filters=multiplied(5)).size == 432**5
    True
    """

    filters: tuple[tuple[int, ...], ...] = FILTERS

    family: ClassVar[str] = "mnasnet"

    @classmethod
    def opened(cls, settings: Settings, common: Mapping[str, Any]) -> Self:
        """Return the space with these settings.

        Args:
            settings: ``blocks`` (5 or 7), and ``widths``: ``multipliers``, ``published`` or the
                filters of every block, e.g. ``16,24/24,32/…``.
            common: resolution, width, classes and channels.

        Raises:
            UsageError: there is no such setting, or its value is impossible.
        """
        settings.require_known("blocks", "widths")
        blocks = settings.integer("blocks", 7, 5, 7)
        if blocks not in SKELETONS:
            raise settings.fail("blocks", "5 or 7")
        widths = settings.values.get("widths", "multipliers")
        if widths == "multipliers":
            return cls(**common, filters=multiplied(blocks))
        if widths == "published":
            if blocks != len(PUBLISHED_FILTERS):
                raise settings.fail("widths", "multipliers or a list where blocks is 5")
            return cls(**common, filters=PUBLISHED_FILTERS)
        filters = _read_widths(widths)
        if len(filters) != blocks:
            raise settings.fail(
                "widths",
                f"multipliers, published, or up to {_MAX_WIDTHS} filters (1 to {_MAX_FILTERS}) "
                f"for each of {blocks} blocks, e.g. 16,24/24,32/…",
            )
        return cls(**common, filters=filters)

    @property
    def settings(self) -> dict[str, Any]:
        """Blocks and widths, as `opened` reads them."""
        blocks = len(self.filters)
        if blocks in SKELETONS and self.filters == multiplied(blocks):
            return {"blocks": blocks, "widths": "multipliers"}
        if self.filters == PUBLISHED_FILTERS:
            return {"blocks": blocks, "widths": "published"}
        return {
            "blocks": blocks,
            "widths": "/".join(",".join(map(str, filters)) for filters in self.filters),
        }

    @property
    def skeleton(self) -> tuple[BaseBlock, ...]:
        """The blocks from which those of this space depart.

        Raises:
            SearchError: there is no skeleton of so many blocks.
        """
        if len(self.filters) not in SKELETONS:
            raise SearchError(f"MnasNet's space has 5 or 7 blocks, not {len(self.filters)}")
        return SKELETONS[len(self.filters)]

    @property
    def references(self) -> dict[str, Genes]:
        """The authors' networks, where this space holds their widths."""
        found = {}
        for name, blocks in ARCHITECTURES.items():
            try:
                found[name] = self.encode(blocks)
            except SearchError:
                continue  # its widths are not among the choices
        return found

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
        if len(blocks) != len(self.skeleton):
            raise SearchError(
                f"this space of MnasNet's has {len(self.skeleton)} blocks, not {len(blocks)}"
            )
        genes: list[int] = []
        for index, (block, base) in enumerate(zip(blocks, self.skeleton, strict=True)):
            try:
                genes += [
                    OPERATORS.index(block.operator),
                    KERNELS.index(block.kernel),
                    SQUEEZE_EXCITE.index(block.squeeze_excite),
                    SKIPS.index(block.skip),
                    self.filters[index].index(block.filters),
                    _layers(base).index(block.layers),
                ]
            except ValueError as error:
                raise SearchError(
                    f"block {index + 1} is not in this space ({error}): {block}; it chooses from "
                    f"the filters {self.filters[index]} and the layers {_layers(base)}"
                ) from error
        return tuple(genes)

    def describe(self, genes: Sequence[int]) -> tuple[Block, ...]:
        """Return the blocks of a chromosome.

        Raises:
            SearchError: the genes are not of this space.
        """
        self.require(genes)
        starts = range(0, len(genes), DECISIONS)
        return tuple(
            [
                self._block(index, genes[start : start + DECISIONS])
                for index, start in enumerate(starts)
            ]
        )

    def _block(self, index: int, values: Sequence[int]) -> Block:
        op, kernel, squeezed, skip, filters, layers = values
        return Block(
            OPERATORS[op],
            KERNELS[kernel],
            SQUEEZE_EXCITE[squeezed],
            SKIPS[skip],
            self.filters[index][filters],
            _layers(self.skeleton[index])[layers],
        )

    def input_shape(self, index: int, values: Sequence[int]) -> Shape:
        """Return the shape that a block reads: the block before decides on its channels."""
        if index == 0:
            return 1, self.resolution, self.resolution, self.channels
        side = self.side([2, *(base.stride for base in self.skeleton[: index - 1])])
        filters = 32 if index == 1 else self.filters[index - 2][values[0]]
        return 1, side, side, self.scaled(filters)

    def append(self, b: GraphBuilder, x: int, index: int, values: Sequence[int]) -> int:
        """Append the stem, a block or the tail."""
        if index == 0:
            return conv_bn(b, x, self.scaled(32), 3, stride=2, act="relu")
        if index > len(self.skeleton):
            return classifier(b, b.mean(conv_bn(b, x, 1280, 1, act="relu")), self.classes)
        block = self._block(index - 1, values[-DECISIONS:])
        for layer in range(block.layers):
            stride = self.skeleton[index - 1].stride if layer == 0 else 1
            x = append_layer(b, x, _layer(block, self.scaled(block.filters), stride))
        return x

    def supernet_skeleton(self) -> Skeleton:
        """Return what all networks have."""
        return Skeleton(self.scaled(32), "relu", 1280, "relu")

    def supernet_layers(self, index: int, values: Sequence[int]) -> tuple[SharedLayer | None, ...]:
        """Return the layers of a block, for a supernet.

        Every layer of every operator has weights of its own; the kernels of 3 are the middle of
        those of 5, fewer filters the first of most, and a shallow block the start of a deep one.
        """
        if not 0 < index <= len(self.skeleton):
            return ()
        block, base = self._block(index - 1, values[-DECISIONS:]), self.skeleton[index - 1]
        inputs, filters = self.input_shape(index, values)[3], self.scaled(block.filters)
        first = shared(_layer(block, filters, base.stride), inputs, bank=block.operator)
        later = shared(_layer(block, filters, 1), filters, bank=block.operator)
        depths = range(1, max(_layers(base)))
        return (first, *(later if depth < block.layers else None for depth in depths))


def _layers(base: BaseBlock) -> tuple[int, int, int]:
    return max(base.layers - 1, 1), base.layers, base.layers + 1


def _layer(block: Block, filters: int, stride: int) -> Layer:
    bottleneck = block.operator.startswith("mbconv")
    return Layer(
        "mbconv" if bottleneck else cast(Literal["conv", "separable"], block.operator),
        filters,
        block.kernel,
        stride,
        expansion=int(block.operator[-1]) if bottleneck else 1,
        se=block.squeeze_excite,
        se_of="input",
        gate="logistic",
        skip=cast(Literal["none", "identity", "pool"], block.skip),
    )


def _read_widths(text: object) -> tuple[tuple[int, ...], ...]:
    """Return the filters of every block, or nothing where the text is malformed."""
    if not isinstance(text, str) or len(text) > 2000 or not _WIDTHS.fullmatch(text):
        return ()
    filters = tuple(
        [tuple([int(number) for number in block.split(",")]) for block in text.split("/")]
    )
    fit = all(
        len(block) <= _MAX_WIDTHS and min(block) >= 1 and max(block) <= _MAX_FILTERS
        for block in filters
    )
    return filters if fit else ()


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

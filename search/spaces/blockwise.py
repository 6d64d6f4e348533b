"""Spaces whose networks are chains of blocks, each of which a few genes decide.

A space says for every block which genes decide it and how it is built; whole networks, single
blocks and chromosomes' checks follow from that. It is what `latlas.predictor.genes` compiles and
`latlas.predictor.blocks` measures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from latlas.profiler.errors import SearchError
from latlas.profiler.graph import Graph, GraphBuilder
from latlas.profiler.ops import Shape
from latlas.search.blocks import round_channels


@dataclass(frozen=True)
class BlockwiseSpace:
    """Base of such spaces, at one resolution, width and number of classes.

    Attributes:
        resolution: height and width of the input.
        width: factor of the numbers of channels, which are rounded to multiples of 8.
        classes: number of classes.
        channels: of the input.
    """

    resolution: int = 224
    width: float = 1.0
    classes: int = 1000
    channels: int = 3

    name: ClassVar[str]

    @property
    def choices(self) -> tuple[int, ...]:
        """Number of choices of every gene."""
        raise NotImplementedError

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """For every block, from stem to tail, the positions of the genes that decide it."""
        raise NotImplementedError

    def input_shape(self, index: int, values: Sequence[int]) -> Shape:
        """Return the shape that a block reads, given the values of its genes."""
        raise NotImplementedError

    def append(self, b: GraphBuilder, x: int, index: int, values: Sequence[int]) -> int:
        """Append a block, given the values of its genes."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """Number of chromosomes."""
        return math.prod(self.choices)

    def sample(self, count: int, seed: int) -> list[tuple[int, ...]]:
        """Return random chromosomes, every choice equally likely."""
        rng = np.random.default_rng(seed)
        drawn = rng.integers(0, self.choices, size=(count, len(self.choices)))
        return [tuple(genes) for genes in drawn.tolist()]

    def decode(self, genes: Sequence[int]) -> Graph:
        """Return the network of a chromosome, in the training form.

        Raises:
            SearchError: the genes are not of this space.
        """
        self.require(genes)
        b = GraphBuilder((1, self.resolution, self.resolution, self.channels))
        x = b.input
        for index, group in enumerate(self.groups):
            x = self.append(b, x, index, [genes[position] for position in group])
        return b.build(x)

    def block(self, index: int, values: Sequence[int]) -> Graph:
        """Return one block as a network of its own, in the training form.

        Args:
            index: of the block, as in `groups`.
            values: of the genes that decide it, in the order of its group.
        """
        b = GraphBuilder(self.input_shape(index, values))
        return b.build(self.append(b, b.input, index, values))

    def require(self, genes: Sequence[int]) -> None:
        """Raise `SearchError` unless these are genes of this space."""
        require_genes(self.name, self.choices, genes)

    def scaled(self, channels: int) -> int:
        """Return a number of channels at this width."""
        return channels if self.width == 1.0 else round_channels(channels * self.width)

    def side(self, strides: Sequence[int]) -> int:
        """Return the height and width that layers of these strides leave of the input."""
        side = self.resolution
        for stride in strides:
            side = -(-side // stride)
        return side


def require_genes(name: str, choices: Sequence[int], genes: Sequence[int]) -> None:
    """Raise `SearchError` unless genes are one choice each."""
    if len(genes) == len(choices) and all(
        gene in range(count) for gene, count in zip(genes, choices, strict=True)
    ):
        return
    most = sorted({count - 1 for count in choices})
    bounds = f"0…{most[0]}" if len(most) == 1 else f"0…{most[0]} to 0…{most[-1]}"
    raise SearchError(
        f"a chromosome of {name} is {len(choices)} integers in {bounds}, not {tuple(genes)}"
    )

"""Spaces whose networks are chains of blocks, each of which a few genes decide.

A space says for every block which genes decide it and how it is built; whole networks, single
blocks and chromosomes' checks follow from that. It is what `latlas.predictor.genes` compiles and
`latlas.predictor.blocks` measures.
"""

from __future__ import annotations

from collections.abc import Sequence

from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.ops import Shape
from latlas.search.blocks import round_channels
from latlas.search.spaces.space import Space


class BlockwiseSpace(Space):
    """Base of such spaces, at one resolution, width and number of classes.

    Numbers of channels times the width are rounded to multiples of 8.
    """

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

    def decode(self, genes: Sequence[int]) -> Graph:
        """Return the network of a chromosome, in the training form.

        Raises:
            SearchError: the genes are not of this space.
            GraphError: the resolution or the number of classes is impossible.
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

    def scaled(self, channels: int) -> int:
        """Return a number of channels at this width."""
        return channels if self.width == 1.0 else round_channels(channels * self.width)

    def side(self, strides: Sequence[int]) -> int:
        """Return the height and width that layers of these strides leave of the input."""
        side = self.resolution
        for stride in strides:
            side = -(-side // stride)
        return side

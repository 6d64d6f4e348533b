"""Spaces of a fixed skeleton in which every searchable layer is one gene: FairNAS's and MoGA's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

from latlas.profiler.errors import SearchError
from latlas.profiler.ops import Shape
from latlas.search.spaces.blockwise import BlockwiseSpace


class SkeletonLayer(Protocol):
    """What the skeleton fixes of a searchable layer."""

    @property
    def filters(self) -> int:
        """Channels that the layer writes, at width 1."""
        ...

    @property
    def stride(self) -> int:
        """Stride, in both directions."""
        ...


class LayerwiseSpace(BlockwiseSpace):
    """Base of such spaces: a stem of 16 channels at half the resolution, the layers, a tail.

    Attributes:
        layers: the searchable layers, from the stem on.
        layer_choices: what the gene of a layer chooses from, the same for all.
    """

    layers: ClassVar[Sequence[SkeletonLayer]]
    layer_choices: ClassVar[Sequence[Any]]

    @property
    def choices(self) -> tuple[int, ...]:
        """Number of choices of every gene."""
        return (len(self.layer_choices),) * len(self.layers)

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """One gene for each layer, none for stem and tail."""
        return ((), *((position,) for position in range(len(self.layers))), ())

    def input_shape(self, index: int, values: Sequence[int]) -> Shape:
        """Return the shape that a block reads; it does not depend on genes."""
        if index == 0:
            return 1, self.resolution, self.resolution, self.channels
        before = self.layers[: index - 1]
        side = self.side([2, *(layer.stride for layer in before)])
        return 1, side, side, self.scaled(before[-1].filters if before else 16)

    def genes_of(self, chosen: Sequence[Any]) -> tuple[int, ...]:
        """Return the chromosome of one choice for each layer.

        Raises:
            SearchError: a layer is not among the choices, or the number of layers differs.
        """
        options = list(self.layer_choices)
        for choice in chosen:
            if choice not in options:
                raise SearchError(
                    f"not an architecture of the space {self.name}: no layer is {choice}"
                )
        if len(chosen) != len(self.layers):
            raise SearchError(f"{self.name} has {len(self.layers)} layers, not {len(chosen)}")
        return tuple(options.index(choice) for choice in chosen)

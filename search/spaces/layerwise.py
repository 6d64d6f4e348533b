"""Spaces of a fixed skeleton in which every searchable layer is one gene: FairNAS's and MoGA's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

from latlas.profiler.errors import SearchError
from latlas.profiler.ops import Shape
from latlas.search.spaces.blockwise import BlockwiseSpace
from latlas.search.spaces.shared import SharedLayer, Skeleton


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


class KernelAndExpansion(Protocol):
    """What every choice of a layer has."""

    @property
    def kernel(self) -> int:
        """Height and width of the depthwise convolution."""
        ...

    @property
    def expansion(self) -> int:
        """Expanded channels over the layer's input channels."""
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

    def supernet_skeleton(self) -> Skeleton:
        """Return what all networks of the space have, for a supernet."""
        raise NotImplementedError

    def stem_layer(self, act: str) -> SharedLayer:
        """Return the separable convolution of the stem, for a supernet."""
        inputs = self.supernet_skeleton().stem
        return SharedLayer(
            "separable", inputs, inputs, self.scaled(16), 3, 1, act, bank="separable"
        )

    def mbconv_layer(
        self, index: int, gene: int, choice: KernelAndExpansion, act: str, squeezed: int = 0
    ) -> SharedLayer:
        """Return the inverted bottleneck that a gene chooses, for a supernet.

        Args:
            index: of the block, from 1.
            gene: its weights' row.
            choice: what the gene stands for.
            act: activation, also of squeeze-and-excitation.
            squeezed: channels of squeeze-and-excitation.
        """
        layer = self.layers[index - 1]
        inputs, filters = self.input_shape(index, (gene,))[3], self.scaled(layer.filters)
        return SharedLayer(
            "mbconv",
            inputs,
            inputs * choice.expansion,
            filters,
            choice.kernel,
            layer.stride,
            act,
            squeezed,
            act,
            skip="identity" if layer.stride == 1 and inputs == filters else "none",
            row=gene,
        )

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

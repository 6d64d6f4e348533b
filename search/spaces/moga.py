"""The search space of MoGA (Chu, Zhang and Xu 2020): 14 inverted bottlenecks, 12 choices each.

A chromosome is 14 integers in 0…11. The numbering of the choices was never published; here it is
``kernel * 4 + expansion * 2 + squeeze-and-excitation`` with kernel 3, 5, 7 and expansion 3, 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from latlas.profiler.graph_builder import GraphBuilder
from latlas.search.blocks import classifier, conv_bn, mbconv, separable
from latlas.search.protocols import Genes
from latlas.search.spaces.layerwise import LayerwiseSpace
from latlas.search.spaces.shared import SharedLayer, Skeleton


class SearchableLayer(NamedTuple):
    """What the skeleton fixes of a searchable layer."""

    filters: int
    stride: int
    act: str


class Choice(NamedTuple):
    """What a gene chooses."""

    kernel: int
    expansion: int
    squeeze_excite: bool


LAYERS = tuple(
    SearchableLayer(filters, stride, "relu" if index < 5 else "hard_swish")
    for index, (filters, stride) in enumerate(
        [(24, 2), (24, 1), (40, 2), (40, 1), (40, 1), (80, 2), (80, 1)]
        + [(80, 1), (80, 1), (112, 1), (112, 1), (160, 2), (160, 1), (160, 1)]
    )
)
CHOICES = tuple(
    Choice(kernel, expansion, bool(se))
    for kernel in (3, 5, 7)
    for expansion in (3, 6)
    for se in (0, 1)
)


@dataclass(frozen=True)
class MogaSpace(LayerwiseSpace):
    """MoGA's space at one resolution, width and number of classes.

    >>> MogaSpace().size
    1283918464548864
    """

    family: ClassVar[str] = "moga"
    layers = LAYERS
    layer_choices = CHOICES

    def encode(self, layers: Sequence[tuple[int, int, int]]) -> tuple[int, ...]:
        """Return the chromosome of (expansion, kernel, squeeze-and-excitation) triples.

        Raises:
            SearchError: a layer is not among the choices.
        """
        return self.genes_of([(k, e, se) for e, k, se in layers])

    def describe(self, genes: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
        """Return the (expansion, kernel, squeeze-and-excitation) triples of a chromosome.

        Raises:
            SearchError: the genes are not of this space.
        """
        self.require(genes)
        chosen = [CHOICES[gene] for gene in genes]
        return tuple([(one.expansion, one.kernel, int(one.squeeze_excite)) for one in chosen])

    @property
    def references(self) -> dict[str, Genes]:
        """The authors' networks."""
        return {name: self.encode(layers) for name, layers in ARCHITECTURES.items()}

    def append(self, b: GraphBuilder, x: int, index: int, values: Sequence[int]) -> int:
        """Append the stem, a searchable layer or the tail."""
        if index == 0:
            x = conv_bn(b, x, self.scaled(16), 3, stride=2, act="hard_swish")
            return separable(b, x, self.scaled(16), 3, act="relu")
        if index > len(LAYERS):
            x = conv_bn(b, x, self.scaled(960), 1, act="hard_swish")
            x = b.hard_swish(b.conv(b.mean(x), 1280, 1, bias=False))
            return classifier(b, x, self.classes)
        layer, choice = LAYERS[index - 1], CHOICES[values[0]]
        expanded = b.shape(x)[3] * choice.expansion
        return mbconv(
            *(b, x, self.scaled(layer.filters), choice.kernel),
            expanded=expanded,
            stride=layer.stride,
            act=layer.act,
            se_channels=expanded // 4 if choice.squeeze_excite else 0,
            se_act=layer.act,
        )

    def supernet_skeleton(self) -> Skeleton:
        """Return what all networks have."""
        return Skeleton(self.scaled(16), "hard_swish", self.scaled(960), "hard_swish", 1280)

    def supernet_layers(self, index: int, values: Sequence[int]) -> tuple[SharedLayer | None, ...]:
        """Return the layer of a block; every choice has weights of its own."""
        if index == 0:
            return (self.stem_layer("relu"),)
        if index > len(LAYERS):
            return ()
        layer, choice = LAYERS[index - 1], CHOICES[values[0]]
        expanded = self.input_shape(index, values)[3] * choice.expansion
        squeezed = expanded // 4 if choice.squeeze_excite else 0
        return (self.mbconv_layer(index, values[0], choice, layer.act, squeezed),)


ARCHITECTURES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "moga_a": (
        *((6, 5, 0), (6, 7, 0), (6, 3, 0), (6, 3, 1), (3, 3, 1), (6, 3, 1), (6, 3, 0)),
        *((6, 7, 0), (3, 7, 1), (6, 7, 0), (6, 3, 0), (6, 3, 0), (6, 5, 1), (6, 5, 1)),
    ),
    "moga_a_fig": (
        *((6, 5, 0), (6, 7, 0), (6, 3, 1), (6, 3, 1), (3, 3, 1), (6, 3, 0), (6, 3, 0)),
        *((6, 7, 0), (3, 7, 1), (6, 7, 0), (6, 3, 0), (6, 3, 0), (6, 5, 1), (6, 5, 1)),
    ),
    "moga_b": (
        *((3, 3, 0), (3, 3, 0), (6, 7, 0), (3, 3, 0), (6, 5, 0), (6, 3, 1), (6, 5, 1)),
        *((3, 3, 0), (6, 7, 1), (6, 7, 0), (3, 5, 0), (6, 7, 1), (6, 7, 1), (6, 3, 1)),
    ),
    "moga_c": (
        *((3, 5, 0), (3, 3, 0), (3, 5, 0), (3, 3, 0), (3, 5, 0), (3, 5, 0), (6, 5, 1)),
        *((3, 5, 0), (3, 5, 0), (6, 3, 0), (6, 3, 1), (6, 3, 1), (6, 3, 1), (6, 3, 1)),
    ),
}
"""MoGA's published networks as (expansion, kernel, squeeze-and-excitation) of the 14 layers.

``moga_a`` is the authors' code; their figure (``moga_a_fig``) has the squeeze-and-excitation of
layer 6 on layer 3.
"""

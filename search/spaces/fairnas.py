"""The search space of FairNAS (Chu et al. 2021): 19 inverted bottlenecks, 6 choices each.

A chromosome is 19 integers in 0…5: ``kernel * 2 + expansion`` with kernel 3, 5, 7 and expansion
3, 6. The skeleton is ProxylessNAS's.
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


class Choice(NamedTuple):
    """What a gene chooses."""

    kernel: int
    expansion: int


LAYERS = tuple(
    SearchableLayer(filters, 2 if index in (0, 2, 6, 14) else 1)
    for index, filters in enumerate([32] * 2 + [40] * 4 + [80] * 4 + [96] * 4 + [192] * 4 + [320])
)
CHOICES = tuple(Choice(kernel, expansion) for kernel in (3, 5, 7) for expansion in (3, 6))


@dataclass(frozen=True)
class FairnasSpace(LayerwiseSpace):
    """FairNAS's space at one resolution, width and number of classes.

    >>> FairnasSpace().size
    609359740010496
    """

    family: ClassVar[str] = "fairnas"
    layers = LAYERS
    layer_choices = CHOICES

    def encode(self, layers: Sequence[tuple[int, int]]) -> tuple[int, ...]:
        """Return the chromosome of (expansion, kernel) pairs.

        Raises:
            SearchError: a layer is not among the choices.
        """
        return self.genes_of([(kernel, e) for e, kernel in layers])

    def describe(self, genes: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """Return the (expansion, kernel) pairs of a chromosome.

        Raises:
            SearchError: the genes are not of this space.
        """
        self.require(genes)
        return tuple([(CHOICES[gene].expansion, CHOICES[gene].kernel) for gene in genes])

    @property
    def references(self) -> dict[str, Genes]:
        """The authors' networks."""
        return {name: self.encode(layers) for name, layers in ARCHITECTURES.items()}

    def append(self, b: GraphBuilder, x: int, index: int, values: Sequence[int]) -> int:
        """Append the stem, a searchable layer or the tail."""
        if index == 0:
            x = conv_bn(b, x, self.scaled(32), 3, stride=2, act="relu6")
            return separable(b, x, self.scaled(16), 3, act="relu6")
        if index > len(LAYERS):
            return classifier(b, b.mean(conv_bn(b, x, 1280, 1, act="relu6")), self.classes)
        layer, choice = LAYERS[index - 1], CHOICES[values[0]]
        return mbconv(
            *(b, x, self.scaled(layer.filters), choice.kernel),
            expanded=b.shape(x)[3] * choice.expansion,
            stride=layer.stride,
        )

    def supernet_skeleton(self) -> Skeleton:
        """Return what all networks have."""
        return Skeleton(self.scaled(32), "relu6", 1280, "relu6")

    def supernet_layers(self, index: int, values: Sequence[int]) -> tuple[SharedLayer | None, ...]:
        """Return the layer of a block; every choice has weights of its own."""
        if index == 0:
            return (self.stem_layer("relu6"),)
        if index > len(LAYERS):
            return ()
        return (self.mbconv_layer(index, values[0], CHOICES[values[0]], "relu6"),)


def _pairs(text: str) -> tuple[tuple[int, int], ...]:
    return tuple((int(pair[0]), int(pair[1])) for pair in text.split())


ARCHITECTURES: dict[str, tuple[tuple[int, int], ...]] = {
    "fairnas_a": _pairs("37 33 37 63 67 33 33 67 67 35 63 35 35 63 63 67 63 67 65"),
    "fairnas_b": _pairs("35 33 35 33 63 35 37 33 63 35 33 63 37 33 67 65 67 63 65"),
    "fairnas_c": _pairs("35 33 37 33 33 33 33 33 33 63 33 33 33 33 67 67 63 63 65"),
}
"""FairNAS's published networks as (expansion, kernel) of the 19 layers."""

"""What all search spaces have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from latlas.profiler.graph import Graph
from latlas.search.protocols import Genes
from latlas.search.spaces.genes import mutate_gene, require_genes
from latlas.search.spaces.settings import Settings


@dataclass(frozen=True)
class Space:
    """Base of all spaces: chromosomes in, networks out. A space has at least `choices`, `decode`.

    Beside this, every space of latlas has ``encode``, which writes an architecture given in the
    space's own words as a chromosome, and ``describe``, which returns those words.

    Attributes:
        family: by which word `latlas.search.spaces.open_space` knows the space; a user's class
            is known as ``package.module:Name``.
        resolution: height and width of the input.
        width: factor of the numbers of channels.
        classes: number of classes.
        channels: of the input.
    """

    resolution: int = 224
    width: float = 1.0
    classes: int = 1000
    channels: int = 3

    family: ClassVar[str]

    def __init_subclass__(cls) -> None:
        """Call a class that has no `family` of its own what a command line calls it."""
        super().__init_subclass__()
        if "family" not in vars(cls):
            cls.family = f"{cls.__module__}:{cls.__qualname__}"

    @classmethod
    def opened(cls, settings: Settings, common: Mapping[str, Any]) -> Self:
        """Return the space with these settings.

        Args:
            settings: of this family of spaces.
            common: resolution, width, classes and channels.

        Raises:
            UsageError: there is no such setting, or its value is impossible.
        """
        settings.require_known()
        return cls(**common)

    @property
    def name(self) -> str:
        """What the space is called in messages and in the names of its networks."""
        return self.family.rpartition(":")[2]

    @property
    def settings(self) -> dict[str, Any]:
        """What `opened` needs to make this space, as plain JSON."""
        return {}

    @property
    def identity(self) -> dict[str, Any]:
        """What makes this space, as plain JSON.

        `latlas.search.spaces.restore_space` makes it again.
        It holds all that decides what a chromosome means, so that a study can refuse another.
        """
        return {
            "name": self.family,
            "resolution": self.resolution,
            "width": self.width,
            "classes": self.classes,
            "channels": self.channels,
            "settings": self.settings,
        }

    @property
    def references(self) -> dict[str, Genes]:
        """Published networks that lie in this space, by name."""
        return {}

    @property
    def choices(self) -> tuple[int, ...]:
        """Number of choices of every gene."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """Number of chromosomes."""
        return math.prod(self.choices)

    def sample(self, count: int, seed: int) -> list[Genes]:
        """Return random chromosomes, every choice equally likely."""
        rng = np.random.default_rng(seed)
        drawn = rng.integers(0, self.choices, size=(count, len(self.choices)))
        return [tuple(genes) for genes in drawn.tolist()]

    def mutate(self, genes: Sequence[int], rng: np.random.Generator) -> Genes:
        """Return a chromosome with one gene changed to another of its choices.

        Raises:
            SearchError: the genes are not of this space, or it holds a single network.
        """
        self.require(genes)
        return mutate_gene(genes, self.choices, range(len(genes)), rng)

    def decode(self, genes: Sequence[int]) -> Graph:
        """Return the network of a chromosome, in the training form.

        Raises:
            SearchError: the genes are not of this space.
            GraphError: the resolution or the number of classes is impossible.
        """
        raise NotImplementedError

    def require(self, genes: Sequence[int]) -> None:
        """Raise an error unless these are genes of this space."""
        require_genes(self.name, self.choices, genes)

"""Architectures in a line, for what is said of a point of a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from latlas.predictor.genes import BlockSpace
from latlas.profiler.errors import LatlasError
from latlas.report.architecture_drawing import layers_of, layers_text
from latlas.report.figure import Layer
from latlas.search.spaces import Space

MAX_LENGTH = 400
"""Longer words are cut."""


@dataclass(frozen=True)
class ArchitectureWords:
    """Says what the chromosomes of a space choose.

    A space of blocks is told by the layers of those that genes decide on, any other in its own
    words (``describe``).

    >>> from latlas.search.spaces import FairnasSpace
    >>> words = ArchitectureWords(FairnasSpace(resolution=32))
    >>> words.of((0,) * 18 + (5,)).split(", ")[-3:]
    ['MB3 3×3 /2', 'MB3 3×3 + (3 times)', 'MB6 7×7']

    Attributes:
        space: the space; None where it is not known, and nothing can be said.
    """

    space: Space | None
    _blocks: dict[tuple[int, tuple[int, ...]], list[Layer]] = field(default_factory=dict)

    def of(self, genes: Sequence[int]) -> str:
        """Return what a chromosome chooses; "" where its space cannot say."""
        if self.space is None:
            return ""
        try:
            self.space.require(genes)
            if isinstance(self.space, BlockSpace):
                text = layers_text(self._layers(self.space, genes))
            else:
                describe = getattr(self.space, "describe", None)
                text = "" if describe is None else _plain(describe(genes))
        except LatlasError:
            return ""  # a history may hold what is no chromosome of the space
        return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 1] + "…"

    def _layers(self, space: BlockSpace, genes: Sequence[int]) -> list[Layer]:
        found: list[Layer] = []
        for index, group in enumerate(space.groups):
            if group:
                key = index, tuple([genes[position] for position in group])
                if key not in self._blocks:
                    block = space.block(*key)
                    self._blocks[key] = layers_of(block) if block.nodes else []
                found += self._blocks[key]
        return found


def _plain(value: object) -> str:
    """Return a space's own words without the punctuation of Python.

    >>> _plain((("max_5x5", 1), {"kernel": 3}))
    'max_5x5 1, kernel 3'
    """
    if isinstance(value, Mapping):
        return " ".join(f"{key} {_plain(each)}" for key, each in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        nested = any(isinstance(each, tuple | list | dict) for each in value)
        return (", " if nested else " ").join(map(_plain, value))
    return str(value)

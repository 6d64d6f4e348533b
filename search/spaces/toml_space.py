"""A block space that a TOML file defines, so that it needs no Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Self

from latlas.profiler.errors import SearchError
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.ops import Shape
from latlas.search.blocks import classifier
from latlas.search.protocols import Genes
from latlas.search.spaces.blockwise import BlockwiseSpace
from latlas.search.spaces.definition import Block, Definition, Options
from latlas.search.spaces.definition_file import check_definition, load_definition
from latlas.search.spaces.layer import append_layer
from latlas.search.spaces.settings import Settings
from latlas.search.spaces.shared import SharedLayer, Skeleton, shared

PREFIX = "toml:"
"""What stands before the file's name where a space is named."""


class _Part(NamedTuple):
    """Blocks that the same genes decide: one that is searched, or neighbours that are fixed."""

    start: int
    stop: int
    read: tuple[int, ...]
    own: tuple[int, ...]


@dataclass(frozen=True)
class TomlSpace(BlockwiseSpace):
    """The space of a definition at one resolution, width and number of classes.

    Attributes:
        definition: its blocks and tail.
    """

    definition: Definition = field(kw_only=True)

    family: ClassVar[str] = "toml"

    @classmethod
    def opened(cls, settings: Settings, common: Mapping[str, Any]) -> Self:
        """Return the space of a definition.

        Args:
            settings: ``definition``, a dictionary as TOML or JSON give it.
            common: resolution, width, classes and channels.

        Raises:
            UsageError: there is another setting.
            SearchError: the definition is damaged.
        """
        settings.require_known("definition")
        definition = check_definition(settings.values.get("definition"), "definition")
        return cls(**common, definition=definition)

    @classmethod
    def load(cls, path: str, common: Mapping[str, Any]) -> Self:
        """Return the space that a file defines.

        Raises:
            SearchError: the file cannot be read or holds no definition.
        """
        return cls(**common, definition=load_definition(path))

    @property
    def name(self) -> str:
        """The definition's name."""
        return self.definition.name

    @property
    def settings(self) -> dict[str, Any]:
        """The definition itself: a study does not depend on where its file is."""
        return {"definition": self.definition.document}

    @property
    def choices(self) -> tuple[int, ...]:
        """Number of choices of every gene."""
        return self._choices

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """A block's own genes, and the one that decides the filters of the block before it."""
        return tuple([part.read + part.own for part in self._parts])

    def encode(self, architecture: Sequence[Mapping[str, Any]]) -> Genes:
        """Return the chromosome of an architecture.

        Args:
            architecture: for every block that is searched, what is chosen of every key.

        Raises:
            SearchError: it is not in this space.
        """
        searched = [block for block in self.definition.blocks if block.decisions]
        if len(architecture) != len(searched):
            raise SearchError(
                f"{self.name} has {len(searched)} searched blocks, not {len(architecture)}"
            )
        genes: list[int] = []
        for number, (block, values) in enumerate(zip(searched, architecture, strict=True), 1):
            if set(values) != {decision.key for decision in block.decisions}:
                raise SearchError(
                    f"searched block {number} of {self.name} chooses "
                    f"{', '.join(decision.key for decision in block.decisions)}, not "
                    f"{', '.join(map(str, values)) or 'nothing'}"
                )
            picks = []
            for decision in block.decisions:
                value = values[decision.key]
                value = tuple(sorted(value.items())) if isinstance(value, Mapping) else value
                if value not in decision.values:
                    raise SearchError(
                        f"searched block {number} of {self.name}: {decision.key} is one of "
                        f"{list(decision.values)}, not {values[decision.key]!r:.80}"
                    )
                picks.append(decision.values.index(value))
            genes += block.values(picks)
        return tuple(genes)

    def describe(self, genes: Sequence[int]) -> tuple[dict[str, Any], ...]:
        """Return what a chromosome chooses: for every searched block, the value of every key.

        Raises:
            SearchError: the genes are not of this space.
        """
        self.require(genes)
        found = []
        for part in self._parts:
            block = self.definition.blocks[part.start] if part.own else None
            if block is not None:
                picks = block.picks([genes[position] for position in part.own])
                values = [
                    decision.values[pick]
                    for decision, pick in zip(block.decisions, picks, strict=True)
                ]
                found.append(
                    {
                        decision.key: dict(value) if isinstance(value, tuple) else value
                        for decision, value in zip(block.decisions, values, strict=True)
                    }
                )
        return tuple(found)

    def input_shape(self, index: int, values: Sequence[int]) -> Shape:
        """Return the shape that a block reads: the block before decides on its channels."""
        part, blocks = self._parts[index], self.definition.blocks
        side = self.side([block.options.stride for block in blocks[: part.start]])
        if part.start == 0:
            return 1, side, side, self.channels
        filters, scale = blocks[part.start - 1].filters_of(values[0] if part.read else None)
        return 1, side, side, self.scaled(filters) if scale else filters

    def append(self, b: GraphBuilder, x: int, index: int, values: Sequence[int]) -> int:
        """Append a part: a block that is searched, or neighbours that are fixed."""
        part = self._parts[index]
        for block in self.definition.blocks[part.start : part.stop]:
            x = self._append_block(b, x, block, values[len(part.read) :])
        return self._append_tail(b, x) if index == len(self._parts) - 1 else x

    def _append_block(self, b: GraphBuilder, x: int, block: Block, values: Sequence[int]) -> int:
        options = block.chosen(values)
        filters = self._filters(options)
        for layer in range(options.layers):
            x = append_layer(b, x, options.layer(filters, options.stride if layer == 0 else 1))
        return x

    def _append_tail(self, b: GraphBuilder, x: int) -> int:
        tail = self.definition.tail
        x = b.mean(x)
        if tail.features:
            x = b.activation(b.conv(x, self._features, 1, bias=tail.bias), tail.activation)
        return classifier(b, x, self.classes, dropout=tail.dropout)

    def supernet_skeleton(self) -> Skeleton:
        """Return what all networks have.

        Raises:
            SearchError: the space does not begin or end as a supernet does.
        """
        stem, last = self.definition.blocks[0], self.definition.blocks[-1]
        tail = self.definition.tail
        if not _is_convolution(stem, kernel=3, stride=2):
            raise self._no_supernet("its first block is no fixed 3x3 convolution of stride 2")
        if not _is_convolution(last, kernel=1, stride=1):
            raise self._no_supernet("its last block is no fixed 1x1 convolution")
        if tail.features and tail.activation != last.options.activation:
            raise self._no_supernet("the tail has another activation than the last block")
        return Skeleton(
            self._filters(stem.options),
            stem.options.activation,
            self._filters(last.options),
            last.options.activation,
            self._features,
            bool(tail.features and tail.bias),
        )

    def supernet_layers(self, index: int, values: Sequence[int]) -> tuple[SharedLayer | None, ...]:
        """Return the layers of a part, for a supernet.

        Where one gene decides a block, each of its choices has weights of its own. Where several
        do, they share: smaller kernels are the middle of larger ones, fewer filters and a smaller
        expansion the first of more, and a shallow block is the start of a deep one; operators and
        activations have weights of their own.

        Raises:
            SearchError: a supernet has no such layers.
        """
        part, blocks = self._parts[index], self.definition.blocks
        inputs = self.input_shape(index, values)[3]
        own = values[len(part.read) :]
        found: list[SharedLayer | None] = []
        for position in range(part.start, part.stop):
            block = blocks[position]
            options = block.chosen(own)
            if 0 < position < len(blocks) - 1:
                found += self._shared_layers(block, options, inputs, own)
            inputs = self._filters(options)
        return tuple(found)

    def _shared_layers(
        self, block: Block, options: Options, inputs: int, values: Sequence[int]
    ) -> list[SharedLayer | None]:
        filters, depth = self._filters(options), block.depth
        if options.operator == "identity":
            return [None] * depth
        acts = (options.activation, options.se_activation, options.gate)
        keys = ("activation", "se_activation", "gate")
        decided = any(each.decides(key) for each in block.decisions for key in keys)
        bank = "-".join([options.operator, *(acts if decided else ())])
        row = values[0] if block.joint and values else 0
        try:
            first = shared(options.layer(filters, options.stride), inputs, bank=bank, row=row)
            later = shared(options.layer(filters, 1), filters, bank=bank, row=row)
        except SearchError as problem:
            raise self._no_supernet(str(problem)) from problem
        return [first, *(later if place < options.layers else None for place in range(1, depth))]

    def _no_supernet(self, why: str) -> SearchError:
        return SearchError(
            f"the space {self.name} has no supernet: {why}; change it, or score it with a training "
            "of its own for each architecture (--accuracy train)"
        )

    def _filters(self, options: Options) -> int:
        return self.scaled(options.filters) if options.scale else options.filters

    @property
    def _features(self) -> int:
        tail = self.definition.tail
        return self.scaled(tail.features) if tail.features and tail.scale else tail.features

    @cached_property
    def _choices(self) -> tuple[int, ...]:
        return tuple([count for block in self.definition.blocks for count in block.counts])

    @cached_property
    def _parts(self) -> tuple[_Part, ...]:
        """The parts from the first block to the tail, which joins the fixed blocks before it."""
        parts: list[_Part] = []
        read: tuple[int, ...] = ()
        genes = 0
        blocks = self.definition.blocks
        for position, block in enumerate(blocks):
            own = tuple(range(genes, genes + len(block.counts)))
            if own or not parts or parts[-1].own:
                parts.append(_Part(position, position + 1, read, own))
            else:
                parts[-1] = parts[-1]._replace(stop=position + 1)
            gene = block.filters_gene
            read = () if gene is None else (genes + gene,)
            genes += len(own)
        if parts[-1].own:
            parts.append(_Part(len(blocks), len(blocks), read, ()))
        return tuple(parts)


def _is_convolution(block: Block, kernel: int, stride: int) -> bool:
    """Return whether a block is one fixed convolution, its activation and filters aside."""
    one = block.options
    form = (one.operator, one.kernel, one.stride, one.layers, one.se, one.skip or "none")
    return not block.decisions and form == ("conv", kernel, stride, 1, 0, "none")

"""NASNet's search space (Zoph et al. 2018): two cells, normal and reduction, stacked.

A cell makes 5 new states from two inputs: each combines two operators on two earlier states. A
chromosome is 50 integers, for the normal and then the reduction cell 5 times (left state, right
state, left operator, right operator, combination). State 0 is the cell before, projected to the
cell's filters, state 1 the cell before that; states that nothing reads are concatenated. The
authors' networks concatenate some that are read as well (`AUTHORS_KEPT`).

The space of NASNet-C has two combinations more, an addition that is normalised by layer or by
instance. NASNet-B's has these too, but cells of 4 new states that are not concatenated: all of them
are inputs of the following cell, so that a chromosome is 40 integers. What the article leaves open
is decided thus:

- The first cell reads the stem as all of its inputs, the classifier the last cell's states
  concatenated. An input gets a 1x1 convolution only where its channels are not the cell's filters.
- What no later cell reads, directly or through others, is no part of the network.
- Layer norm is over height, width and channels (Ba et al. 2016), instance norm over height and
  width (Ulyanov et al. 2016); both have a scale and a shift for every channel.

Every cell reads two others, so that its genes do not decide its kernels alone: networks of this
space are predicted as graphs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self, cast

import numpy as np

from latlas.profiler.errors import SearchError
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.search.blocks import classifier
from latlas.search.protocols import Genes
from latlas.search.sharing import shared
from latlas.search.spaces.cell import (
    COMBINATIONS,
    OPERATORS,
    Cell,
    Combination,
    append_cell,
    append_open_cell,
)
from latlas.search.spaces.genes import mutate_gene, require_genes
from latlas.search.spaces.settings import Settings
from latlas.search.spaces.space import Space


class Variant(NamedTuple):
    """What a cell of a space is made of."""

    inputs: int
    states: int
    combinations: tuple[str, ...]


VARIANTS = {
    "a": Variant(2, 5, COMBINATIONS[:2]),
    "b": Variant(4, 4, COMBINATIONS),
    "c": Variant(2, 5, COMBINATIONS),
}
"""The spaces of NASNet-A, -B and -C."""


DROP_PATH = 0.4
"""Rate of drop path of the last cell, the authors' for CIFAR-10; a training's recipe scales it."""

_GENES = len(Combination._fields)


@dataclass(frozen=True)
class NasnetSpace(Space):
    """NASNet's space in one stacking.

    The width is a factor of `filters` and `stem_filters`, which are rounded to multiples of 4.

    Attributes:
        cells: normal cells before, between and after the two reductions, each (the authors' N).
        filters: of the cells before the first reduction; they double at each (the authors' F).
        stem_filters: of the first convolution.
        stem_reductions: reduction cells before all others; 2 for ImageNet, where the first
            convolution has stride 2 and no padding, 0 for CIFAR.
        skip_reduction: whether the cell after a reduction reads what the reduction read second.
        kept: states of the normal and the reduction cell that are concatenated even if read.
        kind: the space of NASNet-A, -B or -C.

    >>> import math
    >>> NasnetSpace().size == (math.prod((b + 2) ** 2 for b in range(5)) * (13**2 * 2) ** 5) ** 2
    True
    >>> len(NasnetSpace(kind="b").choices), len(NasnetSpace(kind="c").choices)
    (40, 50)
    """

    cells: int = 4
    filters: int = 44
    stem_filters: int = 32
    stem_reductions: int = 2
    skip_reduction: bool = False
    kept: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    kind: Literal["a", "b", "c"] = "a"

    family: ClassVar[str] = "nasnet"

    @classmethod
    def opened(cls, settings: Settings, common: Mapping[str, Any]) -> Self:
        """Return the space with these settings.

        Args:
            settings: ``kind`` (a, b or c), ``N`` and ``F`` (see `cells` and `filters`),
                ``stem_filters``, ``stem_reductions``, ``skip_reduction`` (yes or no), and ``kept``:
                ``unread``, ``authors`` or states of the normal and the reduction cell, as ``1/3``.
            common: resolution, width, classes and channels.

        Raises:
            UsageError: there is no such setting, or its value is impossible.
        """
        settings.require_known(
            *("kind", "N", "F", "stem_filters", "stem_reductions", "skip_reduction", "kept")
        )
        kind = cast(Literal["a", "b", "c"], settings.choice("kind", "a", tuple(VARIANTS)))
        kept = _read_kept(settings)
        skip_reduction = settings.switch("skip_reduction", False)
        if kind == "b" and kept != ((), ()):
            raise settings.fail("kept", "unread where kind is b: its cells concatenate nothing")
        if kind == "b" and skip_reduction:
            raise settings.fail("skip_reduction", "no where kind is b: its cells read one cell")
        return cls(
            **common,
            kind=kind,
            cells=settings.integer("N", 4, 1, 64),
            filters=settings.integer("F", 44, 8, 4096),
            stem_filters=settings.integer("stem_filters", 32, 1, 4096),
            stem_reductions=settings.integer("stem_reductions", 2, 0, 2),
            skip_reduction=skip_reduction,
            kept=kept,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """The stacking, as `opened` reads it."""
        kept = "/".join(",".join(map(str, states)) for states in self.kept)
        return {
            "kind": self.kind,
            "N": self.cells,
            "F": self.filters,
            "stem_filters": self.stem_filters,
            "stem_reductions": self.stem_reductions,
            "skip_reduction": self.skip_reduction,
            "kept": "unread" if kept == "/" else kept,
        }

    @property
    def references(self) -> dict[str, Genes]:
        """The cells of NASNet-A; those of -B and -C were never published as data."""
        return {} if self.kind == "b" else {"nasnet_a": self.encode(*NASNET_A)}

    @property
    def variant(self) -> Variant:
        """What a cell is made of."""
        return VARIANTS[self.kind]

    @property
    def choices(self) -> tuple[int, ...]:
        """Number of choices of every gene."""
        inputs, states, combinations = self.variant
        operators = len(OPERATORS)
        cell = [
            n
            for state in range(inputs, inputs + states)
            for n in (state, state, operators, operators, len(combinations))
        ]
        return (*cell, *cell)

    def mutate(self, genes: Sequence[int], rng: np.random.Generator) -> Genes:
        """Return a chromosome with one change (Real et al. 2019, Regularized Evolution).

        A state that is read, an operator or, which that article does not have, a combination is
        replaced by another; the three kinds are equally likely, as then is every place. A new
        state reads earlier ones only, whatever is changed.

        Raises:
            SearchError: the genes are not of this space.
        """
        self.require(genes)
        fields = ((0, 1), (2, 3), (4,))[int(rng.integers(3))]
        places = [place for place in range(len(genes)) if place % _GENES in fields]
        return mutate_gene(genes, self.choices, places, rng)

    def encode(self, normal: Cell, reduction: Cell) -> Genes:
        """Return the chromosome of two cells.

        Raises:
            SearchError: a cell is not of this space.
        """
        try:
            genes = tuple(
                [
                    gene
                    for left, right, left_operator, right_operator, combine in normal + reduction
                    for gene in (
                        *(left, right),
                        *(OPERATORS.index(left_operator), OPERATORS.index(right_operator)),
                        COMBINATIONS.index(combine),
                    )
                ]
            )
        except ValueError as error:
            raise SearchError(f"not a cell of NASNet's space: {error}") from error
        require_genes(self.name, self.choices, genes)
        return genes

    def describe(self, genes: Sequence[int]) -> tuple[Cell, Cell]:
        """Return the normal and the reduction cell of a chromosome.

        Raises:
            SearchError: the genes are not of this space.
        """
        self.require(genes)
        combinations = [
            Combination(
                *(left, right, OPERATORS[left_operator], OPERATORS[right_operator]),
                COMBINATIONS[combine],
            )
            for left, right, left_operator, right_operator, combine in zip(
                *(genes[start::_GENES] for start in range(_GENES)), strict=True
            )
        ]
        states = self.variant.states
        return tuple(combinations[:states]), tuple(combinations[states:])

    def decode(self, genes: Sequence[int]) -> Graph:
        """Return the network of a chromosome, in the training form.

        Raises:
            SearchError: the genes are not of this space.
            GraphError: the resolution or the number of classes is impossible.
        """
        normal, reduction = self.describe(genes)
        b = GraphBuilder((1, self.resolution, self.resolution, self.channels))
        imagenet = self.stem_reductions > 0
        x = b.conv(
            *(b.input, self.scaled(self.stem_filters), 3),
            stride=2 if imagenet else 1,
            padding="valid" if imagenet else "same",
            bias=False,
        )
        x = b.batch_norm(x)
        append = self._append_open if self.kind == "b" else self._append_joined
        graph = b.build(classifier(b, append(b, x, normal, reduction), self.classes))
        return shared(only_read(graph))

    def scaled(self, filters: int) -> int:
        """Return a number of filters at this width."""
        return filters if self.width == 1.0 else max(8, 4 * round(filters * self.width / 4))

    def _stack(self) -> Iterator[tuple[bool, int]]:
        """Yield of every cell whether it is a reduction, and its filters."""
        filters = self.scaled(self.filters)
        for left in range(self.stem_reductions, 0, -1):
            yield True, filters // 2**left
        for stage in range(3):
            if stage:
                yield True, filters * 2**stage
            for _ in range(self.cells):
                yield False, filters * 2**stage

    def _drop_path(self, position: int) -> float:
        """Return the rate of drop path of a cell, which grows with its position."""
        return DROP_PATH * (position + 1) / (3 * self.cells + 2 + self.stem_reductions)

    def _append_joined(self, b: GraphBuilder, x: int, normal: Cell, reduction: Cell) -> int:
        before: int | None = None
        for position, (reduces, filters) in enumerate(self._stack()):
            read = x
            x = append_cell(
                *(b, reduction if reduces else normal, x, before, filters),
                kept=self.kept[reduces],
                stride=2 if reduces else 1,
                drop_path=self._drop_path(position),
            )
            skips = reduces and self.skip_reduction and position >= self.stem_reductions
            before = before if skips else read
        return b.mean(b.relu(x))

    def _append_open(self, b: GraphBuilder, x: int, normal: Cell, reduction: Cell) -> int:
        read = [x] * self.variant.inputs
        for position, (reduces, filters) in enumerate(self._stack()):
            read = append_open_cell(
                *(b, reduction if reduces else normal, read, filters),
                stride=2 if reduces else 1,
                drop_path=self._drop_path(position),
            )
        return b.mean(b.relu(b.concat(read)))


def _read_kept(settings: Settings) -> tuple[tuple[int, ...], tuple[int, ...]]:
    value = settings.values.get("kept", "unread")
    if value == "unread":
        return (), ()
    if value == "authors":
        return AUTHORS_KEPT
    if not isinstance(value, str) or not re.fullmatch("([0-6](,[0-6])*)?/([0-6](,[0-6])*)?", value):
        raise settings.fail("kept", "unread, authors or states of both cells, e.g. 1/3")
    normal, reduction = (
        tuple([int(state) for state in cell.split(",") if state]) for cell in value.split("/")
    )
    return normal, reduction


def only_read(graph: Graph) -> Graph:
    """Return a graph of one input without the nodes that its outputs do not depend on.

    >>> b = GraphBuilder((1, 8, 8, 4))
    >>> dead = b.relu(b.input)
    >>> only_read(b.build(b.relu6(b.input))).to_text()
    '1x8x8x4 | activation kind=relu6 @0 | @1'
    """
    inputs = len(graph.inputs)
    read = set(graph.outputs)
    for position in range(len(graph.nodes) - 1, -1, -1):
        if inputs + position in read:
            read.update(graph.nodes[position].inputs)
    if len(read | set(range(inputs))) == inputs + len(graph.nodes):
        return graph
    b = GraphBuilder(*graph.inputs)
    renumbered = {value: value for value in range(inputs)}
    for position, node in enumerate(graph.nodes):
        if inputs + position in read:
            values = [renumbered[value] for value in node.inputs]
            renumbered[inputs + position] = b.apply(
                node.op, *values, dropout=node.dropout, drop_path=node.drop_path
            )
    return b.build(*(renumbered[value] for value in graph.outputs))


NASNET_A: tuple[Cell, Cell] = (
    (
        Combination(0, 1, "separable_5x5", "separable_3x3"),
        Combination(1, 1, "separable_5x5", "separable_3x3"),
        Combination(0, 1, "average_3x3", "identity"),
        Combination(1, 1, "average_3x3", "average_3x3"),
        Combination(0, 0, "separable_3x3", "identity"),
    ),
    (
        Combination(0, 1, "separable_5x5", "separable_7x7"),
        Combination(0, 1, "max_3x3", "separable_7x7"),
        Combination(0, 1, "average_3x3", "separable_5x5"),
        Combination(3, 2, "identity", "average_3x3"),
        Combination(2, 0, "separable_3x3", "max_3x3"),
    ),
)
"""The normal and the reduction cell of NASNet-A."""

AUTHORS_KEPT = ((1,), (3,))
"""What the authors' cells concatenate though it is read: the cell before the last, and state 3."""

STACKINGS: dict[str, NasnetSpace] = {
    "nasnet_a_mobile": NasnetSpace(kept=AUTHORS_KEPT),
    "nasnet_a_large": NasnetSpace(
        331, cells=6, filters=168, stem_filters=96, skip_reduction=True, kept=AUTHORS_KEPT
    ),
    "nasnet_a_cifar": NasnetSpace(
        *(32, 1.0, 10), cells=6, filters=32, stem_filters=96, stem_reductions=0, kept=AUTHORS_KEPT
    ),
}
"""How the authors stacked NASNet-A: 4 @ 1056 and 6 @ 4032 for ImageNet, 6 @ 768 for CIFAR-10."""

"""NASNet's search space (Zoph et al. 2018): two cells, normal and reduction, stacked.

A cell makes 5 new states from two inputs: each combines two operators on two earlier states. A
chromosome is 50 integers, for the normal and then the reduction cell 5 times (left state, right
state, left operator, right operator, combination). State 0 is the cell before, projected to the
cell's filters, state 1 the cell before that; states that nothing reads are concatenated. The
authors' networks concatenate some that are read as well (`AUTHORS_KEPT`).

Every cell reads two others, so that its genes do not decide its kernels alone: networks of this
space are predicted as graphs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from latlas.profiler.errors import SearchError
from latlas.profiler.graph import Graph, GraphBuilder
from latlas.search.blocks import classifier, conv_bn
from latlas.search.spaces.blockwise import require_genes

OPERATORS = (
    *("identity", "conv_1x3_3x1", "conv_1x7_7x1", "dilated_3x3", "average_3x3", "max_3x3"),
    *("max_5x5", "max_7x7", "conv_1x1", "conv_3x3", "separable_3x3", "separable_5x5"),
    "separable_7x7",
)
COMBINATIONS = ("add", "concat")
STATES = 5
"""New states of a cell."""


class Combination(NamedTuple):
    """How a new state comes from two earlier ones."""

    left: int
    right: int
    left_operator: str
    right_operator: str
    combine: str = "add"


Cell = tuple[Combination, ...]
_GENES = len(Combination._fields)


@dataclass(frozen=True)
class NasnetSpace:
    """NASNet's space in one stacking.

    Attributes:
        resolution: height and width of the input.
        cells: normal cells before, between and after the two reductions, each.
        filters: of the cells before the first reduction; they double at each.
        classes: number of classes.
        channels: of the input.
        stem_filters: of the first convolution.
        stem_reductions: reduction cells before all others; 2 for ImageNet, where the first
            convolution has stride 2 and no padding, 0 for CIFAR.
        skip_reduction: whether the cell after a reduction reads what the reduction read second.
        kept: states of the normal and the reduction cell that are concatenated even if read.

    >>> NasnetSpace().size == (math.prod((b + 2) ** 2 for b in range(5)) * (13**2 * 2) ** 5) ** 2
    True
    """

    resolution: int = 224
    cells: int = 4
    filters: int = 44
    classes: int = 1000
    channels: int = 3
    stem_filters: int = 32
    stem_reductions: int = 2
    skip_reduction: bool = False
    kept: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())

    name: ClassVar[str] = "nasnet"

    @property
    def choices(self) -> tuple[int, ...]:
        """Number of choices of every gene."""
        operators = len(OPERATORS)
        cell = [
            n
            for state in range(STATES)
            for n in (state + 2, state + 2, operators, operators, len(COMBINATIONS))
        ]
        return (*cell, *cell)

    @property
    def size(self) -> int:
        """Number of chromosomes."""
        return math.prod(self.choices)

    def sample(self, count: int, seed: int) -> list[tuple[int, ...]]:
        """Return random chromosomes, every choice equally likely."""
        rng = np.random.default_rng(seed)
        drawn = rng.integers(0, self.choices, size=(count, len(self.choices)))
        return [tuple(genes) for genes in drawn.tolist()]

    def encode(self, normal: Cell, reduction: Cell) -> tuple[int, ...]:
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

    def decode(self, genes: Sequence[int]) -> Graph:
        """Return the network of a chromosome, in the training form.

        Raises:
            SearchError: the genes are not of this space.
        """
        require_genes(self.name, self.choices, genes)
        combinations = [
            Combination(
                *(left, right, OPERATORS[left_operator], OPERATORS[right_operator]),
                COMBINATIONS[combine],
            )
            for left, right, left_operator, right_operator, combine in zip(
                *(genes[start::_GENES] for start in range(_GENES)), strict=True
            )
        ]
        normal, reduction = tuple(combinations[:STATES]), tuple(combinations[STATES:])
        b = GraphBuilder((1, self.resolution, self.resolution, self.channels))
        return b.build(classifier(b, self._features(b, normal, reduction), self.classes))

    def _features(self, b: GraphBuilder, normal: Cell, reduction: Cell) -> int:
        imagenet = self.stem_reductions > 0
        x = b.conv(
            *(b.input, self.stem_filters, 3),
            stride=2 if imagenet else 1,
            padding="valid" if imagenet else "same",
            bias=False,
        )
        before, x = None, b.batch_norm(x)
        for left in range(self.stem_reductions, 0, -1):
            filters = self.filters // 2**left
            before, x = (
                x,
                append_cell(b, reduction, x, before, filters, kept=self.kept[1], stride=2),
            )
        for stage in range(3):
            filters = self.filters * 2**stage
            if stage:
                read = x
                x = append_cell(b, reduction, x, before, filters, kept=self.kept[1], stride=2)
                before = before if self.skip_reduction else read
            for _ in range(self.cells):
                before, x = x, append_cell(b, normal, x, before, filters, kept=self.kept[0])
        return b.mean(b.relu(x))


def append_cell(
    b: GraphBuilder,
    cell: Cell,
    x: int,
    before: int | None,
    filters: int,
    *,
    stride: int = 1,
    kept: tuple[int, ...] = (),
) -> int:
    """Append a cell.

    Args:
        b: takes the operators.
        cell: its combinations.
        x: the cell before.
        before: the cell before that; None where there is none.
        filters: of every new state, twice that where the combination is a concatenation.
        stride: of the operators on the two inputs.
        kept: states that are concatenated even if read.
    """
    previous = x if before is None else _match(b, before, x, filters)
    states = [_project(b, x, filters), previous]
    used: set[int] = set()
    for left, right, left_operator, right_operator, combine in cell:
        used |= {left, right}
        parts = [
            append_operator(b, operator, states[state], filters, stride if state < 2 else 1)
            for state, operator in ((left, left_operator), (right, right_operator))
        ]
        states.append(b.add(*parts) if combine == "add" else b.concat(parts))
    output = [
        _reduce(b, state, states[-1], filters) if index < 2 else state
        for index, state in enumerate(states)
        if index in kept or index not in used
    ]
    return output[0] if len(output) == 1 else b.concat(output)


def append_operator(b: GraphBuilder, operator: str, x: int, filters: int, stride: int) -> int:
    """Append an operator on a state; its result has `filters` channels."""
    kind, *sizes = operator.split("_")
    windows = [(int(height), int(width)) for height, width in (s.split("x") for s in sizes)]
    if kind == "identity":
        same = stride == 1 and b.shape(x)[3] == filters
        return x if same else _project(b, x, filters, stride)
    if kind in ("average", "max"):
        pool = b.average_pool if kind == "average" else b.max_pool
        y = pool(x, windows[0], stride=stride)
        return y if b.shape(y)[3] == filters else b.batch_norm(b.conv(y, filters, 1, bias=False))
    if kind == "separable":
        for step in (stride, 1):
            x = b.depthwise(b.relu(x), windows[0], stride=step, bias=False)
            x = b.batch_norm(b.conv(x, filters, 1, bias=False))
        return x
    dilation = 2 if kind == "dilated" else 1
    if dilation > 1 and stride > 1:  # frameworks do not stride a dilated convolution
        x, stride = b.average_pool(x, 1, stride=stride, padding="valid"), 1
    for window in windows:
        # Of 1x3 and 3x1, each strides along its length.
        height, width = (stride if size == max(window) else 1 for size in window)
        x = b.relu(x)
        x = b.conv(x, filters, window, stride=(height, width), dilation=dilation, bias=False)
        x = b.batch_norm(x)
    return x


def _project(b: GraphBuilder, x: int, filters: int, stride: int = 1) -> int:
    return conv_bn(b, b.relu(x), filters, 1, stride=stride)


def _match(b: GraphBuilder, x: int, like: int, filters: int) -> int:
    """Bring the cell before the last to the height and width of the last, and to `filters`."""
    same = b.shape(x)[1:3] == b.shape(like)[1:3]
    return x if same and b.shape(x)[3] == filters else _reduce(b, b.relu(x), like, filters)


def _reduce(b: GraphBuilder, x: int, like: int, filters: int) -> int:
    if b.shape(x)[1:3] != b.shape(like)[1:3]:
        return _factorized_reduction(b, x, filters)
    return x if b.shape(x)[3] == filters else conv_bn(b, x, filters, 1)


def _factorized_reduction(b: GraphBuilder, x: int, filters: int) -> int:
    """Halve height and width by two 1x1 convolutions that read different pixels."""
    _, height, width, channels = b.shape(x)
    shifted = b.slice(b.pad(x, (0, 1, 0, 1)), (0, 1, 1, 0), (1, height, width, channels))
    halves = [
        b.conv(b.average_pool(path, 1, stride=2, padding="valid"), count, 1, bias=False)
        for path, count in ((x, filters // 2), (shifted, filters - filters // 2))
    ]
    return b.batch_norm(b.concat(halves))


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
        *(331, 6, 168), stem_filters=96, skip_reduction=True, kept=AUTHORS_KEPT
    ),
    "nasnet_a_cifar": NasnetSpace(
        *(32, 6, 32), classes=10, stem_filters=96, stem_reductions=0, kept=AUTHORS_KEPT
    ),
}
"""How the authors stacked NASNet-A: 4 @ 1056 and 6 @ 4032 for ImageNet, 6 @ 768 for CIFAR-10."""

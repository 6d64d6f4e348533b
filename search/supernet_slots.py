"""The slots of a supernet: which layers each can hold, as tables that genes index.

All layers that the genes of a block can choose are listed once, and what distinguishes those of a
slot becomes a table of integers. A path is then a few look-ups, which a graph can do.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.errors import SearchError
from latlas.search.spaces.shared import SharedLayer, Skeleton, SupernetSpace

MAX_RESOLUTION = 48
"""The matrices of depthwise convolutions grow with the fourth power of the resolution."""

MAX_COMBINATIONS = 1 << 16
"""Of the genes that decide one block: each is described once."""

ABSENT = -1
"""The bank of a layer that a path does not have."""

COLUMNS = ("bank", "row", "kernel", "expanded", "squeezed", "filters", "identity", "pool")
"""Of a slot's table."""


@dataclass(frozen=True)
class Bank:
    """Weights of one slot that layers share: as large as the largest of them.

    Attributes:
        name: unique in its supernet, ``"slot/bank"``.
        layers: the distinct layers that take their weights here.
        inputs: channels of the slot's input.
        filters: channels of the slot's output.
        size: height and width of the slot's input.
    """

    name: str
    layers: tuple[SharedLayer, ...]
    inputs: int
    filters: int
    size: int

    @property
    def like(self) -> SharedLayer:
        """Any of the layers: operator, stride and activations are the same in all."""
        return self.layers[0]

    @cached_property
    def rows(self) -> int:
        """Number of sets of weights."""
        return 1 + max(layer.row for layer in self.layers)

    @cached_property
    def expanded(self) -> int:
        """Most channels of the depthwise (or full) convolution."""
        return max(layer.expanded for layer in self.layers)

    @cached_property
    def squeezed(self) -> int:
        """Most channels of squeeze-and-excitation."""
        return max(layer.squeezed for layer in self.layers)

    @cached_property
    def always_residual(self) -> bool:
        """Whether all layers add their input."""
        return all(layer.skip == "identity" for layer in self.layers)

    def has_skip(self, skip: str) -> bool:
        """Return whether any layer has this skip."""
        return any(layer.skip == skip for layer in self.layers)


@dataclass(frozen=True)
class Slot:
    """One place in the chain.

    Attributes:
        genes: positions of the genes that decide what is there.
        radix: what each of them is multiplied with to get a row of the table.
        table: integers, shape (combinations of the genes, len(COLUMNS)).
        banks: what the layers take their weights from.
    """

    genes: tuple[int, ...]
    radix: tuple[int, ...]
    table: NDArray[np.int32]
    banks: tuple[Bank, ...]

    @property
    def optional(self) -> bool:
        """Whether a path may have no layer here."""
        return bool((self.table[:, 0] == ABSENT).any())

    @property
    def plain(self) -> bool:
        """Whether all paths have a layer of the same bank here."""
        return len(self.banks) == 1 and not self.optional


@dataclass(frozen=True)
class Slots:
    """All of a supernet.

    Attributes:
        skeleton: stem and tail.
        chain: what lies between.
        frame: height and width of the frame in the middle of which every kernel lies.
        channels: of the input.
        classes: number of classes.
    """

    skeleton: Skeleton
    chain: tuple[Slot, ...]
    frame: int
    channels: int
    classes: int

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that is here: two spaces of one digest have the same networks."""
        parts: list[object] = [self.skeleton, self.channels, self.classes]
        for slot in self.chain:
            parts += [slot.genes, slot.radix, slot.table.tolist(), slot.banks]
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    @cached_property
    def banks(self) -> tuple[Bank, ...]:
        """All banks in order."""
        return tuple(bank for slot in self.chain for bank in slot.banks)


def slots_of(space: SupernetSpace) -> Slots:
    """Return the slots of a space.

    Raises:
        SearchError: the resolution or a block's number of combinations is too large, or the
            space's layers do not fit together.
    """
    if space.resolution > MAX_RESOLUTION:
        raise SearchError(
            f"the supernet is for images of at most {MAX_RESOLUTION} pixels, not "
            f"{space.resolution}: search at a smaller resolution"
        )
    skeleton = space.supernet_skeleton()
    size, inputs = -(-space.resolution // 2), skeleton.stem
    chain: list[Slot] = []
    for index, group in enumerate(space.groups):
        counts = [space.choices[position] for position in group]
        if math.prod(counts) > MAX_COMBINATIONS:
            raise SearchError(
                f"block {index} of {space.name} has {math.prod(counts)} combinations; a supernet "
                f"holds at most {MAX_COMBINATIONS}: make more blocks of fewer choices"
            )
        described = [
            space.supernet_layers(index, values)
            for values in itertools.product(*map(range, counts))
        ]
        for layers in zip(*described, strict=True):
            slot = _slot(group, counts, layers, len(chain), inputs, size)
            chain.append(slot)
            inputs, size = slot.banks[0].filters, -(-size // slot.banks[0].like.stride)
    frame = max([3, *(layer.kernel for slot in chain for b in slot.banks for layer in b.layers)])
    return Slots(skeleton, tuple(chain), frame, space.channels, space.classes)


def _slot(
    group: Sequence[int],
    counts: Sequence[int],
    layers: Sequence[SharedLayer | None],
    index: int,
    inputs: int,
    size: int,
) -> Slot:
    there = dict.fromkeys(layer for layer in layers if layer is not None)
    names = list(dict.fromkeys(layer.bank for layer in there))
    filters = max((layer.filters for layer in there), default=0)
    banks = tuple(
        Bank(f"{index}/{name}", tuple(x for x in there if x.bank == name), inputs, filters, size)
        for name in names
    )
    _check(index, banks, None in layers)
    rows = {
        layer: (
            names.index(layer.bank),
            layer.row,
            layer.kernel,
            layer.expanded,
            layer.squeezed,
            layer.filters,
            int(layer.skip == "identity"),
            int(layer.skip == "pool"),
        )
        for layer in there
    }
    absent = (ABSENT, *(0,) * (len(COLUMNS) - 1))
    table = np.array([absent if layer is None else rows[layer] for layer in layers], np.int32)
    radix = [math.prod(counts[place + 1 :]) for place in range(len(counts))]
    return Slot(tuple(group), tuple(radix), table, banks)


def _check(index: int, banks: Sequence[Bank], optional: bool) -> None:
    """Raise `SearchError` unless the layers of a slot can take each other's place."""
    if not banks:
        raise SearchError(f"slot {index} of the supernet never has a layer")
    if len({layer.stride for bank in banks for layer in bank.layers}) > 1:
        raise SearchError(f"slot {index}: its layers differ in stride")
    stride, inputs = banks[0].like.stride, banks[0].inputs
    if optional and (stride != 1 or inputs != banks[0].filters):
        raise SearchError(
            f"slot {index}: a layer may be absent only where it changes neither size nor channels"
        )
    for bank in banks:
        common = {(x.operator, x.act, x.se_act, x.se_gate) for x in bank.layers}
        if len(common) > 1:
            raise SearchError(f"bank {bank.name}: its layers differ in operator or activation")
        if bank.like.operator == "conv" and bank.expanded != bank.filters:
            raise SearchError(
                f"bank {bank.name}: full convolutions write {bank.expanded} channels, other layers "
                f"in their place {bank.filters}"
            )
        for layer in bank.layers:
            if layer.inputs > inputs:
                raise SearchError(
                    f"bank {bank.name}: a layer reads {layer.inputs} channels, {inputs} are there"
                )
            if layer.skip != "none" and layer.inputs != layer.filters:
                raise SearchError(f"bank {bank.name}: a skip from {layer.inputs} to other channels")
            if layer.skip == "identity" and stride != 1:
                raise SearchError(f"bank {bank.name}: an identity skip at stride {stride}")

"""A supernet's weights: what training starts from, and what one path takes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from latlas.search.spaces.shared import SharedLayer, SupernetSpace
from latlas.search.supernet_slots import Bank, Slot, Slots

FloatArray = NDArray[np.float32]
Moments = Mapping[str, tuple[FloatArray, FloatArray]]
"""Mean and variance of batch norms, by the name of their parameters."""

Norm = Callable[[str, int, int | None], Iterator[FloatArray]]


def initial_parameters(slots: Slots, residual_gamma: float, seed: int) -> dict[str, FloatArray]:
    """Draw the weights that training starts from (He et al. 2015).

    The rows of a bank start from the same numbers, and so do the banks of a slot where shapes
    allow: a smaller layer with the middle or the first part of a larger one's. From independent
    numbers, every choice of MoGA's would write features of its own for layers that have to read all
    twelve: 150 steps on digits end at 20% instead of 90%. The outer rings of a kernel start small,
    and the branches beside a residual are scaled by `residual_gamma`, so that a path starts close
    to what all paths have in common.

    Args:
        slots: of the supernet.
        residual_gamma: what the last batch norm of a branch starts with where all layers of its
            bank are residual.
        seed: of the numbers.

    Returns:
        Arrays by name; those of banks are ``"slot/bank/name"``, stacked over rows.
    """
    start = _Start(slots.frame, seed)
    skeleton = slots.skeleton
    start.draw("stem", (skeleton.stem, 9 * slots.channels), 9 * slots.channels)
    start.norm("stem", skeleton.stem)
    for slot in slots.chain:
        start.enter(slot)
        for bank in slot.banks:
            start.bank(bank, residual_gamma)
    width = slots.chain[-1].banks[0].filters
    start.draw("last", (skeleton.last, width), width)
    start.norm("last", skeleton.last)
    width = skeleton.last
    if skeleton.features:
        start.draw("features", (skeleton.features, width), width)
        width = skeleton.features
    if skeleton.features_bias:
        start.found["features_bias"] = np.zeros(skeleton.features, np.float32)
    start.draw("classes", (slots.classes, width), width, 1.0)
    start.found["classes_bias"] = np.zeros(slots.classes, np.float32)
    return start.found


class _Start:
    """Draws weights in the order in which they are asked for."""

    def __init__(self, frame: int, seed: int) -> None:
        self.found: dict[str, FloatArray] = {}
        self.pool: dict[str, FloatArray] = {}
        self._rng = np.random.default_rng(seed)
        ring = np.full((frame, frame), 0.25, np.float32)
        ring[frame // 2 - 1 : frame // 2 + 2, frame // 2 - 1 : frame // 2 + 2] = 1
        self._ring = ring.reshape(-1)
        self._map: FloatArray | None = None

    def enter(self, slot: Slot) -> None:
        """Forget what the slot before had in common."""
        self.pool.clear()
        self._map = None
        if len(slot.banks) > 1:
            bank = slot.banks[0]
            self._map = np.eye(bank.filters, bank.inputs, dtype=np.float32)
            if not slot.optional and bank.filters != bank.inputs:
                self._map = self._normal((bank.filters, bank.inputs), bank.inputs, 1.0)

    def draw(self, name: str, shape: Sequence[int], fan_in: float, gain: float = 2.0) -> None:
        self.found[name] = self._normal(shape, fan_in, gain)

    def norm(self, name: str, width: int) -> None:
        self.found[name + "_gamma"] = np.ones(width, np.float32)
        self.found[name + "_beta"] = np.zeros(width, np.float32)

    def bank(self, bank: Bank, residual_gamma: float) -> None:
        operator, inputs, filters = bank.like.operator, bank.inputs, bank.filters
        name, wide, squeezed, taps = bank.name, bank.expanded, bank.squeezed, len(self._ring)
        before = set(self.found)
        start = start_alike(bank, self._map, len(self._ring)) if self._map is not None else {}
        if operator == "mbconv":
            self.found[f"{name}/expand"] = self._shared("expand", (wide, inputs), inputs)
            self.norm(f"{name}/expand", wide)
        if operator == "conv":
            self.draw(f"{name}/kernel", (filters, inputs, taps), 9 * inputs)
        else:
            self.found[f"{name}/kernel"] = self._shared("kernel", (wide, taps), 9)
        self.found[f"{name}/kernel"] *= self._ring
        self.norm(f"{name}/kernel", wide)
        if squeezed:
            self.found[f"{name}/squeeze"] = self._shared("squeeze", (squeezed, wide), wide)
            self.found[f"{name}/squeeze_bias"] = np.zeros(squeezed, np.float32)
            self.found[f"{name}/excite"] = self._shared("excite", (wide, squeezed), squeezed, 1.0)
            self.found[f"{name}/excite_bias"] = np.zeros(wide, np.float32)
        if operator != "conv":
            self.found[f"{name}/project"] = self._shared("project", (filters, wide), wide, 1.0)
            self.norm(f"{name}/project", filters)
        for key, values in start.items():
            self.found[f"{name}/{key}"] = NOISE * self.found[f"{name}/{key}"] + values
        if bank.always_residual:
            last = "kernel" if operator == "conv" else "project"
            self.found[f"{name}/{last}_gamma"] *= np.float32(residual_gamma)
        for key in self.found.keys() - before:
            self.found[key] = np.repeat(self.found[key][None], bank.rows, axis=0)

    def _normal(self, shape: Sequence[int], fan_in: float, gain: float) -> FloatArray:
        values = self._rng.standard_normal(tuple(shape)) * np.sqrt(gain / fan_in)
        drawn: FloatArray = values.astype(np.float32)
        return drawn

    def _shared(
        self, name: str, shape: Sequence[int], fan_in: float, gain: float = 2.0
    ) -> FloatArray:
        """Take the numbers that other banks of the slot have; draw those that are missing."""
        known = self.pool.get(name)
        if known is None or any(a < b for a, b in zip(known.shape, shape, strict=True)):
            drawn = self._normal(shape, fan_in, gain)
            if known is not None:
                part = tuple(slice(0, min(a, b)) for a, b in zip(known.shape, shape, strict=True))
                drawn[part] = known[part]
            known = self.pool[name] = drawn
        return known[tuple(slice(0, size) for size in shape)].copy()


NOISE = np.float32(0.2)
"""Share of random numbers in layers that start alike."""


def start_alike(bank: Bank, common: FloatArray, taps: int) -> dict[str, FloatArray]:
    """Return weights with which layers of unlike operators compute nearly the same.

    A separable convolution and a bottleneck pass their input on through the middle of their kernels
    and project it by the common matrix; a bottleneck expands it to itself and its negative, so that
    its activations cut nothing off. A full convolution has the matrix in its middle. Where there is
    no expansion, a positive beta keeps the activation from cutting off half of what comes.

    Args:
        bank: whose weights to return.
        common: the slot's matrix, shape (filters, inputs).
        taps: of a kernel's frame.

    Returns:
        Arrays by name, without rows.
    """
    wide, inputs, filters = bank.expanded, bank.inputs, bank.filters
    middle = np.zeros(taps, np.float32)
    middle[taps // 2] = 1
    if bank.like.operator == "conv":
        return {"kernel": common[:, :, None] * middle, "kernel_beta": np.ones(wide, np.float32)}
    project = np.zeros((filters, wide), np.float32)
    passed = min(inputs, wide)  # a bottleneck may be narrower than what it reads
    project[:, :passed] = common[:, :passed]
    found = {"kernel": np.repeat(middle[None], wide, axis=0), "project": project}
    if bank.like.operator == "mbconv":
        expand = np.zeros((wide, inputs), np.float32)
        expand[:passed] = np.eye(passed, inputs)
        if wide >= 2 * inputs:
            expand[inputs : 2 * inputs] = -np.eye(inputs)
            project[:, inputs : 2 * inputs] = -common
        found["expand"] = expand
    else:
        found["kernel_beta"] = np.ones(wide, np.float32)
    return found


def path_weights(
    space: SupernetSpace,
    slots: Slots,
    parameters: Mapping[str, FloatArray],
    moments: Moments,
    genes: Sequence[int],
) -> Iterator[FloatArray]:
    """Yield the weights of one path in the order and layout of the network that it decodes to.

    Args:
        space: of the genes.
        slots: of the space.
        parameters: arrays by name, as `initial_parameters` has them.
        moments: of every batch norm of the path, each (channels,).
        genes: the path.
    """

    def norm(name: str, width: int, row: int | None = None) -> Iterator[FloatArray]:
        for kind in ("_gamma", "_beta"):
            values = parameters[name + kind]
            yield (values if row is None else values[row])[:width]
        yield from (values[:width] for values in moments[name])

    yield parameters["stem"].reshape(slots.skeleton.stem, 3, 3, -1)
    yield from norm("stem", slots.skeleton.stem)
    width = slots.skeleton.stem
    for layer, bank in layers_of_path(space, slots, genes):
        yield from _layer_weights(layer, bank, slots.frame, parameters, norm)
        width = layer.filters
    yield _pointwise(parameters["last"][:, :width])
    yield from norm("last", slots.skeleton.last)
    if slots.skeleton.features:
        yield _pointwise(parameters["features"])
    if slots.skeleton.features_bias:
        yield parameters["features_bias"]
    yield parameters["classes"]
    yield parameters["classes_bias"]


def layers_of_path(
    space: SupernetSpace, slots: Slots, genes: Sequence[int]
) -> Iterator[tuple[SharedLayer, str]]:
    """Yield the layers of a path with the names of their banks."""
    chain = iter(slots.chain)
    for index, group in enumerate(space.groups):
        for layer in space.supernet_layers(index, [genes[position] for position in group]):
            slot = next(chain)
            if layer is not None:
                yield layer, next(b.name for b in slot.banks if layer in b.layers)


def _layer_weights(
    layer: SharedLayer, bank: str, frame: int, parameters: Mapping[str, FloatArray], norm: Norm
) -> Iterator[FloatArray]:
    def own(name: str) -> FloatArray:
        values: FloatArray = parameters[f"{bank}/{name}"][layer.row]
        return values

    edge = (frame - layer.kernel) // 2
    inner = slice(edge, frame - edge)
    wide, inputs = layer.expanded, layer.inputs
    if layer.operator == "mbconv":
        yield _pointwise(own("expand")[:wide, :inputs])
        yield from norm(f"{bank}/expand", wide, layer.row)
    if layer.operator == "conv":
        kernel = own("kernel").reshape(*own("kernel").shape[:2], frame, frame)
        yield kernel[:wide, :inputs, inner, inner].transpose(0, 2, 3, 1)
    else:
        kernel = own("kernel").reshape(-1, frame, frame)[:wide, inner, inner]
        yield kernel.transpose(1, 2, 0)[None]
    yield from norm(f"{bank}/kernel", wide, layer.row)
    if layer.squeezed:
        yield _pointwise(own("squeeze")[: layer.squeezed, :wide])
        yield own("squeeze_bias")[: layer.squeezed]
        yield _pointwise(own("excite")[:wide, : layer.squeezed])
        yield own("excite_bias")[:wide]
    if layer.operator != "conv":
        yield _pointwise(own("project")[: layer.filters, :wide])
        yield from norm(f"{bank}/project", layer.filters, layer.row)


def _pointwise(kernel: FloatArray) -> FloatArray:
    return kernel.reshape(len(kernel), 1, 1, -1)

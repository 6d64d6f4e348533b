"""What a CPU's kernel saves where its network stays in the cache from one invocation to the next.

What a small network needs is still in the last-level cache when the next invocation asks for it;
what a large one needs comes from memory. A fully connected layer takes half as long in the first
case or less, so that no single latency is right for it. Every byte of a kind saves the same:

    saved = resident * (prices of `COLUMNS` * what they hold)
    resident = 1 / (1 + ((footprint + others * latency) / capacity)^4)

Weights come from memory once in every invocation, and so do the pointers to pixels that XNNPACK
looks windows up by (its indirection buffer), and the image, the one map that no kernel has just
written. Other maps cost little, and a launch finds the code and the parameters of its operator.

A network's footprint is its weights and pointers, and the largest maps that one kernel reads and
writes. Where the cache is shared, as by the other tenants of a host or the other cores of a phone,
those bring in data of their own meanwhile: what counts is how long the network takes to come round.

The prices and the capacity are learned from networks whose kernels are listed in context: the same
kinds of kernels in small networks and in large ones. Everywhere else a kernel's latency is the one
from memory, the saving is taken off per network.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from latlas.predictor import features
from latlas.predictor.forest import Forest
from latlas.predictor.observations import Observations
from latlas.predictor.sizes import Sizes, kernel_class, sizes
from latlas.profiler.kernel import Kernel

MIN_NETWORKS = 20
"""Fewer networks with listed kernels say too little."""

_MIN_KERNELS = 20  # the same of kernels

MAX_ROWS = 10_000
"""So many kernels in context, drawn at random, are learned from."""

SHARPNESS = 4
"""Exponent of `Residency.resident`."""

LEAST = 0.3
"""Share of a network's sum that no saving can undercut."""

_CAPACITIES_MB = (1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 24, 28, 32, 40, 48, 64, 96, 128)
_OTHERS_MB_PER_MS = (0, 1, 2, 4, 8, 16, 32)
_FEW = 5  # per cent
_ROUNDS = 3
_STEPS = 5  # to a latency that agrees with what is saved
_FOLDS = 4
_TREES = 12
_STEADY = 0.05
_LISTED_US = 0.3
"""What is off of a listed time at least: relative, and in microseconds."""
_VISIBLE = 0.03
_USUAL = np.array([0.0, 15.0, 6.0, 50.0, 2.0])
"""Prices at which a kernel counts as one that may show them."""

COLUMNS = ("launches", "weights", "pointers", "images", "maps")
"""What a kernel may find in the cache: its launch, and MB of all else."""

IMAGE_CHANNELS = 4
"""A map of so many channels at most is an image: no kernel has just written it."""

_POINTER_BYTES = 8


@dataclass(frozen=True, slots=True)
class Residency:
    """What a target saves on networks that stay in its cache.

    Attributes:
        capacity_mb: half is saved where so many MB (10^6 bytes), the network's own and those of
            others, pass through the cache before it comes round.
        others_mb_per_ms: what others bring into the cache, in MB per millisecond.
        prices_us: microseconds saved per launch and per MB, in the order of `COLUMNS`.

    >>> cache = Residency(16.0, 4.0, (0.5, 12.0, 6.0, 20.0, 2.0))
    >>> traffic, footprint_mb = np.array([[1.0, 5.0, 0.0, 0.0, 0.1]] * 2), np.array([5.0, 5.0])
    >>> cache.saved_us(traffic, footprint_mb, np.array([500.0, 4000.0])).round(1).tolist()
    [58.6, 15.3]
    """

    capacity_mb: float
    others_mb_per_ms: float
    prices_us: tuple[float, ...]

    @property
    def saves(self) -> bool:
        """Whether anything is ever saved."""
        return any(self.prices_us)

    def resident(
        self, footprint_mb: NDArray[np.float64], latency_us: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return which share of networks stays in the cache until they come round."""
        passing_mb = footprint_mb + self.others_mb_per_ms * latency_us / 1e3
        return np.asarray(1 / (1 + np.minimum(passing_mb / self.capacity_mb, 1e3) ** SHARPNESS))

    def saved_us(
        self,
        traffic: NDArray[np.float64],
        footprint_mb: NDArray[np.float64],
        latency_us: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return what is saved, in microseconds.

        Args:
            traffic: as from `traffic`, of kernels, or summed over networks, shape (rows, 5).
            footprint_mb: of the network of every row, shape (rows,).
            latency_us: of the network of every row, shape (rows,).
        """
        each = traffic @ np.array(self.prices_us)
        return np.asarray(each * self.resident(footprint_mb, latency_us), np.float64)

    def within_us(
        self,
        sums_us: NDArray[np.float64],
        traffic: NDArray[np.float64],
        footprint_mb: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return what the kernels of networks take in them, summed, shape (networks,).

        What is saved depends on how long the network takes, and the other way round: from the
        latency without a saving, a few steps lead to one that agrees with itself.

        Args:
            sums_us: what they take from memory, shape (networks,).
            traffic: of their kernels, summed, shape (networks, 5).
            footprint_mb: of the networks, shape (networks,).
        """
        found_us = sums_us
        for _ in range(_STEPS if self.others_mb_per_ms else 1):
            found_us = remaining_us(sums_us, self.saved_us(traffic, footprint_mb, found_us))
        return found_us


NO_SAVING = Residency(1.0, 0.0, (0.0,) * len(COLUMNS))
"""Of targets of which nothing is known."""


def traffic(c: Sizes) -> NDArray[np.float64]:
    """Return what kernels may find in the cache, shape (kernels, len(COLUMNS))."""
    mb = c["element_bytes"] / 1e6
    taps = c["kernel_height"] * c["kernel_width"]
    windows = np.where(taps > 1, c["batch"] * c["out_height"] * c["out_width"] * taps, 0)
    image = (c["in_channels"] <= IMAGE_CHANNELS) & (c["in_height"] > 1)
    columns = (
        np.ones(len(mb)),
        mb * c["weights"],
        _POINTER_BYTES / 1e6 * windows,
        np.where(image, mb * c["read"], 0.0),
        mb * (c["read"] + c["written"]),
    )
    return np.stack(columns, axis=1)


def footprints_mb(
    summed: NDArray[np.float64], largest_maps_mb: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the footprints of networks in MB, shape (networks,).

    Args:
        summed: traffic of their kernels, summed, shape (networks, 5).
        largest_maps_mb: the most that one of their kernels reads and writes, shape (networks,).
    """
    return np.asarray(summed[:, 1] + summed[:, 2] + largest_maps_mb)


def remaining_us(
    sums_us: NDArray[np.float64], saved_us: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what is left of sums when a saving is taken off, never less than `LEAST` of them."""
    return np.maximum(sums_us - saved_us, LEAST * sums_us)


def fit_residency(observations: Observations, *, seed: int = 0) -> Residency:
    """Learn what is saved, from kernels in context in networks of all sizes.

    Forests say what a kernel takes by itself, always of networks that they did not see; what is
    left follows the footprint of the network, or nothing is saved. The two are learned in turn.

    Args:
        observations: those of a GPU, or without listed kernels, say nothing.
        seed: of the choice of kernels.
    """
    rows = _rows(observations, seed)
    if rows is None:
        return NO_SAVING
    found = NO_SAVING
    for _ in range(_ROUNDS):
        nominal_us = rows.listed_us + found.saved_us(rows.traffic, rows.footprint, rows.latency_us)
        found = _saving(rows, rows.listed_us - _predicted_us(rows, nominal_us, seed))
        if not found.saves:
            break
    return found


@dataclass(frozen=True, eq=False)
class _Rows:
    """Kernels in context whose time may show what is saved."""

    x: NDArray[np.float32]
    classes: NDArray[np.str_]
    listed_us: NDArray[np.float64]
    network: NDArray[np.int64]
    traffic: NDArray[np.float64]
    footprint: NDArray[np.float64]
    latency_us: NDArray[np.float64]


def _rows(observations: Observations, seed: int) -> _Rows | None:
    listed = [network for network in observations.networks if network.listed_us is not None]
    if observations.target.delegate != "cpu" or len(listed) < MIN_NETWORKS:
        return None
    kernels: list[Kernel] = []
    columns: list[NDArray[np.float64]] = []
    for number, network in enumerate(listed):
        own = traffic(sizes(network.kernels))
        of_network = [number, _footprint_mb(own), network.latency_us]
        listed_us = np.array(network.listed_us)
        columns.append(np.column_stack([listed_us, np.tile(of_network, (len(own), 1)), own]))
        kernels += network.kernels
    table = np.concatenate(columns)
    times = table[:, 0]
    shows = np.isfinite(times) & (table[:, 4:] @ _USUAL > _VISIBLE * times)
    chosen = np.flatnonzero(shows & (times > 10 * _LISTED_US))
    if len(chosen) < _MIN_KERNELS:
        return None
    if len(chosen) > MAX_ROWS:  # those that weigh most in their networks, large or small
        share = times[chosen] / table[chosen, 3]
        rng = np.random.default_rng(seed)
        chosen = rng.choice(chosen, MAX_ROWS, replace=False, p=share / share.sum())
    chosen = np.sort(chosen)
    some = [kernels[index] for index in chosen]
    table = table[chosen]
    return _Rows(
        features.matrix(some, observations.target),
        np.array([kernel_class(kernel) for kernel in some]),
        table[:, 0],
        table[:, 1].astype(np.int64),
        footprint=table[:, 2],
        latency_us=table[:, 3],
        traffic=table[:, 4:],
    )


def _footprint_mb(own: NDArray[np.float64]) -> float:
    """Return the footprint of one network, from the traffic of its kernels."""
    return float(footprints_mb(own.sum(axis=0)[None], own[:, 4].max(initial=0.0))[0])


def _predicted_us(rows: _Rows, nominal_us: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return what forests predict of networks that they did not see; NaN where they cannot."""
    y = np.log(nominal_us) - rows.x[:, 0]
    found = np.full(len(y), np.nan)
    ones = np.ones(len(y))
    for fold in range(_FOLDS):
        for name in np.unique(rows.classes):
            own, apart = rows.classes == name, rows.network % _FOLDS == fold
            ask, learn = own & apart, own & ~apart
            if ask.any() and learn.sum() >= _MIN_KERNELS:
                forest = Forest.grow(rows.x[learn], y[learn], ones[learn], trees=_TREES, seed=seed)
                found[ask] = np.exp(forest.predict(rows.x[ask]) + rows.x[ask, 0])
    return found


def _saving(rows: _Rows, left_us: NDArray[np.float64]) -> Residency:
    """Return the saving that explains best what forests leave, over all caches."""
    known = np.isfinite(left_us)
    seen = rows.traffic[known].any(axis=0)  # nothing is said of the others' prices
    scale = 1 / (_STEADY * rows.listed_us[known] + _LISTED_US)
    left, traffic = left_us[known], rows.traffic[known]
    footprint, latency_us = rows.footprint[known], rows.latency_us[known]
    if not len(left):
        return NO_SAVING
    # Forests lie between the two cases: where they do, is learned beside what is saved.
    between = traffic * scale[:, None]
    _, least = _robust(np.hstack([0 * between, between]), left * scale)
    # Schwarz's criterion: so much must be explained for the prices and the cache to be worth it.
    least *= np.exp(-(len(COLUMNS) + 2) * np.log(len(left)) / len(left))
    best = NO_SAVING
    for others, capacity in itertools.product(_OTHERS_MB_PER_MS, _CAPACITIES_MB):
        cache = replace(NO_SAVING, capacity_mb=float(capacity), others_mb_per_ms=float(others))
        share = cache.resident(footprint, latency_us)[:, None]
        if not _FEW <= 100 * np.mean(share > 0.5) <= 100 - _FEW:
            continue  # hardly a network on one side of it
        prices_us, loss = _robust(np.hstack([-share * between, between]), left * scale)
        if loss < least:
            best, least = replace(cache, prices_us=tuple((prices_us * seen).tolist())), loss
    return best


def _robust(
    columns: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Return the first half of a fit's coefficients by Huber's loss, not negative, and the loss."""
    from scipy.optimize import lsq_linear

    weight = np.ones(len(values))
    half = columns.shape[1] // 2
    bounds = ([0.0] * half + [-np.inf] * half, np.inf)
    for _ in range(4):
        # The triangle has the same solution as the many rows, and is solved at once.
        rows = np.column_stack([columns, values]) * weight[:, None]
        triangle = np.linalg.qr(rows).R
        fitted = lsq_linear(triangle[:, :-1], triangle[:, -1], bounds)
        off = np.abs(columns @ fitted.x - values)
        weight = 1 / np.sqrt(np.maximum(off, 1.0))
    loss = float(np.where(off < 1, off**2, 2 * off - 1).mean())
    return np.maximum(fitted.x[:half], 0.0), loss


def nominal(observations: Observations, residency: Residency) -> Observations:
    """Return observations whose listed times are those that kernels would take from memory."""
    if not residency.saves:
        return observations
    networks = []
    for network in observations.networks:
        if network.listed_us is not None:
            saved = saved_in(network.kernels, residency, network.latency_us)
            network = replace(network, listed_us=tuple((saved + network.listed_us).tolist()))
        networks.append(network)
    return replace(observations, networks=tuple(networks))


def saved_in(
    kernels: Sequence[Kernel], residency: Residency, latency_us: float
) -> NDArray[np.float64]:
    """Return what each of the kernels of a network saves in it, in microseconds."""
    own = traffic(sizes(kernels))
    everywhere = np.full(len(own), _footprint_mb(own))
    return residency.saved_us(own, everywhere, np.full(len(own), latency_us))

"""What a CPU's kernel saves where its network stays in the cache from one invocation to the next.

Weights and maps of a small network are still in the last-level cache when the next invocation asks
for them; those of a large one come from memory. A fully connected layer takes half as long in the
first case or less, so that no single latency is right for it. Every byte saves the same:

    saved = resident * (w * bytes of weights + v * bytes read and written)
    resident = 1 / (1 + ((footprint + others * latency) / capacity)^4)

A network's footprint is its weights and the largest maps that one kernel reads and writes. Where
the cache is shared, as by the other tenants of a host or the other cores of a phone, those bring in
data of their own meanwhile: what counts is how long the network takes to come round.

The four numbers are learned from networks whose kernels are listed in context: the same kinds of
kernels in small networks and in large ones. Everywhere else a kernel's latency is the one from
memory, the saving is taken off per network.
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

MAX_ROWS = 2000
"""So many kernels in context, drawn at random, are learned from."""

SHARPNESS = 4
"""Exponent of `Residency.resident`."""

LEAST = 0.3
"""Share of a network's sum that no saving can undercut."""

_CAPACITIES_MB = (1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 24, 28, 32, 40, 48, 64, 96, 128)
_OTHERS_MB_PER_MS = (0, 1, 2, 4, 8, 16, 32)
GAIN = 0.01
"""A saving must explain at least this share of what forests leave."""

_FEW = 5  # per cent
_ROUNDS = 3
_STEPS = 5  # to a latency that agrees with what is saved
_FOLDS = 4
_TREES = 12
_STEADY = 0.05
_LISTED_US = 0.3
"""What is off of a listed time at least: relative, and in microseconds."""
_VISIBLE = 0.03
_USUAL = np.array([15.0, 2.0])  # savings per MB at which a kernel counts as one that may show them


@dataclass(frozen=True, slots=True)
class Residency:
    """What a target saves on networks that stay in its cache.

    Attributes:
        capacity_mb: half is saved where so many MB (10^6 bytes), the network's own and those of
            others, pass through the cache before it comes round.
        weights_us: microseconds saved per MB of weights.
        maps_us: microseconds saved per MB read or written.
        others_mb_per_ms: what others bring into the cache, in MB per millisecond.

    >>> cache = Residency(16.0, 12.0, 2.0, 4.0)
    >>> traffic_mb, footprint_mb = np.array([[5.0, 0.1]] * 2), np.array([5.0, 5.0])
    >>> cache.saved_us(traffic_mb, footprint_mb, np.array([500.0, 4000.0])).round(1).tolist()
    [58.1, 15.2]
    """

    capacity_mb: float
    weights_us: float
    maps_us: float
    others_mb_per_ms: float = 0.0

    @property
    def saves(self) -> bool:
        """Whether anything is ever saved."""
        return self.weights_us > 0 or self.maps_us > 0

    def resident(
        self, footprint_mb: NDArray[np.float64], latency_us: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return which share of networks stays in the cache until they come round."""
        passing_mb = footprint_mb + self.others_mb_per_ms * latency_us / 1e3
        return np.asarray(1 / (1 + np.minimum(passing_mb / self.capacity_mb, 1e3) ** SHARPNESS))

    def saved_us(
        self,
        traffic_mb: NDArray[np.float64],
        footprint_mb: NDArray[np.float64],
        latency_us: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return what is saved, in microseconds.

        Args:
            traffic_mb: weights, and bytes read and written, in MB, shape (rows, 2): of kernels,
                or summed over networks.
            footprint_mb: of the network of every row, shape (rows,).
            latency_us: of the network of every row, shape (rows,).
        """
        each = traffic_mb @ np.array([self.weights_us, self.maps_us])
        return np.asarray(each * self.resident(footprint_mb, latency_us), np.float64)

    def within_us(
        self,
        sums_us: NDArray[np.float64],
        traffic_mb: NDArray[np.float64],
        footprint_mb: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return what the kernels of networks take in them, summed, shape (networks,).

        What is saved depends on how long the network takes, and the other way round: from the
        latency without a saving, a few steps lead to one that agrees with itself.

        Args:
            sums_us: what they take from memory, shape (networks,).
            traffic_mb: their weights, and bytes read and written, shape (networks, 2).
            footprint_mb: of the networks, shape (networks,).
        """
        found_us = sums_us
        for _ in range(_STEPS if self.others_mb_per_ms else 1):
            found_us = remaining_us(sums_us, self.saved_us(traffic_mb, footprint_mb, found_us))
        return found_us


NO_SAVING = Residency(1.0, 0.0, 0.0)
"""Of targets of which nothing is known."""


def traffic_mb(c: Sizes) -> NDArray[np.float64]:
    """Return weights, and bytes read and written, of kernels in MB, shape (kernels, 2)."""
    mb = c["element_bytes"] / 1e6
    return np.stack([mb * c["weights"], mb * (c["read"] + c["written"])], axis=1)


def footprint_mb(traffic: NDArray[np.float64]) -> float:
    """Return the footprint of a network in MB, from the traffic of its kernels."""
    return float(traffic[:, 0].sum() + traffic[:, 1].max(initial=0.0))


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
    network: NDArray[np.int64]
    listed_us: NDArray[np.float64]
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
        traffic = traffic_mb(sizes(network.kernels))
        everywhere = np.full((len(traffic), 3), [number, footprint_mb(traffic), network.latency_us])
        columns.append(np.column_stack([np.array(network.listed_us), traffic, everywhere]))
        kernels += network.kernels
    table = np.concatenate(columns)
    times = table[:, 0]
    shows = np.isfinite(times) & (table[:, 1:3] @ _USUAL > _VISIBLE * times)
    chosen = np.flatnonzero(shows & (times > 10 * _LISTED_US))
    if len(chosen) < _MIN_KERNELS:
        return None
    if len(chosen) > MAX_ROWS:  # those that weigh most in their networks, large or small
        share = times[chosen] / table[chosen, 5]
        rng = np.random.default_rng(seed)
        chosen = rng.choice(chosen, MAX_ROWS, replace=False, p=share / share.sum())
    chosen = np.sort(chosen)
    some = [kernels[index] for index in chosen]
    table = table[chosen]
    return _Rows(
        features.matrix(some, observations.target),
        np.array([kernel_class(kernel) for kernel in some]),
        table[:, 3].astype(np.int64),
        table[:, 0],
        table[:, 1:3],
        table[:, 4],
        table[:, 5],
    )


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
    scale = 1 / (_STEADY * rows.listed_us[known] + _LISTED_US)
    left, traffic = left_us[known], rows.traffic[known]
    footprint, latency_us = rows.footprint[known], rows.latency_us[known]
    if not len(left):
        return NO_SAVING
    # Forests lie between the two cases: where they do, is learned beside what is saved.
    between = traffic * scale[:, None]
    _, least = _robust(np.hstack([0 * between, between]), left * scale)
    best, least = NO_SAVING, (1 - GAIN) * least
    for others, capacity in itertools.product(_OTHERS_MB_PER_MS, _CAPACITIES_MB):
        cache = Residency(float(capacity), 1.0, 1.0, float(others))
        share = cache.resident(footprint, latency_us)[:, None]
        if not _FEW <= 100 * np.mean(share > 0.5) <= 100 - _FEW:
            continue  # hardly a network on one side of it
        (weights_us, maps_us), loss = _robust(np.hstack([-share * between, between]), left * scale)
        if loss < least:
            best, least = replace(cache, weights_us=weights_us, maps_us=maps_us), loss
    return best


def _robust(
    columns: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[tuple[float, float], float]:
    """Return the first two coefficients of a fit by Huber's loss, not negative, and the loss."""
    from scipy.optimize import lsq_linear

    weight = np.ones(len(values))
    bounds = ([0.0, 0.0, -np.inf, -np.inf], np.inf)
    for _ in range(4):
        # The triangle has the same solution as the many rows, and is solved at once.
        rows = np.column_stack([columns, values]) * weight[:, None]
        triangle = np.linalg.qr(rows).R
        fitted = lsq_linear(triangle[:, :-1], triangle[:, -1], bounds)
        off = np.abs(columns @ fitted.x - values)
        weight = 1 / np.sqrt(np.maximum(off, 1.0))
    loss = float(np.where(off < 1, off**2, 2 * off - 1).mean())
    first, second = (max(float(value), 0.0) for value in fitted.x[:2])
    return (first, second), loss


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
    traffic = traffic_mb(sizes(kernels))
    everywhere = np.full(len(traffic), footprint_mb(traffic))
    return residency.saved_us(traffic, everywhere, np.full(len(traffic), latency_us))

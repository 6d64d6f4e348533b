"""Predict the latency of whole networks from what was learned of one target."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from latlas.predictor import features
from latlas.predictor.calibration import Calibration
from latlas.predictor.forest import Forest
from latlas.predictor.grove import NO_FOREST, Grove
from latlas.predictor.intervals import NO_INTERVALS, Intervals, interval_ms
from latlas.predictor.residency import (
    COLUMNS,
    NO_SAVING,
    Residency,
    footprints_mb,
    remaining_us,
    traffic,
)
from latlas.predictor.sizes import kernel_class, sizes
from latlas.profiler.errors import UnknownKernelError
from latlas.profiler.fusion import rules_named
from latlas.profiler.graph import Graph
from latlas.profiler.kernel import FusionRules, Kernel, split
from latlas.profiler.quantise import for_precision
from latlas.profiler.target import Target

if TYPE_CHECKING:
    from latlas.predictor.mixture import Mixture

MEASURED, PREDICTED, UNKNOWN, TRANSFERRED = range(4)
"""Where the latency of a kernel comes from."""

MARGIN = 0.1
"""A kernel so little outside the range of those learned from, in logarithms, counts as inside."""

_BLOCK = 1024  # kernels that are compared with all similar ones at a time

SIMILAR = 5
"""So many kernels, those nearest in work and bytes, stand for one of an unknown class."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The latency of one network, and what it rests on.

    Attributes:
        latency_ms: predicted latency.
        low_ms, high_ms: bounds that should hold nine networks in ten.
        kernels: number of kernels.
        measured_share: share of the latency from kernels that were measured.
        predicted_share: share from kernels that were predicted.
        unknown: kernels whose class was never measured; they count as those of other classes do
            that compute and move about as much, and only where the caller accepted that.
        extrapolated: predicted kernels that lie outside the range of those learned from.
        transferred_share: share from kernels that follow from other devices' latencies.
    """

    latency_ms: float
    low_ms: float
    high_ms: float
    kernels: int
    measured_share: float
    predicted_share: float
    unknown: tuple[str, ...]
    extrapolated: tuple[str, ...] = ()
    transferred_share: float = 0.0

    @property
    def unknown_share(self) -> float:
        """Share of the latency that is a guess."""
        known = self.measured_share + self.predicted_share + self.transferred_share
        return max(0.0, 1.0 - known)


@dataclass(frozen=True)
class KernelEstimates:
    """What is known about kernels, each array of shape (kernels,).

    Attributes:
        latency_us: microseconds inside a large network.
        source: `MEASURED`, `PREDICTED`, `UNKNOWN` or `TRANSFERRED`.
        spread: standard deviation between trees of the logarithm of the time; 0 where measured.
        extrapolated: whether the kernel was predicted outside the range of those learned from.
        traffic: what they may find in the cache, shape (kernels, 5); of launches only where nothing
            is saved.
    """

    latency_us: NDArray[np.float64]
    source: NDArray[np.int8]
    spread: NDArray[np.float64]
    extrapolated: NDArray[np.bool_]
    traffic: NDArray[np.float64]

    def __getitem__(self, part: slice | NDArray[np.intp]) -> KernelEstimates:
        """Return some of them."""
        return KernelEstimates(
            self.latency_us[part],
            self.source[part],
            self.spread[part],
            self.extrapolated[part],
            self.traffic[part],
        )


@dataclass(frozen=True)
class LatencyPredictor:
    """Kernels looked up where they were measured, predicted by forests elsewhere, and calibrated.

    Attributes:
        target: what the predictions are valid for.
        rules_version: fusion rules that the kernels were split by.
        table_us: measured kernels, microseconds.
        forests: by kernel class, a forest that predicts ln(microseconds / work).
        type_error: by kernel class, standard deviation of ln(predicted / measured) on kernels left
            out.
        calibration: from the sum of kernels to whole networks.
        intervals: how far the latencies of networks left out were off.
        ranges: by kernel class, least and largest of every feature of `features.RANGED` among the
            kernels learned from, shape (2, features).
        similar: kernels of all classes as ln(work), ln(bytes) and ln(microseconds), by which an
            unknown one is judged, shape (kernels, 3).
        residency: what kernels save in networks that stay in the cache.
        mixture: what other devices say about kernels of the classes that it has weights for; the
            forests of these classes predict ln(microseconds / what it says).
    """

    target: Target
    rules_version: str
    table_us: Mapping[Kernel, float] = field(repr=False)
    forests: Mapping[str, Forest] = field(repr=False)
    type_error: Mapping[str, float]
    calibration: Calibration
    intervals: Intervals = NO_INTERVALS
    ranges: Mapping[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)
    similar: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros((0, 3), np.float32), repr=False
    )
    residency: Residency = NO_SAVING
    mixture: Mixture | None = None

    @property
    def rules(self) -> FusionRules:
        """The fusion rules that networks are split by."""
        return rules_named(self.rules_version, self.target.delegate, self.target.adapter)

    @property
    def digest(self) -> str:
        """SHA-256 of all that was learned: the same digest, the same latencies of known kernels."""
        parts = self.target, self.rules_version, self.calibration, self.residency
        digest = hashlib.sha256(repr(parts).encode())
        for kernel, latency_us in self.table_us.items():
            digest.update(f"{kernel.text} {latency_us!r}\n".encode())
        for kind, forest in sorted(self.forests.items()):
            digest.update(kind.encode())
            for array in forest.to_arrays().values():
                digest.update(array.tobytes())
        if self.mixture is not None:
            for source in self.mixture.sources:
                digest.update(source.digest.encode())
            digest.update(repr(self.mixture.speeds.tolist()).encode())
            for kind, weights in sorted(self.mixture.weights.items()):
                digest.update(f"{kind} {weights.tolist()}".encode())
        return digest.hexdigest()

    def predict(self, graphs: Sequence[Graph], *, accept_unknown: bool = False) -> list[Prediction]:
        """Predict whole networks.

        Args:
            graphs: networks in either form; a target of int8 runs those of float32 quantised.
            accept_unknown: estimate unknown kernels by those of other classes, instead of raising.

        Raises:
            UnknownKernelError: a network has kernels that nothing is known about.
            GraphError: a network holds int8 and the target does not.
        """
        rules = self.rules
        networks = [split(for_precision(graph, self.target.precision), rules) for graph in graphs]
        return self.predict_kernels(networks, accept_unknown=accept_unknown)

    def predict_kernels(
        self,
        networks: Sequence[Sequence[Kernel]],
        *,
        accept_unknown: bool = False,
        estimates: KernelEstimates | None = None,
    ) -> list[Prediction]:
        """Predict whole networks that are split into kernels; the rest is as for `predict`.

        Args:
            networks: kernels in execution order, by network.
            accept_unknown: as for `predict`.
            estimates: what `estimate` gave for all of these kernels, where it was asked already.
        """
        flat = [kernel for kernels in networks for kernel in kernels]
        if estimates is None:
            estimates = self.estimate(flat)
        if not accept_unknown:
            self.require_known(flat, estimates.source)
        lengths = np.array([len(kernels) for kernels in networks], np.int64)
        return self._whole(flat, estimates, lengths)

    def kernels_us(self, kernels: Sequence[Kernel]) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
        """Return the latency of every kernel in a large network, and where it comes from.

        Returns:
            Latencies in microseconds and sources (`MEASURED`, `PREDICTED`, `UNKNOWN`,
            `TRANSFERRED`), each of shape (kernels,).
        """
        found = self.estimate(kernels)
        return found.latency_us, found.source

    def network_us(self, kernels: Sequence[Kernel]) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
        """Return the latency of every kernel of one network in it; else as for `kernels_us`."""
        found = self.estimate(kernels)
        return self.within_us(found, np.array([len(kernels)])), found.source

    def within_us(self, found: KernelEstimates, lengths: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the latency of every kernel in its network, shape (kernels,).

        Where a network stays in the cache, its kernels take less than in a large one.

        Args:
            found: of the kernels of all networks, one after the other.
            lengths: how many kernels every network has, shape (networks,).
        """
        if not self.residency.saves:
            return found.latency_us
        _, footprint_mb = _traffic_of_networks(found, lengths)
        saved_us = self.residency.saved_us(
            found.traffic,
            np.repeat(footprint_mb, lengths),
            np.repeat(self.sums_us(found, lengths), lengths),
        )
        return remaining_us(found.latency_us, saved_us)

    def sums_us(self, found: KernelEstimates, lengths: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the sum over the kernels of every network, shape (networks,); else as `within_us`.

        It is no less than `latlas.predictor.residency.LEAST` of what they take in a large one; each
        of them may be.
        """
        sums_us = _added(found.latency_us, lengths)
        if not self.residency.saves:
            return sums_us
        return self.residency.within_us(sums_us, *_traffic_of_networks(found, lengths))

    def estimate(self, kernels: Sequence[Kernel]) -> KernelEstimates:
        """Return all that is known about kernels."""
        found = KernelEstimates(
            np.zeros(len(kernels)),
            np.full(len(kernels), MEASURED, np.int8),
            np.zeros(len(kernels)),
            np.zeros(len(kernels), bool),
            np.zeros((len(kernels), len(COLUMNS))),
        )
        found.traffic[:, 0] = 1.0
        times_us = list(map(self.table_us.get, kernels))
        found.latency_us[:] = [0.0 if known is None else known for known in times_us]
        wanted = np.array([index for index, known in enumerate(times_us) if known is None], np.intp)
        rest = [kernels[index] for index in wanted.tolist()]
        c = None
        if self.residency.saves:
            everything = sizes(kernels)
            found.traffic[:] = traffic(everything)
            c = {column: values[wanted] for column, values in everything.items()}
        if rest:
            self._predict(found, wanted, rest, features.matrix(rest, self.target, c))
        return found

    def _predict(
        self,
        found: KernelEstimates,
        indices: NDArray[np.intp],
        kernels: Sequence[Kernel],
        x: NDArray[np.float32],
    ) -> None:
        """Fill in kernels that were not measured, at their indices."""
        classes = [kernel_class(kernel) for kernel in kernels]
        positions = self._grove.positions(classes)
        mean, spread = self._grove.predict_spread(x, positions)
        weighed = self.mixture.weights if self.mixture is not None else {}
        mixed = np.array([name in weighed for name in classes])
        own, none = (positions != NO_FOREST) & ~mixed, (positions == NO_FOREST) & ~mixed
        found.source[indices] = np.where(own, PREDICTED, UNKNOWN)
        found.spread[indices] = np.where(own, spread, 0.0)
        found.latency_us[indices[own]] = np.exp(mean[own] + x[own, 0])
        found.extrapolated[indices[own]] = self._outside(positions[own], x[own])
        if none.any():
            found.latency_us[indices[none]] = self._by_similar(x[none])
        if mixed.any():
            some = [kernels[row] for row in np.flatnonzero(mixed).tolist()]
            self._transfer(found, indices[mixed], some, x[mixed], mean[mixed], spread[mixed])

    def _transfer(
        self,
        found: KernelEstimates,
        indices: NDArray[np.intp],
        kernels: Sequence[Kernel],
        x: NDArray[np.float32],
        mean: NDArray[np.float64],
        spread: NDArray[np.float64],
    ) -> None:
        """Fill in kernels by what other devices say, and forests about how far that is off."""
        assert self.mixture is not None
        mixed = self.mixture.estimate(kernels)
        found.source[indices] = np.where(mixed.known, TRANSFERRED, UNKNOWN)
        found.latency_us[indices] = np.exp(mean) * mixed.latency_us
        if not mixed.known.all():
            found.latency_us[indices[~mixed.known]] = self._by_similar(x[~mixed.known])
        found.spread[indices] = np.where(mixed.known, np.hypot(spread, mixed.spread), 0.0)
        found.extrapolated[indices] = mixed.known & mixed.extrapolated

    @cached_property
    def _grove(self) -> Grove:
        return Grove(self.forests)

    @cached_property
    def _bounds(self) -> NDArray[np.float32]:
        """Least and largest features by the position of a forest, shape (2, forests, features)."""
        everything = np.full((2, len(features.RANGED)), [[-np.inf], [np.inf]], np.float32)
        ranges = [self.ranges.get(name, everything) for name in self.forests]
        return np.stack(ranges, axis=1) if ranges else everything[:, None]

    def _outside(self, positions: NDArray[np.intp], x: NDArray[np.float32]) -> NDArray[np.bool_]:
        low, high = self._bounds[:, positions]
        seen = x[:, features.RANGED]
        return np.asarray(((seen < low - MARGIN) | (seen > high + MARGIN)).any(axis=1))

    def _by_similar(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the times that kernels of other classes take for as much work and memory."""
        if not len(self.similar):
            return np.full(len(x), self._average_us)
        size = features.size(x)
        # In blocks, since a file may name thousands of kernels and a predictor of many sources too.
        blocks = [size[start : start + _BLOCK] for start in range(0, len(size), _BLOCK)]
        return np.concatenate([np.zeros(0), *map(self._nearest_us, blocks)])

    def _nearest_us(self, size: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return times for work and bytes, given as logarithms, shape (kernels, 2)."""
        away = np.square(size[:, None, :] - self.similar[None, :, :2]).sum(axis=2)
        nearest = np.argsort(away, axis=1, kind="stable")[:, :SIMILAR]
        # What is computed and moved beyond them is paid for at the same rate.
        more = (size[:, None, :] - self.similar[nearest, :2]).mean(axis=2)
        return np.asarray(np.exp(np.median(self.similar[nearest, 2] + more, axis=1)), np.float64)

    @property
    def _average_us(self) -> float:
        return float(np.mean(list(self.table_us.values()))) if self.table_us else 0.0

    def _whole(
        self, kernels: Sequence[Kernel], found: KernelEstimates, lengths: NDArray[np.int64]
    ) -> list[Prediction]:
        """Return the predictions of networks whose kernels stand one after the other."""
        times_us = self.within_us(found, lengths)
        sums = _added(times_us, lengths)
        whole_ms = self.calibration.apply(self.sums_us(found, lengths), lengths) / 1e3
        total = np.where(sums > 0, sums, 1.0)  # a network without kernels: a lone reshape
        measured, predicted, guessed, transferred = (
            _added(times_us * (found.source == source), lengths) / total
            for source in (MEASURED, PREDICTED, UNKNOWN, TRANSFERRED)
        )
        doubt = _added(times_us * found.spread, lengths) / total
        estimated = predicted + transferred
        spread = doubt / np.where(estimated > 0, estimated, 1.0)
        half = self.intervals.half_width(estimated, spread, guessed)
        network = np.repeat(np.arange(len(lengths)), lengths)
        unknown = _named(kernels, found.source == UNKNOWN, network)
        extrapolated = _named(kernels, found.extrapolated, network)
        return [
            Prediction(
                latency_ms,
                *interval_ms(latency_ms, float(half[index])),
                int(lengths[index]),
                float(measured[index]),
                float(predicted[index]),
                unknown.get(index, ()),
                extrapolated.get(index, ()),
                float(transferred[index]),
            )
            for index, latency_ms in enumerate(whole_ms.tolist())
        ]

    def require_known(self, kernels: Sequence[Kernel], source: NDArray[np.int8]) -> None:
        """Raise `UnknownKernelError` if nothing is known about one of the kernels."""
        unknown = [k for k, origin in zip(kernels, source, strict=True) if origin == UNKNOWN]
        if not unknown:
            return
        kinds = sorted({kernel.type for kernel in unknown})
        example = unknown[0].text
        raise UnknownKernelError(
            f"nothing is known about {len(unknown)} kernel(s) of type {', '.join(kinds)} on "
            f"{self.target} (for example {example!r}): profile the model with "
            "`latlas profile --models` into the same table and fit again, or accept an estimate "
            "with --accept-unknown"
        )


def _added(values: NDArray[np.float64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return sums over networks whose kernels stand one after the other, shape (networks,)."""
    network = np.repeat(np.arange(len(lengths)), lengths)
    return np.bincount(network, values, len(lengths)).astype(np.float64)


def _traffic_of_networks(
    found: KernelEstimates, lengths: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the traffic of networks, shape (networks, 5), and their footprints in MB."""
    summed = np.stack([_added(column, lengths) for column in found.traffic.T], axis=1)
    largest_mb = np.zeros(len(lengths))
    maps_mb = found.traffic[:, COLUMNS.index("maps")]
    np.maximum.at(largest_mb, np.repeat(np.arange(len(lengths)), lengths), maps_mb)
    return summed, footprints_mb(summed, largest_mb)


def _named(
    kernels: Sequence[Kernel], chosen: NDArray[np.bool_], network: NDArray[np.int64]
) -> dict[int, tuple[str, ...]]:
    """Return the texts of the chosen kernels by network."""
    found: dict[int, list[str]] = {}
    for index in np.flatnonzero(chosen).tolist():
        found.setdefault(int(network[index]), []).append(kernels[index].text)
    return {key: tuple(texts) for key, texts in found.items()}

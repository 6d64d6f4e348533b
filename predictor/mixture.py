"""Kernel latencies of other devices, weighed: what a transferred predictor starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from latlas.predictor.predictor import UNKNOWN, LatencyPredictor
from latlas.predictor.sizes import kernel_class
from latlas.profiler.kernel import Kernel

LEAST = 0.1
"""A kernel keeps at least this share of what the sources' speeds alone make of it: weights may be
negative, a latency is not."""


@dataclass(frozen=True)
class MixedKernels:
    """What sources say about kernels, each array of shape (kernels,).

    Attributes:
        latency_us: microseconds on the target; of kernels that are not known, nothing is said.
        spread: what the sources say of their own doubt, as in
            `latlas.predictor.predictor.KernelEstimates`.
        known: whether any source knows the kernel.
        extrapolated: whether no source knows it without extrapolating.
    """

    latency_us: NDArray[np.float64]
    spread: NDArray[np.float64]
    known: NDArray[np.bool_]
    extrapolated: NDArray[np.bool_]


@dataclass(frozen=True)
class Mixture:
    """Predictors of other devices, and what their kernels' latencies say of the target's.

    Attributes:
        sources: predictors of devices whose delegate splits networks as the target's does.
        speeds: what a microsecond of every source is on the target, by and large, (sources,).
        weights: by kernel class, what a microsecond of every source counts, each (sources,).
    """

    sources: tuple[LatencyPredictor, ...] = field(repr=False)
    speeds: NDArray[np.float64]
    weights: Mapping[str, NDArray[np.float64]] = field(repr=False)

    @property
    def similar(self) -> NDArray[np.float32]:
        """The sources' kernels by which an unknown one is judged, at the target's speed."""
        shifts = np.log(self.speeds)
        return np.concatenate(
            [
                source.similar + np.array([0, 0, shift], np.float32)
                for source, shift in zip(self.sources, shifts, strict=True)
            ]
        )

    def estimate(self, kernels: Sequence[Kernel]) -> MixedKernels:
        """Return the latencies of kernels, of classes that have weights."""
        found = [source.estimate(kernels) for source in self.sources]
        time_us = np.stack([each.latency_us for each in found])
        known = np.stack([each.source != UNKNOWN for each in found])
        number = np.maximum(known.sum(axis=0), 1)
        level_us = (known * self.speeds[:, None] * time_us).sum(axis=0) / number
        spread = (known * np.stack([each.spread for each in found])).sum(axis=0) / number
        beyond = np.stack([each.extrapolated for each in found]) | ~known
        weight = np.stack([self.weights[kernel_class(kernel)] for kernel in kernels], axis=1)
        # Where a source does not know the kernel, the others stand in for it.
        time_us = np.where(known, time_us, level_us / self.speeds[:, None])
        latency_us = np.maximum((weight * time_us).sum(axis=0), LEAST * level_us)
        return MixedKernels(
            latency_us, spread, np.asarray(known.any(axis=0)), np.asarray(beyond.all(axis=0))
        )

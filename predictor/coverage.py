"""What a prediction rests on: which part of a latency was measured, predicted, or is a guess."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from latlas.predictor.predictor import MEASURED, PREDICTED, TRANSFERRED, UNKNOWN
from latlas.profiler.kernel import Kernel

SOURCES = {
    MEASURED: "measured",
    PREDICTED: "predicted",
    UNKNOWN: "unknown",
    TRANSFERRED: "transferred",
}
"""What is said of where the latency of a kernel comes from."""


@dataclass(frozen=True, slots=True)
class KernelShare:
    """One kernel of a predicted network.

    Attributes:
        kernel: its text.
        type: what predictors learn apart.
        latency_us: its latency, before the network's calibration.
        share: of the sum over all kernels of the network.
        source: ``measured``, ``predicted``, ``unknown``, or ``transferred`` from other devices.
    """

    kernel: str
    type: str
    latency_us: float
    share: float
    source: str


@dataclass(frozen=True, slots=True)
class TypeCoverage:
    """The kernels of one type in a predicted network.

    Attributes:
        measured, predicted, unknown, transferred: number of kernels by source.
        measured_share, predicted_share, unknown_share, transferred_share: their shares of the
            latency.
    """

    measured: int
    predicted: int
    unknown: int
    measured_share: float
    predicted_share: float
    unknown_share: float
    transferred: int = 0
    transferred_share: float = 0.0

    @property
    def share(self) -> float:
        """Share of the latency that the type takes."""
        return self.measured_share + self.not_measured_share

    @property
    def not_measured_share(self) -> float:
        """Share of the latency from kernels of the type that were not measured."""
        return self.predicted_share + self.unknown_share + self.transferred_share


def kernel_shares(
    kernels: Sequence[Kernel], latency_us: NDArray[Any], source: NDArray[Any]
) -> tuple[KernelShare, ...]:
    """Return every kernel of one network with its share.

    Args:
        kernels: in execution order.
        latency_us, source: as `latlas.predictor.predictor.LatencyPredictor.kernels_us` gives
            them, each of shape (kernels,).
    """
    total = float(latency_us.sum()) or 1.0
    rows = zip(kernels, latency_us.tolist(), source.tolist(), strict=True)
    return tuple(
        KernelShare(kernel.text, kernel.type, time_us, time_us / total, SOURCES[origin])
        for kernel, time_us, origin in rows
    )


def coverage_by_type(shares: Iterable[KernelShare]) -> dict[str, TypeCoverage]:
    """Add up kernels by type; the type that takes most of the latency comes first.

    >>> pool = KernelShare("...", "max_pool", 3.0, 0.75, "unknown")
    >>> conv = KernelShare("...", "conv2d", 1.0, 0.25, "measured")
    >>> list(coverage_by_type([conv, pool]))
    ['max_pool', 'conv2d']
    """
    groups: dict[str, list[KernelShare]] = defaultdict(list)
    for kernel in shares:
        groups[kernel.type].append(kernel)
    found = {kind: _total(kernels) for kind, kernels in groups.items()}
    return dict(sorted(found.items(), key=lambda item: (-item[1].share, item[0])))


def _total(kernels: Sequence[KernelShare]) -> TypeCoverage:
    shares: dict[str, list[float]] = {source: [] for source in SOURCES.values()}
    for kernel in kernels:
        shares[kernel.source].append(kernel.share)
    measured, predicted, unknown, transferred = shares.values()
    return TypeCoverage(
        *(len(measured), len(predicted), len(unknown)),
        *(sum(measured), sum(predicted), sum(unknown)),
        *(len(transferred), sum(transferred)),
    )

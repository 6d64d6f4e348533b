"""Predict the latency of whole networks from what was learned of one target."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from latlas.predictor import features
from latlas.predictor.calibration import Calibration
from latlas.predictor.forest import Forest
from latlas.profiler.errors import UnknownKernelError
from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Graph
from latlas.profiler.kernel import Kernel, split
from latlas.profiler.target import Target

NINETY_PERCENT = 1.645
"""Half-width of a 90% interval in standard deviations."""

MEASURED, PREDICTED, UNKNOWN = range(3)
"""Where the latency of a kernel comes from."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The latency of one network, and what it rests on.

    Attributes:
        latency_ms: predicted latency.
        low_ms, high_ms: bounds that should hold nine networks in ten.
        kernels: number of kernels.
        measured_share: share of the latency from kernels that were measured.
        predicted_share: share from kernels that were predicted.
        unknown: kernels that nothing is known about; they count as an average kernel, and only
            where the caller accepted that.
    """

    latency_ms: float
    low_ms: float
    high_ms: float
    kernels: int
    measured_share: float
    predicted_share: float
    unknown: tuple[str, ...]

    @property
    def unknown_share(self) -> float:
        """Share of the latency that is a guess."""
        return max(0.0, 1.0 - self.measured_share - self.predicted_share)


@dataclass(frozen=True)
class LatencyPredictor:
    """Kernels looked up where they were measured, predicted by forests elsewhere, and calibrated.

    Attributes:
        target: what the predictions are valid for.
        rules_version: fusion rules that the kernels were split by.
        table_us: measured kernels, microseconds.
        forests: by kernel type, a forest that predicts ln(microseconds / work).
        type_error: by kernel type, standard deviation of ln(predicted / measured) on kernels left
            out.
        calibration: from the sum of kernels to whole networks.
    """

    target: Target
    rules_version: str
    table_us: Mapping[Kernel, float] = field(repr=False)
    forests: Mapping[str, Forest] = field(repr=False)
    type_error: Mapping[str, float]
    calibration: Calibration

    @property
    def digest(self) -> str:
        """SHA-256 of all that was learned: the same digest, the same latencies."""
        digest = hashlib.sha256(repr((self.target, self.rules_version, self.calibration)).encode())
        for kernel, latency_us in self.table_us.items():
            digest.update(f"{kernel.text} {latency_us!r}\n".encode())
        for kind, forest in sorted(self.forests.items()):
            digest.update(kind.encode())
            for array in forest.to_arrays().values():
                digest.update(array.tobytes())
        return digest.hexdigest()

    def predict(self, graphs: Sequence[Graph], *, accept_unknown: bool = False) -> list[Prediction]:
        """Predict whole networks.

        Args:
            graphs: networks in either form.
            accept_unknown: count unknown kernels as average ones instead of raising.

        Raises:
            UnknownKernelError: a network has kernels that nothing is known about.
        """
        rules = rules_for(self.target.delegate, self.target.adapter)
        networks = [split(fold(graph), rules) for graph in graphs]
        return self.predict_kernels(networks, accept_unknown=accept_unknown)

    def predict_kernels(
        self, networks: Sequence[Sequence[Kernel]], *, accept_unknown: bool = False
    ) -> list[Prediction]:
        """Predict whole networks that are split into kernels; the rest is as for `predict`."""
        flat = [kernel for kernels in networks for kernel in kernels]
        latency_us, source = self.kernels_us(flat)
        if not accept_unknown:
            self.require_known(flat, source)
        predictions = []
        start = 0
        for kernels in networks:
            part = slice(start, start + len(kernels))
            start += len(kernels)
            predictions.append(self._whole(kernels, latency_us[part], source[part]))
        return predictions

    def kernels_us(self, kernels: Sequence[Kernel]) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
        """Return the latency of every kernel in microseconds, and where it comes from.

        Returns:
            Latencies and sources (`MEASURED`, `PREDICTED`, `UNKNOWN`), each of shape (kernels,).
            An unknown kernel has the latency of an average one.
        """
        latency_us = np.empty(len(kernels))
        source = np.full(len(kernels), MEASURED, np.int8)
        wanted: dict[str, list[int]] = {}
        for index, kernel in enumerate(kernels):
            known = self.table_us.get(kernel)
            if known is None:
                wanted.setdefault(kernel.type, []).append(index)
            else:
                latency_us[index] = known
        for kind, indices in wanted.items():
            forest = self.forests.get(kind)
            if forest is None:
                source[indices] = UNKNOWN
                latency_us[indices] = self._average_us
                continue
            x = features.matrix([kernels[index] for index in indices])
            source[indices] = PREDICTED
            latency_us[indices] = np.exp(forest.predict(x) + x[:, 0])
        return latency_us, source

    @property
    def _average_us(self) -> float:
        return float(np.mean(list(self.table_us.values())))

    def _whole(
        self, kernels: Sequence[Kernel], latency_us: NDArray[np.float64], source: NDArray[np.int8]
    ) -> Prediction:
        total = float(latency_us.sum())
        whole_us = float(self.calibration.apply(np.array([total]), np.array([len(kernels)]))[0])
        total = total or 1.0  # a network without kernels, such as a lone reshape
        shares: dict[str, float] = {}
        for kernel, time_us, origin in zip(kernels, latency_us, source, strict=True):
            if origin != MEASURED:
                shares[kernel.type] = shares.get(kernel.type, 0.0) + float(time_us) / total
        variance = self.calibration.error**2
        for kind, share in shares.items():  # errors of one type go together, they do not cancel
            variance += (share * self.type_error.get(kind, 1.0)) ** 2
        spread = NINETY_PERCENT * variance**0.5
        return Prediction(
            latency_ms=whole_us / 1e3,
            low_ms=whole_us * max(0.0, 1 - spread) / 1e3,
            high_ms=whole_us * (1 + spread) / 1e3,
            kernels=len(kernels),
            measured_share=float(latency_us[source == MEASURED].sum() / total),
            predicted_share=float(latency_us[source == PREDICTED].sum() / total),
            unknown=tuple(
                kernel.text
                for kernel, origin in zip(kernels, source, strict=True)
                if origin == UNKNOWN
            ),
        )

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

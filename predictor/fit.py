"""Learn a predictor from observations, such as those of a latency table."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from latlas.predictor import features
from latlas.predictor.calibration import PLAIN_SUM, fit_calibration
from latlas.predictor.forest import Forest
from latlas.predictor.intervals import Intervals, quantile
from latlas.predictor.latencies import KernelLatencies, kernel_latencies
from latlas.predictor.observations import NetworkObservation, Observations
from latlas.predictor.predictor import UNKNOWN, LatencyPredictor
from latlas.predictor.sizes import kernel_class
from latlas.profiler.errors import PredictorError
from latlas.profiler.fusion import rules_for
from latlas.profiler.kernel import Kernel

TREES = 60

MIN_KERNELS = 4
"""A kernel class known from fewer kernels is looked up only, not predicted."""

GROUPS = 8
"""Networks are left out in so many groups, to see how far predictions are off."""

FOLD_TREES = 24
"""Trees of the forests without a group: they are thrown away."""

FLOOR = 0.05
"""Added to the spread between trees: they agree on what all of them have not seen."""

MAX_SIMILAR = 256
"""So many kernels are kept to judge unknown ones by."""


@dataclass(frozen=True)
class _Training:
    """The kernels of one class, ready to be learned: features, ln(us / work) and weights."""

    kernels: Sequence[Kernel]
    x: NDArray[np.float32]
    y: NDArray[np.float64]
    weight: NDArray[np.float64]

    def grow(self, rows: NDArray[np.intp] | slice, trees: int, seed: int) -> Forest:
        return Forest.grow(self.x[rows], self.y[rows], self.weight[rows], trees=trees, seed=seed)


def fit(observations: Observations, *, trees: int = TREES, seed: int = 0) -> LatencyPredictor:
    """Fit a predictor.

    Args:
        observations: of kernels and of at least `calibration.MIN_NETWORKS` whole networks.
        trees: trees of every forest.
        seed: makes the fit reproducible.

    Raises:
        PredictorError: there are too few observations.
    """
    target = observations.target
    known = kernel_latencies(observations)
    if not known.latency_us:
        raise PredictorError(
            f"there are no measured kernels of the target {target}: run `latlas profile` first"
        )
    training = _training(known, observations)
    forests = {name: part.grow(slice(None), trees, seed) for name, part in training.items()}
    rules = rules_for(target.delegate, target.adapter).version
    plain = LatencyPredictor(
        target,
        rules,
        dict(known.latency_us),
        forests,
        {},
        PLAIN_SUM,
        ranges={name: _range(part.x) for name, part in training.items()},
        similar=_similar(known, observations, seed),
    )
    whole = []
    for network in observations.networks:
        # A table that was cut short lacks some kernels of its networks: these are predicted.
        latency_us, source = plain.kernels_us(network.kernels)
        if not (source == UNKNOWN).any():
            whole.append((float(latency_us.sum()), len(network.kernels), network.latency_us))
    calibration, errors = fit_calibration(*np.asarray(whole, np.float64).reshape(-1, 3).T)
    calibrated = replace(plain, calibration=calibration)
    return _with_errors(calibrated, training, observations.networks, np.abs(errors), trees, seed)


def _training(known: KernelLatencies, observations: Observations) -> dict[str, _Training]:
    by_class: dict[str, list[Kernel]] = defaultdict(list)
    for kernel in known.latency_us:
        by_class[kernel_class(kernel)].append(kernel)
    found = {}
    for name, kernels in sorted(by_class.items()):
        if len(kernels) >= MIN_KERNELS:
            x = features.matrix(kernels, observations.target)
            time_us = np.array([known.latency_us[kernel] for kernel in kernels])
            weight = np.sqrt([known.weight[kernel] for kernel in kernels])
            y = np.log(np.maximum(time_us, 1e-3)) - x[:, 0]
            found[name] = _Training(kernels, x, y, weight)
    return found


def _range(x: NDArray[np.float32]) -> NDArray[np.float32]:
    seen = x[:, features.RANGED]
    return np.stack([seen.min(axis=0), seen.max(axis=0)])


def _similar(known: KernelLatencies, observations: Observations, seed: int) -> NDArray[np.float32]:
    kernels = list(known.latency_us)
    if len(kernels) > MAX_SIMILAR:
        chosen = np.random.default_rng(seed).choice(len(kernels), MAX_SIMILAR, replace=False)
        kernels = [kernels[index] for index in sorted(chosen)]
    size = features.size(features.matrix(kernels, observations.target))
    time_us = np.maximum([known.latency_us[kernel] for kernel in kernels], 1e-3)
    return np.column_stack([size, np.log(time_us)]).astype(np.float32)


def _with_errors(
    predictor: LatencyPredictor,
    training: Mapping[str, _Training],
    networks: Sequence[NetworkObservation],
    calibration_errors: NDArray[np.float64],
    trees: int,
    seed: int,
) -> LatencyPredictor:
    """Add how far kernels and networks were off that were predicted by others alone."""
    residuals: dict[str, list[float]] = defaultdict(list)
    errors, doubts, groups = [], [], []
    for number, (left_out, kernels) in enumerate(_groups(networks, training, seed)):
        forests = {}
        for name, part in training.items():
            out = np.array([kernel in kernels for kernel in part.kernels])
            if 0 < out.sum() <= len(out) - MIN_KERNELS:
                forest = part.grow(np.flatnonzero(~out), min(trees, FOLD_TREES), seed)
                residuals[name] += (forest.predict(part.x[out]) - part.y[out]).tolist()
                forests[name] = forest
            elif not out.any():
                forests[name] = predictor.forests[name]
        others = replace(predictor, table_us={}, forests=forests)
        for network in left_out:
            found = others.estimate(network.kernels)
            total = float(found.latency_us.sum())
            if (found.source == UNKNOWN).any() or total <= 0:
                continue
            whole_us = predictor.calibration.apply(np.array([total]), np.array([found.source.size]))
            errors.append(abs(np.log(network.latency_us / whole_us[0])))
            doubts.append(float(found.latency_us @ found.spread) / total + FLOOR)
            groups.append(number)
    sizes = Counter(groups)
    weight = np.array([1 / sizes[group] for group in groups])
    intervals = Intervals(
        measured=quantile(calibration_errors),
        doubt=quantile(np.array(errors) / np.array(doubts), weight),
        floor=FLOOR,
        networks=len(errors),
    )
    type_error = {
        name: float(np.sqrt(np.mean(np.square(found)))) for name, found in sorted(residuals.items())
    }
    return replace(predictor, intervals=intervals, type_error=type_error)


def _groups(
    networks: Sequence[NetworkObservation], training: Mapping[str, _Training], seed: int
) -> Iterator[tuple[list[NetworkObservation], set[Kernel]]]:
    """Yield networks that resemble each other, and all kernels that are left out with them.

    Kernels that occur in no network are left out with a group at random.
    """
    of_network = _clusters(networks)
    count = max(of_network) + 1
    in_networks = {kernel for network in networks for kernel in network.kernels}
    others = [k for part in training.values() for k in part.kernels if k not in in_networks]
    of_other = np.random.default_rng(seed).permutation(len(others)) % count
    for group in range(count):
        chosen = [n for n, g in zip(networks, of_network, strict=True) if g == group]
        kernels = {kernel for network in chosen for kernel in network.kernels}
        kernels.update(k for k, g in zip(others, of_other, strict=True) if g == group)
        yield chosen, kernels


def _clusters(networks: Sequence[NetworkObservation]) -> list[int]:
    """Return the group of every network, by which kinds of kernels it consists of.

    Ward's method joins them until at most `GROUPS` are left.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    kinds: dict[tuple[object, ...], int] = {}
    counts = []
    for network in networks:
        found = Counter(_kind(kernel) for kernel in network.kernels)
        counts.append({kinds.setdefault(kind, len(kinds)): n for kind, n in found.items()})
    shares = np.zeros((len(networks), len(kinds)))
    for row, count in zip(shares, counts, strict=True):
        row[list(count)] = np.sqrt(np.array(list(count.values())) / sum(count.values()))
    groups = min(GROUPS, max(len(networks) // 2, 1))
    found = fcluster(linkage(shares, "ward"), groups, "maxclust")
    return [int(number) - 1 for number in found]


def _kind(kernel: Kernel) -> tuple[object, ...]:
    op = kernel.op
    window = getattr(op, "kernel", ())
    return kernel_class(kernel), window, getattr(op, "activation", ""), len(kernel.nodes)

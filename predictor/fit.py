"""Learn a predictor from observations, such as those of a latency table."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from latlas.predictor import features
from latlas.predictor.calibration import MIN_NETWORKS, PLAIN_SUM, fit_calibration, solve
from latlas.predictor.forest import Forest
from latlas.predictor.intervals import FLOOR, NO_INTERVALS, Intervals, quantile
from latlas.predictor.latencies import KernelLatencies, kernel_latencies
from latlas.predictor.mixture import Mixture
from latlas.predictor.observations import NetworkObservation, Observations
from latlas.predictor.predictor import MEASURED, UNKNOWN, LatencyPredictor
from latlas.predictor.sizes import kernel_class
from latlas.profiler import vocabulary
from latlas.profiler.errors import PredictorError
from latlas.profiler.kernel import Kernel

TREES = 60

MIN_KERNELS = vocabulary.MIN_KERNELS
"""A kernel class known from fewer kernels is looked up only, not predicted."""

GROUPS = 8
"""Networks are left out in so many groups, to see how far predictions are off."""

FOLD_TREES = 24
"""Trees of the forests without a group: they are thrown away."""

LEAST_PREDICTED = 0.2
"""A network left out says how far predictions are off if so much of its time was predicted."""

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


def fit(
    observations: Observations,
    *,
    mixture: Mixture | None = None,
    trees: int = TREES,
    seed: int = 0,
) -> LatencyPredictor:
    """Fit a predictor.

    Args:
        observations: of kernels and of at least
            `latlas.predictor.calibration.MIN_NETWORKS` whole networks.
        mixture: what other devices say about kernels; with it, no kernel need be measured.
        trees: trees of every forest.
        seed: makes the fit reproducible.

    Raises:
        PredictorError: there are too few observations.
    """
    target = observations.target
    known = kernel_latencies(observations)
    if not known.latency_us and mixture is None:
        raise PredictorError(
            f"there are no measured kernels of the target {target}: run `latlas profile` first"
        )
    training = _training(known, observations, mixture)
    forests = {name: part.grow(slice(None), trees, seed) for name, part in training.items()}
    plain = LatencyPredictor(
        target,
        observations.rules.version,
        dict(known.latency_us),
        forests,
        {},
        PLAIN_SUM,
        ranges={name: _range(part.x) for name, part in training.items()},
        similar=_similar(known, observations, seed, mixture),
        mixture=mixture,
        residency=known.residency,
    )
    networks, sums = [], []
    unknown: set[Kernel] = set()
    for network in observations.networks:
        # A table that was cut short lacks some kernels of its networks: these are predicted.
        found = plain.estimate(network.kernels)
        missing = np.flatnonzero(found.source == UNKNOWN)
        unknown.update(network.kernels[index] for index in missing)
        if not len(missing):
            count = len(network.kernels)
            (sum_us,) = plain.sums_us(found, np.array([count]))
            networks.append(network)
            sums.append((float(sum_us), count, network.latency_us))
    _require_known(observations, len(networks), unknown)
    whole = np.asarray(sums, np.float64).reshape(-1, 3)
    calibration = fit_calibration(*whole.T)
    folds = _left_out(plain, training, networks, whole, trees, seed)
    return replace(
        plain,
        calibration=calibration,
        intervals=folds.intervals(),
        type_error=folds.type_error(),
    )


def _require_known(observations: Observations, known: int, unknown: set[Kernel]) -> None:
    """Raise `PredictorError` where only unknown kernels leave too few networks."""
    total = len(observations.networks)
    if known >= MIN_NETWORKS or total < MIN_NETWORKS:
        return
    counts = Counter(map(kernel_class, unknown))
    classes = ", ".join(f"{name} ({count})" for name, count in counts.most_common(5))
    more = f" and {len(counts) - 5} more" if len(counts) > 5 else ""
    raise PredictorError(
        f"{total - known} of {total} whole networks hold kernels that nothing is known about, and "
        f"a calibration needs {MIN_NETWORKS} others: a class of kernels is learned from "
        f"{MIN_KERNELS} at least, and too few were measured of {classes}{more}, for example "
        f"{min(kernel.text for kernel in unknown)!r:.200}; profile more of them into the table "
        "(--models with these models, more --samples, a larger --budget)"
    )


def _training(
    known: KernelLatencies, observations: Observations, mixture: Mixture | None
) -> dict[str, _Training]:
    by_class: dict[str, list[Kernel]] = defaultdict(list)
    for kernel in known.latency_us:
        by_class[kernel_class(kernel)].append(kernel)
    found = {}
    for name, kernels in sorted(by_class.items()):
        mixed_us: NDArray[np.float64] | None = None
        if mixture is not None and name in mixture.weights:
            mixed = mixture.estimate(kernels)
            usable = mixed.known & (mixed.latency_us > 0)
            kernels = [kernels[index] for index in np.flatnonzero(usable)]
            mixed_us = mixed.latency_us[usable]
        if len(kernels) >= MIN_KERNELS:
            x = features.matrix(kernels, observations.target)
            time_us = np.array([known.latency_us[kernel] for kernel in kernels])
            weight = np.sqrt([known.weight[kernel] for kernel in kernels])
            start = x[:, 0] if mixed_us is None else np.log(mixed_us)
            y = np.log(np.maximum(time_us, 1e-3)) - start
            found[name] = _Training(kernels, x, y, weight)
    return found


def _range(x: NDArray[np.float32]) -> NDArray[np.float32]:
    seen = x[:, features.RANGED]
    return np.stack([seen.min(axis=0), seen.max(axis=0)])


def _similar(
    known: KernelLatencies, observations: Observations, seed: int, mixture: Mixture | None
) -> NDArray[np.float32]:
    kernels = list(known.latency_us)
    if not kernels and mixture is not None:
        return mixture.similar
    if len(kernels) > MAX_SIMILAR:
        chosen = np.random.default_rng(seed).choice(len(kernels), MAX_SIMILAR, replace=False)
        kernels = [kernels[index] for index in sorted(chosen)]
    size = features.size(features.matrix(kernels, observations.target))
    time_us = np.maximum([known.latency_us[kernel] for kernel in kernels], 1e-3)
    return np.column_stack([size, np.log(time_us)]).astype(np.float32)


@dataclass(frozen=True)
class _Folds:
    """How far kernels and networks were off that were predicted by others alone.

    Attributes:
        kernels: by class, ln(predicted / measured) of kernels.
        measured: ln(predicted / measured) of networks by their kernels' measured times.
        errors: the same by their kernels' predicted times, shape (networks,).
        predicted, spread: share of the time that was predicted, and the spread between trees, as in
            `Intervals.half_width`, shape (networks,).
    """

    kernels: Mapping[str, Sequence[float]]
    measured: NDArray[np.float64]
    errors: NDArray[np.float64]
    predicted: NDArray[np.float64]
    spread: NDArray[np.float64]

    def type_error(self) -> dict[str, float]:
        return {
            name: float(np.sqrt(np.mean(np.square(found))))
            for name, found in sorted(self.kernels.items())
        }

    def intervals(self) -> Intervals:
        """Return intervals; where no network was predicted, as wide as where nothing is known."""
        units = np.abs(self.errors) / (self.predicted * (self.spread + FLOOR))
        doubt = quantile(units) if len(units) else NO_INTERVALS.doubt
        return Intervals(quantile(np.abs(self.measured)), doubt, len(units))


def _left_out(
    predictor: LatencyPredictor,
    training: Mapping[str, _Training],
    networks: Sequence[NetworkObservation],
    whole: NDArray[np.float64],
    trees: int,
    seed: int,
) -> _Folds:
    """Leave out networks in groups with their kernels, and predict them by the others alone.

    Kernels that no forest can predict stay known: those of classes that are looked up only, and
    half of a class of which the group has nearly all.
    """
    residuals: dict[str, list[float]] = defaultdict(list)
    measured, found = [], []
    mixed = predictor.mixture.weights if predictor.mixture is not None else {}
    looked_up = {
        kernel: time_us
        for kernel, time_us in predictor.table_us.items()
        if (name := kernel_class(kernel)) not in training and name not in mixed
    }
    rng = np.random.default_rng(seed)
    for chosen, kernels in _groups(networks, training, seed):
        forests = {}
        table_us = dict(looked_up)
        for name, part in training.items():
            out = np.array([kernel in kernels for kernel in part.kernels])
            if out.sum() > len(out) - MIN_KERNELS and name not in mixed:
                stay = rng.permutation(len(out))[: max(MIN_KERNELS, len(out) // 2)]
                out[stay] = False
                table_us |= {part.kernels[i]: predictor.table_us[part.kernels[i]] for i in stay}
            if not out.any():
                forests[name] = predictor.forests[name]
            elif out.sum() <= len(out) - MIN_KERNELS:
                forest = part.grow(np.flatnonzero(~out), min(trees, FOLD_TREES), seed)
                residuals[name] += (forest.predict(part.x[out]) - part.y[out]).tolist()
                forests[name] = forest
        others = np.setdiff1d(np.arange(len(networks)), chosen)
        if len(others) < MIN_NETWORKS:
            others = np.arange(len(networks))
        a, b, c = solve(*whole[others].T)
        without = replace(predictor, table_us=table_us, forests=forests)
        for index in chosen:
            sum_us, count, truth_us = whole[index]
            measured.append(np.log((a * sum_us + b * count + c) / truth_us))
            estimate = without.estimate(networks[index].kernels)
            length = np.array([len(estimate.source)])
            (total,) = without.sums_us(estimate, length).tolist()
            if (estimate.source == UNKNOWN).any() or total <= 0:
                continue
            times_us = without.within_us(estimate, length)
            predicted_us = times_us * (estimate.source != MEASURED)
            share = predicted_us.sum() / times_us.sum()
            if share >= LEAST_PREDICTED:
                error = np.log((a * total + b * count + c) / truth_us)
                spread = predicted_us @ estimate.spread / predicted_us.sum()
                found.append((error, share, spread))
    columns = np.asarray(found, np.float64).reshape(-1, 3).T
    return _Folds(residuals, np.array(measured), *columns)


def _groups(
    networks: Sequence[NetworkObservation], training: Mapping[str, _Training], seed: int
) -> Iterator[tuple[list[int], set[Kernel]]]:
    """Yield networks that resemble each other, and all kernels that are left out with them.

    Kernels that occur in no network are left out with a group at random.
    """
    of_network = _clusters(networks, seed)
    count = max(of_network) + 1
    in_networks = {kernel for network in networks for kernel in network.kernels}
    others = [k for part in training.values() for k in part.kernels if k not in in_networks]
    of_other = np.random.default_rng(seed).permutation(len(others)) % count
    for group in range(count):
        chosen = [index for index, of in enumerate(of_network) if of == group]
        kernels = {kernel for index in chosen for kernel in networks[index].kernels}
        kernels.update(k for k, of in zip(others, of_other, strict=True) if of == group)
        yield chosen, kernels


def _clusters(networks: Sequence[NetworkObservation], seed: int) -> list[int]:
    """Return the group of every network, by which kinds of kernels it consists of.

    Ward's method joins them until at most `GROUPS` are left. Where all consist of the same, they
    are grouped at random.
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
    clusters = fcluster(linkage(shares, "ward"), groups, "maxclust") - 1
    if not clusters.any():
        clusters = np.random.default_rng(seed).permutation(len(networks)) % groups
    return [int(number) for number in clusters]


def _kind(kernel: Kernel) -> tuple[object, ...]:
    op = kernel.op
    window = getattr(op, "kernel", ())
    return kernel_class(kernel), window, getattr(op, "activation", ""), len(kernel.nodes)

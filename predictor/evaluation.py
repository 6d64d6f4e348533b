"""How right a predictor is on networks that it has never seen.

Networks are left out with all that they show, a predictor is fitted on the others, and what it says
of those left out is compared with what was measured. Leaving out one network flatters where its
siblings stay; leaving out its family is what a new architecture is like.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from latlas.predictor.coverage import TypeCoverage, coverage_by_type, kernel_shares
from latlas.predictor.fit import fit
from latlas.predictor.latencies import kernel_latencies
from latlas.predictor.metrics import Metrics, metrics, share_within
from latlas.predictor.observations import NetworkObservation, Observations
from latlas.predictor.predictor import MEASURED, UNKNOWN, LatencyPredictor, Prediction
from latlas.profiler.errors import PredictorError, UsageError
from latlas.profiler.kernel import Kernel
from latlas.profiler.target import Target

Fit = Callable[[Observations], LatencyPredictor]
KernelsKnown = Literal["measured", "shared", "predicted"]
Progress = Callable[[Sequence[str]], Iterable[str]]


@dataclass(frozen=True)
class NetworkResult:
    """A network that was both predicted and measured.

    Attributes:
        name: of the network.
        measured_ms: its measured latency.
        prediction: of a predictor that did not know the network.
        coverage: by kernel type, what the prediction rests on.
    """

    name: str
    measured_ms: float
    prediction: Prediction
    coverage: Mapping[str, TypeCoverage]

    @property
    def error(self) -> float:
        """Relative error; above 0, the latency was overestimated."""
        return self.prediction.latency_ms / self.measured_ms - 1

    @property
    def within_bounds(self) -> bool:
        """Whether the measured latency lies within the predicted bounds."""
        return self.prediction.low_ms <= self.measured_ms <= self.prediction.high_ms

    @property
    def least_known(self) -> tuple[str, float] | None:
        """The kernel type that takes the largest share of the latency unmeasured, and the share.

        None where all kernels were looked up.
        """
        shares = {kind: c.not_measured_share for kind, c in self.coverage.items()}
        kind = max(shares, key=lambda name: shares[name], default="")
        return (kind, shares[kind]) if shares.get(kind, 0.0) > 0 else None


@dataclass(frozen=True)
class KernelResult:
    """A kernel of a network that was evaluated.

    Attributes:
        kernel: the kernel.
        measured_us: its latency as all observations show it, in microseconds.
        predicted_us: what the predictor says.
        looked_up: whether the predictor knew it, because it was measured elsewhere too.
    """

    kernel: Kernel
    measured_us: float
    predicted_us: float
    looked_up: bool


@dataclass(frozen=True)
class Evaluation:
    """Predicted and measured latencies of networks and of their kernels.

    Attributes:
        target: what they are valid for.
        networks: those that were predicted.
        kernels: their distinct kernels, once for every predictor that was asked. Kernels that cost
            nothing are not among them: there is no relative error of nothing.
        refused: networks that were not predicted, with the kernels that nothing was known about.
    """

    target: Target
    networks: tuple[NetworkResult, ...]
    kernels: tuple[KernelResult, ...]
    refused: tuple[tuple[str, tuple[Kernel, ...]], ...] = ()

    def by_family(self, family: Callable[[str], str]) -> dict[str, tuple[NetworkResult, ...]]:
        """Return the networks of every family, families and networks in order."""
        groups: dict[str, list[NetworkResult]] = defaultdict(list)
        for network in self.networks:
            groups[family(network.name)].append(network)
        return {name: tuple(groups[name]) for name in sorted(groups)}

    def by_type(self) -> dict[str, tuple[KernelResult, ...]]:
        """Return the kernels of every type, types in order."""
        groups: dict[str, list[KernelResult]] = defaultdict(list)
        for kernel in self.kernels:
            groups[kernel.kernel.type].append(kernel)
        return {name: tuple(groups[name]) for name in sorted(groups)}

    def worst(self, count: int) -> tuple[NetworkResult, ...]:
        """Return the networks that were predicted worst, the worst first."""
        return tuple(sorted(self.networks, key=lambda n: -abs(n.error))[:count])


def network_metrics(networks: Sequence[NetworkResult]) -> Metrics:
    """Compare predicted and measured networks.

    Raises:
        PredictorError: there are none.
    """
    return metrics(
        [network.prediction.latency_ms for network in networks],
        [network.measured_ms for network in networks],
    )


def interval_coverage(networks: Sequence[NetworkResult]) -> float:
    """Return the share of networks within their predicted bounds, which should be 0.9.

    Raises:
        PredictorError: there are none.
    """
    bounds = [(n.prediction.low_ms, n.prediction.high_ms, n.measured_ms) for n in networks]
    return share_within(*zip(*bounds, strict=True)) if bounds else share_within((), (), ())


def kernel_metrics(kernels: Sequence[KernelResult]) -> Metrics | None:
    """Compare the kernels that were predicted; None where all were looked up."""
    predicted = [kernel for kernel in kernels if not kernel.looked_up]
    if not predicted:
        return None
    return metrics([k.predicted_us for k in predicted], [k.measured_us for k in predicted])


def evaluate(
    predictor: LatencyPredictor,
    observations: Observations,
    names: Collection[str] | None = None,
    *,
    accept_unknown: bool = False,
) -> Evaluation:
    """Compare a predictor, as it is, with networks that were measured.

    Args:
        predictor: it says nothing about new networks where it was fitted on these ones.
        observations: the networks, of the predictor's target.
        names: of the networks to evaluate; all of them by default.
        accept_unknown: predict networks with unknown kernels too, instead of refusing them.

    Raises:
        TargetMismatchError: the observations are of another target.
        PredictorError: their kernels were split by other fusion rules.
    """
    observations.target.require_same(predictor.target, "the predictor to evaluate")
    rules = observations.rules.version
    if predictor.rules_version != rules:
        raise PredictorError(
            f"the predictor splits networks by the fusion rules {predictor.rules_version!r:.80}, "
            f"the observations are of {rules!r:.80}: fit one on a table of the same rules"
        )
    chosen = [n for n in observations.networks if names is None or n.name in names]
    estimates = predictor.estimate([k for n in chosen for k in n.kernels])
    latency_us, source = estimates.latency_us, estimates.source
    within_us = predictor.within_us(estimates, np.array([len(n.kernels) for n in chosen], np.int64))
    known = kernel_latencies(observations, predictor.residency).latency_us
    accepted: list[tuple[NetworkObservation, Mapping[str, TypeCoverage]]] = []
    refused = []
    kernels: dict[Kernel, KernelResult] = {}
    start = 0
    for network in chosen:
        part = slice(start, start + len(network.kernels))
        start = part.stop
        unknown = [
            kernel
            for kernel, origin in zip(network.kernels, source[part], strict=True)
            if origin == UNKNOWN
        ]
        if unknown and not accept_unknown:
            refused.append((network.name, tuple(unknown)))
            continue
        shares = kernel_shares(network.kernels, within_us[part], source[part])
        accepted.append((network, coverage_by_type(shares)))
        rows = zip(network.kernels, latency_us[part].tolist(), source[part], strict=True)
        for kernel, predicted_us, origin in rows:
            measured_us = known.get(kernel, 0.0)
            if measured_us > 0 and kernel not in kernels:
                kernels[kernel] = KernelResult(
                    kernel, measured_us, predicted_us, bool(origin == MEASURED)
                )
    predictions = predictor.predict_kernels([n.kernels for n, _ in accepted], accept_unknown=True)
    results = tuple(
        NetworkResult(network.name, network.latency_us / 1e3, prediction, rests_on)
        for (network, rests_on), prediction in zip(accepted, predictions, strict=True)
    )
    return Evaluation(predictor.target, results, tuple(kernels.values()), tuple(refused))


def leave_out(
    observations: Observations,
    group: Callable[[str], str],
    *,
    names: Collection[str] | None = None,
    kernels: KernelsKnown = "shared",
    accept_unknown: bool = False,
    fit: Fit = fit,
    progress: Progress = iter,
) -> Evaluation:
    """Leave out one group of networks after the other, and predict it by what the others show.

    What the predictor knows of the group's kernels is a question of what the new networks are:

    - ``shared``: what networks that stay show of them. Nothing of the group is measured, but new
      networks share some kernels with old ones. What was measured alone is left out unless a
      network that stays has it, for without the group it would not have been measured.
    - ``predicted``: nothing at all, not even of kernels that others share, so that all of them
      must be predicted. (Where all networks share their kernels, little is left to learn from.)
    - ``measured``: everything, as if the group's kernels had been profiled, but not its networks.

    Args:
        observations: networks and kernels of one target.
        group: from the name of a network to that of its group: its family, or its own name.
        names: of the networks to evaluate; all by default. The others are never left out.
        kernels: what is known of the group's kernels.
        accept_unknown: predict networks with unknown kernels too, instead of refusing them.
        fit: fits a predictor.
        progress: wraps the names of the groups, to show how far it is.

    Raises:
        UsageError: no network, or a group without which none is left.
        PredictorError: without one of the groups, there is too little to fit on.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for network in observations.networks:
        if names is None or network.name in names:
            groups[group(network.name)].append(network.name)
    if not groups:
        raise UsageError("there are no measured networks to leave out: profile some first")
    for name, members in groups.items():
        if len(members) == len(observations.networks):
            raise UsageError(
                f"all {len(members)} networks are of one group, {name!r}, so that none is left to "
                "fit on: group them otherwise (--family REGEX=NAME), or leave out each network in "
                "turn (--leave-out network)"
            )
    parts = []
    for name in progress(list(groups)):
        members = groups[name]
        try:
            predictor = fit(remaining(observations, members, kernels))
        except PredictorError as problem:
            raise PredictorError(f"without {name!r} ({len(members)} networks): {problem}") from None
        if kernels == "measured":
            # In a large network, as this predictor has them: what its cache saves, it adds.
            known = kernel_latencies(observations, predictor.residency).latency_us
            predictor = replace(predictor, table_us={**predictor.table_us, **known})
        parts.append(evaluate(predictor, observations, members, accept_unknown=accept_unknown))
    return Evaluation(
        observations.target,
        tuple([network for part in parts for network in part.networks]),
        tuple([kernel for part in parts for kernel in part.kernels]),
        tuple([refusal for part in parts for refusal in part.refused]),
    )


def remaining(
    observations: Observations, names: Collection[str], kernels: KernelsKnown = "shared"
) -> Observations:
    """Return what would have been observed without some networks, as `leave_out` describes it."""
    rest = observations.without(names)
    if kernels == "measured":
        return rest
    forgotten = {k for n in observations.networks if n.name in names for k in n.kernels}
    if kernels == "shared":
        forgotten -= {kernel for network in rest.networks for kernel in network.kernels}
    else:
        networks = tuple([_forget(network, forgotten) for network in rest.networks])
        rest = replace(rest, networks=networks)
    alone_us = {k: time_us for k, time_us in rest.alone_us.items() if k not in forgotten}
    return replace(rest, alone_us=alone_us)


def _forget(network: NetworkObservation, kernels: Collection[Kernel]) -> NetworkObservation:
    if network.listed_us is None:
        return network
    pairs = zip(network.kernels, network.listed_us, strict=True)
    times = tuple([math.nan if kernel in kernels else time_us for kernel, time_us in pairs])
    return replace(network, listed_us=times)

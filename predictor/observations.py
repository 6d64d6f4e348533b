"""Everything that can be learned from about one target, wherever it comes from.

Networks were measured as a whole, and where the runtime lists operators, so was each of their
kernels in context. Other kernels were measured alone. Listed times stay with their network, so that
a network can be left out with all that it shows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from latlas.predictor.calibration import MIN_NETWORKS
from latlas.profiler.errors import GraphError, PredictorError, TableError
from latlas.profiler.fusion import rules_for, rules_named
from latlas.profiler.kernel import FusionRules, Kernel, split
from latlas.profiler.measurement import LEAST_US, Measurement
from latlas.profiler.table import Table
from latlas.profiler.target import Target

TRUNCATION_US = 0.5
"""XNNPACK and OpenCL list whole microseconds, cut off and not rounded: half of one is missing."""

PASSES_AGREE = 0.07
"""A network whose profiled pass is this far off its timed pass, by the ratio that is usual on the
target, was disturbed in one of them: it is left out."""

DISTURBED = "its profiled pass does not agree with its timed pass"
UNALIGNED = "its listed operators do not match its kernels"
THROTTLED = "the device was slow, and most other networks were measured while it was not"
EMPTY = "it holds no kernel: nothing in it takes time"


@dataclass(frozen=True)
class NetworkObservation:
    """A network that was measured.

    Attributes:
        name: of the network.
        kernels: its kernels in execution order.
        latency_us: of one invocation, in microseconds.
        listed_us: time of every kernel in context, NaN for one that is not to be used; None where
            the runtime does not list them.
    """

    name: str
    kernels: tuple[Kernel, ...]
    latency_us: float
    listed_us: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Observations:
    """What was measured on one target.

    Attributes:
        target: what it is valid for.
        networks: whole networks, with the times of their kernels where these are listed.
        alone_us: time of an invocation of kernels that were measured alone, in microseconds.
        fixed_us: what an invocation costs beside its kernels, which is part of `alone_us`.
        left_out: networks whose times or listed times were not used, and why.
        rules_version: fusion rules that the kernels were split by; empty for the delegate's own.
    """

    target: Target
    networks: tuple[NetworkObservation, ...]
    alone_us: Mapping[Kernel, float]
    fixed_us: float = 0.0
    left_out: Mapping[str, str] = field(default_factory=dict)
    rules_version: str = ""

    @property
    def rules(self) -> FusionRules:
        """The fusion rules that the kernels were split by."""
        target = self.target
        if not self.rules_version:
            return rules_for(target.delegate, target.adapter)
        return rules_named(self.rules_version, target.delegate, target.adapter)

    def without(self, names: Collection[str]) -> Observations:
        """Return the same without some networks, nor the times of kernels that they list."""
        kept = tuple([network for network in self.networks if network.name not in names])
        return replace(self, networks=kept)


def observe(table: Table) -> Observations:
    """Read a table as observations.

    Raises:
        TableError: a measurement is not of a kernel or a network.
        PredictorError: the table was split by fusion rules that this latlas does not have.
    """
    target = table.target
    try:
        rules = rules_named(table.header.fusion_rules, target.delegate, target.adapter)
    except GraphError as problem:
        raise PredictorError(
            f"the table {table.folder} cannot be used: {problem}; profile into a new table"
        ) from problem
    try:
        return _observe(table, rules)
    except GraphError as problem:
        raise TableError(f"the table {table.folder} is damaged: {problem}") from problem


def _observe(table: Table, rules: FusionRules) -> Observations:
    usable = at_usual_speed(table)
    networks = []
    whole = [m for m in usable if m.unit == "network"]
    steady = [m for m in whole if m.verdict != "throttled"]
    # Scaled figures are less exact: where most need no scaling, the others are done without.
    enough = len(steady) >= max(MIN_NETWORKS, len(whole) / 2)
    left_out = {m.name: THROTTLED for m in whole if enough and m.verdict == "throttled"}
    for measurement in steady if enough else whole:
        kernels = split(measurement.to_graph(), rules)
        if not kernels:  # a lone reshape: nothing to calibrate a sum of kernels on
            left_out[measurement.name] = EMPTY
            continue
        listed = listed_us(measurement, kernels, rules)
        if listed is None and measurement.ops:
            left_out[measurement.name] = UNALIGNED
        networks.append(
            NetworkObservation(measurement.name, kernels, whole_us(measurement), listed)
        )
    disturbed = _disturbed(networks)
    left_out |= dict.fromkeys(disturbed, DISTURBED)
    alone_us = {
        Kernel.from_text(measurement.graph): whole_us(measurement)
        for measurement in usable
        if measurement.unit == "kernel"
    }
    probes = [measurement for measurement in usable if measurement.unit == "probe"]
    fixed_us = fixed_cost_us(probes, min(alone_us.values(), default=0.0))
    found = Observations(table.target, tuple(networks), alone_us, fixed_us, left_out, rules.version)
    return found.without(disturbed)


def _disturbed(networks: Sequence[NetworkObservation]) -> list[str]:
    """Return the names of networks whose profiled and timed pass disagree."""
    ratios = {n.name: sum(n.listed_us) / n.latency_us for n in networks if n.listed_us is not None}
    usual = float(np.median(list(ratios.values()))) if ratios else 1.0
    departures = {name: abs(ratio / usual - 1) for name, ratio in ratios.items()}
    # On a machine that is never quiet, those that agree best are still the best there is.
    limit = max([PASSES_AGREE, *sorted(departures.values())[:MIN_NETWORKS]])
    return [name for name, departure in departures.items() if departure > limit]


def at_usual_speed(table: Table) -> list[Measurement]:
    """Return the measurements that have samples, throttled ones at the speed of the others.

    A noisy median is better than none. What was measured while the device was throttled is scaled
    by how much slower the reference kernel was, and left out where that is not known.
    """
    usual_us = usual_reference_us(table)
    found = []
    for measurement in _sampled(table):
        if measurement.verdict in ("stable", "noisy"):
            found.append(measurement)
        elif (
            measurement.verdict == "throttled"
            and min(measurement.reference_us, usual_us) >= LEAST_US
        ):
            found.append(_scaled(measurement, usual_us / measurement.reference_us))
    return found


def usual_reference_us(table: Table) -> float:
    """Return what the reference kernel took in what a table has at usual speed; 0 if unknown."""
    sampled = _sampled(table)
    steady = [m for m in sampled if m.verdict != "throttled"]
    some = steady if len(steady) >= MIN_NETWORKS else sampled
    levels = [m.reference_us for m in some if m.reference_us >= LEAST_US]
    return float(np.median(levels)) if levels else 0.0


def _sampled(table: Table) -> list[Measurement]:
    return [m for m in table.measurements if m.summary is not None]


def _scaled(measurement: Measurement, factor: float) -> Measurement:
    assert measurement.summary is not None
    summary = replace(measurement.summary, median_us=factor * measurement.summary.median_us)
    ops = tuple(replace(op, mean_us=factor * op.mean_us) for op in measurement.ops)
    return replace(measurement, summary=summary, ops=ops)


def whole_us(measurement: Measurement) -> float:
    """Return the median time of one invocation of a measurement that has samples."""
    assert measurement.summary is not None, "only a failed measurement has no summary"
    return measurement.summary.median_us


def listed_us(
    measurement: Measurement, kernels: Sequence[Kernel], rules: FusionRules
) -> tuple[float, ...] | None:
    """Return the listed time of every kernel of a network, or None where they do not match."""
    listed = [op.mean_us for op in measurement.ops if op.name not in rules.unowned_operators]
    counts = [rules.operators(kernel) for kernel in kernels]
    if sum(counts) != len(listed):
        return None
    times = iter(listed)
    return tuple(sum(islice(times, count)) + count * TRUNCATION_US for count in counts)


def fixed_cost_us(probes: Sequence[Measurement], smallest_us: float) -> float:
    """Return what an invocation costs beside its kernels, in microseconds.

    It is the intercept of a line through chains of 1, 2, 4 … copies of one kernel, but no more than
    the smallest kernel takes, which on a CPU is the better figure: it takes next to nothing.
    """
    lengths = [len(probe.to_graph().nodes) for probe in probes]
    if len(set(lengths)) < 2:
        return smallest_us
    times = np.array([whole_us(probe) for probe in probes])
    _, intercept = np.polyfit(lengths, times, 1, w=1 / times)
    return min(smallest_us, float(intercept)) if intercept > 0 else smallest_us

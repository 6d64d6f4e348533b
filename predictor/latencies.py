"""From the measurements of a table to latencies of kernels.

A kernel is known from up to two sources. In context, it was one operator of a profiled network:
what it costs there is what counts. Alone, it ran in a hot loop: a convolution takes about as long
as in context, a fully connected layer finds its weights in the cache and takes a third. Kernels
known only alone are therefore corrected by the ratio between the two, type by type, that the others
show. A GPU's kernels are listed through OpenCL only: elsewhere, all are known alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from latlas.predictor.calibration import MIN_NETWORKS
from latlas.profiler.errors import GraphError, TableError
from latlas.profiler.fusion import rules_for
from latlas.profiler.kernel import FusionRules, Kernel, split
from latlas.profiler.measurement import Measurement
from latlas.profiler.table import Table

FLOOR = 0.05
"""Share of an invocation that a kernel keeps at least when the fixed cost is taken off."""


TRUNCATION_US = 0.5
"""XNNPACK and OpenCL list whole microseconds, cut off and not rounded: half of one is missing."""


PASSES_AGREE = 0.07
"""A network whose profiled pass is this far off its timed pass, by the ratio that is usual on the
target, was disturbed in one of them: it is left out."""

MIN_PAIRS = 3
"""A type's ratio between context and alone needs so many kernels that are known both ways."""


@dataclass(frozen=True)
class KernelLatencies:
    """What a table says about kernels.

    Attributes:
        latency_us: microseconds of every kernel measured, as inside a network.
        weight: how many networks, or 1 where it was measured alone, stand behind each.
        context_ratio: by kernel type, time in context over time alone.
        fixed_us: cost of an invocation that was taken off kernels measured alone.
        networks: the whole networks, with their kernels.
        left_out: networks whose listed times were not used, and why.
    """

    latency_us: Mapping[Kernel, float]
    weight: Mapping[Kernel, int]
    context_ratio: Mapping[str, float]
    fixed_us: float
    networks: Sequence[tuple[Measurement, tuple[Kernel, ...]]]
    left_out: Mapping[str, str]


def kernel_latencies(table: Table) -> KernelLatencies:
    """Work out the latency of every kernel that a table knows.

    Raises:
        TableError: a measurement is not of a kernel or a network.
    """
    try:
        return _kernel_latencies(table)
    except GraphError as problem:
        raise TableError(f"the table {table.folder} is damaged: {problem}") from problem


def _kernel_latencies(table: Table) -> KernelLatencies:
    rules = rules_for(table.target.delegate, table.target.adapter)
    usable = _at_usual_speed(table)
    networks = [
        (measurement, split(measurement.to_graph(), rules))
        for measurement in _unthrottled([m for m in usable if m.unit == "network"])
    ]
    context, left_out = _in_context(networks, rules)
    networks = [pair for pair in networks if left_out.get(pair[0].name) != _DISTURBED]
    alone_us = {
        Kernel.from_text(measurement.graph): whole_us(measurement)
        for measurement in usable
        if measurement.unit == "kernel"
    }
    probes = [measurement for measurement in usable if measurement.unit == "probe"]
    fixed_us = _fixed_cost_us(probes, min(alone_us.values(), default=0.0))
    alone = {k: max(time_us - fixed_us, FLOOR * time_us) for k, time_us in alone_us.items()}
    ratio = _context_ratio(context, alone)
    usual = ratio.get("", 1.0)
    latency = {k: time_us * ratio.get(k.type, usual) for k, time_us in alone.items()}
    latency |= {kernel: float(np.median(times)) for kernel, times in context.items()}
    weight = {kernel: len(context.get(kernel, ())) or 1 for kernel in latency}
    return KernelLatencies(latency, weight, ratio, fixed_us, networks, left_out)


_DISTURBED = "its profiled pass does not agree with its timed pass"
_UNALIGNED = "its listed operators do not match its kernels"


def _in_context(
    networks: Sequence[tuple[Measurement, tuple[Kernel, ...]]], rules: FusionRules
) -> tuple[dict[Kernel, list[float]], dict[str, str]]:
    """Return the times of every kernel inside networks, and the networks left out."""
    left_out = {}
    listed = []
    for measurement, kernels in networks:
        times = listed_us(measurement, kernels, rules)
        if times is not None:
            listed.append((measurement, kernels, times))
        elif measurement.ops:
            left_out[measurement.name] = _UNALIGNED
    ratios = [sum(times) / whole_us(measurement) for measurement, _, times in listed]
    usual = float(np.median(ratios)) if ratios else 1.0
    departures = [abs(ratio / usual - 1) for ratio in ratios]
    # On a machine that is never quiet, those that agree best are still the best there is.
    limit = max([PASSES_AGREE, *sorted(departures)[:MIN_NETWORKS]])
    context: dict[Kernel, list[float]] = defaultdict(list)
    for (measurement, kernels, times), departure in zip(listed, departures, strict=True):
        if departure > limit:
            left_out[measurement.name] = _DISTURBED
            continue
        for kernel, time_us in zip(kernels, times, strict=True):
            context[kernel].append(time_us)
    return dict(context), left_out


def _context_ratio(
    context: Mapping[Kernel, Sequence[float]], alone: Mapping[Kernel, float]
) -> dict[str, float]:
    """Return total time in context over total time alone, by type, and over all types as ``""``."""
    totals: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for kernel in context:  # in the table's order, so that sums do not differ between two fits
        if kernel not in alone:
            continue
        for name in (kernel.type, ""):
            totals[name][0] += float(np.median(context[kernel]))
            totals[name][1] += alone[kernel]
            totals[name][2] += 1
    return {name: a / b for name, (a, b, pairs) in totals.items() if pairs >= MIN_PAIRS}


def _at_usual_speed(table: Table) -> list[Measurement]:
    """Return the measurements that have samples, throttled ones at the speed of the others.

    A noisy median is better than none. What was measured while the device was throttled is scaled
    by how much slower the reference kernel was, and left out where that is not known.
    """
    sampled = [m for m in table.measurements if m.summary is not None]
    levels = [m.reference_us for m in _unthrottled(sampled) if m.reference_us > 0]
    usual_us = float(np.median(levels)) if levels else 0.0
    found = []
    for measurement in sampled:
        if measurement.verdict in ("stable", "noisy"):
            found.append(measurement)
        elif measurement.verdict == "throttled" and min(measurement.reference_us, usual_us) > 0:
            found.append(_scaled(measurement, usual_us / measurement.reference_us))
    return found


def _unthrottled(measurements: list[Measurement]) -> list[Measurement]:
    """Leave out throttled measurements where enough others remain for a calibration."""
    others = [m for m in measurements if m.verdict != "throttled"]
    return others if len(others) >= MIN_NETWORKS else measurements


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


def _fixed_cost_us(probes: Sequence[Measurement], smallest_us: float) -> float:
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

"""From the measurements of a table to latencies of kernels.

A kernel is known from up to two sources. In context, it was one operator of a profiled network:
what it costs there is what counts. Alone, it ran in a hot loop, its data in the cache; kernels
known only so are corrected by the ratio that the others show between the two. On a GPU the runtime
lists no kernels: there, latencies are measured alone, less the fixed cost of an invocation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Graph
from latlas.profiler.kernel import FusionRules, Kernel, split
from latlas.profiler.measurement import Measurement
from latlas.profiler.table import Table

FLOOR = 0.05
"""Share of an invocation that a kernel keeps at least when the fixed cost is taken off."""


TRUNCATION_US = 0.5
"""XNNPACK lists whole microseconds, cut off and not rounded: half of one is missing on average."""


@dataclass(frozen=True)
class KernelLatencies:
    """What a table says about kernels.

    Attributes:
        latency_us: microseconds of every kernel measured, as inside a network.
        weight: how many networks, or 1 where it was measured alone, stand behind each.
        context_ratio: time in context over time alone, median over the kernels that have both;
            1 where there are none.
        fixed_us: cost of an invocation that was taken off kernels measured alone.
        networks: the whole networks, with their kernels.
        unaligned: names of networks whose listed operators do not match their kernels, so that
            only their whole latency is used.
    """

    latency_us: Mapping[Kernel, float]
    weight: Mapping[Kernel, int]
    context_ratio: float
    fixed_us: float
    networks: Sequence[tuple[Measurement, tuple[Kernel, ...]]]
    unaligned: tuple[str, ...]


def kernel_latencies(table: Table) -> KernelLatencies:
    """Work out the latency of every kernel that a table knows."""
    rules = rules_for(table.target.delegate)
    context: dict[Kernel, list[float]] = defaultdict(list)
    networks, unaligned = [], []
    for measurement in _usable(table, "network"):
        graph = Graph.from_text(measurement.graph)
        kernels = split(graph, rules)
        networks.append((measurement, kernels))
        times = listed_us(measurement, kernels, rules)
        if times is None:
            if measurement.ops:
                unaligned.append(measurement.name)
            continue
        for kernel, time_us in zip(kernels, times, strict=True):
            context[kernel].append(time_us)
    fixed_us = _fixed_cost(table)
    alone = {}
    for measurement in _usable(table, "kernel"):
        kernel = Kernel.from_text(measurement.graph)
        alone[kernel] = _alone_us(measurement, fixed_us)
    in_context = {kernel: float(np.median(times)) for kernel, times in context.items()}
    both = [kernel for kernel in alone if kernel in in_context and alone[kernel] > 0]
    ratio = float(np.median([in_context[k] / alone[k] for k in both])) if both else 1.0
    latency = {kernel: time_us * ratio for kernel, time_us in alone.items()} | in_context
    weight = {kernel: len(context.get(kernel, ())) or 1 for kernel in latency}
    return KernelLatencies(latency, weight, ratio, fixed_us, networks, tuple(unaligned))


def _usable(table: Table, unit: str) -> list[Measurement]:
    """Return the measurements that have samples; a noisy median is better than none."""
    return [
        measurement
        for measurement in table.measurements
        if measurement.unit == unit and measurement.verdict in ("stable", "noisy")
    ]


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


def _fixed_cost(table: Table) -> float:
    """Return what an invocation costs beside its kernels, in microseconds.

    It is the intercept of a line through chains of 1, 2, 4 … copies of one kernel.
    """
    probes = _usable(table, "probe")
    lengths = [len(Graph.from_text(probe.graph).nodes) for probe in probes]
    if len(set(lengths)) < 2:
        return 0.0
    times = [whole_us(probe) for probe in probes]
    weights = 1 / np.asarray(times)
    _, intercept = np.polyfit(lengths, times, 1, w=weights)
    return max(0.0, float(intercept))


def _alone_us(measurement: Measurement, fixed_us: float) -> float:
    median_us = whole_us(measurement)
    return max(median_us - fixed_us, FLOOR * median_us)

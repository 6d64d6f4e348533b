"""From observations to latencies of kernels.

A kernel is known from up to two sources. In context, it was one operator of a profiled network:
what it costs there is what counts. Alone, it ran in a hot loop: a convolution takes about as long
as in context, a fully connected layer finds its weights in the cache and takes a third. Kernels
known only alone are therefore corrected by the ratio between the two, type by type, that the others
show. A GPU's kernels are listed through OpenCL only: elsewhere, all are known alone, and pay for
copies that kernels of a network do not (`latlas.predictor.copies`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latlas.predictor.copies import fit_copies, without_copies
from latlas.predictor.observations import Observations
from latlas.predictor.residency import Residency, fit_residency, nominal
from latlas.profiler.kernel import Kernel

FLOOR = 0.05
"""Share of an invocation that a kernel keeps at least when the fixed cost is taken off."""

MIN_PAIRS = 3
"""A type's ratio between context and alone needs so many kernels that are known both ways."""


@dataclass(frozen=True)
class KernelLatencies:
    """What observations say about kernels.

    Attributes:
        latency_us: microseconds of every kernel measured, as inside a network.
        weight: how often networks show it, or 1 where it was measured alone.
        context_ratio: by kernel type, time in context over time alone.
        residency: what they save in networks that stay in the cache: the latencies are without it.
    """

    latency_us: Mapping[Kernel, float]
    weight: Mapping[Kernel, int]
    context_ratio: Mapping[str, float]
    residency: Residency


def kernel_latencies(
    observations: Observations, residency: Residency | None = None
) -> KernelLatencies:
    """Work out the latency of every kernel that was measured.

    Args:
        observations: what was measured.
        residency: what kernels save in small networks; learned from the observations where None.
    """
    if residency is None:
        residency = fit_residency(observations)
    observations = nominal(observations, residency)
    price_us = fit_copies(observations)
    context: dict[Kernel, list[float]] = defaultdict(list)
    for network in observations.networks:
        if network.listed_us is not None:
            for kernel, time_us in zip(network.kernels, network.listed_us, strict=True):
                if not math.isnan(time_us):
                    context[kernel].append(time_us)
    alone = {}
    for kernel, time_us in observations.alone_us.items():
        own_us = max(time_us - observations.fixed_us, FLOOR * time_us)
        alone[kernel] = without_copies(own_us, kernel, price_us)
    ratio = _context_ratio(context, alone)
    usual = ratio.get("", 1.0)
    latency = {k: time_us * ratio.get(k.type, usual) for k, time_us in alone.items()}
    latency |= {kernel: float(np.median(times)) for kernel, times in context.items()}
    weight = {kernel: len(context.get(kernel, ())) or 1 for kernel in latency}
    return KernelLatencies(latency, weight, ratio, residency)


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

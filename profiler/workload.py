"""What to measure for a set of networks: their kernels, the networks themselves, and the ends.

The kernels of networks that share a search space are mostly the same; each distinct one is one job.
Whole networks are jobs too: on a runtime that lists its operators they show what a kernel costs
between its neighbours, and a predictor is calibrated on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Graph, GraphBuilder
from latlas.profiler.jobs import CampaignJob
from latlas.profiler.kernel import Kernel, split
from latlas.profiler.ops import from_text
from latlas.profiler.runner import Effort
from latlas.profiler.target import Delegate

KERNEL_EFFORT = Effort(min_runs=20, min_ms=20.0)
NETWORK_EFFORT = Effort(min_runs=20, min_ms=100.0, warmup_ms=20.0)
"""A network shows its kernels in context, so it is worth more runs than one of them."""

CHAIN_LENGTHS = (1, 2, 4, 8)
"""Copies of a kernel in the models whose intercept is the fixed cost of an invocation."""


@dataclass(frozen=True)
class Workload:
    """Jobs for a campaign, and why each is there.

    Attributes:
        jobs: kernels first, then probes, then networks.
        uses: by job id, how often the kernel occurs in the networks; 1 for whole networks.
        used: ids of the kernels that occur in the networks at all.
    """

    jobs: tuple[CampaignJob, ...]
    uses: Mapping[str, int]
    used: frozenset[str]


def workload(
    networks: Mapping[str, Graph],
    delegate: Delegate,
    *,
    vocabulary: bool = True,
    kernel_effort: Effort = KERNEL_EFFORT,
    network_effort: Effort = NETWORK_EFFORT,
) -> Workload:
    """Return the jobs that make networks predictable on a delegate.

    Args:
        networks: networks by name, in either form.
        delegate: whose fusion rules split them.
        vocabulary: add kernels of operators that the networks do not hold (`vocabulary_kernels`),
            so that a predictor knows something about every operator.
        kernel_effort, network_effort: how long each is run.
    """
    rules = rules_for(delegate)
    listed = delegate == "cpu"  # no GPU backend on this machine lists its kernels
    folded = {name: fold(graph) for name, graph in networks.items()}
    uses: dict[Kernel, int] = {}
    for graph in folded.values():
        for kernel in split(graph, rules):
            uses[kernel] = uses.get(kernel, 0) + 1
    used = frozenset(f"kernel:{kernel.text}" for kernel in uses)
    if vocabulary:
        present = {kernel.type for kernel in uses}
        for kernel in vocabulary_kernels():
            if kernel.type not in present:
                uses[kernel] = 1
    jobs = [
        CampaignJob(
            id=f"kernel:{kernel.text}",
            name=kernel.type,
            unit="kernel",
            graph=kernel.graph,
            effort=kernel_effort,
        )
        for kernel in uses
    ]
    counts = {job.id: count for job, count in zip(jobs, uses.values(), strict=True)}
    jobs += [
        CampaignJob(f"probe:{length}", f"chain of {length}", "probe", _chain(length))
        for length in CHAIN_LENGTHS
    ]
    jobs += [
        CampaignJob(f"network:{name}", name, "network", graph, network_effort, profile=listed)
        for name, graph in folded.items()
    ]
    return Workload(tuple(jobs), {job.id: counts.get(job.id, 1) for job in jobs}, used)


def _chain(length: int) -> Graph:
    """Return copies of a convolution that keeps its shape, each with weights of its own."""
    b = GraphBuilder((1, 28, 28, 96))
    x = 0
    for _ in range(length):
        x = b.conv(x, 96, 1)
    return b.build(x)


_MAPS = ((112, 32), (56, 96), (28, 40), (28, 240), (14, 112), (14, 480), (7, 160), (7, 960))
"""Sizes and channels of maps as mobile networks have them."""


_SPATIAL: tuple[Callable[[GraphBuilder], int], ...] = (
    lambda b: b.average_pool(0, 3),
    lambda b: b.average_pool(0, 2, stride=2),
    lambda b: b.max_pool(0, 3, stride=2),
    lambda b: b.max_pool(0, 2, stride=2),
    lambda b: b.mean(0),
    lambda b: b.pad(0, (1, 1, 1, 1)),
    lambda b: b.resize(0, (2 * b.shape(0)[1], 2 * b.shape(0)[2])),
    lambda b: b.slice(0, (0, 1, 1, 0), (1, b.shape(0)[1] - 1, b.shape(0)[2] - 1, b.shape(0)[3])),
)


def vocabulary_kernels() -> list[Kernel]:
    """Return a few kernels, of the sizes of mobile networks, of every operator but convolutions."""
    kernels: list[Kernel] = []
    for size, channels in (*_MAPS, (1, 40), (1, 240), (1, 960)):
        for kind in ("relu", "relu6", "hard_swish", "logistic", "tanh"):
            b = GraphBuilder((1, size, size, channels))
            kernels.append(_only(b.build(b.activation(0, kind))))
        for kind in ("add", "mul", "sub"):
            b = GraphBuilder((1, size, size, channels), (1, size, size, channels))
            kernels.append(_only(b.build(b.apply(from_text(f"binary kind={kind}"), 0, 1))))
    for size, channels in _MAPS:
        for append in _SPATIAL:
            b = GraphBuilder((1, size, size, channels))
            kernels.append(_only(b.build(append(b))))
        b = GraphBuilder((1, size, size, channels), (1, size, size, channels))
        kernels.append(_only(b.build(b.concat((0, 1)))))
    for classes in (10, 100, 1000, 10000):
        b = GraphBuilder((1, classes))
        kernels.append(_only(b.build(b.softmax(0))))
    return kernels


def _only(graph: Graph) -> Kernel:
    (kernel,) = split(graph, rules_for("gpu"))
    return kernel

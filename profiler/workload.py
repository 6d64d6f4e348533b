"""What to measure for a set of networks: their kernels, the networks themselves, and the ends.

The kernels of networks that share a search space are mostly the same; each distinct one is one job.
Whole networks are jobs too: on a runtime that lists its operators they show what a kernel costs
between its neighbours, and a predictor is calibrated on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Graph, GraphBuilder
from latlas.profiler.jobs import CampaignJob
from latlas.profiler.kernel import Kernel, split
from latlas.profiler.ops import format_shape
from latlas.profiler.quantise import for_precision, quantise
from latlas.profiler.runner import Effort
from latlas.profiler.target import Delegate
from latlas.profiler.vocabulary import vocabulary_kernels

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
        uses: by job id, how often the kernel or block occurs; 1 for whole networks.
        used: ids of the kernels and blocks that occur in the networks at all.
    """

    jobs: tuple[CampaignJob, ...]
    uses: Mapping[str, int]
    used: frozenset[str]


def workload(
    networks: Mapping[str, Graph],
    delegate: Delegate,
    *,
    precision: str = "fp32",
    vocabulary: bool = True,
    listed: bool | None = None,
    kernel_effort: Effort = KERNEL_EFFORT,
    network_effort: Effort = NETWORK_EFFORT,
) -> Workload:
    """Return the jobs that make networks predictable on a delegate.

    Args:
        networks: networks by name, in either form.
        delegate: whose fusion rules split them.
        precision: of the target; for ``int8``, networks of float32 are quantised.
        vocabulary: add `vocabulary_kernels`, so that a predictor knows something about every
            operator and about sizes that these networks do not have.
        listed: whether the target lists the times of operators, so that networks are profiled; by
            default as on this machine: on the CPU.
        kernel_effort, network_effort: how long each is run.

    Raises:
        GraphError: a network holds int8 and the target does not.
    """
    rules = rules_for(delegate)
    if listed is None:
        listed = delegate == "cpu"
    folded = {name: for_precision(graph, precision) for name, graph in networks.items()}
    uses: dict[Kernel, int] = {}
    for graph in folded.values():
        for kernel in split(graph, rules):
            uses[kernel] = uses.get(kernel, 0) + 1
    used = frozenset(f"kernel:{kernel.text}" for kernel in uses)
    if vocabulary:
        for kernel in vocabulary_kernels(precision=precision):
            uses.setdefault(kernel, 1)
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
    jobs += _probes(precision)
    jobs += [
        CampaignJob(f"network:{name}", name, "network", graph, network_effort, profile=listed)
        for name, graph in folded.items()
    ]
    return Workload(tuple(jobs), {job.id: counts.get(job.id, 1) for job in jobs}, used)


def block_workload(
    blocks: Iterable[Graph],
    networks: Mapping[str, Graph],
    *,
    block_effort: Effort = KERNEL_EFFORT,
    network_effort: Effort = NETWORK_EFFORT,
) -> Workload:
    """Return the jobs that measure every distinct block of a space as one unit, in float32.

    Args:
        blocks: stems, choices of layers and tails, in either form; equal ones are one job.
        networks: whole networks of the space by name, on which sums of blocks are calibrated.
        block_effort, network_effort: how long each is run.
    """
    uses: dict[str, int] = {}
    jobs = []
    for block in blocks:
        graph = fold(block)
        job_id = f"block:{graph.to_text()}"
        if job_id not in uses:
            jobs.append(CampaignJob(job_id, _block_name(graph), "block", graph, block_effort))
        uses[job_id] = uses.get(job_id, 0) + 1
    used = frozenset(uses)
    jobs += _probes("fp32")
    jobs += [
        CampaignJob(f"network:{name}", name, "network", fold(graph), network_effort)
        for name, graph in networks.items()
    ]
    return Workload(tuple(jobs), {job.id: uses.get(job.id, 1) for job in jobs}, used)


def _block_name(graph: Graph) -> str:
    shapes = (graph.inputs[0], graph.shapes[graph.outputs[0]])
    return "block " + " to ".join(map(format_shape, shapes))


def _probes(precision: str) -> list[CampaignJob]:
    return [
        CampaignJob(f"probe:{length}", f"chain of {length}", "probe", _chain(length, precision))
        for length in CHAIN_LENGTHS
    ]


def _chain(length: int, precision: str) -> Graph:
    """Return copies of a convolution that keeps its shape, each with weights of its own."""
    b = GraphBuilder((1, 28, 28, 96))
    x = 0
    for _ in range(length):
        x = b.conv(x, 96, 1)
    return quantise(b.build(x), int8_ends=True) if precision == "int8" else b.build(x)

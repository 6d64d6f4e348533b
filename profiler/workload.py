"""What to measure for a set of networks: their kernels, the networks themselves, and the ends.

The kernels of networks that share a search space are mostly the same; each distinct one is one job,
or, where they are too many, each of a designed sample. Whole networks are jobs too: on a runtime
that lists its operators they show what a kernel costs between its neighbours, and a predictor is
calibrated on them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from latlas.profiler.count import count as count_graph
from latlas.profiler.fold import fold
from latlas.profiler.fusion import DetectedRules, rules_for
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.jobs import CampaignJob, kernel_id, network_id
from latlas.profiler.kernel import FusionRules, split
from latlas.profiler.op_text import format_shape
from latlas.profiler.plan import KernelUse
from latlas.profiler.quantise import for_precision, quantise
from latlas.profiler.runner import Effort
from latlas.profiler.sampler import designed_kernels, rough_us
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
        uses: by job id, how often the kernel or block occurs in the networks; for a whole network
            1, and 1 more for every kernel that only whole networks show.
        used: the kernels or blocks that occur in the networks, measured alone or not.
        shown: by job id of a whole network, ids of the kernels that it shows in context; empty
            where the target does not list them.
    """

    jobs: tuple[CampaignJob, ...]
    uses: Mapping[str, int]
    used: tuple[KernelUse, ...]
    shown: Mapping[str, frozenset[str]]


def workload(
    networks: Mapping[str, Graph],
    delegate: Delegate,
    *,
    rules: FusionRules | None = None,
    precision: str = "fp32",
    vocabulary: bool = True,
    samples: int | None = None,
    seed: int = 0,
    listed: bool | None = None,
    kernel_effort: Effort = KERNEL_EFFORT,
    network_effort: Effort = NETWORK_EFFORT,
) -> Workload:
    """Return the jobs that make networks predictable on a delegate.

    Args:
        networks: networks by name, in either form.
        delegate: that runs them.
        rules: fusion rules that split them; by default the delegate's own.
        precision: of the target; for ``int8``, networks of float32 are quantised.
        vocabulary: add `vocabulary_kernels`, so that a predictor knows something about every
            operator and about sizes that these networks do not have.
        samples: so many of the networks' kernels are measured alone at most, a designed sample
            (`latlas.profiler.sampler.designed_kernels`); None measures every distinct one.
        seed: of the sample.
        listed: whether the target lists the times of operators, so that networks are profiled; by
            default as on this machine: on the CPU. With rules that were detected, not: they do
            not say which of the listed times belong to a kernel.
        kernel_effort, network_effort: how long each is run.

    Raises:
        GraphError: a network holds int8 and the target does not, or the rules are none of int8.
    """
    if listed is None:
        listed = delegate == "cpu" and not isinstance(rules, DetectedRules)
    rules = rules or rules_for(delegate)
    folded = {name: for_precision(graph, precision) for name, graph in networks.items()}
    parts = {name: split(graph, rules) for name, graph in folded.items()}
    used = Counter(kernel for kernels in parts.values() for kernel in kernels)
    alone = dict(used)
    if samples is not None and samples < len(used):
        weights = {kernel: count * rough_us(kernel) for kernel, count in used.items()}
        alone = {kernel: used[kernel] for kernel in designed_kernels(weights, samples, seed=seed)}
    only_shown = {kernel_id(kernel) for kernel in used if kernel not in alone}
    if vocabulary:
        for kernel in vocabulary_kernels(precision=precision):
            alone.setdefault(kernel, 1)
    shown = {
        network_id(name): frozenset(map(kernel_id, kernels)) if listed else frozenset[str]()
        for name, kernels in parts.items()
    }
    uses = {kernel_id(kernel): count for kernel, count in alone.items()}
    uses |= {name: 1 + len(ids & only_shown) for name, ids in shown.items()}
    jobs = [
        CampaignJob(kernel_id(kernel), kernel.type, "kernel", kernel.graph, kernel_effort)
        for kernel in alone
    ]
    jobs += _probes(precision)
    jobs += [
        CampaignJob(network_id(name), name, "network", graph, network_effort, profile=listed)
        for name, graph in folded.items()
    ]
    return Workload(
        jobs=tuple(jobs),
        uses={job.id: uses.get(job.id, 1) for job in jobs},
        used=tuple(
            KernelUse(kernel_id(kernel), count, count_graph(kernel.graph).madds)
            for kernel, count in used.items()
        ),
        shown=shown,
    )


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
    counts = Counter(map(fold, blocks))
    jobs = [
        CampaignJob(f"block:{graph.to_text()}", _block_name(graph), "block", graph, block_effort)
        for graph in counts
    ]
    used = tuple(
        KernelUse(job.id, count, count_graph(graph).madds)
        for job, (graph, count) in zip(jobs, counts.items(), strict=True)
    )
    uses = {use.job_id: use.uses for use in used}
    jobs += _probes("fp32")
    jobs += [
        CampaignJob(network_id(name), name, "network", fold(graph), network_effort)
        for name, graph in networks.items()
    ]
    return Workload(tuple(jobs), {job.id: uses.get(job.id, 1) for job in jobs}, used, shown={})


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

"""What is measured for a space or for models: networks, kernels or blocks, and the plan of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from latlas.targets import DeviceChoice

if TYPE_CHECKING:
    from latlas.profiler.graph import Graph
    from latlas.profiler.kernel import FusionRules
    from latlas.profiler.measurement import Measurement
    from latlas.profiler.plan import Plan, PlannedJob
    from latlas.profiler.target import Delegate
    from latlas.profiler.workload import Workload
    from latlas.search.spaces import Space

MIN_NETWORKS = 30
"""Whole networks of a space that are measured: a calibration needs them."""

GENERAL = "general"
"""The space of no search: random networks of every family, for a table that serves any model."""

GENERAL_NETWORKS = 60

MOST_KERNELS = 2000
"""Kernels of a space's networks, or of a user's models, that are measured alone."""

LISTED_SAMPLES, UNLISTED_SAMPLES = 100, 600
"""Kernels of general networks that are measured alone, where networks show the others too, and
where they do not."""


def space_networks(space: Space, networks: int, seed: int) -> dict[str, Graph]:
    """Return random networks of a space that together hold each of its choices."""
    from latlas.search.cover import covering_genes
    from latlas.search.spaces import label_of

    # Whole rounds: every choice of every gene is then in equally many networks.
    most = max(space.choices)
    rounds = -(-networks // most) * most
    genes = dict.fromkeys(covering_genes(space.choices, rounds, seed))  # few repeat in small spaces
    label = label_of(space)
    return {f"{label}-{seed}-{i:03d}": space.decode(each) for i, each in enumerate(genes)}


def make_workload(
    networks: dict[str, Graph],
    delegate: str,
    runs: int,
    min_ms: float,
    listed: bool | None = None,
    precision: str = "fp32",
    samples: int | None = None,
    seed: int = 0,
    rules: FusionRules | None = None,
    *,
    vocabulary: bool = True,
) -> Workload:
    """Return what to measure for networks, each kernel `runs` times and for `min_ms` at least.

    With the `precision` ``int8``, networks of float32 are quantised. `listed` says whether the
    target lists operators, None for what is usual on the delegate; `samples` is how many of the
    networks' kernels are measured alone at most, None for all, and `seed` decides which. `rules`
    split the networks instead of the delegate's own; `vocabulary` adds kernels of every type.
    """
    from latlas.profiler.runner import Effort
    from latlas.profiler.workload import workload

    return workload(
        networks,
        "gpu" if delegate == "gpu" else "cpu",
        rules=rules,
        precision=precision,
        vocabulary=vocabulary,
        samples=samples,
        seed=seed,
        listed=listed,
        kernel_effort=Effort(min_runs=runs, min_ms=min_ms),
        network_effort=Effort(min_runs=runs, min_ms=5 * min_ms, warmup_ms=20.0),
    )


def load_rules(path: Path, choice: DeviceChoice) -> FusionRules:
    """Return the fusion rules of a file.

    Raises:
        UsageError: it is no rule file, or its rules are not those of what is chosen.
    """
    from latlas.profiler.errors import UsageError
    from latlas.profiler.fusion import rules_file
    from latlas.profiler.fusion.detected import INT8

    found = rules_file.load(path)
    if set(choice.delegates) != {found.target.delegate}:
        raise UsageError(
            f"{path} holds the rules of {found.target}, not of --delegate "
            f"{','.join(choice.delegates)}: give --delegate {found.target.delegate}, and profile "
            "other delegates by a command of their own"
        )
    if choice.precision == "int8":
        raise UsageError(f"{path}: {INT8}")
    return found.rules


def space_blocks(space: Space) -> list[Graph]:
    """Return every choice of every block of a space.

    Raises:
        UsageError: its networks are no chains of blocks, or there are too many blocks.
    """
    from latlas.predictor.blocks import blocks_of, count_blocks
    from latlas.predictor.genes import MAX_TUPLES, BlockSpace
    from latlas.profiler.errors import UsageError

    if not isinstance(space, BlockSpace):
        raise UsageError(
            f"--granularity block: the networks of {space.name} are no chains of blocks; measure "
            "its kernels (--granularity kernel)"
        )
    count = count_blocks(space)
    if count > MAX_TUPLES:
        raise UsageError(
            f"--granularity block: {space.name} has {count:,} blocks, more than {MAX_TUPLES:,}; "
            "measure its kernels (--granularity kernel)"
        )
    return [block for _, _, block in blocks_of(space) if block.nodes]


def make_block_workload(
    blocks: Sequence[Graph], networks: dict[str, Graph], runs: int, min_ms: float
) -> Workload:
    """Return what to measure for blocks and networks, for as long as `make_workload` says."""
    from latlas.profiler.runner import Effort
    from latlas.profiler.workload import block_workload

    return block_workload(
        blocks,
        networks,
        block_effort=Effort(min_runs=runs, min_ms=min_ms),
        network_effort=Effort(min_runs=runs, min_ms=5 * min_ms, warmup_ms=20.0),
    )


def plan_of(
    work: Workload, delegate: Delegate, budget_s: float | None, known: Sequence[Measurement] = ()
) -> tuple[Plan, tuple[PlannedJob, ...]]:
    """Return the plan of a workload, cut to a budget, and what the budget leaves out.

    Args:
        work: what would be measured.
        delegate: on what.
        budget_s: seconds, or None.
        known: what the table holds already: it is not planned again, and says what jobs cost.
    """
    from latlas.predictor.calibration import MIN_NETWORKS as CALIBRATION_NETWORKS
    from latlas.profiler.plan import CostModel, fit_budget, make_plan

    done = {measurement.id for measurement in known}
    whole = make_plan(
        [(job, float(work.uses[job.id])) for job in work.jobs if job.id not in done],
        CostModel.learn(delegate, known),
    )
    if budget_s is None:
        return whole, ()
    return fit_budget(whole, budget_s, min_networks=CALIBRATION_NETWORKS)

"""Profiling in rounds: a start, then again and again what the predictor is least sure of.

Where the target lists operators, whole networks are chosen, elsewhere kernels. A part of the
networks is set aside: no predictor is fitted on them, and after every round they show how far it
is off. Nothing is kept but the table, from which interrupted rounds go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latlas.campaigns import Measure
    from latlas.predictor.active import Candidate
    from latlas.profiler.jobs import CampaignJob
    from latlas.profiler.kernel import FusionRules, Kernel
    from latlas.profiler.workload import Workload

POOL = 3
"""Networks of a space that are drawn for every one that is measured: there must be a choice."""

HELD_OUT = 4
"""Every so many networks, one is set aside."""

FEWEST_NETWORKS = 8
"""Networks of the start at least: a calibration needs some, and one may be disturbed."""


@dataclass(frozen=True)
class RoundsPlan:
    """What is measured at the start, and what is chosen from afterwards.

    Attributes:
        start: what is measured first, networks set aside included.
        candidates: jobs that the rounds choose from; some are in the start.
        held_out: names of the networks that are set aside.
        most: candidates that are measured at most.
        first: candidates in the start.
        batch: candidates of a round.
        uses: how often the networks that are not set aside run a kernel.
        rules: that split networks into kernels.
    """

    start: Workload
    candidates: tuple[CampaignJob, ...]
    held_out: frozenset[str]
    most: int
    first: int
    batch: int
    uses: Mapping[Kernel, int]
    rules: FusionRules

    @property
    def unit(self) -> str:
        """Unit of the candidates: ``network`` or ``kernel``."""
        return self.candidates[0].unit


def plan_rounds(
    work: Workload,
    rounds: int,
    rules: FusionRules,
    *,
    networks: int,
    samples: int | None,
    listed: bool,
    seed: int,
) -> RoundsPlan:
    """Plan rounds.

    Args:
        work: all that may be measured; where operators are not listed, every distinct kernel.
        rounds: how many there are at most.
        rules: of the target.
        networks: whole networks that are measured at most, those set aside included.
        samples: kernels of the networks that are measured alone at most; None is no limit. It
            counts only where operators are not listed.
        listed: whether the target lists operators.
        seed: of the designed sample that the rounds start from.

    Raises:
        UsageError: there are too few networks.
    """
    from latlas.profiler.errors import UsageError
    from latlas.profiler.jobs import kernel_id
    from latlas.profiler.kernel import split

    whole = [job for job in work.jobs if job.unit == "network"]
    aside = whole[HELD_OUT - 1 : networks : HELD_OUT]
    least = FEWEST_NETWORKS * HELD_OUT // (HELD_OUT - 1)
    if min(networks, len(whole)) < least:
        raise UsageError(
            f"rounds need at least {least} networks, of which every {HELD_OUT}th is set aside, not "
            f"{min(networks, len(whole))}: give more (--networks, or more --models)"
        )
    held_out = frozenset(job.name for job in aside)
    others = [job for job in whole if job.name not in held_out]
    uses = Counter(kernel for job in others for kernel in split(job.graph, rules))
    if listed:
        candidates = others
        most = min(networks - len(aside), len(candidates))
        first = max(FEWEST_NETWORKS, most // (rounds + 1))
        chosen = {job.id for job in candidates[:first]}
    else:
        ids = set(map(kernel_id, uses))
        candidates = [job for job in work.jobs if job.id in ids]
        most = min(samples or len(candidates), len(candidates))
        first = most // (rounds + 1)
        chosen = _designed(candidates, uses, first, seed)
    later = {job.id for job in candidates} - chosen
    secret = {kernel for job in aside for kernel in split(job.graph, rules)} - set(uses)
    later |= set(map(kernel_id, secret))
    start = replace(work, jobs=tuple(job for job in work.jobs if job.id not in later))
    batch = max(1, -(-(most - first) // rounds))
    return RoundsPlan(start, tuple(candidates), held_out, most, first, batch, uses, rules)


def _designed(
    candidates: Sequence[CampaignJob], uses: Mapping[Kernel, int], count: int, seed: int
) -> set[str]:
    from latlas.profiler.kernel import Kernel
    from latlas.profiler.sampler import designed_kernels, rough_us

    jobs = {Kernel.of(job.graph): job for job in candidates}
    weights = {kernel: uses[kernel] * rough_us(kernel) for kernel in jobs}
    return {jobs[kernel].id for kernel in designed_kernels(weights, count, seed=seed)}


def run_rounds(
    plan: RoundsPlan, folder: Path, measure: Measure, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measure round by round into a table that holds the start.

    Args:
        plan: what can be measured.
        folder: of the table.
        measure: measures jobs into the table.
        say: prints what a round found.

    Returns:
        For every round, as plain dictionaries, the candidates measured before it, the error, the
        ids chosen, and why it was the last.
    """
    from latlas.predictor.active import active_rounds
    from latlas.predictor.observations import observe
    from latlas.profiler.table import Table

    jobs = {job.id: job for job in plan.candidates}
    complete = True

    def measure_chosen(chosen: Sequence[Candidate]) -> None:
        nonlocal complete
        complete = measure([jobs[candidate.id] for candidate in chosen])

    # Where operators are not listed, only the whole can be off.
    parts = "kernels of " if plan.unit == "network" else ""
    found = []
    for number, each in enumerate(
        active_rounds(
            lambda: observe(Table.open(folder)),
            measure_chosen,
            candidates_of(plan),
            plan.held_out,
            plan.uses,
            first=plan.first,
            batch=plan.batch,
            most=plan.most,
        )
    ):
        found.append(
            {
                "measured": each.measured,
                "error": each.error,
                "chosen": list(each.chosen),
                "why_last": each.why_last,
            }
        )
        what = each.why_last or f"measuring {len(each.chosen)} more"
        say(
            f"round {number}: {each.measured} {plan.unit}s measured, {parts}"
            f"{len(plan.held_out)} networks set aside off by {each.error:.1%}: {what}"
        )
        if not complete:
            break
    return found


def candidates_of(plan: RoundsPlan) -> list[Candidate]:
    """Return what the rounds choose from, with the kernels that it would show."""
    from latlas.predictor.active import Candidate
    from latlas.profiler.kernel import Kernel, split

    if plan.unit == "kernel":
        return [Candidate(job.id, (Kernel.of(job.graph),)) for job in plan.candidates]
    return [Candidate(job.id, split(job.graph, plan.rules)) for job in plan.candidates]

"""``latlas profile``: measure the kernels of a search space or of models into a latency table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latlas.console import (
    FOLDER,
    device_options,
    emit,
    input_shapes_option,
    json_option,
    load_models,
    open_runner,
    parse_duration,
    say,
    table,
)

if TYPE_CHECKING:
    from latlas.profiler.campaign import CampaignReport
    from latlas.profiler.graph import Graph
    from latlas.profiler.jobs import CampaignJob
    from latlas.profiler.measurement import Measurement
    from latlas.profiler.plan import Plan, PlannedJob
    from latlas.profiler.runner import Runner
    from latlas.profiler.target import Delegate
    from latlas.profiler.workload import Workload

MIN_NETWORKS = 30
"""Whole networks of a space that are measured: a calibration needs them."""


def space_networks(space: str, resolution: int, networks: int, seed: int) -> dict[str, Graph]:
    """Return random networks of a space that together hold each of its choices.

    Raises:
        UsageError: there is no such space.
    """
    from latlas.search.cover import covering_genes
    from latlas.search.spaces import open_space

    opened = open_space(space, resolution=resolution)
    # Whole rounds: every choice of every gene is then in equally many networks.
    most = max(opened.choices)
    rounds = -(-networks // most) * most
    genes = covering_genes(opened.choices, rounds, seed)
    return {f"{space}-{seed}-{i:03d}": opened.decode(each) for i, each in enumerate(genes)}


def make_workload(networks: dict[str, Graph], delegate: str, runs: int, min_ms: float) -> Workload:
    """Return what to measure for networks, each kernel `runs` times and for `min_ms` at least."""
    from latlas.profiler.runner import Effort
    from latlas.profiler.workload import workload

    return workload(
        networks,
        "gpu" if delegate == "gpu" else "cpu",
        kernel_effort=Effort(min_runs=runs, min_ms=min_ms),
        network_effort=Effort(min_runs=runs, min_ms=5 * min_ms, warmup_ms=20.0),
    )


def measure(
    runner: Runner, folder: Path, jobs: Sequence[CampaignJob], seed: int, budget_s: float | None
) -> tuple[CampaignReport, list[dict[str, Any]]]:
    """Run a campaign into a table, with its progress on stderr.

    Args:
        runner: runs the models.
        folder: of the table.
        jobs: what to measure.
        seed: of the order.
        budget_s: seconds after which it ends, since a plan is an estimate; None is no limit.

    Returns:
        The campaign's report, and the jobs that the table holds without a figure: id, verdict and
        reason.
    """
    from latlas.profiler.campaign import Campaign, CampaignSettings
    from latlas.profiler.table import Table

    settings = CampaignSettings(seed=seed, max_s=math.inf if budget_s is None else budget_s)
    report = Campaign(runner, folder, jobs, settings).run()
    ids = {job.id for job in jobs}
    failed = [
        {"id": m.id, "verdict": m.verdict, "reason": m.reason}
        for m in Table.open(folder).measurements
        if m.summary is None and m.id in ids
    ]
    return report, failed


def make_plan(
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
    from latlas.profiler import plan as planning

    done = {measurement.id for measurement in known}
    whole = planning.make_plan(
        [(job, float(work.uses[job.id])) for job in work.jobs if job.id not in done],
        planning.CostModel.learn(delegate, known),
    )
    if budget_s is None:
        return whole, ()
    return planning.fit_budget(whole, budget_s, min_networks=CALIBRATION_NETWORKS)


@click.command("profile")
@click.option("--space", help="Search space whose kernels are measured, e.g. moga.")
@click.option(
    "--models",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A .tflite file or a folder of them: every distinct kernel in them is measured.",
)
@device_options
@click.option("--table", "folder", type=FOLDER, help="The latency table, created or extended.")
@click.option(
    "--plan", "only_plan", is_flag=True, help="Show what would be measured; measure nothing."
)
@click.option("--budget", help="Measure the most useful part that fits, e.g. 30m.")
@click.option(
    "--networks",
    type=click.IntRange(0, 10_000),
    default=MIN_NETWORKS,
    show_default=True,
    help="Whole networks of the space to measure, rounded up to whole rounds.",
)
@click.option(
    "--resolution",
    type=click.IntRange(1, 4096),
    default=224,
    show_default=True,
    help="Height and width of the input of the space's networks.",
)
@click.option(
    "--runs",
    type=click.IntRange(1, 100_000),
    default=20,
    show_default=True,
    help="Timed runs of a model at least.",
)
@click.option(
    "--min-ms",
    type=click.FloatRange(0, 1e5),
    default=20.0,
    show_default=True,
    help="Milliseconds of timed runs of a kernel at least; networks take five times it.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@input_shapes_option
@json_option
def main(
    space: str | None,
    models: tuple[Path, ...],
    device: str,
    delegate: str,
    threads: int,
    cores: str,
    folder: Path | None,
    only_plan: bool,
    budget: str | None,
    networks: int,
    resolution: int,
    runs: int,
    min_ms: float,
    seed: int,
    input_shape: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure kernels and whole networks into a latency table.

    An interrupted campaign goes on where it was when the same command is given again.
    """
    from latlas.profiler.errors import UsageError

    if space is None and not models:
        raise UsageError("say what to measure: --space moga, --models FOLDER, or both")
    if folder is None and not only_plan:
        raise UsageError("say where the figures go: --table tables/NAME (or --plan to see a plan)")
    graphs: dict[str, Graph] = {}
    if space is not None:
        graphs |= space_networks(space, resolution, networks, seed)
    graphs |= load_models(models, input_shape)
    work = make_workload(graphs, delegate, runs, min_ms)
    budget_s = parse_duration(budget) if budget else None
    known = _known(folder)
    plan, left_out = make_plan(work, "gpu" if delegate == "gpu" else "cpu", budget_s, known)
    document = _describe(work, plan, left_out, known)
    if only_plan:
        emit({"plan": document}, as_json, _plan_text(document))
        return
    assert folder is not None
    say(_plan_text(document))
    with open_runner(device, delegate, threads, cores) as runner:
        say(f"target: {runner.target}")
        # Jobs that the table holds are skipped there, and counted.
        wanted = {job.id for job in plan.campaign_jobs} | {m.id for m in known}
        jobs = [job for job in work.jobs if job.id in wanted]
        report, failed = measure(runner, folder, jobs, seed, budget_s)
        result = {
            "table": str(folder),
            "target": runner.target.to_json(),
            "plan": document,
            "report": report_document(report),
            "failed": failed,
        }
    emit(result, as_json, "\n".join([report_text(folder, report), *_failed_text(failed)]))
    if report.interrupted:
        raise KeyboardInterrupt


def report_document(report: CampaignReport) -> dict[str, Any]:
    """Return a campaign's report as a plain dictionary."""
    from dataclasses import asdict

    ratio = report.overhead_ratio
    return asdict(report) | {"overhead_ratio": ratio if ratio < float("inf") else None}


def report_text(
    folder: Path, report: CampaignReport, left: str = "give the same command again to go on"
) -> str:
    """Return a campaign's report for people; `left` says what becomes of jobs that are left."""
    lines = [
        f"{folder}: {report.measured} measured, {report.skipped} there already, "
        f"{report.failed} failed, in {report.wall_s:.1f} s"
    ]
    if report.noisy or report.throttled:
        lines.append(
            f"{report.noisy} stayed noisy and {report.throttled} throttled: close other programs "
            "and profile into a new table for better figures"
        )
    if report.left:
        lines.append(f"{report.left} left: {left}")
    return "\n".join(lines)


def _known(folder: Path | None) -> Sequence[Measurement]:
    """Return what a table holds already, nothing where there is none yet."""
    from latlas.profiler.table import JOURNAL, Table

    if folder is None or not (folder / JOURNAL).exists():
        return ()
    return Table.open(folder).measurements


def _describe(
    work: Workload, plan: Plan, left_out: Sequence[PlannedJob], known: Sequence[Measurement]
) -> dict[str, Any]:
    from latlas.profiler.count import count
    from latlas.profiler.plan import KernelUse, coverage

    uses = [
        KernelUse(job.id, work.uses[job.id], count(job.graph).madds)
        for job in work.jobs
        if job.unit == "kernel" and job.id in work.used
    ]
    done = {measurement.id for measurement in known} & {job.id for job in work.jobs}
    covered = coverage(plan, uses, done)
    units: dict[str, int] = {}
    for planned in plan.jobs:
        units[planned.job.unit] = units.get(planned.job.unit, 0) + 1
    kinds: dict[str, int] = {}
    for planned in plan.jobs:
        if planned.job.unit == "kernel":
            kinds[planned.job.name] = kinds.get(planned.job.name, 0) + 1
    return {
        "measured": len(done),
        "jobs": units,
        "kernels": kinds,
        "minutes": plan.minutes,
        "storage_bytes": plan.storage_bytes,
        "coverage": {"by_count": covered.by_count, "by_madds": covered.by_madds},
        "left_out": [planned.job.id for planned in left_out],
    }


def _plan_text(document: dict[str, Any]) -> str:
    rows = sorted(document["kernels"].items(), key=lambda item: (-item[1], item[0]))
    lines = [
        table(("kernel type", "kernels"), rows),
        "",
        (
            ", ".join(f"{count} {unit}s" for unit, count in document["jobs"].items())
            or "nothing left"
        )
        + (f", beside {document['measured']} there already" if document["measured"] else "")
        + f": about {document['minutes']:.1f} device minutes, "
        f"{document['storage_bytes'] / 1e6:.1f} MB",
        f"covers {document['coverage']['by_count']:.1%} of the networks' kernel runs and "
        f"{document['coverage']['by_madds']:.1%} of their multiply-adds",
    ]
    if document["left_out"]:
        lines.append(f"left out by the budget: {len(document['left_out'])} jobs")
        lines += _first(document["left_out"])
    return "\n".join(lines)


def _failed_text(failed: Sequence[dict[str, Any]]) -> list[str]:
    lines = _first([f"{job['id']}: {job['reason']}" for job in failed])
    return ["could not be measured:", *lines] if lines else []


def _first(items: Sequence[str], most: int = 10) -> list[str]:
    """Return the first items, indented, and how many more there are."""
    more = [f"  … and {len(items) - most} more (--json lists them)"] if len(items) > most else []
    return [*(f"  {item}" for item in items[:most]), *more]

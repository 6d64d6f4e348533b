"""``latlas profile``: measure the kernels of a search space or of models into a latency table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latlas.campaigns import (
    Order,
    Outcome,
    Planned,
    before,
    known_measurements,
    report_text,
    run_campaigns,
)
from latlas.console import (
    FILE,
    FOLDER,
    chosen_space,
    emit,
    input_shapes_option,
    json_option,
    load_models,
    parse_duration,
    say,
    space_options,
    table,
    warmup_option,
)
from latlas.targets import DeviceChoice, devices_options
from latlas.workloads import (
    GENERAL,
    GENERAL_NETWORKS,
    LISTED_SAMPLES,
    MIN_NETWORKS,
    MOST_KERNELS,
    UNLISTED_SAMPLES,
    load_rules,
    make_block_workload,
    make_workload,
    plan_of,
    space_blocks,
    space_networks,
)

if TYPE_CHECKING:
    from latlas.campaigns import Measure
    from latlas.profiler.campaign import CampaignReport
    from latlas.profiler.graph import Graph
    from latlas.profiler.measurement import Measurement
    from latlas.profiler.plan import Plan, PlannedJob
    from latlas.profiler.runner import Runner
    from latlas.profiler.target import Delegate
    from latlas.profiler.workload import Workload
    from latlas.rounds import RoundsPlan
    from latlas.search.spaces import Space


@click.command("profile")
@click.option(
    "--space",
    help="Search space whose kernels are measured: moga, fairnas, mnasnet, nasnet, toml:FILE or "
    "MODULE:NAME; `general` for random networks of every family, which make a table that serves "
    "any model.",
)
@click.option(
    "--models",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A model (.tflite, .keras, .onnx, .pt2, SavedModel) or a folder of them, whose kernels "
    "are measured.",
)
@click.option(
    "--samples",
    type=click.IntRange(1, 1_000_000),
    help="Kernels that are measured alone at most: every distinct one, or a designed sample where "
    f"there are more. [default: {MOST_KERNELS}; of --space general {LISTED_SAMPLES}, or "
    f"{UNLISTED_SAMPLES} where the target does not list operators]",
)
@click.option(
    "--vocabulary/--no-vocabulary",
    default=True,
    show_default=True,
    help="Measure a few kernels of every type beside those of the networks, so that a predictor "
    "knows something about others, too.",
)
@devices_options
@click.option("--table", "folder", type=FOLDER, help="The latency table, created or extended.")
@click.option(
    "--plan", "only_plan", is_flag=True, help="Show what would be measured; measure nothing."
)
@click.option(
    "--budget",
    metavar="30m",
    help="Measure the most useful part that fits into so much time, for each table; finding the "
    "warm-up of a phone comes on top.",
)
@click.option(
    "--patience",
    metavar="2m",
    help="How long a device that is slower than it was, or unsteady, is waited for, all rests "
    "together; by default 2m. What is measured on one all the same is called throttled or noisy.",
)
@click.option(
    "--granularity",
    type=click.Choice(["kernel", "block"]),
    default="kernel",
    show_default=True,
    help="block: measure every choice of every layer of the space as one unit, not its kernels.",
)
@click.option(
    "--networks",
    type=click.IntRange(0, 10_000),
    help="Whole networks of the space to measure, rounded up to whole rounds; by default "
    f"{MIN_NETWORKS}, of general ones {GENERAL_NETWORKS}.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 1000),
    help="Measure in so many rounds at most what a predictor is least sure of: networks where the "
    "target lists operators, kernels elsewhere. A part of the networks is set aside and shows how "
    "far predictions are off; the rounds end when that no longer falls.",
)
@click.option(
    "--resolution",
    type=click.IntRange(1, 4096),
    help="Height and width of the input of the space's networks, by default 224; general ones "
    "have their own.",
)
@space_options
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
@warmup_option
@click.option(
    "--fusion-rules",
    "rules_file",
    type=FILE,
    help="Split networks by this file of `latlas fusion detect`, not by the delegate's own rules.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@input_shapes_option
@json_option
def main(
    space: str | None,
    models: tuple[Path, ...],
    samples: int | None,
    vocabulary: bool,
    choice: DeviceChoice,
    folder: Path | None,
    only_plan: bool,
    budget: str | None,
    patience: str | None,
    granularity: str,
    networks: int | None,
    rounds: int | None,
    resolution: int | None,
    width: float | None,
    classes: int | None,
    settings: tuple[str, ...],
    runs: int,
    min_ms: float,
    warmup_ms: float | None,
    rules_file: Path | None,
    seed: int,
    input_shape: tuple[str, ...],
    as_json: bool,
) -> int:
    """Measure kernels and whole networks into a latency table.

    Where the target lists operators, a whole network shows what its kernels cost in context, and
    few need to be measured alone. With several targets (--delegate cpu,gpu, a phone's clusters,
    several phones) each gets a table of its own in the folder. An interrupted campaign goes on
    where it was when the same command is given again.

    \b
    latlas profile --space moga --table tables/here-cpu
    latlas profile --models my_models/ --table tables/mine
    latlas profile --device SERIAL --delegate cpu,gpu --space moga --table tables/pixel8
    """
    from latlas.profiler.errors import UsageError
    from latlas.profiler.fusion import rules_for
    from latlas.profiler.samples.networks import designed_networks
    from latlas.rounds import POOL, plan_rounds, run_rounds

    if space is None and not models:
        raise UsageError(
            "say what to measure: --space general for any model, --space moga, --models FOLDER, "
            "or a space and models"
        )
    sized = resolution is not None or width is not None or classes is not None or bool(settings)
    if sized and space in (None, GENERAL):
        raise UsageError(
            "--resolution, --width, --classes and --set are for the networks of a search space: "
            f"{'models' if space is None else 'those of --space general'} have sizes of their own"
        )
    if folder is None and not only_plan:
        raise UsageError("say where the figures go: --table tables/NAME (or --plan to see a plan)")
    if granularity == "block" and (space is None or models):
        raise UsageError("--granularity block measures a space: give --space and no --models")
    if granularity == "block" and choice.precision == "int8":
        raise UsageError("--granularity block is for float networks: measure int8 kernels instead")
    if granularity == "block" and rounds is not None:
        raise UsageError("--rounds chooses kernels or networks: leave --granularity block away")
    if granularity == "block" and not vocabulary:
        raise UsageError("--no-vocabulary leaves kernels away, and blocks come without any")
    if granularity == "block" and rules_file is not None:
        raise UsageError("--fusion-rules split kernels: leave --granularity block away")
    opened: Space | None = None
    if space is not None and space != GENERAL:
        opened = chosen_space(space, resolution, width, classes, settings)
    if opened is None and granularity == "block":
        raise UsageError("--granularity block: the networks of general are no chains of blocks")
    blocks = space_blocks(opened) if opened is not None and granularity == "block" else None
    usual = GENERAL_NETWORKS if space == GENERAL else MIN_NETWORKS
    wanted = usual if networks is None else networks
    drawn: dict[str, Graph] = {}
    if space is not None:
        count = POOL * wanted if rounds else wanted
        drawn = (
            designed_networks(count, seed, int8=choice.precision == "int8")
            if opened is None
            else space_networks(opened, count, seed)
        )
    loaded = load_models(models, input_shape)
    if rounds and space is None:
        wanted = len(loaded)
    choice = choice.fitted(drawn.values() if space is not None else loaded.values())
    budget_s = parse_duration(budget) if budget else None
    patience_s = parse_duration(patience) if patience else None
    detected = None if rules_file is None else load_rules(rules_file, choice)

    def lists(delegate: Delegate, listed: bool | None) -> bool:
        if detected is not None:
            return False  # they do not say which listed times are a kernel's
        return delegate == "cpu" if listed is None else listed

    def most(delegate: Delegate, listed: bool | None) -> int | None:
        if samples is not None:
            return samples
        if space != GENERAL:
            return MOST_KERNELS
        return LISTED_SAMPLES if lists(delegate, listed) else UNLISTED_SAMPLES

    def in_rounds(delegate: Delegate, listed: bool | None, adapter: str = "") -> RoundsPlan:
        # Networks are chosen where they show their kernels: only there, more are drawn than asked.
        own = loaded | (drawn if lists(delegate, listed) else dict(islice(drawn.items(), wanted)))
        alone = most(delegate, listed) if lists(delegate, listed) else None
        work = make_workload(
            *(own, delegate, runs, min_ms, lists(delegate, listed), choice.precision, alone, seed),
            rules=detected,
            vocabulary=vocabulary,
        )
        return plan_rounds(
            work,
            rounds or 1,
            detected or rules_for(delegate, adapter),
            networks=wanted,
            samples=most(delegate, listed),
            listed=lists(delegate, listed),
            seed=seed,
        )

    def plan(delegate: Delegate, known: Sequence[Measurement], listed: bool | None) -> Planned:
        if rounds:
            work = in_rounds(delegate, listed).start
        elif blocks is not None:
            work = make_block_workload(blocks, drawn, runs, min_ms)
        else:
            work = make_workload(
                *(drawn | loaded, delegate, runs, min_ms, lists(delegate, listed)),
                *(choice.precision, most(delegate, listed), seed, detected),
                vocabulary=vocabulary,
            )
        chosen, left_out = plan_of(work, delegate, budget_s, known)
        document = _describe(work, chosen, left_out, known)
        # What the table holds already is skipped there, and counted.
        taken = {job.id for job in chosen.campaign_jobs} | {m.id for m in known}
        jobs = [job for job in work.jobs if job.id in taken]
        text = _plan_text(document)
        if rounds:
            document["rounds"] = _describe_rounds(in_rounds(delegate, listed), rounds, delegate)
            text += "\n" + _rounds_text(document["rounds"])
        return Planned(jobs, document, text)

    def go_on(
        runner: Runner, folder: Path, measure: Measure, tell: Callable[[str], None]
    ) -> list[Any]:
        target = runner.target
        chosen = in_rounds(target.delegate, runner.lists_operators, target.adapter)
        return run_rounds(chosen, folder, measure, tell)

    if only_plan:
        plans = {}
        for target in before(choice, folder):
            if target.folder is None and folder is not None and folder.exists():
                say(
                    f"{target.name}: which table in {folder} it has is not known until "
                    f"{choice.device} is asked: planned as for a new one"
                )
            known = known_measurements(target.folder)
            plans[target.name] = plan(target.delegate, known, _listed(known))
        documents = {name: planned.document for name, planned in plans.items()}
        (first, *others) = documents.values()
        text = "\n\n".join(
            f"{name}:\n{planned.text}" if others else planned.text
            for name, planned in plans.items()
        )
        emit({"plans": documents} if others else {"plan": first}, as_json, text)
        return 0
    assert folder is not None
    order = Order(
        lambda runner, known: plan(runner.target.delegate, known, runner.lists_operators),
        seed,
        budget_s,
        warmup_ms,
        patience_s,
        detected.version if detected else None,
        go_on if rounds else None,
    )
    outcomes, interrupted = run_campaigns(choice, folder, order)
    return conclude(outcomes, interrupted, budget is not None, as_json)


def _listed(known: Sequence[Measurement]) -> bool | None:
    """Return whether a table's target lists operators; None where it holds no network."""
    found = [bool(m.ops) for m in known if m.unit == "network" and m.summary is not None]
    return any(found) if found else None


def _why_left(report: CampaignReport, budgeted: bool) -> str:
    again = "give the same command again to go on"
    return f"the budget is used up, {again}" if budgeted and not report.interrupted else again


def conclude(outcomes: Sequence[Outcome], interrupted: bool, budgeted: bool, as_json: bool) -> int:
    """Print what became of the campaigns; return the exit code."""
    from latlas.profiler.errors import LatlasError

    if len(outcomes) == 1 and outcomes[0].error is not None and outcomes[0].report is None:
        raise outcomes[0].error
    text = []
    for outcome in outcomes:
        if outcome.report is not None:
            text.append(
                report_text(outcome.folder, outcome.report, _why_left(outcome.report, budgeted))
            )
            text += _failed_text(outcome.document["failed"])
        if outcome.error is not None:
            what = " ".join(filter(None, (outcome.device, outcome.name)))
            text.append(f"{what}: failed: {outcome.error}")
    documents = [outcome.to_json() for outcome in outcomes]
    emit(
        documents[0] if len(documents) == 1 else {"campaigns": documents}, as_json, "\n".join(text)
    )
    if interrupted:
        raise KeyboardInterrupt
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    for error in errors:
        if not isinstance(error, LatlasError | OSError):
            raise error  # a mistake of latlas: its traceback is wanted
    return 1 if errors else 0


def _describe(
    work: Workload, plan: Plan, left_out: Sequence[PlannedJob], known: Sequence[Measurement]
) -> dict[str, Any]:
    from latlas.profiler.plan import coverage

    done = {measurement.id for measurement in known} & {job.id for job in work.jobs}
    whole = done | {planned.job.id for planned in plan.jobs}
    shown = [ids for name, ids in work.shown.items() if name in whole]
    covered = coverage(plan, work.used, done.union(*shown))
    units: dict[str, int] = {}
    for planned in plan.jobs:
        units[planned.job.unit] = units.get(planned.job.unit, 0) + 1
    kinds: dict[str, int] = {}
    for planned in plan.jobs:
        if planned.job.unit in ("kernel", "block"):
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
    header = ("block", "choices") if "block" in document["jobs"] else ("kernel type", "kernels")
    lines = [
        table(header, rows),
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


def _describe_rounds(plan: RoundsPlan, rounds: int, delegate: Delegate) -> dict[str, Any]:
    from latlas.profiler import plan as planning

    started = {job.id for job in plan.start.jobs}
    later = [job for job in plan.candidates if job.id not in started]
    more = min(plan.most - (len(plan.candidates) - len(later)), len(later))
    costs = planning.make_plan([(job, 1.0) for job in later], planning.CostModel.learn(delegate))
    return {
        "rounds": rounds,
        "unit": plan.unit,
        "batch": plan.batch,
        "more": more,
        "candidates": len(later),
        "held_out": len(plan.held_out),
        "minutes": costs.minutes * more / max(len(later), 1),
    }


def _rounds_text(document: dict[str, Any]) -> str:
    return (
        f"then up to {document['rounds']} rounds of {document['batch']} {document['unit']}s, at "
        f"most {document['more']} of {document['candidates']}: about {document['minutes']:.1f} "
        f"minutes more; {document['held_out']} networks are set aside"
    )


def _failed_text(failed: Sequence[dict[str, Any]]) -> list[str]:
    lines = _first([f"{job['id']}: {job['reason']}" for job in failed])
    return ["could not be measured:", *lines] if lines else []


def _first(items: Sequence[str], most: int = 10) -> list[str]:
    """Return the first items, indented, and how many more there are."""
    more = [f"  … and {len(items) - most} more (--json lists them)"] if len(items) > most else []
    return [*(f"  {item}" for item in items[:most]), *more]

"""``latlas quickstart``: the whole path on this machine, in a few minutes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latlas.console import FOLDER, emit, json_option, say
from latlas.targets import DeviceChoice, open_local

if TYPE_CHECKING:
    from latlas.predictor.predictor import LatencyPredictor
    from latlas.profiler.target import Delegate


@dataclass(frozen=True)
class Scale:
    """How much of everything, so that the whole stays within five minutes on two cores.

    Attributes:
        resolution: of the networks whose latency counts.
        networks: whole networks to measure on the CPU and on a GPU, which compiles every kernel of
            every model first.
        runs: timed runs of a model at least, on the CPU and on a GPU.
        min_ms: milliseconds of timed runs of a kernel at least, on the CPU and on a GPU.
        max_s: seconds that a campaign may take, on the CPU and on a GPU; it then learns from what
            there is.
        patience_s: seconds that a campaign waits for a machine that is slower than it was.
        epochs: of the supernet; None means the default of
            `latlas.search.supernet_config.SupernetConfig`.
        evaluations: architectures that the search tries.
        population: architectures in a generation.
        verified: networks of the front to measure at most.
    """

    resolution: int = 224
    networks: tuple[int, int] = (30, 12)
    runs: tuple[int, int] = (20, 5)
    min_ms: tuple[float, float] = (20.0, 5.0)
    max_s: tuple[float, float] = (100.0, 45.0)
    patience_s: float = 15.0
    epochs: int | None = None
    evaluations: int = 240
    population: int = 30
    verified: int = 40


@click.command("quickstart")
@click.option("-o", "--output", type=FOLDER, default=Path("quickstart"), show_default=True)
@click.option("--gpu/--no-gpu", default=True, help="Measure the GPU too, where LiteRT finds one.")
@json_option
def main(output: Path, gpu: bool, as_json: bool) -> None:
    """Profile this machine, fit predictors, search MoGA's space, verify and show what was found.

    Takes up to five minutes on two cores. Interrupted, it goes on where it was.

    \b
    latlas quickstart
    """
    document, text = run(output, gpu, Scale())
    emit(document, as_json, text)


def run(output: Path, gpu: bool, scale: Scale) -> tuple[dict[str, Any], str]:
    """Walk the whole path in a folder, or what is left of it; return the result and its text.

    Raises:
        PredictorError: the CPU's table holds too little to learn from.
        TargetMismatchError: the folder holds figures of another target than this machine.
        KeyboardInterrupt: Ctrl-C; what was finished is kept.
    """
    from latlas.report.page import write_page
    from latlas.report.report import open_sources, report
    from latlas.search.accuracy import AccuracyChoice, open_supernet
    from latlas.search.latency import read_sources
    from latlas.search.nsga2 import WeightedNSGA2
    from latlas.search.objectives import DEFAULT_OBJECTIVES
    from latlas.search.spaces import MogaSpace
    from latlas.searching import Search, front_documents, front_text, run_search
    from latlas.verification import verify, verify_text

    began = time.monotonic()
    delegates: list[Delegate] = ["cpu", "gpu"] if gpu and _gpu() else ["cpu"]
    document: dict[str, Any] = {"predictors": {}}
    for delegate in delegates:
        document["predictors"][delegate] = _profile_and_fit(output, delegate, scale)

    _step("search: accuracy from a supernet on digits, latency from the CPU's table, parameters")
    space = MogaSpace(resolution=scale.resolution)
    accuracy = open_supernet(AccuracyChoice("supernet", space, output, epochs=scale.epochs))
    search = Search(
        space,
        WeightedNSGA2(space.choices, population=scale.population),
        read_sources([str(output / "cpu.latlas")]),
        accuracy,
        DEFAULT_OBJECTIVES,
        evaluations=scale.evaluations,
    )
    result = run_search(output / "study", search)
    found = front_documents(result, accuracy)
    say(front_text(found, result.oracle.standard_error))

    _step("verify: the networks of the front, measured on this machine")
    with open_local(DeviceChoice()) as runner:
        verified = verify(result.study, runner, scale.verified, scale.patience_s)

    _step("report: what the search found, and how steady the machine was")
    page = output / "report.html"
    title, sections = report(
        open_sources([output / "study", *(output / "tables" / each for each in delegates)])
    )
    write_page(page, title, sections)
    seconds = time.monotonic() - began
    document |= {
        "supernet": result.report,
        "front": found,
        "verify": verified,
        "report": str(page),
        "seconds": seconds,
    }
    text = "\n".join(
        [
            *result.report["text"],
            *("", verify_text(verified)),
            *("", f"report: {page} shows the study and the tables", f"took {seconds:.0f} s"),
        ]
    )
    return document, text


def _step(text: str) -> None:
    say(f"\n== {text}")


def _gpu() -> bool:
    from latlas.profiler.litert.local import probe_gpu

    probe = probe_gpu()
    if not probe.adapter:
        say("no GPU here that LiteRT can use (`latlas doctor` says what is missing): CPU only")
    return bool(probe.adapter)


def _profile_and_fit(output: Path, delegate: Delegate, scale: Scale) -> dict[str, Any]:
    """Measure the kernels of MoGA's space on a delegate of this machine and learn from them."""
    from latlas.campaigns import report_text
    from latlas.fitted import describe
    from latlas.predictor import file
    from latlas.predictor.fit import fit
    from latlas.predictor.observations import observe
    from latlas.profiler.campaign import Campaign, CampaignSettings
    from latlas.profiler.errors import PredictorError
    from latlas.profiler.table import Table
    from latlas.search.spaces import open_space
    from latlas.workloads import make_workload, plan_of, space_networks

    _step(f"profile: kernels and networks of MoGA's space on this machine's {delegate.upper()}")
    folder = output / "tables" / delegate
    path = output / f"{delegate}.latlas"
    which = 0 if delegate == "cpu" else 1
    space = open_space("moga", resolution=scale.resolution)
    networks = space_networks(space, scale.networks[which], seed=0)
    work = make_workload(networks, delegate, scale.runs[which], scale.min_ms[which])
    settings = CampaignSettings(patience_s=scale.patience_s, max_s=scale.max_s[which])
    # The most useful jobs that should fit, with networks among them; the clock has the last word.
    plan, _ = plan_of(work, "cpu" if which == 0 else "gpu", scale.max_s[which])
    with open_local(DeviceChoice(delegates=(delegate,))) as runner:
        say(f"target: {runner.target}")
        if path.exists():  # the study rests on this very predictor: another would begin it anew
            predictor = file.load(path, runner.target)
            say(f"{path} is there already; {_fit_text(predictor)}")
            return describe(predictor) | {"table": str(folder), "predictor": str(path)}
        report = Campaign(runner, folder, plan.campaign_jobs, settings).run()
        if report.interrupted:
            raise KeyboardInterrupt
    say(report_text(folder, report, left="the time was up, what is there has to do"))
    try:
        predictor = fit(observe(Table.open(folder)))
    except PredictorError as problem:
        if delegate == "cpu":
            raise
        say(f"no predictor for the GPU yet: {problem}")
        return {"table": str(folder), "problem": str(problem)}
    file.save(predictor, path)
    say(_fit_text(predictor))
    return describe(predictor) | {"table": str(folder), "predictor": str(path)}


def _fit_text(predictor: LatencyPredictor) -> str:
    calibration = predictor.calibration
    return (
        f"{len(predictor.table_us)} kernels; whole networks left out of the "
        f"calibration in turn are predicted with an error of {calibration.error:.1%} "
        f"({calibration.networks} networks)"
    )

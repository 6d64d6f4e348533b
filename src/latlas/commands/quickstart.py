"""``latlas quickstart``: the whole path on this machine, in a few minutes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latlas.console import FOLDER, emit, json_option, open_runner, say

if TYPE_CHECKING:
    from latlas.predictor.predictor import LatencyPredictor

CPU_MAX_S = 100.0
GPU_MAX_S = 45.0
"""Seconds that measuring kernels may take on each; what is left is left to `latlas profile`."""

EVALUATIONS = 240
POPULATION = 30
VERIFIED = 12


@click.command("quickstart")
@click.option("-o", "--output", type=FOLDER, default=Path("quickstart"), show_default=True)
@click.option("--gpu/--no-gpu", default=True, help="Measure the GPU too, where LiteRT finds one.")
@json_option
def main(output: Path, gpu: bool, as_json: bool) -> None:
    """Profile this machine, fit predictors, search MoGA's space and verify what was found.

    Takes up to five minutes on two cores. Interrupted, it goes on where it was.
    """
    from latlas.commands.search import (
        front_documents,
        front_text,
        latency_function,
        run_search,
        supernet_quality,
        train_supernet,
    )
    from latlas.commands.verify import verify, verify_text
    from latlas.search.spaces import open_space

    began = time.monotonic()
    delegates = ["cpu", *(["gpu"] if gpu and _gpu() else [])]
    document: dict[str, Any] = {"predictors": {}}
    for delegate in delegates:
        document["predictors"][delegate] = _profile_and_fit(output, delegate)

    _step("search: accuracy from a supernet on digits, latency from the CPU's table, parameters")
    space = open_space("moga")
    oracle = train_supernet(output / "supernet", "digits")
    quality = supernet_quality(oracle)
    for line in quality["text"]:
        say(line)
    latency_ms, identity = latency_function(str(output / "cpu.latlas"), space)
    study, front = run_search(
        output / "study",
        space,
        latency_ms,
        identity,
        oracle,
        evaluations=EVALUATIONS,
        population=POPULATION,
    )

    found = front_documents(front, oracle)
    say(front_text(found, oracle.standard_error))

    _step("verify: the networks of the front, measured on this machine")
    with open_runner("local", "cpu", 1, "") as runner:
        verified = verify(study, runner, VERIFIED, patience_s=15.0)
    seconds = time.monotonic() - began
    document |= {
        "supernet": quality,
        "front": found,
        "verify": verified,
        "seconds": seconds,
    }
    text = "\n".join([*quality["text"], "", verify_text(verified), f"took {seconds:.0f} s"])
    emit(document, as_json, text)


def _step(text: str) -> None:
    say(f"\n== {text}")


def _gpu() -> bool:
    from latlas.profiler.litert.local import probe_gpu

    probe = probe_gpu()
    if not probe.adapter:
        say("no GPU here that LiteRT can use (`latlas doctor` says what is missing): CPU only")
    return bool(probe.adapter)


def _profile_and_fit(output: Path, delegate: str) -> dict[str, Any]:
    """Measure the kernels of MoGA's space on a delegate of this machine and learn from them."""
    from latlas.commands.fit import describe
    from latlas.commands.profile import make_workload, report_text, space_networks
    from latlas.predictor import file
    from latlas.predictor.fit import fit
    from latlas.profiler.campaign import Campaign, CampaignSettings
    from latlas.profiler.errors import PredictorError
    from latlas.profiler.table import Table

    _step(f"profile: kernels and networks of MoGA's space on this machine's {delegate.upper()}")
    folder = output / "tables" / delegate
    path = output / f"{delegate}.latlas"
    if path.exists():  # the study rests on this very predictor: measuring more would begin it anew
        predictor = file.load(path)
        say(f"{path} is there already; {_fit_text(predictor)}")
        return describe(predictor) | {"table": str(folder), "predictor": str(path)}
    cpu = delegate == "cpu"
    # A GPU compiles every kernel of every model first, so there it is fewer models and runs.
    networks = space_networks("moga", 224, 30 if cpu else 12, seed=0)
    work = make_workload(networks, delegate, *((20, 20.0) if cpu else (5, 5.0)))
    settings = CampaignSettings(patience_s=15.0, max_s=CPU_MAX_S if cpu else GPU_MAX_S)
    with open_runner("local", delegate, 1, "") as runner:
        say(f"target: {runner.target}")
        report = Campaign(runner, folder, work.jobs, settings).run()
        if report.interrupted:
            raise KeyboardInterrupt
    say(report_text(folder, report))
    try:
        predictor = fit(Table.open(folder))
    except PredictorError as problem:
        if cpu:
            raise
        say(f"no predictor for the GPU yet: {problem}")
        return {"table": str(folder), "problem": str(problem)}
    file.save(predictor, path)
    say(_fit_text(predictor))
    return describe(predictor) | {"table": str(folder), "predictor": str(path)}


def _fit_text(predictor: LatencyPredictor) -> str:
    calibration = predictor.calibration
    return (
        f"{len(predictor.table_us)} kernels; whole networks left out in turn are predicted "
        f"with an error of {calibration.error:.1%} ({calibration.networks} networks)"
    )

"""``latlas verify``: measure the architectures that a search found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from latlas.console import FOLDER, emit, json_option, own_space_option
from latlas.studies import metric_of, target_of
from latlas.targets import LOCAL, DeviceChoice, open_runner, phone_options
from latlas.verification import verify, verify_text


@click.command("verify")
@click.argument("folder", metavar="STUDY", type=FOLDER)
@phone_options
@click.option(
    "--latency",
    "name",
    metavar="NAME",
    default="",
    help="Which latency to verify, in a study with several; the first if unset.",
)
@click.option(
    "--most",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Measure at most so many networks of the front, spread over its latencies.",
)
@own_space_option
@json_option
def main(folder: Path, choice: DeviceChoice, name: str, most: int, as_json: bool) -> None:
    """Measure the networks on the front of STUDY, and compare with their predicted latencies.

    Measured figures are kept in STUDY/verify, so that an interrupted run goes on where it was.

    \b
    latlas verify studies/first
    """
    from latlas.profiler.errors import UsageError
    from latlas.search.study import Study

    study = Study.open(folder)
    metric = metric_of(study, name)
    target = target_of(study, metric)
    if choice.device == LOCAL and "benchmark_model" in target.runtime:
        raise UsageError(
            f"the latencies of {folder} are for the phone {target.device} ({target}): name it "
            "with --device SERIAL"
        )
    choice = replace(
        choice,
        delegates=(target.delegate,),
        precision="int8" if target.precision == "int8" else "",
        threads=target.threads,
        cores=target.cores,
        fixed_performance=choice.fixed_performance or target.clocks == "fixed",
    )
    with open_runner(choice) as runner:
        document = verify(study, runner, most, metric=metric)
    emit(document, as_json, verify_text(document))

"""``latlas bench``: measure models on a device."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from latlas.console import (
    emit,
    input_shapes_option,
    json_option,
    model_files,
    parse_shapes,
    printable,
    say,
    table,
)
from latlas.targets import DeviceChoice, device_options, open_runner


@click.command("bench")
@click.argument("models", type=click.Path(path_type=Path), nargs=-1, required=True)
@device_options
@click.option("--ops", is_flag=True, help="List the time of every operator too.")
@click.option("--runs", type=click.IntRange(1, 1_000_000), default=20, show_default=True)
@click.option("--min-ms", type=click.FloatRange(0, 1e6), default=500.0, show_default=True)
@input_shapes_option
@json_option
def main(
    models: tuple[Path, ...],
    choice: DeviceChoice,
    ops: bool,
    runs: int,
    min_ms: float,
    input_shape: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure MODELS: median and spread of one inference, outputs read included.

    They are .tflite, .keras, .onnx or .pt2 files, SavedModels, or folders of them. A file is
    measured as it is, with --input-shape the same network written anew for that input.

    \b
    latlas bench model.tflite --ops
    latlas bench my_models/ --device SERIAL --cores 4-7
    """
    from latlas.profiler.errors import (
        NotDelegatedError,
        RunnerError,
        UnsupportedOpError,
    )
    from latlas.profiler.fold import fold
    from latlas.profiler.importers import read_model, tflite_bytes
    from latlas.profiler.runner import Effort, Job
    from latlas.profiler.statistics import summary_of
    from latlas.profiler.tflite.writer import to_tflite

    jobs = []
    quantised = set()
    shapes = parse_shapes(input_shape)
    for path in model_files(models):
        data = tflite_bytes(path)
        try:
            # What is no model, or open in its shapes, gets a better message here than there.
            graph = read_model(path, data, shapes)
        except UnsupportedOpError:
            if shapes is not None:
                raise
            # The runtime may know operators that latlas does not.
        else:
            if not graph.is_float:
                quantised.add(printable(path))
            if shapes is not None:
                data = to_tflite(fold(graph))
        # Long enough for the clock of a phone to rise.
        effort = Effort(min_runs=runs, min_ms=min_ms, max_ms=max(60_000.0, min_ms), warmup_ms=200.0)
        jobs.append(Job(printable(path), data, effort, profile=ops, memory=True))
    if quantised:  # a mixture is shown side by side, and told apart in every result
        int8 = replace(choice, precision="int8")
        choice = int8 if int8.int8 and len(quantised) == len(jobs) else choice
    documents: list[dict[str, Any]] = []
    with open_runner(choice) as runner:
        target = runner.target
        if ops and not runner.lists_operators:
            say(f"no operators are listed by {target.delegate}/{target.backend}")
        for result in runner.run(jobs):
            if result.kind != "ok":
                kind = NotDelegatedError if result.kind == "not_delegated" else RunnerError
                raise kind(f"{result.job_id}: {result.error}")
            summary = summary_of(result)
            documents.append(
                {
                    "model": result.job_id,
                    "int8": result.job_id in quantised,
                    "latency_ms": summary.median_us / 1e3,
                    "p05_ms": summary.p05_us / 1e3,
                    "p95_ms": summary.p95_us / 1e3,
                    "min_ms": summary.min_us / 1e3,
                    "runs": summary.n,
                    "init_ms": result.init_ms,
                    "peak_memory_mb": result.peak_memory_mb,
                    "cpu_share": None if math.isnan(result.cpu_share) else result.cpu_share,
                    "ops": [{"name": op.name, "mean_us": op.mean_us} for op in result.ops],
                }
            )
        environment = dict(runner.environment)
    lines = [f"target: {target}", ""]
    lines.append(
        table(
            ("model", "median ms", "p05", "p95", "runs", "init ms", "peak MB"),
            [
                (
                    d["model"],
                    f"{d['latency_ms']:.3f}",
                    f"{d['p05_ms']:.3f}",
                    f"{d['p95_ms']:.3f}",
                    d["runs"],
                    f"{d['init_ms']:.1f}",
                    "-" if d["peak_memory_mb"] is None else f"{d['peak_memory_mb']:.1f}",
                )
                for d in documents
            ],
        )
    )
    for document in documents:
        if not document["ops"]:  # not asked for, or a GPU, which lists none
            continue
        listed = sum(op["mean_us"] for op in document["ops"]) or 1.0
        rows = [
            (op["name"], f"{op['mean_us']:.1f}", f"{100 * op['mean_us'] / listed:.1f}%")
            for op in document["ops"]
        ]
        lines += ["", document["model"], table(("operator", "mean us", "share"), rows)]
    document = {"target": target.to_json(), "environment": environment, "results": documents}
    emit(document, as_json, "\n".join(lines))

"""Predicted against measured: Keras' applications, a ViT and a MobileViT, from .tflite files.

    python benchmarks/keras_files.py FOLDER
    latlas profile --space general --table TABLE
    python benchmarks/keras_models.py TABLE FOLDER [--processes 3] [--json]

TABLE is a latency table of this machine in which none of the networks took part. Its target says
which files are measured (FOLDER/*.int8.tflite for int8, the others for float), on which delegate.
Each network is measured in several processes, in short runs with the reference kernel before and
after each; a run during which the reference moved, or was far slower than in the table, is made
again, for as long as --seconds allows. The median over the processes is compared with the
prediction, as it is and at the speed that the reference kernel had in the table.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from pathlib import Path
from typing import Any

from latlas.console import emit, say, table
from latlas.predictor.fit import fit
from latlas.predictor.metrics import metrics
from latlas.predictor.observations import observe, usual_reference_us
from latlas.profiler.fold import fold
from latlas.profiler.reference import reference_graph
from latlas.profiler.runner import Effort, Job, Runner
from latlas.profiler.statistics import summary_of
from latlas.profiler.table import Table
from latlas.profiler.tflite.reader import read_tflite
from latlas.profiler.tflite.writer import to_tflite
from latlas.targets import DeviceChoice, open_runner

MODEL_EFFORT = Effort(min_runs=5, min_ms=100.0, max_ms=20_000.0, warmup_ms=50.0)
RUNS = 3
REFERENCE_EFFORT = Effort(min_runs=20, min_ms=20.0)
STEADY = 0.05
"""The reference kernel may move by so much around a measurement."""
SLOW = 0.10
"""… and be so much slower than in the table."""
ATTEMPTS = 30
REST_S = 0.3


def measure(
    runner: Runner, model: bytes, reference: bytes, level_us: float, seconds: float
) -> tuple[float, float, int]:
    """Return the median times of a model and of the reference around it, in microseconds.

    The third figure is how many of the `RUNS` were steady.

    Args:
        runner: runs them.
        model: a .tflite file.
        reference: the reference kernel.
        level_us: what that takes in the table.
        seconds: no attempt begins later, when there are `RUNS`.
    """
    found: list[tuple[float, float, float]] = []
    end = time.monotonic() + seconds
    for _ in range(ATTEMPTS):
        jobs = [
            Job("before", reference, REFERENCE_EFFORT),
            Job("model", model, MODEL_EFFORT),
            Job("after", reference, REFERENCE_EFFORT),
        ]
        before, whole, after = (summary_of(result).median_us for result in runner.run(jobs))
        level = (before + after) / 2
        unsteady = max(abs(after / before - 1) / STEADY, (level / level_us - 1) / SLOW)
        found.append((unsteady, whole, level))
        steady = sum(each[0] <= 1 for each in found)
        if steady == RUNS or (len(found) >= RUNS and time.monotonic() > end):
            break
        if unsteady > 1:
            time.sleep(REST_S)
    best = sorted(found)[:RUNS]
    _, whole_us, around_us = (statistics.median(column) for column in zip(*best, strict=True))
    return whole_us, around_us, steady


def taken(runner: Runner, models: dict[str, bytes]) -> dict[str, bytes]:
    """Return the models of which the delegate takes every operator; say which it does not."""
    jobs = [Job(name, model, Effort(min_runs=1, min_ms=0.0)) for name, model in models.items()]
    found = list(runner.run(jobs))
    refused = {each.job_id: each.error for each in found if each.kind == "not_delegated"}
    for name, why in refused.items():
        say(f"{name} is left out: {why:.200}")
    return {name: model for name, model in models.items() if name not in refused}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="for a network in a process")
    parser.add_argument("--only", default="", help="networks whose name holds this text")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    source = Table.open(arguments.table)
    target = source.target
    level_us = usual_reference_us(source)
    if not level_us:
        parser.error(f"{arguments.table} does not say what the reference kernel took")
    predictor = fit(observe(source))

    int8 = target.precision == "int8"
    paths = [
        path
        for path in sorted(arguments.folder.glob("*.tflite"))
        if path.name.endswith(".int8.tflite") == int8 and arguments.only in path.name
    ]
    models = {path.name.partition(".tflite")[0]: path.read_bytes() for path in paths}
    reference = to_tflite(fold(reference_graph()))
    choice = DeviceChoice(
        delegates=(target.delegate,),
        precision="int8" if target.precision == "int8" else "",
        threads=target.threads,
        cores=target.cores,
    )
    with open_runner(choice) as runner:
        models = taken(runner, models)
    predictions = predictor.predict([fold(read_tflite(model)) for model in models.values()])
    measured: dict[str, list[tuple[float, float, int]]] = {name: [] for name in models}
    for process in range(arguments.processes):
        with open_runner(choice) as runner:
            for name in random.Random(process).sample(list(models), len(models)):
                model = models[name]
                measured[name].append(
                    measure(runner, model, reference, level_us, arguments.seconds)
                )

    networks: list[dict[str, Any]] = []
    for name, prediction in zip(models, predictions, strict=True):
        whole_ms = [whole / 1e3 for whole, _, _ in measured[name]]
        scaled_ms = [whole * level_us / level / 1e3 for whole, level, _ in measured[name]]
        networks.append(
            {
                "network": name,
                "measured_ms": statistics.median(whole_ms),
                "processes_ms": whole_ms,
                "steady_runs": sum(steady for _, _, steady in measured[name]),
                "at_table_speed_ms": statistics.median(scaled_ms),
                "predicted_ms": prediction.latency_ms,
                "low_ms": prediction.low_ms,
                "high_ms": prediction.high_ms,
                "measured_share": prediction.measured_share,
            }
        )
    predicted = [n["predicted_ms"] for n in networks]
    document: dict[str, Any] = {"target": str(target), "networks": networks}
    lines = []
    for title, key in (
        ("as measured", "measured_ms"),
        ("at the table's speed", "at_table_speed_ms"),
    ):
        truth = [n[key] for n in networks]
        quality = metrics(predicted, truth)
        inside = sum(n["low_ms"] <= n[key] <= n["high_ms"] for n in networks) / len(networks)
        document[title] = {"mape": quality.mape, "within10": quality.within10, "covered": inside}
        lines.append(
            f"{title}: MAPE {quality.mape:.1%}, {quality.within10:.0%} within 10%, "
            f"{inside:.0%} inside their 90% interval, n {len(networks)}"
        )
    rows = [
        (
            n["network"],
            f"{n['measured_ms']:.3f}",
            f"{min(n['processes_ms']):.2f}-{max(n['processes_ms']):.2f}",
            f"{n['steady_runs']} of {RUNS * arguments.processes}",
            f"{n['at_table_speed_ms']:.3f}",
            f"{n['predicted_ms']:.3f}",
            f"{n['predicted_ms'] / n['measured_ms'] - 1:+.1%}",
            f"{n['predicted_ms'] / n['at_table_speed_ms'] - 1:+.1%}",
            f"{n['measured_share']:.0%}",
        )
        for n in networks
    ]
    header = (
        "network",
        "measured ms",
        "processes",
        "steady runs",
        "at table's speed",
        "predicted ms",
        "error",
        "at table's speed",
        "measured kernels",
    )
    text = f"target: {target}\n\n{table(header, rows)}\n\n" + "\n".join(lines)
    emit(document, arguments.json, text)


if __name__ == "__main__":
    main()

"""Measuring .tflite files on devices, as they are, into latency tables beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latlas.console import say
from latlas.targets import LOCAL, DeviceChoice, open_runner

if TYPE_CHECKING:
    from latlas.profiler.graph import Graph
    from latlas.profiler.target import Target


@dataclass(frozen=True)
class MeasuredFile:
    """A file to be measured.

    Attributes:
        id: names it in tables; another for another file.
        path: of the .tflite file.
        int8: whether it is quantised, which is a target of its own.
    """

    id: str
    path: Path
    int8: bool


Latencies = dict[str, dict[str, Any]]
"""By id of a file: ``latency_ms`` (None where it was not measured), ``verdict``, ``reason``."""


def read_devices(texts: Sequence[str], choice: DeviceChoice) -> dict[str, DeviceChoice]:
    """Return the devices that ``--measure`` names, by name.

    >>> sorted(read_devices(["local/cpu", "here=local/gpu"], DeviceChoice()))
    ['here', 'local/cpu']

    Raises:
        UsageError: a text names no device, or several; or two have the same name.
    """
    from latlas.profiler.errors import UsageError
    from latlas.search.latency import LATENCY, LatencySource
    from latlas.searching import device_choices

    found: dict[str, DeviceChoice] = {}
    for text in texts:
        head, equals, tail = text.partition("=")
        name, device = (head, tail) if equals else (text, text)
        source = LatencySource(LATENCY, name, f"device:{device.removeprefix('device:')}")
        choices = list(device_choices(source, choice).values())
        if len(choices) != 1 or name in found:
            raise UsageError(
                f"--measure {text}: one device each, e.g. local/cpu or pixel=SERIAL/gpu, and each "
                "once"
            )
        found[name.removeprefix("device:")] = choices[0]
    return found


def device_of(target: Target, choice: DeviceChoice, where: Path) -> DeviceChoice:
    """Return the device of a target, if it is this machine.

    Raises:
        UsageError: it is a phone, which has to be named.
    """
    from latlas.profiler.errors import UsageError

    if "benchmark_model" in target.runtime:
        raise UsageError(
            f"the latencies of {where} are for the phone {target.device} ({target}): name it with "
            f"--measure SERIAL/{target.delegate}, or leave measuring out with --no-measure"
        )
    return replace(
        choice,
        device=LOCAL,
        delegates=(target.delegate,),
        threads=choice.threads or target.threads,
        cores=choice.cores or target.cores,
    )


def measure_files(
    folder: Path,
    name: str,
    choice: DeviceChoice,
    files: Sequence[MeasuredFile],
    patience_s: float = 60.0,
) -> tuple[list[str], Latencies]:
    """Measure files on a device; what a table of `folder` holds already is not measured again.

    Args:
        folder: of the tables.
        name: of the device, for the table's.
        choice: the device.
        files: what to measure.
        patience_s: seconds that a machine is waited for that is slower than it was.

    Returns:
        The targets, and latencies by id; what a GPU does not run has a reason instead.

    Raises:
        ModelFileError: a file cannot be read.
        DeviceError: the device cannot be used.
        TargetMismatchError: the table is of another target.
        KeyboardInterrupt: Ctrl-C; what was measured is kept.
    """
    from latlas.profiler.target import INT8_ON_GPU

    targets: list[str] = []
    latencies: Latencies = {}
    for precision in ("fp32", "int8"):
        group = [file for file in files if file.int8 == (precision == "int8")]
        if not group:
            continue
        if precision == "int8" and "gpu" in choice.delegates:
            say(f"{name}: {INT8_ON_GPU}")
            latencies |= {file.id: _unmeasured(INT8_ON_GPU) for file in group}
            continue
        table = folder / "-".join([_file_name(name), precision])
        target, found = _measure(table, replace(choice, precision=precision), group, patience_s)
        targets.append(target)
        latencies |= found
    return targets, latencies


def _measure(
    table: Path, choice: DeviceChoice, files: Sequence[MeasuredFile], patience_s: float
) -> tuple[str, Latencies]:
    from latlas.profiler.campaign import Campaign, CampaignSettings
    from latlas.profiler.jobs import CampaignJob
    from latlas.profiler.runner import Effort
    from latlas.profiler.table import Table

    effort = Effort(min_runs=20, min_ms=200.0, max_ms=4000.0, warmup_ms=20.0)
    graphs = {file.id: _read(file.path) for file in files}
    jobs = [CampaignJob(file.id, file.id, "network", graphs[file.id], effort) for file in files]
    paths = [(graphs[file.id], file.path) for file in files]
    settings = CampaignSettings(check_every_jobs=4, patience_s=patience_s)
    with open_runner(choice) as runner:
        report = Campaign(runner, table, jobs, settings, write=_writer(paths)).run()
        if report.interrupted:
            raise KeyboardInterrupt
        target = str(runner.target)
    known = {one.id: one for one in Table.open(table).measurements}
    return target, {
        name: _unmeasured(one.reason)
        if one.summary is None
        else {
            "latency_ms": one.summary.median_us / 1e3,
            "verdict": one.verdict,
            "reason": one.reason,
        }
        for name, one in ((name, known[name]) for name in graphs)
    }


def _read(path: Path) -> Graph:
    from latlas.profiler.tflite.reader import load_tflite

    return load_tflite(path)


def _writer(paths: Sequence[tuple[Graph, Path]]) -> Callable[[Graph], bytes]:
    """Return what gives a job's graph as the file that it was read from, and others as written."""
    from latlas.profiler.errors import ModelFileError
    from latlas.profiler.tflite.writer import to_tflite

    def write(graph: Graph) -> bytes:
        for own, path in paths:
            if own is graph:  # two files may hold networks of the same text
                try:
                    return path.read_bytes()
                except OSError as problem:
                    raise ModelFileError(f"cannot read {path}: {problem.strerror}") from problem
        return to_tflite(graph)

    return write


def _unmeasured(reason: str) -> dict[str, Any]:
    return {"latency_ms": None, "verdict": "failed", "reason": reason}


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name)

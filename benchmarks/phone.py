"""What a campaign on a phone costs beside the benchmark binary itself, and whether it survives.

    python benchmarks/phone.py [--kernels 300] [--kills 5] [--json]

The phone is the tests' own, on this machine: the real adb server, Google's adbd (or the tests'
daemon), and a benchmark_model that runs LiteRT. Needs root, and what `.ci/run` installs.

1. Kernels of the MoGA space, at least 20 runs and 20 ms each, into a table: wall time over what the
   binary spends on the phone (process starts, initialisation, warm-up and timed runs).
2. The same kernels as most people do it: a push and an ``adb shell benchmark_model`` with default
   settings for each of 30 of them.
3. The campaign again, killed with SIGKILL at random moments and started again: does the table hold
   the same kernels in the end, each accepted once?
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from phone_lab.build import build
from phone_lab.lab import LabPhone, adb_server, best_daemon, lab_phone, missing

from latlas.campaigns import known_measurements
from latlas.console import emit, table
from latlas.profiler.benchmark_model.binary import find_binary
from latlas.profiler.benchmark_model.command import Execution
from latlas.profiler.benchmark_model.phone_runner import PhoneRunner
from latlas.profiler.campaign import Campaign
from latlas.profiler.jobs import CampaignJob
from latlas.profiler.journal import read_journal
from latlas.profiler.runner import Effort
from latlas.profiler.table import JOURNAL
from latlas.profiler.tflite.writer import to_tflite
from latlas.search.spaces import open_space
from latlas.workloads import make_workload, space_networks

DEFAULTS = 30
"""Kernels that are also measured with the tool's default settings, one adb call each."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--kernels", type=int, default=300)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    # What a killed campaign's process is started with.
    parser.add_argument("--campaign", nargs=3, metavar=("SERIAL", "BINARY", "TABLE"))
    arguments = parser.parse_args()
    jobs = kernel_jobs(arguments.kernels)
    if arguments.campaign:
        serial, binary, folder = arguments.campaign
        measure(serial, Path(binary), Path(folder), jobs)
        return
    with phone_here() as (phone, binary), tempfile.TemporaryDirectory() as folder:
        document = cost(phone, binary, Path(folder) / "once", jobs)
        document |= by_default(phone, binary, jobs)
        document["default_settings_ratio"] = (
            document["default_settings_s_per_kernel"] * document["kernels_per_s"]
        )
        if arguments.kills:
            document |= killed(
                phone, binary, Path(folder), arguments.kernels, arguments.kills, arguments.seed
            )
    rows = [
        (name, f"{value:.2f}" if isinstance(value, float) else value)
        for name, value in document.items()
    ]
    emit(document, arguments.json, table(("phone", ""), rows))


@contextmanager
def phone_here() -> Iterator[tuple[LabPhone, Path]]:
    """Run a phone on this machine, with the cores of this machine, and build its binary."""
    if reason := missing(best_daemon()):
        sys.exit(f"no phone on this machine: {reason}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in ("server", "phone", "binary"):
            (folder / each).mkdir()
        with (
            adb_server(folder / "server") as server,
            lab_phone(server, folder / "phone", cores="host") as phone,
        ):
            os.environ.update(server.environment)
            phone.set_property("ro.product.cpu.abi", "x86_64")
            phone.set_property("sys.boot_completed", "1")
            yield phone, build(folder / "binary")


def last_core() -> str:
    """Return the core that is measured: the first is where interrupts go."""
    return str(max(os.sched_getaffinity(0)))


def kernel_jobs(count: int) -> list[CampaignJob]:
    work = make_workload(space_networks(open_space("moga"), 12, 0), "cpu", 20, 20.0)
    effort = Effort(min_runs=20, min_ms=20.0)
    return [replace(job, effort=effort) for job in work.jobs if job.unit == "kernel"][:count]


def measure(serial: str, binary: Path, folder: Path, jobs: list[CampaignJob]) -> dict[str, Any]:
    """Run the campaign on the last core; return its report and what the binary spent."""
    binary_here = find_binary("x86_64", path=binary)
    with PhoneRunner(serial, binary_here, Execution(), last_core()) as runner:
        _ = runner.target
        before_s = runner.spent_s
        report = Campaign(runner, folder, jobs).run()
        spent_s = runner.spent_s - before_s
    if report.interrupted:
        raise KeyboardInterrupt
    return {
        "kernels": report.measured,
        "wall_s": report.wall_s,
        "spent_s": spent_s,
        "paused_s": report.paused_s,
        "voided": report.voided,
        "noisy": report.noisy,
    }


def cost(phone: LabPhone, binary: Path, folder: Path, jobs: list[CampaignJob]) -> dict[str, Any]:
    found = measure(phone.serial, binary, folder, jobs)
    warmup = next(line for line in read_journal(folder / JOURNAL) if line.get("type") == "warmup")
    return found | {
        "warmup_ms": warmup["warmup_ms"],
        "ratio": found["wall_s"] / found["spent_s"],
        "ratio_without_pauses": (found["wall_s"] - found["paused_s"]) / found["spent_s"],
        "kernels_per_s": found["kernels"] / found["wall_s"],
    }


def by_default(phone: LabPhone, binary: Path, jobs: list[CampaignJob]) -> dict[str, Any]:
    """Measure kernels with one ``adb push`` and one ``adb shell`` each, as the tool's page says."""
    adb = phone.server.adb
    tool = "/data/local/tmp/benchmark_model"
    adb("-s", phone.serial, "push", str(binary), tool)
    per_kernel_s = []
    chosen = random.Random(0).sample(jobs, min(DEFAULTS, len(jobs)))
    for job in chosen:
        with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
            file.write(to_tflite(job.graph))
            file.flush()
            started = time.monotonic()
            adb("-s", phone.serial, "push", file.name, "/data/local/tmp/model.tflite")
            line = f"{tool} --graph=/data/local/tmp/model.tflite --num_threads=1"
            assert "Inference timings" in adb("-s", phone.serial, "shell", line)
            per_kernel_s.append(time.monotonic() - started)

    mean_s = sum(per_kernel_s) / len(per_kernel_s)
    return {"default_settings_s_per_kernel": mean_s}


def killed(
    phone: LabPhone, binary: Path, folder: Path, kernels: int, kills: int, seed: int
) -> dict[str, Any]:
    """Kill the campaign at random moments; compare what it holds in the end."""
    rng = random.Random(seed)
    whole, torn = folder / "once", folder / "killed"
    wall_s = max(known.at_s for known in known_measurements(whole))
    command = [sys.executable, __file__, "--kernels", str(kernels), "--campaign"]
    command += [phone.serial, str(binary), str(torn)]
    moments = []
    for _ in range(kills):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        # From the start of the process to about a third of the campaign after it.
        moments.append(rng.uniform(1.0, 4.0 + wall_s / 3))
        time.sleep(moments[-1])
        process.kill()
        process.wait()
    subprocess.run(command, stderr=subprocess.DEVNULL, check=True)
    accepted = [
        line["id"]
        for line in read_journal(torn / JOURNAL)
        if line.get("type") == "accepted" and "instead_of" not in line
    ]
    wanted = {known.id for known in known_measurements(whole)}
    got = {known.id for known in known_measurements(torn)}
    return {
        "kills": kills,
        "same_kernels": got == wanted,
        "accepted_twice": len(accepted) - len(set(accepted)),
    }


if __name__ == "__main__":
    main()

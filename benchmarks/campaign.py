"""A campaign's wall time over the time inside timed runs and warm-ups.

    python benchmarks/campaign.py [--delegate gpu] [--kernels 300] [--json]

Every kernel of the MoGA space (or the first `--kernels` of them) is measured for at least 20 runs
and 20 ms into a temporary table.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from latlas.console import emit, table
from latlas.profiler.campaign import Campaign
from latlas.profiler.runner import Effort
from latlas.search.spaces import open_space
from latlas.targets import DeviceChoice, open_local
from latlas.workloads import make_workload, space_networks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--delegate", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--kernels", type=int, default=300)
    arguments = parser.parse_args()
    work = make_workload(space_networks(open_space("moga"), 12, 0), arguments.delegate, 20, 20.0)
    effort = Effort(min_runs=20, min_ms=20.0)
    jobs = [replace(job, effort=effort) for job in work.jobs if job.unit == "kernel"]
    jobs = jobs[: arguments.kernels]
    with (
        tempfile.TemporaryDirectory() as folder,
        open_local(DeviceChoice(delegates=(arguments.delegate,))) as runner,
    ):
        target = runner.target
        start_s = runner.init_ms / 1e3
        report = Campaign(runner, Path(folder), jobs).run()
    if report.interrupted:
        raise KeyboardInterrupt
    ran_s = report.timed_s + report.warmup_s
    # Shaders are compiled once per kernel: on a GPU that is no cost of the campaign's own.
    init_s = report.init_s if arguments.delegate == "gpu" else 0.0
    document = {
        "target": str(target),
        "kernels": report.measured,
        "wall_s": report.wall_s,
        "timed_s": report.timed_s,
        "warmup_s": report.warmup_s,
        "init_s": report.init_s,
        "paused_s": report.paused_s,
        "start_s": start_s,
        "ratio": (report.wall_s - init_s) / ran_s,
        "ratio_without_pauses": (report.wall_s - init_s - report.paused_s) / ran_s,
        "kernels_per_s": report.measured / report.wall_s,
        "voided": report.voided,
        "noisy": report.noisy,
    }
    rows = [
        (name, f"{value:.2f}" if isinstance(value, float) else value)
        for name, value in document.items()
    ]
    emit(document, arguments.json, table(("campaign", ""), rows))


if __name__ == "__main__":
    main()

"""Do a phone and this machine agree, where both are the same machine?

    python benchmarks/phone_agreement.py [--kernels 472] [--json]

The kernels of the MoGA space are profiled twice on the same core: with ``--device local``, and on
the tests' phone, which is this machine behind adb with a benchmark_model of its own process for
every kernel. Both go in turns, a slice of the kernels at a time, so that the machine's own changes
of speed meet both.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from phone import kernel_jobs, last_core, phone_here

from latlas.campaigns import known_measurements
from latlas.console import emit, table
from latlas.profiler.benchmark_model.binary import find_binary
from latlas.profiler.benchmark_model.command import Execution
from latlas.profiler.benchmark_model.phone_runner import PhoneRunner
from latlas.profiler.campaign import Campaign
from latlas.profiler.jobs import interleave
from latlas.profiler.litert.local import LocalRunner
from latlas.profiler.runner import Runner

SLICE = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--kernels", type=int, default=472)
    arguments = parser.parse_args()
    jobs = interleave(kernel_jobs(arguments.kernels), seed=0)
    core = last_core()
    with phone_here() as (phone, path), tempfile.TemporaryDirectory() as name:
        folders = Path(name) / "phone", Path(name) / "local"
        binary = find_binary("x86_64", path=path)
        with (
            PhoneRunner(phone.serial, binary, Execution(), core) as there,
            LocalRunner("cpu", 1, core) as here,
        ):
            for end in range(SLICE, len(jobs) + SLICE, SLICE):
                runners: tuple[Runner, Runner] = (there, here)
                for runner, folder in zip(runners, folders, strict=True):
                    if Campaign(runner, folder, jobs[:end]).run().interrupted:
                        raise KeyboardInterrupt
        medians = [
            {m.id: m.summary.median_us for m in known_measurements(folder) if m.summary}
            for folder in folders
        ]
    both = sorted(set(medians[0]) & set(medians[1]))
    there_us, here_us = (np.array([found[each] for each in both]) for found in medians)
    off = there_us / here_us - 1
    document = {
        "kernels": len(both),
        "within_5%": float(np.mean(np.abs(off) <= 0.05)),
        "within_10%": float(np.mean(np.abs(off) <= 0.10)),
        "median_deviation": float(np.median(off)),
        "median_absolute_deviation": float(np.median(np.abs(off))),
        "worst": float(off[np.argmax(np.abs(off))]),
    }
    for low, high in ((0, 10), (10, 100), (100, 1e9)):
        chosen = off[(here_us >= low) & (here_us < high)]
        if len(chosen):
            name = f"{low:g} us and more" if high == 1e9 else f"{low:g} to {high:g} us"
            document[f"{name}: kernels"] = len(chosen)
            document[f"{name}: within_10%"] = float(np.mean(np.abs(chosen) <= 0.10))
            document[f"{name}: median_deviation"] = float(np.median(chosen))
    rows = [
        (name, f"{value:.3f}" if isinstance(value, float) else value)
        for name, value in document.items()
    ]
    emit(document, arguments.json, table(("agreement", ""), rows))


if __name__ == "__main__":
    main()

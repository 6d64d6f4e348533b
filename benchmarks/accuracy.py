"""Predicted against measured, on published networks that took part in nothing.

    python benchmarks/accuracy.py TABLE [--processes 3] [--json]

TABLE is a latency table of this machine's CPU (``latlas profile --space moga``). Each network is
measured in several processes, interleaved with the reference kernel in one campaign each, and the
median over the processes is compared with the prediction.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from latlas.console import emit, table
from latlas.predictor.fit import fit
from latlas.predictor.observations import observe
from latlas.profiler.campaign import Campaign
from latlas.profiler.campaign_settings import CampaignSettings
from latlas.profiler.fold import fold
from latlas.profiler.jobs import CampaignJob
from latlas.profiler.runner import Effort
from latlas.profiler.table import Table
from latlas.search import zoo
from latlas.targets import DeviceChoice, open_runner

NETWORKS = (
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mnasnet_a1",
    "mnasnet_b1",
    "proxylessnas_mobile",
    "fairnas_a",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    source = Table.open(arguments.table)
    predictor = fit(observe(source))
    target = source.target
    graphs = {name: fold(zoo.build(name)) for name in NETWORKS}
    predictions = predictor.predict(list(graphs.values()))
    effort = Effort(min_runs=30, min_ms=300.0, warmup_ms=50.0)
    jobs = [CampaignJob(name, name, "network", graph, effort) for name, graph in graphs.items()]
    measured: dict[str, list[float]] = {name: [] for name in NETWORKS}
    for process in range(arguments.processes):
        with (
            tempfile.TemporaryDirectory() as folder,
            open_runner(
                DeviceChoice(
                    delegates=(target.delegate,),
                    precision="int8" if target.precision == "int8" else "",
                    threads=target.threads,
                    cores=target.cores,
                )
            ) as runner,
        ):
            runner.target.require_same(target, f"the table {arguments.table}")
            # The reference kernel between any two networks, another order in every process.
            settings = CampaignSettings(seed=process, check_every_jobs=1)
            if Campaign(runner, folder, jobs, settings).run().interrupted:
                raise KeyboardInterrupt
            for measurement in Table.open(folder).measurements:
                assert measurement.summary is not None, measurement.reason
                measured[measurement.name].append(measurement.summary.median_us / 1e3)
    networks: list[dict[str, Any]] = []
    for name, prediction in zip(NETWORKS, predictions, strict=True):
        median_ms = statistics.median(measured[name])
        networks.append(
            {
                "network": name,
                "measured_ms": median_ms,
                "processes_ms": measured[name],
                "predicted_ms": prediction.latency_ms,
                "low_ms": prediction.low_ms,
                "high_ms": prediction.high_ms,
                "measured_share": prediction.measured_share,
                "error": prediction.latency_ms / median_ms - 1,
            }
        )
    mape = statistics.mean(abs(n["error"]) for n in networks)
    rows = [
        (
            n["network"],
            f"{n['measured_ms']:.3f}",
            f"{min(n['processes_ms']):.2f}-{max(n['processes_ms']):.2f}",
            f"{n['predicted_ms']:.3f}",
            f"{n['error']:+.1%}",
            f"{n['measured_share']:.0%}",
        )
        for n in networks
    ]
    header = ("network", "measured ms", "processes", "predicted ms", "error", "measured kernels")
    text = f"target: {target}\n\n{table(header, rows)}\n\nMAPE {mape:.1%}"
    emit({"target": str(target), "networks": networks, "mape": mape}, arguments.json, text)


if __name__ == "__main__":
    main()

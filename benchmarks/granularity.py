"""Kernels or blocks: what a table should hold, against whole networks that were measured.

    python benchmarks/granularity.py [--space moga] [--resolution 224] [--json]

One campaign measures on this machine, in random order between reference checks: every distinct
kernel of the space, every choice of every layer as one unit, networks on which sums are calibrated,
and others that take part in nothing. What the table says of these is compared with what was
measured, with sums as they are and calibrated:

- blocks: every block measured alone, the form of FBNet, ProxylessNAS and MoGA;
- kernels: every kernel measured alone; and as networks list them in context, where they do;
- predictor: half of the kernels measured alone, the others predicted.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from latlas.campaigns import measure
from latlas.console import emit, say, table
from latlas.predictor.blocks import fit_blocks
from latlas.predictor.calibration import PLAIN_SUM
from latlas.predictor.fit import fit
from latlas.predictor.observations import Observations, observe, whole_us
from latlas.predictor.oracle import LatencyOracle, PredictorOracle, TableOracle
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph
from latlas.profiler.jobs import CampaignJob
from latlas.profiler.runner import Effort
from latlas.profiler.table import Table
from latlas.search.spaces import open_space
from latlas.targets import DeviceChoice, open_local
from latlas.workloads import (
    make_block_workload,
    make_workload,
    space_blocks,
    space_networks,
)

HELD_OUT = "held_out"
"""The unit of networks that nothing is fitted on."""


@dataclass(frozen=True)
class Row:
    """What one way of predicting is worth, as fractions of the measured latency."""

    method: str
    calibrated: bool
    mape: float
    bias: float
    within10: float


def jobs_of(arguments: argparse.Namespace) -> list[CampaignJob]:
    """Return kernels, blocks, networks to calibrate on and networks held out."""
    space = open_space(arguments.space, resolution=arguments.resolution)
    networks = space_networks(space, arguments.networks, 0)
    runs, min_ms = arguments.runs, arguments.min_ms
    kernels = make_workload(networks, "cpu", runs, min_ms)
    blocks = make_block_workload(space_blocks(space), networks, runs, min_ms)
    jobs = {job.id: job for job in (*blocks.jobs, *kernels.jobs)}  # networks with their profile
    effort = Effort(min_runs=runs, min_ms=5 * min_ms, warmup_ms=20.0)
    held_out = [
        CampaignJob(f"{HELD_OUT}:{i}", f"{space.name}-{i}", HELD_OUT, graph, effort)
        for i, graph in enumerate(map(fold, map(space.decode, space.sample(arguments.held_out, 1))))
    ]
    return [*jobs.values(), *held_out]


def oracles(source: Table) -> list[tuple[str, bool, LatencyOracle]]:
    """Return every way of predicting: its name, whether sums are calibrated, the oracle."""
    observed = observe(source)
    alone = replace(
        observed,
        networks=tuple([replace(network, listed_us=None) for network in observed.networks]),
    )
    found: list[tuple[str, bool, LatencyOracle]] = []
    for calibrated in (False, True):
        found.append(("blocks", calibrated, fit_blocks(source, calibrated=calibrated)))
    named = {"kernels": alone}
    if any(network.listed_us is not None for network in observed.networks):
        named["kernels in context"] = observed
    for name, observations in named.items():
        predictor = fit(observations, trees=10)  # the trees are not asked
        for calibrated in (False, True):
            found.append((name, calibrated, TableOracle(predictor, calibrated=calibrated)))
    predictor = fit(_half(alone))
    plain = replace(predictor, calibration=PLAIN_SUM)
    found += [
        ("predictor", False, PredictorOracle(plain)),
        ("predictor", True, PredictorOracle(predictor)),
    ]
    return found


def _half(observations: Observations) -> Observations:
    rng = np.random.default_rng(0)
    kept = {k: us for k, us in observations.alone_us.items() if rng.random() < 0.5}
    return replace(observations, alone_us=kept)


def compare(method: str, calibrated: bool, oracle: LatencyOracle, held_out: Held) -> Row:
    """Return what an oracle says of the networks held out."""
    error = oracle.latency_ms(held_out.graphs) / held_out.latency_ms - 1
    return Row(
        method,
        calibrated,
        mape=float(np.abs(error).mean()),
        bias=float(error.mean()),
        within10=float((np.abs(error) <= 0.1).mean()),
    )


@dataclass(frozen=True)
class Held:
    """Networks that were held out, and their measured latencies in milliseconds."""

    graphs: list[Graph]
    latency_ms: np.ndarray[tuple[int], np.dtype[np.float64]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="moga")
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--networks", type=int, default=30)
    parser.add_argument("--held-out", type=int, default=30)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--min-ms", type=float, default=20.0)
    parser.add_argument("--table", type=Path, help="Kept, and gone on with.")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    jobs = jobs_of(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.table or Path(temporary) / "table"
        with open_local(DeviceChoice()) as runner:
            report, failed = measure(runner, folder, jobs, 0, None)
        if report.interrupted:
            raise KeyboardInterrupt
        source = Table.open(folder)
    for job in failed:
        say(f"could not be measured: {job['id']}: {job['reason']}")
    measured = [m for m in source.measurements if m.unit == HELD_OUT and m.summary is not None]
    held_out = Held(
        [m.to_graph() for m in measured], np.array([whole_us(m) / 1e3 for m in measured])
    )
    rows = [compare(*each, held_out) for each in oracles(source)]
    units = {unit: sum(job.unit == unit for job in jobs) for unit in ("kernel", "block")}
    document = {
        "target": str(source.target),
        "networks": len(measured),
        "measured": units,
        "methods": [vars(row) for row in rows],
    }
    header = ("what is summed", "calibrated", "MAPE", "mean error", "within ±10%")
    text = [
        (
            row.method,
            "yes" if row.calibrated else "no",
            f"{row.mape:.1%}",
            f"{row.bias:+.1%}",
            f"{row.within10:.0%}",
        )
        for row in rows
    ]
    emit(
        document,
        arguments.json,
        f"target: {source.target}\n{units['kernel']} kernels, {units['block']} blocks, "
        f"{len(measured)} networks held out\n\n{table(header, text)}",
    )


if __name__ == "__main__":
    main()

"""A table, a predictor and a study of made-up figures, with names that want to be markup."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from latlas.profiler.count import count
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.kernel import Kernel, split
from latlas.profiler.measurement import Measurement, measurement_from
from latlas.profiler.reference import reference_graph
from latlas.profiler.runner import OpTime, Result
from latlas.profiler.statistics import NoiseGate, judge
from latlas.profiler.table import Table, TableWriter
from latlas.profiler.target import Target
from latlas.profiler.temperature import Temperature
from latlas.search.protocols import Genes, Trial
from latlas.search.spaces import open_space
from latlas.search.study import Study, record_of

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&lt;\u202e"
TARGET = Target(f"phone {HOSTILE}", "litert 2.3.0", "cpu", "xnnpack")
OTHER = Target("phone", "litert 2.3.0", "cpu", "xnnpack", threads=2)
RULES = rules_for("cpu")
GATE = NoiseGate(spread=1.0, drift=1.0)


def network(width: int, window: int = 3, *, pool: bool = False) -> Graph:
    b = GraphBuilder((1, 24, 24, 3))
    x = b.conv(0, width, window, stride=2, activation="relu6")
    for factor in (1, 2, 3):
        x = b.conv(x, factor * width, window, activation="relu6")
        x = b.depthwise(x, window, activation="relu6")
    if pool:
        x = b.max_pool(x, 3)
    return b.build(b.fully_connected(b.reshape(x, (1, 12 * 12 * 3 * width)), 10))


NETWORKS = {
    **{f"plain_{width}": network(width) for width in range(4, 16, 2)},
    **{f"wide_v2_{width}": network(width, 5) for width in range(4, 16, 2)},
    f"{HOSTILE}-1": network(5),
}


def kernel_us(kernel: Kernel) -> float:
    return 5 + count(kernel.graph).madds / 20_000


def measured(
    graph: Graph, unit: str, name: str, *, factor: float = 1.0, at_s: float = 0.0, error: str = ""
) -> Measurement:
    kernels = split(graph, RULES)
    total_us = 1.1 * factor * sum(map(kernel_us, kernels))
    samples = tuple(total_us * (1 + 0.01 * math.sin(i)) for i in range(9))
    ops = [OpTime(HOSTILE, factor * kernel_us(k)) for k in kernels if RULES.operators(k)]
    result = Result(f"{unit}:{name}", samples, init_ms=1.5)
    if unit == "network":
        result = replace(result, ops=tuple(ops), peak_memory_mb=12.3)
    if error:
        result = Result(f"{unit}:{name}", error=error, kind="not_delegated")
    return measurement_from(
        *(result, judge(result, GATE)),
        attempt=1,
        unit=unit,
        name=name,
        graph=graph.to_text(),
        at_s=at_s,
    )


def write_table(
    folder: Path, target: Target = TARGET, factor: float = 1.0, *, sensors: Sequence[str] = ()
) -> Table:
    """Write a table of small networks, their kernels, the reference, and a failure."""
    environment = {"cpu": HOSTILE}
    with TableWriter(folder, target, fusion_rules=RULES.version, environment=environment) as writer:
        found = [
            replace(
                measured(reference_graph(), "reference", f"r{i}", factor=1 + i / 100, at_s=i * 9.0),
                temperatures_c=tuple(Temperature(sensor, 25.0 + i) for sensor in sensors),
            )
            for i in range(12)
        ]
        kernels: dict[Kernel, None] = {}
        for name, graph in NETWORKS.items():
            found.append(measured(graph, "network", name, factor=factor))
            kernels |= dict.fromkeys(split(graph, RULES))
        found += [measured(k.graph, "kernel", k.text, factor=factor) for k in kernels]
        pool = network(8, pool=True)
        found.append(measured(pool, "network", "pooled", error=f"MAX_POOL_2D {HOSTILE}"))
        for each in found:
            writer.append_provisional(each)
        writer.accept(found)
    return Table.open(folder)


def trials() -> list[Trial]:
    space = open_space("moga", resolution=32, classes=10)
    found = []
    for i, genes in enumerate(space.sample(60, seed=0)):
        values = {
            "accuracy": 0.5 + 0.002 * sum(genes),
            "latency_ms": 1.0 + 0.01 * sum(g * g for g in genes),
            "latency_ms@gpu": 3.0 - 0.01 * sum(genes),
            "params": 1e6 + 1e4 * genes[0],
        }
        error = f"failed: {HOSTILE}" if i % 20 == 19 else ""
        found.append(Trial(genes, {} if error else values, error, i // 20, 0.5))
    return found


def write_study(folder: Path, tried: list[Trial], **settings: Any) -> Study:
    space = open_space("moga", resolution=32, classes=10)
    latency = {name: {"target": TARGET.to_json()} for name in ("latency_ms", "latency_ms@gpu")}
    given = {"space": space.identity, "searcher": {"kind": HOSTILE}, "latency": latency}
    study = Study.create(folder, given | settings)
    with study.writer(lambda trial: None) as writer:
        writer.append(map(record_of, tried), sync=True)
    return study


def write_verified(study: Study, chosen: list[Genes]) -> None:
    """Write what `latlas verify` would have measured."""
    with TableWriter(study.folder / "verify", TARGET, fusion_rules=RULES.version) as writer:
        for genes in chosen:
            name = "-".join(map(str, genes))
            each = measured(network(4), "network", name)
            writer.append_provisional(each)
            writer.accept([each])

"""Tables that tests write in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.measurement import REFERENCE, Measurement, measurement_from
from latlas.profiler.runner import Result
from latlas.profiler.statistics import NoiseGate, judge
from latlas.profiler.table import Table, TableWriter
from latlas.profiler.target import Target

TARGET = Target("a phone", "litert 2.3.0", "cpu", "xnnpack")
GATE = NoiseGate(spread=1.0, drift=1.0)
NETWORK = "1x8x8x3 | conv2d filters=4 kernel=1x1 @0 | mean @1 | @2"


def measured(
    unit: str, name: str, graph: str, median_us: float, *, spread: float = 0.01, **changes: Any
) -> Measurement:
    """Return a measurement of 21 samples evenly around a median."""
    samples = tuple((median_us * np.linspace(1 - spread, 1 + spread, 21)).tolist())
    job = f"kernel:{graph}" if unit == "kernel" else f"{unit}:{name}"
    result = Result(job if unit != REFERENCE else name, samples, (), 1.5, 1.0)
    return measurement_from(
        result, judge(result, GATE), attempt=1, unit=unit, name=name, graph=graph, at_s=1.0
    ).judged(changes.get("verdict", "stable"), changes.get("reason", ""))


def kernel(channels: int, median_us: float, **changes: Any) -> Measurement:
    """Return a measured 1x1 convolution."""
    graph = f"1x8x8x{channels} | conv2d filters=4 kernel=1x1 @0 | @1"
    return measured("kernel", "conv2d", graph, median_us, **changes)


def network(name: str, median_us: float, **changes: Any) -> Measurement:
    """Return a measured network."""
    return measured("network", name, NETWORK, median_us, **changes)


def block(
    median_us: float, window: int = 3, expanded: int = 24, act: str = "relu", **changes: Any
) -> Measurement:
    """Return a measured inverted bottleneck; all of them have one name, as choices of a layer do.

    Args:
        median_us: of an invocation.
        window: of its depthwise convolution.
        expanded: channels inside.
        act: activation inside.
        changes: see `measured`.
    """
    b = GraphBuilder((1, 8, 8, 8))
    x = b.depthwise(b.conv(b.input, expanded, 1, activation=act), window, activation=act)
    graph = b.build(b.conv(x, 8, 1)).to_text()
    name = "block 1x8x8x8 to 1x8x8x8"
    found = measured("block", name, graph, median_us, **changes)
    return replace(found, id=f"block:{graph}")


def references(*medians_us: float) -> list[Measurement]:
    """Return measurements of the reference kernel."""
    graph = "1x8x8x3 | conv2d filters=4 kernel=1x1 @0 | @1"
    return [
        measured(REFERENCE, f"reference-{i}", graph, median_us)
        for i, median_us in enumerate(medians_us)
    ]


def write(
    folder: Path,
    measurements: Sequence[Measurement],
    target: Target = TARGET,
    rules: str = "xnnpack-1",
    environment: Mapping[str, str] | None = None,
) -> Table:
    """Write a table and read it."""
    with TableWriter(folder, target, fusion_rules=rules, environment=environment) as table:
        for each in measurements:
            table.append_provisional(each)
        table.accept(measurements)
    return Table.open(folder)

"""A device whose latencies are known: 2 us a kernel, and one for every 20,000 of its works."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Graph
from latlas.profiler.kernel import Kernel, split
from latlas.profiler.measurement import Measurement, measurement_from
from latlas.profiler.runner import OpTime, Result
from latlas.profiler.statistics import NoiseGate, judge
from latlas.profiler.table import Table, TableWriter
from latlas.profiler.target import Target
from latlas.profiler.workload import workload
from latlas.search.cover import covering_genes
from latlas.search.spaces import MogaSpace

TARGET = Target("a simulated phone", "litert 2.3.0", "cpu", "xnnpack")
SPACE = MogaSpace(resolution=64, classes=10)
INVOCATION_US = 30.0
GATE = NoiseGate(spread=1.0, drift=1.0)


class Simulation:
    """A device whose every latency is known."""

    target = TARGET
    space = SPACE

    def kernel_us(self, kernel: Kernel) -> float:
        """Two microseconds, and one per 20,000 multiply-adds or touched elements."""
        inputs = tuple([kernel.inputs[value] for value in kernel.nodes[0].inputs])
        elements = max(map(math.prod, (*inputs, kernel.op.infer(inputs))))
        return 2 + (kernel.op.madds(inputs) or elements) / 20_000

    def network_us(self, graph: Graph) -> float:
        kernels = split(fold(graph), rules_for("cpu"))
        return 1.1 * sum(map(self.kernel_us, kernels)) + INVOCATION_US

    def networks(self, count: int, seed: int) -> dict[str, Graph]:
        genes = covering_genes(SPACE.choices, count, seed)
        return {f"{seed}-{i}": SPACE.decode(each) for i, each in enumerate(genes)}

    def measure(self, graph: Graph, unit: str, name: str, scale: float = 1.0) -> Measurement:
        """Measure a graph in inference form; `scale` disturbs the timed pass."""
        rules = rules_for("cpu")
        kernels = split(graph, rules)
        ops: list[OpTime] = []
        if unit == "network":
            total_us = self.network_us(graph)
            for kernel in kernels:
                count = rules.operators(kernel)
                time_us = self.kernel_us(kernel) / count - 0.5  # the profiler cuts fractions off
                ops += [OpTime(kernel.type, time_us)] * count
        else:
            total_us = sum(map(self.kernel_us, kernels)) + INVOCATION_US
        samples = tuple(scale * total_us * (1 + 0.001 * i) for i in range(-2, 3))
        result = Result(f"{unit}:{name}", samples, tuple(ops))
        return measurement_from(
            result,
            judge(result, GATE),
            attempt=1,
            unit=unit,
            name=name,
            graph=graph.to_text(),
            at_s=0.0,
        )

    def measurements(self, networks: Mapping[str, Graph]) -> list[Measurement]:
        """Measure everything that a campaign would."""
        jobs = workload(networks, "cpu").jobs
        return [
            self.measure(job.graph, job.unit, job.id.partition(":")[2] or job.name) for job in jobs
        ]

    def write(
        self,
        folder: Path,
        measurements: Iterable[Measurement],
        target: Target = TARGET,
        rules: str = "",
    ) -> Table:
        measurements = list(measurements)
        rules = rules or rules_for(target.delegate).version
        with TableWriter(folder, target, fusion_rules=rules) as writer:
            for measurement in measurements:
                writer.append_provisional(measurement)
            writer.accept(measurements)
        return Table.open(folder)

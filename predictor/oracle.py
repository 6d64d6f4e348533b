"""Latency oracles: graphs in, latencies out, whatever is behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from latlas.predictor.predictor import LatencyPredictor
from latlas.profiler.errors import RunnerError
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph
from latlas.profiler.runner import Effort, Job, Runner
from latlas.profiler.statistics import summary_of
from latlas.profiler.target import Target
from latlas.profiler.tflite.writer import to_tflite


class LatencyOracle(Protocol):
    """Says how long networks take on one target."""

    @property
    def target(self) -> Target:
        """What the latencies are valid for."""
        ...

    def latency_ms(self, graphs: Sequence[Graph]) -> NDArray[np.float64]:
        """Return the latency of every network in milliseconds, shape (graphs,)."""
        ...


class PredictorOracle:
    """Latencies from a predictor (and so from its table, for kernels that were measured)."""

    def __init__(self, predictor: LatencyPredictor) -> None:
        self.predictor = predictor

    @property
    def target(self) -> Target:
        """What the latencies are valid for."""
        return self.predictor.target

    def latency_ms(self, graphs: Sequence[Graph]) -> NDArray[np.float64]:
        """Predict every network."""
        return np.array([p.latency_ms for p in self.predictor.predict(graphs)])


class DeviceOracle:
    """Latencies measured on the device itself, straight from the graph, without TensorFlow."""

    def __init__(self, runner: Runner, effort: Effort | None = None) -> None:
        self.runner = runner
        self.effort = effort or Effort(min_runs=20, min_ms=100.0)

    @property
    def target(self) -> Target:
        """What the latencies are valid for."""
        return self.runner.target

    def latency_ms(self, graphs: Sequence[Graph]) -> NDArray[np.float64]:
        """Measure every network.

        Raises:
            RunnerError: a network could not be measured.
        """
        jobs = (
            Job(str(index), to_tflite(fold(graph)), self.effort)
            for index, graph in enumerate(graphs)
        )
        found = []
        for result in self.runner.run(jobs):
            if result.kind != "ok":
                raise RunnerError(f"network {result.job_id} could not be measured: {result.error}")
            found.append(summary_of(result).median_us / 1e3)
        return np.array(found)

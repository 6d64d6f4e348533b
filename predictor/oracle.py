"""Latency oracles: graphs in, latencies out, whatever is behind.

A predictor, the kernels of a table alone, and the device itself; `latlas.predictor.blocks` has the
blocks of a table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from latlas.predictor.calibration import PLAIN_SUM
from latlas.predictor.predictor import LatencyPredictor
from latlas.profiler.errors import DeviceError, RunnerError
from latlas.profiler.graph import Graph
from latlas.profiler.quantise import for_precision
from latlas.profiler.runner import Effort, Job, Runner
from latlas.profiler.statistics import summary_of
from latlas.profiler.target import Target
from latlas.profiler.tflite.writer import to_tflite

_LOOK_S = 10.0


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


class TableOracle(PredictorOracle):
    """Latencies from measured kernels alone: a kernel that was not measured is an error.

    Args:
        predictor: fitted on the table.
        calibrated: whether sums of kernels are calibrated; else they are taken as they are.
    """

    def __init__(self, predictor: LatencyPredictor, *, calibrated: bool = True) -> None:
        calibration = predictor.calibration if calibrated else PLAIN_SUM
        super().__init__(replace(predictor, forests={}, calibration=calibration))


class DeviceOracle:
    """Latencies measured on the device itself, straight from the graph, without TensorFlow.

    Args:
        runner: of the device.
        effort: how long each network is run; by default 20 times and for 100 ms, on a phone after
            200 ms of warm-up, in which its clock rises.
        unwell_s: seconds that a device which says that it is unwell is waited for.
        sleep: rests for seconds.
    """

    def __init__(
        self,
        runner: Runner,
        effort: Effort | None = None,
        unwell_s: float = 1800.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.runner = runner
        warmup_ms = 200.0 if runner.fresh_process else 5.0
        self.effort = effort or Effort(min_runs=20, min_ms=100.0, warmup_ms=warmup_ms)
        self.unwell_s = unwell_s
        self.sleep = sleep

    @property
    def target(self) -> Target:
        """What the latencies are valid for."""
        return self.runner.target

    def latency_ms(self, graphs: Sequence[Graph]) -> NDArray[np.float64]:
        """Measure every network; on a target of int8, those of float32 in their int8 form.

        Raises:
            GraphError: a network holds int8 and the target does not.
            RunnerError: a network could not be measured.
            DeviceError: the device is gone, or unwell for too long.
        """
        waited_s = 0.0
        while reason := self.runner.unwell():
            if waited_s >= self.unwell_s:
                raise DeviceError(f"the device is no better after {waited_s:.0f} s: {reason}")
            self.sleep(_LOOK_S)
            waited_s += _LOOK_S
        precision = self.target.precision
        jobs = (
            Job(str(index), to_tflite(for_precision(graph, precision)), self.effort)
            for index, graph in enumerate(graphs)
        )
        found = []
        for result in self.runner.run(jobs):
            if result.kind != "ok":
                raise RunnerError(f"network {result.job_id} could not be measured: {result.error}")
            found.append(summary_of(result).median_us / 1e3)
        return np.array(found)

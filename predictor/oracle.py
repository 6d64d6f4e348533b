"""Latency oracles: graphs in, latencies out, whatever is behind.

A predictor, the kernels of a table alone, and the device itself; `latlas.predictor.blocks` has the
blocks of a table.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from latlas.predictor.calibration import PLAIN_SUM
from latlas.predictor.predictor import LatencyPredictor
from latlas.profiler.errors import DeviceError, LatlasError, RunnerError
from latlas.profiler.graph import Graph
from latlas.profiler.quantise import for_precision
from latlas.profiler.runner import Effort, Job, Runner
from latlas.profiler.statistics import NoiseGate, judge
from latlas.profiler.target import Target
from latlas.profiler.tflite.writer import to_tflite

_LOOK_S = 10.0
_QUIET, _NOISY, _LOST, _BROKEN = range(4)
"""What an attempt gave, the best first: a figure, one that was disturbed, an accident that may not
happen again, a failure for good."""


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
        predictor: fitted on the table; what other devices say is left out, too.
        calibrated: whether sums of kernels are calibrated; else they are taken as they are.
    """

    def __init__(self, predictor: LatencyPredictor, *, calibrated: bool = True) -> None:
        calibration = predictor.calibration if calibrated else PLAIN_SUM
        super().__init__(replace(predictor, forests={}, mixture=None, calibration=calibration))


@dataclass(frozen=True)
class Figure:
    """What measuring a network on the device itself gave.

    Attributes:
        latency_ms: its latency; NaN where it could not be measured.
        error: why not, or "".
        noise: why the latency is doubtful, though it is the best of several attempts, or "".
    """

    latency_ms: float = math.nan
    error: str = ""
    noise: str = ""


class DeviceOracle:
    """Latencies measured on the device itself, straight from the graph, without TensorFlow.

    Args:
        runner: of the device.
        effort: how long each network is run; by default 20 times and for 100 ms, on a phone after
            200 ms of warm-up, in which its clock rises.
        gate: what counts as noisy; by default a spread of 10%, and on the CPU less than 80% of it.
        attempts: how often a network is measured whose figures are noisy.
        unwell_s: seconds that a device which says that it is unwell is waited for.
        sleep: rests for seconds.
    """

    def __init__(
        self,
        runner: Runner,
        effort: Effort | None = None,
        gate: NoiseGate | None = None,
        attempts: int = 3,
        unwell_s: float = 1800.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.runner = runner
        warmup_ms = 200.0 if runner.fresh_process else 5.0
        self.effort = effort or Effort(min_runs=20, min_ms=100.0, warmup_ms=warmup_ms)
        self.gate = gate
        self.attempts = attempts
        self.unwell_s = unwell_s
        self.sleep = sleep

    @property
    def target(self) -> Target:
        """What the latencies are valid for."""
        return self.runner.target

    def latency_ms(self, graphs: Sequence[Graph]) -> NDArray[np.float64]:
        """Measure every network; on a target of int8, those of float32 in their int8 form.

        Raises:
            RunnerError: a network could not be measured.
            DeviceError: the device is gone, or unwell for too long.
        """
        figures = self.measure(graphs)
        for index, figure in enumerate(figures):
            if figure.error:
                raise RunnerError(f"network {index} could not be measured: {figure.error}")
        return np.array([figure.latency_ms for figure in figures], np.float64)

    def measure(self, graphs: Sequence[Graph]) -> list[Figure]:
        """Measure every network, those with noisy figures again; of these the steadiest is taken.

        Raises:
            RunnerError: the runner gives results for no network.
            DeviceError: the device is gone, or unwell for too long.
        """
        found: dict[int, tuple[tuple[int, float], Figure]] = {}
        left = list(range(len(graphs)))
        for _ in range(self.attempts):
            for index, rank, figure in self._attempt(graphs, left):
                if index not in found or rank < found[index][0]:
                    found[index] = rank, figure
            left = [i for i in left if found[i][0][0] in (_NOISY, _LOST)]
            if not left:
                break
        return [found[index][1] for index in range(len(graphs))]

    def _attempt(
        self, graphs: Sequence[Graph], left: Sequence[int]
    ) -> Iterator[tuple[int, tuple[int, float], Figure]]:
        """Yield position, rank and figure of some networks that are measured once.

        Of several attempts the one of the lowest rank counts: what it gave, then its spread.
        """
        self._wait_until_well()
        target = self.target
        gate = self.gate or NoiseGate(
            spread=0.1, drift=math.inf, cpu_share=0.8 if target.delegate == "cpu" else 0.0
        )
        unwritable: dict[int, str] = {}

        def jobs() -> Iterator[Job]:
            for index in left:
                try:
                    model = to_tflite(for_precision(graphs[index], target.precision))
                except LatlasError as problem:
                    unwritable[index] = f"cannot be written as a .tflite file: {problem}"
                else:
                    yield Job(str(index), model, self.effort)

        waiting = {str(index): index for index in left}
        for result in self.runner.run(jobs()):
            if result.job_id not in waiting:
                raise RunnerError(f"the runner gave a result for no job: {result.job_id!r:.80}")
            index = waiting.pop(result.job_id)
            judgement = judge(result, gate)
            summary = judgement.summary
            if summary is None:
                # A process may die by accident: it is given another chance.
                how = _LOST if result.kind in ("crashed", "timeout") else _BROKEN
                yield index, (how, 0.0), Figure(error=judgement.reason)
            else:
                figure = Figure(summary.median_us / 1e3, noise=judgement.reason)
                rank = (_NOISY if figure.noise else _QUIET), summary.robust_cv
                yield index, rank, figure
        for index in waiting.values():
            if index in unwritable:
                yield index, (_BROKEN, 0.0), Figure(error=unwritable[index])
            else:
                yield index, (_LOST, 0.0), Figure(error="the runner gave no result")

    def _wait_until_well(self) -> None:
        waited_s = 0.0
        while reason := self.runner.unwell():
            if waited_s >= self.unwell_s:
                raise DeviceError(f"the device is no better after {waited_s:.0f} s: {reason}")
            self.sleep(_LOOK_S)
            waited_s += _LOOK_S

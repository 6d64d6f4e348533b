"""The reference kernel: how a campaign notices that the device is no longer what it was."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from statistics import median

from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.statistics import NoiseGate, Summary

WINDOW = 50
"""Checks that the running median looks back on."""


def reference_graph() -> Graph:
    """Return the reference kernel: a 1x1 and a depthwise 3x3 convolution, 10 M multiply-adds.

    It takes about 0.2 ms on a desktop's core and 1 ms on a phone's: long enough for a clock,
    short enough to be measured often; it exercises arithmetic and memory.
    """
    b = GraphBuilder((1, 56, 56, 24))
    expanded = b.conv(b.input, 96, 1, activation="relu6")
    return b.build(b.depthwise(expanded, 3, activation="relu6"))


class ReferenceMonitor:
    """The reference kernel's level, and what counts as a departure from it. Knows no clock.

    Args:
        spread_floor: the gate for a job's spread is at least this (robust CV).
        drift_floor: the gate for the reference's drift is at least this (share of the level).
        factor: gates over the reference's own spread.
        throttle: a level this much (a share) above the fastest is throttled; at least the gate
            for drift, so that noise is not taken for heat.
        cpu_share: smallest CPU time over wall time of a job.

    Attributes:
        gate: what counts as quiet; set by `learn`.
        last_us: the latest check's median.
        best_us: the fastest level that the device has held.
    """

    def __init__(
        self,
        *,
        spread_floor: float = 0.03,
        drift_floor: float = 0.03,
        factor: float = 3.0,
        throttle: float = 0.10,
        cpu_share: float = 0.0,
    ) -> None:
        self._spread_floor = spread_floor
        self._drift_floor = drift_floor
        self._factor = factor
        self._throttle = throttle
        self._cpu_share = cpu_share
        self._levels: deque[float] = deque(maxlen=WINDOW)
        self.gate = NoiseGate(spread_floor, drift_floor, cpu_share)
        self.last_us = 0.0
        self.best_us = float("inf")

    @property
    def level_us(self) -> float:
        """The running median of the checks since the level was last adopted."""
        return median(self._levels)

    @property
    def throttled(self) -> bool:
        """Whether the present level is far above the fastest; not so before there is one."""
        return bool(self._levels) and self.is_throttled(self.level_us)

    def learn(self, references: Sequence[Summary], history_us: Sequence[float] = ()) -> None:
        """Start from repeated measurements of the reference.

        Args:
            references: measurements of now.
            history_us: medians of earlier sessions on this target: they tell how fast the device
                can be, not where it is now, since processes differ by a few percent.
        """
        self.gate = self.gate_of(references)
        if history_us:
            self.best_us = median(history_us)
        self.adopt([reference.median_us for reference in references])

    def gate_of(self, references: Sequence[Summary]) -> NoiseGate:
        """Return the gate that measurements of the reference would set."""
        return NoiseGate.learn(
            references,
            spread_floor=self._spread_floor,
            drift_floor=self._drift_floor,
            factor=self._factor,
            cpu_share=self._cpu_share,
        )

    def is_blind(self, gate: NoiseGate) -> bool:
        """Tell whether a gate, wider than asked for, would let a slow device pass."""
        return gate.drift > max(self._throttle, self._drift_floor)

    def drift(self, median_us: float) -> float:
        """Return by which share a median lies above the level."""
        return median_us / self.level_us - 1

    def is_good(self, median_us: float) -> bool:
        """Tell whether a check agrees with the level."""
        return abs(self.drift(median_us)) <= self.gate.drift

    def is_throttled(self, level_us: float) -> bool:
        """Tell whether a level is far above the fastest."""
        return level_us > self.best_us * (1 + max(self._throttle, self.gate.drift))

    def add(self, check: Summary) -> None:
        """Let a good check move the level."""
        self._levels.append(check.median_us)
        self.last_us = check.median_us

    def is_steady(self, checks_us: Sequence[float]) -> bool:
        """Tell whether checks agree among themselves, whatever the level was."""
        middle = median(checks_us)
        return all(abs(check / middle - 1) <= self.gate.drift for check in checks_us)

    def adopt(self, checks_us: Sequence[float]) -> None:
        """Take checks as the new level."""
        self._levels.clear()
        self._levels.extend(checks_us)
        self.last_us = checks_us[-1]
        self.best_us = min(self.best_us, self.level_us)

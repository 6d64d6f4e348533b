"""A job that is to be measured, and what is accepted for it in the end."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

from latlas.profiler.jobs import CampaignJob
from latlas.profiler.measurement import Measurement
from latlas.profiler.statistics import Verdict


@dataclass(eq=False)
class Pending:
    """A job without an accepted measurement, or whose measurement is of a slow device.

    Its methods take one more measurement, and return what is to be accepted now, or None where the
    job is to be measured again or, at a second look, is left as it is.

    Attributes:
        job: the job.
        max_attempts: it is measured at most so often.
        slow: what is accepted already, of a slow device: the job has its second look.
        tries: noisy attempts between good checks of the reference.
        losses: attempts that gave nothing: the device drifted, the process crashed.
    """

    job: CampaignJob
    max_attempts: int
    slow: Measurement | None = None
    tries: list[Measurement] = field(default_factory=list)
    losses: int = 0

    @cached_property
    def text(self) -> str:
        """The job's graph as text."""
        return self.job.graph.to_text()

    def exhausted(self, lost_now: int = 0) -> bool:
        """Tell whether no attempt is left, after so many more that are lost now."""
        return len(self.tries) + self.losses + lost_now >= self.max_attempts

    def best(self) -> Measurement | None:
        """Return the noisy attempt that spread least."""
        spreads = [m.summary.robust_cv if m.summary else math.inf for m in self.tries]
        return self.tries[spreads.index(min(spreads))] if spreads else None

    def well(self, measurement: Measurement) -> Measurement | None:
        """Take a measurement between two good checks, on a device that is well."""
        if measurement.verdict == "stable":
            return measurement
        self.tries.append(measurement)
        return self.best() if self.exhausted() else None

    def slowed(self, measurement: Measurement) -> Measurement | None:
        """Take a measurement between two good checks, on a device that stays slow."""
        if self.slow is None:
            return measurement
        return self.best() if self.exhausted(1) else None

    def drifted(self, measurement: Measurement, verdict: Verdict, why: str) -> Measurement | None:
        """Take a measurement during which the device drifted.

        Args:
            measurement: that was taken.
            verdict: on the last attempt, where none was any better.
            why: how the device drifted.
        """
        if not self.exhausted(1):
            return None
        if self.tries or self.slow is not None:
            return self.best()
        return measurement.judged(verdict, f"{why} in every attempt")

    def failed(self, measurement: Measurement, lost: bool) -> Measurement | None:
        """Take a measurement without a figure.

        A process may die by accident: once is forgiven. Other failures would come back.

        Args:
            measurement: that was taken.
            lost: whether the process died.
        """
        if lost and not self.losses and not self.exhausted(1):
            return None
        return self.best() or (measurement if self.slow is None else None)

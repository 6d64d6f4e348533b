"""How a campaign watches over its device."""

from __future__ import annotations

import math
from dataclasses import dataclass

from latlas.profiler.runner import Effort

REFERENCE_EFFORT = Effort(min_runs=20, min_ms=10.0)
WARMUP_EFFORT = Effort()


@dataclass(frozen=True, slots=True)
class CampaignSettings:
    """How a campaign watches over its device.

    Attributes:
        seed: of the order.
        networks_first: so many whole networks come before all else: a campaign that may end early
            is of no use without those that a table is calibrated on.
        max_attempts: a job that is noisy, that crashes, or during which the device drifts is
            measured at most so often.
        check_every_jobs: the reference is measured after so many jobs at the latest.
        check_every_s: … and after so many seconds, or five times what a check takes.
        first_batch: the first batch has this share of that length: nobody knows yet how steady the
            device is.
        batch_bytes: … and after models of so many bytes, since a batch may wait in memory.
        reference_effort: how long the reference is run.
        learn_runs: reference measurements at the start, which set the gates for noise.
        first_pause_s: the first rest after a drift; every further one is twice as long.
        max_pause_s: the longest single rest.
        patience_s: how long a slow device is waited for at most, all rests of a session together.
        first_patience_s: … and no longer than this and as long as has been measured: nobody waits
            two minutes for a kernel of a millisecond. Nor longer at the start, for the device to
            be so steady that gates can be learned.
        again_share: what was measured on a slow device is measured again for at most this share of
            the session so far.
        max_s: after so many seconds a session ends, and leaves the rest to the next.
        steady_checks: so many checks that agree make a level.
        throttle: a level that is slower than the fastest by more than this share is throttled.
        spread_floor: samples may spread at least this much (robust CV).
        drift_floor: the reference may drift at least this much.
        noise_factor: the gates over the reference's own spread.
        cpu_share: CPU time over wall time that a job on the CPU must have got.
        warmup_ms: milliseconds of untimed runs where every model gets a process of its own; None
            finds out how many the device needs.
        warmup_effort: of the kernels that show how long the untimed runs must last; where every
            model gets a process of its own, that replaces what the jobs say.
        check_warmup_s: look again after so many seconds whether that still holds.
        unwell_s: a device that says itself that it is unwell (hot, a low battery) is waited for
            so many seconds.
    """

    seed: int = 0
    networks_first: int = 0
    max_attempts: int = 3
    check_every_jobs: int = 40
    check_every_s: float = 2.0
    first_batch: float = 0.25
    batch_bytes: int = 1 << 26
    reference_effort: Effort = REFERENCE_EFFORT
    learn_runs: int = 7
    first_pause_s: float = 0.1
    max_pause_s: float = 5.0
    patience_s: float = 120.0
    first_patience_s: float = 5.0
    again_share: float = 0.5
    max_s: float = math.inf
    steady_checks: int = 5
    throttle: float = 0.10
    spread_floor: float = 0.03
    drift_floor: float = 0.03
    noise_factor: float = 3.0
    cpu_share: float = 0.8
    warmup_ms: float | None = None
    warmup_effort: Effort = WARMUP_EFFORT
    check_warmup_s: float = 300.0
    unwell_s: float = 1800.0

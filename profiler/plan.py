"""What a campaign will cost, what it will cover, and what fits a time budget. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from latlas.profiler.count import count
from latlas.profiler.jobs import CampaignJob
from latlas.profiler.measurement import MAX_SAMPLES, Measurement
from latlas.profiler.target import Delegate

MIN_MEASUREMENTS = 20
"""Fewer measurements than this say too little about what a target costs."""

NETWORK = "network"
"""The unit of whole networks, on which a table is calibrated."""


@dataclass(frozen=True, slots=True)
class CostModel:
    """How long a job will take.

    The defaults are for a target that nothing is known about; `learn` knows better.

    Attributes:
        madds_per_s: multiply-adds per second, by default those of a phone's middling core.
        invocation_us: fixed cost of one run of a model.
        job_overhead_s: writing, sending and initialising a model; on a GPU that is seconds.
        watch_share: time for reference checks and repeats, over the time of the jobs.
    """

    madds_per_s: float = 8e9
    invocation_us: float = 50.0
    job_overhead_s: float = 0.005
    watch_share: float = 0.15

    @staticmethod
    def learn(delegate: Delegate, measurements: Sequence[Measurement] = ()) -> CostModel:
        """Return what a delegate costs, by what a table holds of it.

        Args:
            delegate: a GPU compiles the kernels of a model first, which takes a good part of a
                second.
            measurements: of the target; where there are enough, they replace the guesses.
        """
        usual = CostModel(job_overhead_s=0.4) if delegate == "gpu" else CostModel()
        sampled = [m for m in measurements if m.summary is not None]
        if len(sampled) < MIN_MEASUREMENTS:
            return usual
        speeds = []
        for measurement in sampled:
            assert measurement.summary is not None
            size = count(measurement.to_graph())
            speeds.append((size.madds + size.se_madds) / measurement.summary.median_us * 1e6)
        return CostModel(
            # Work without multiply-adds has no speed of this kind.
            madds_per_s=median([speed for speed in speeds if speed] or [usual.madds_per_s]),
            invocation_us=min(m.summary.median_us for m in sampled if m.summary is not None),
            job_overhead_s=median(m.init_ms for m in sampled) / 1e3 + 0.002,
        )

    def latency_us(self, madds: int) -> float:
        """Return the expected time of one run."""
        return self.invocation_us + madds / self.madds_per_s * 1e6

    def job_s(self, job: CampaignJob, madds: int) -> float:
        """Return the expected time of a job on the device, in seconds, with its share of checks."""
        effort, run_ms = job.effort, self.latency_us(madds) / 1e3
        timed_ms = min(max(effort.min_runs * run_ms, effort.min_ms), max(effort.max_ms, run_ms))
        passes = 2 if job.profile else 1
        busy_ms = max(effort.warmup_ms, run_ms) + passes * timed_ms
        return (self.job_overhead_s + busy_ms / 1e3) * (1 + self.watch_share)


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job with what it is worth and what it costs.

    Attributes:
        job: what to measure.
        weight: what measuring it is worth, e.g. how often networks use it, or their MAdds in it.
        madds: multiply-adds of one run.
        seconds: expected device time.
        storage_bytes: expected size in the table, an upper estimate.
    """

    job: CampaignJob
    weight: float
    madds: int
    seconds: float
    storage_bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Jobs, with what they cost together."""

    jobs: tuple[PlannedJob, ...]

    @property
    def seconds(self) -> float:
        """Expected device time."""
        return sum(planned.seconds for planned in self.jobs)

    @property
    def minutes(self) -> float:
        """Expected device time."""
        return self.seconds / 60

    @property
    def storage_bytes(self) -> int:
        """Expected size of the table."""
        return sum(planned.storage_bytes for planned in self.jobs)

    @property
    def campaign_jobs(self) -> tuple[CampaignJob, ...]:
        """The jobs, as a campaign takes them."""
        return tuple(planned.job for planned in self.jobs)


def make_plan(jobs: Sequence[tuple[CampaignJob, float]], cost: CostModel | None = None) -> Plan:
    """Estimate jobs.

    Args:
        jobs: pairs of a job and its weight.
        cost: what is known about the target.

    Raises:
        ValueError: a weight is negative or not a number.
    """
    cost = cost or CostModel()
    planned = []
    for job, weight in jobs:
        if not weight >= 0:
            raise ValueError(f"job {job.id!r}: a weight must be at least 0, got {weight!r}")
        size = count(job.graph)
        madds = size.madds + size.se_madds
        planned.append(PlannedJob(job, weight, madds, cost.job_s(job, madds), _storage(job)))
    return Plan(tuple(planned))


def _storage(job: CampaignJob) -> int:
    samples = 10 * min(MAX_SAMPLES, max(job.effort.min_runs, int(job.effort.min_ms * 20)))
    ops = 50 * len(job.graph.nodes) if job.profile else 0
    return 700 + len(job.graph.to_text()) + samples + ops


def fit_budget(
    plan: Plan, seconds: float, *, min_networks: int = 3
) -> tuple[Plan, tuple[PlannedJob, ...]]:
    """Return the most useful part of a plan that fits a time budget, and what is left out.

    Greedy by weight per second. Up to `min_networks` networks come first, as far as they take no
    more than half of the budget: without any, a table of kernels could not be calibrated. Both
    parts keep the plan's order.
    """

    def worth(planned: PlannedJob) -> tuple[float, str]:
        return -planned.weight / planned.seconds, planned.job.id

    ranked = sorted(plan.jobs, key=worth)
    networks = [planned for planned in ranked if planned.job.unit == NETWORK]
    chosen: set[str] = set()
    left = seconds

    def take(planned: PlannedJob, available: float) -> None:
        nonlocal left
        if planned.job.id not in chosen and planned.seconds <= available:
            chosen.add(planned.job.id)
            left -= planned.seconds

    for planned in networks:
        if len(chosen) < min_networks:
            take(planned, left - seconds / 2)
    if networks and not chosen and min_networks:
        cheapest = min(networks, key=lambda planned: planned.seconds)
        take(cheapest, left)
    for planned in ranked:
        take(planned, left)
    kept = tuple(planned for planned in plan.jobs if planned.job.id in chosen)
    return Plan(kept), tuple(planned for planned in plan.jobs if planned.job.id not in chosen)


@dataclass(frozen=True, slots=True)
class KernelUse:
    """A kernel inside the networks that a table is meant for.

    Attributes:
        job_id: the job that measures this kernel.
        uses: how often the networks run it.
        madds: multiply-adds of one run.
    """

    job_id: str
    uses: int = 1
    madds: int = 0


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which share of the kernels of networks a plan measures.

    Attributes:
        by_count: share of all kernel runs.
        by_madds: share of all multiply-adds.
    """

    by_count: float
    by_madds: float


def coverage(plan: Plan, kernels: Iterable[KernelUse], measured: Iterable[str] = ()) -> Coverage:
    """Return how much of the networks' kernels a plan covers; of nothing, everything.

    Args:
        plan: what will be measured.
        kernels: of the networks.
        measured: ids of jobs that a table holds already.
    """
    planned = {entry.job.id for entry in plan.jobs} | set(measured)
    total = [0, 0]
    covered = [0, 0]
    for kernel in kernels:
        sizes = kernel.uses, kernel.uses * kernel.madds
        total = [total[0] + sizes[0], total[1] + sizes[1]]
        if kernel.job_id in planned:
            covered = [covered[0] + sizes[0], covered[1] + sizes[1]]
    return Coverage(
        by_count=covered[0] / total[0] if total[0] else 1.0,
        by_madds=covered[1] / total[1] if total[1] else 1.0,
    )

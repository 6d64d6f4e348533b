"""Measuring many graphs into a latency table, honestly and resumably.

Jobs run in random order, in batches that end with the reference kernel. While the reference holds
its level, what a batch measured is accepted. When it departs:

- The batch is voided, the device rests (pauses that double), and the reference is measured until
  it is back; the batch's jobs are measured again later.
- Where it settles at another level that is not throttled (a restarted process differs by a few
  percent), that becomes the level; every measurement carries the level that it was taken at.
- Where it stays slow for `CampaignSettings.patience_s`, the campaign goes on, and what is measured
  until the device is fast again is accepted as ``throttled``. So is what was measured before the
  device turned out to be faster.
- When all else is done, what is ``throttled`` is measured again as long as the device is well, and
  replaced. The same campaign, run again, does so too.

A job whose own samples are noisy is tried again, and so is one whose process died; after
`CampaignSettings.max_attempts` the best attempt is accepted as ``noisy``. Every job ends with
exactly one accepted measurement, those that cannot be run with the verdict ``failed`` or
``not_delegated``. A campaign that is interrupted goes on where it was when it is run again.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

from tqdm import tqdm

from latlas.profiler.campaign_settings import CampaignSettings
from latlas.profiler.errors import UsageError
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Graph
from latlas.profiler.jobs import CampaignJob, interleave
from latlas.profiler.measurement import REFERENCE
from latlas.profiler.plan import NETWORK
from latlas.profiler.progress import Progress
from latlas.profiler.reference import reference_graph
from latlas.profiler.runner import Runner
from latlas.profiler.session import Session
from latlas.profiler.table import TableWriter
from latlas.profiler.tflite.writer import to_tflite

__all__ = ["Campaign", "CampaignJob", "CampaignReport", "CampaignSettings", "Progress"]


@dataclass(frozen=True, slots=True)
class CampaignReport:
    """What one session of a campaign did.

    Attributes:
        measured: jobs that were accepted with a figure.
        skipped: jobs that the table held already.
        failed: jobs accepted as ``failed`` or ``not_delegated``.
        noisy: jobs accepted as ``noisy``.
        throttled: jobs accepted as ``throttled``.
        again: throttled measurements that were replaced by better ones.
        voided: measurements that did not count.
        left: jobs without an accepted measurement, after an interruption.
        interrupted: whether Ctrl-C ended it.
        wall_s: duration, pauses and the start of the runtime included.
        timed_s: time inside timed runs, references and voided ones included.
        warmup_s: time inside untimed runs.
        init_s: reading, compiling and allocating models.
        paused_s: rests of the device.
    """

    measured: int
    skipped: int
    failed: int
    noisy: int
    throttled: int
    again: int
    voided: int
    left: int
    interrupted: bool
    wall_s: float
    timed_s: float
    warmup_s: float
    init_s: float
    paused_s: float

    @property
    def overhead_ratio(self) -> float:
        """Duration over the time inside runs of models; 1 would be no overhead at all."""
        ran = self.timed_s + self.warmup_s
        return self.wall_s / ran if ran else float("inf")

    def and_then(self, later: CampaignReport) -> CampaignReport:
        """Return what this session and a later one, of further jobs, did together."""
        summed = (
            *("measured", "failed", "noisy", "throttled", "again", "voided"),
            *("wall_s", "timed_s", "warmup_s", "init_s", "paused_s"),
        )
        both = {name: getattr(self, name) + getattr(later, name) for name in summed}
        return replace(later, skipped=self.skipped + later.skipped, **both)


class Campaign:
    """Measures jobs into a table, skipping those that the table holds already.

    Args:
        runner: runs the models; its target becomes the table's.
        table_folder: the table, created where it is missing.
        jobs: what to measure; ids must be unique.
        settings: how the device is watched.
        fusion_rules: version of the rules that split networks into kernels; by default those of
            the runner's delegate.
        reference: the reference kernel's graph; the same one for a table's whole life.
        write: turns a graph into a .tflite file's bytes.
        progress: makes a display, given the number of jobs already done and of all jobs; None
            means a bar on standard error.
        clock: seconds, monotonic.
        sleep: rests for seconds.
        stop: set from another thread, ends the campaign as Ctrl-C does.
    """

    def __init__(
        self,
        runner: Runner,
        table_folder: str | Path,
        jobs: Sequence[CampaignJob],
        settings: CampaignSettings | None = None,
        *,
        fusion_rules: str | None = None,
        reference: Graph | None = None,
        write: Callable[[Graph], bytes] = to_tflite,
        progress: Callable[[int, int], Progress] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        stop: Event | None = None,
    ) -> None:
        self.runner = runner
        self.table_folder = Path(table_folder)
        self.jobs = jobs
        self.settings = settings or CampaignSettings()
        self.fusion_rules = fusion_rules
        self.reference = reference or reference_graph()
        self.write = write
        self.progress = progress or _bar
        self.clock = clock
        self.sleep = sleep
        self.stop = stop or Event()

    def run(self) -> CampaignReport:
        """Measure what the table does not hold yet. Ctrl-C ends it early, in good order.

        Raises:
            UsageError: two jobs have the same id, or the table holds another graph under an id,
                or another reference kernel.
            TableError: the table is in use, damaged, or cannot be written.
            TargetMismatchError: the table belongs to another target.
            RunnerError: the reference kernel cannot be measured.
            DeviceError: the device is gone. What was accepted is kept.
        """
        started = self.clock()
        ids = {job.id for job in self.jobs}
        if len(ids) != len(self.jobs) or any(name.startswith(f"{REFERENCE}-") for name in ids):
            raise UsageError(f"ids of jobs must be unique and not start with {REFERENCE}-")
        target = self.runner.target
        rules = self.fusion_rules
        if rules is None:
            rules = rules_for(target.delegate).version
        environment = self.runner.environment
        with TableWriter(
            self.table_folder, target, fusion_rules=rules, environment=environment
        ) as table:
            jobs = self._missing(table)
            missing = {job.id for job in jobs}
            measured = [job for job in self.jobs if job.id not in missing]
            progress = self.progress(len(measured), len(self.jobs))
            session = Session(
                table,
                self.runner,
                self.write,
                self.reference,
                self.settings,
                progress,
                self.clock,
                self.sleep,
                self.stop,
            )
            interrupted = False
            try:
                session.run(jobs, measured)
            except KeyboardInterrupt:
                interrupted = True
            finally:
                progress.close()
            verdicts = Counter(table.accepted[name].verdict for name in missing & {*table.accepted})
        tally = session.tally
        return CampaignReport(
            measured=tally.measured,
            skipped=len(measured),
            failed=tally.failed,
            noisy=verdicts["noisy"],
            throttled=verdicts["throttled"],
            again=tally.again,
            voided=tally.voided,
            left=len(jobs) - tally.measured - tally.failed,
            interrupted=interrupted,
            wall_s=self.clock() - started,
            timed_s=tally.timed_us / 1e6,
            warmup_s=tally.warmup_ms / 1e3,
            init_s=tally.init_ms / 1e3,
            paused_s=tally.paused_s,
        )

    def _missing(self, table: TableWriter) -> list[CampaignJob]:
        """Return the jobs that the table does not hold, in the order to be measured."""
        missing = []
        for job in interleave(self.jobs, self.settings.seed):
            known = table.accepted.get(job.id)
            if known is None:
                missing.append(job)
            elif known.graph != job.graph.to_text():
                raise UsageError(
                    f"the table {table.folder} holds another graph as job {job.id!r:.80}: "
                    "give the job another id, or choose another folder"
                )
        reference = self.reference.to_text()
        if any(m.unit == REFERENCE and m.graph != reference for m in table.accepted.values()):
            raise UsageError(
                f"the table {table.folder} was measured with another reference kernel, whose times "
                "do not compare: choose another folder"
            )
        known_networks = sum(known.unit == NETWORK for known in table.accepted.values())
        wanted = max(self.settings.networks_first - known_networks, 0)
        first = [job for job in missing if job.unit == NETWORK][:wanted]
        chosen = {job.id for job in first}
        return [*first, *(job for job in missing if job.id not in chosen)]


def _bar(done: int, total: int) -> Progress:
    bar: Progress = tqdm(total=total, initial=done, unit="job", file=sys.stderr)
    return bar

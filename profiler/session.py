"""The loop of a campaign: batches, the reference after each, and what is decided then.

What the rules are is written in `latlas.profiler.campaign`.
"""

from __future__ import annotations

import math
import random
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Event

from latlas.profiler.campaign_settings import CampaignSettings
from latlas.profiler.errors import DeviceError, LatlasError, NotDelegatedError, RunnerError
from latlas.profiler.graph import Graph
from latlas.profiler.jobs import CampaignJob
from latlas.profiler.measurement import REFERENCE, Measurement, measurement_from
from latlas.profiler.pending import Pending
from latlas.profiler.plan import NETWORK
from latlas.profiler.progress import Progress
from latlas.profiler.reference import ReferenceMonitor
from latlas.profiler.runner import Effort, Job, Result, Runner
from latlas.profiler.statistics import Summary, judge
from latlas.profiler.table import TableWriter
from latlas.profiler.warmup import (
    CHECKED,
    WARMUPS_MS,
    Warmup,
    WarmupTiming,
    choose_warmup,
    probe_graphs,
    time_warmups,
)

_REFERENCE_JOB = re.compile(rf"{REFERENCE}-([0-9]{{1,12}})")
LONGER, SHORTEST = 1.25, 1 / 16
"""After a good batch the next is so many times as long, after a void one half as long, but no
shorter than this share of what the settings say: on a device that changes often, less is lost."""

_AWAY = "the device was not back at its level"
_NAP_S = 1.0  # after so many seconds of rest is looked whether the session is to end


def _summaries(measurements: Sequence[Measurement]) -> list[Summary]:
    return [each.summary for each in measurements if each.summary is not None]


def _level_us(measurement: Measurement) -> float:
    """Return what the reference kernel took when something was measured."""
    if measurement.unit == REFERENCE and measurement.summary is not None:
        return measurement.summary.median_us
    return measurement.reference_us


@dataclass
class Tally:
    """Counts and times of one session."""

    measured: int = 0
    failed: int = 0
    again: int = 0
    voided: int = 0
    timed_us: float = 0.0
    warmup_ms: float = 0.0
    init_ms: float = 0.0
    paused_s: float = 0.0


class Session:
    """One run of a campaign.

    Args:
        table: open for writing.
        runner: runs the models.
        write: turns a graph into a .tflite file's bytes.
        reference: the reference kernel.
        settings: how the device is watched.
        progress: the display.
        clock: seconds, monotonic.
        sleep: rests for seconds.
        stop: set from another thread, ends the session as Ctrl-C does.
    """

    def __init__(
        self,
        table: TableWriter,
        runner: Runner,
        write: Callable[[Graph], bytes],
        reference: Graph,
        settings: CampaignSettings,
        progress: Progress,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        stop: Event,
    ) -> None:
        self.table = table
        self.runner = runner
        self.write = write
        self.reference = reference
        self.reference_text = reference.to_text()
        self.reference_model = b""
        self.settings = settings
        self.progress = progress
        self.clock = clock
        self._sleep = sleep
        self.stop = stop
        self.tally = Tally()
        self.monitor = ReferenceMonitor(
            spread_floor=settings.spread_floor,
            drift_floor=settings.drift_floor,
            factor=settings.noise_factor,
            throttle=settings.throttle,
            # While a GPU works, its CPU may well sleep.
            cpu_share=settings.cpu_share if table.header.target.delegate == "cpu" else 0.0,
        )
        earlier = [m for m in table.accepted.values() if m.unit == REFERENCE]
        self.history = [
            m.summary.median_us for m in earlier if m.summary and m.verdict != "throttled"
        ]
        # A resumed campaign's time goes on from the session before.
        offset = max((m.at_s for m in table.accepted.values()), default=0.0)
        self.zero = clock() - offset
        # The highest number so far, not how many: a check that got no result has left a gap.
        numbers = (_REFERENCE_JOB.fullmatch(name) for name in table.attempts)
        self.references = max((int(number[1]) for number in numbers if number), default=0)
        self.reference_s = 0.0
        self.length = settings.first_batch  # of batches, as a share of what the settings say
        self.warmup_ms = settings.warmup_ms  # None: what each job says
        self.warmup_checked_s = clock()
        self.began, self.ends = clock(), math.inf
        self.drifted_s = 0.0  # rests because of the reference, which `patience_s` bounds
        self.impatient = False
        self.returns = False  # whether a device that was given up has been well again
        self.queue: deque[Pending] = deque()
        self.unsettled: set[str] = set()  # jobs during which the device always drifted
        self.rng = random.Random(settings.seed + 1)

    def run(self, jobs: Sequence[CampaignJob], measured: Sequence[CampaignJob] = ()) -> None:
        """Measure jobs until each has an accepted measurement, or the session's time is over.

        Args:
            jobs: without an accepted measurement.
            measured: with one; again where it is of a slow device.
        """
        if not jobs and not any(self.is_slow(job) for job in measured):
            return
        self.reference_model = self.write(self.reference)
        self.rest()
        self.find_warmup()
        self.learn()
        self.ends = self.clock() + self.settings.max_s
        self.queue.extend(Pending(job, self.settings.max_attempts) for job in jobs)
        try:
            self.batches()
            self.measure_again([*measured, *jobs])
        finally:  # what was measured before an interruption has to be judged, too
            self.judge_again()

    def batches(self, *, patient: bool = False) -> None:
        """Measure what is in the queue, while there is time; if `patient`, while the device is well
        or may yet be so."""
        while self.queue and self.clock() < self.ends and not (patient and self.impatient):
            self.rest()
            if self.clock() >= self.ends:
                break
            if self.clock() - self.warmup_checked_s > self.settings.check_warmup_s:
                self.find_warmup()
            self.batch()

    # Second looks

    def is_slow(self, job: CampaignJob) -> bool:
        """Tell whether a job's accepted figure is of a slower device than there is by now."""
        known = self.table.accepted.get(job.id)
        if known is None or known.summary is None:
            return False
        return known.verdict == "throttled" or self.monitor.is_throttled(_level_us(known))

    def measure_again(self, jobs: Sequence[CampaignJob]) -> None:
        """Measure again what was measured on a slow or unsteady device, as long as it is well.

        That it was slow may only have become known when it got faster. It is waited for as long
        as at first, unless it has never been well again since it was given up, and all of it takes
        no longer than a share of the session so far. A figure that is there is replaced by one
        that was measured between good checks, or stays.
        """
        some = [job for job in jobs if job.id in self.unsettled or self.is_slow(job)]
        if not some or (self.impatient and not self.returns):
            return
        self.drifted_s, self.impatient = 0.0, False
        if self.tally.measured:  # else a second look is all that this session is for
            lasted_s = self.clock() - self.began
            self.ends = min(self.ends, self.clock() + self.settings.again_share * lasted_s)
        known = self.table.accepted
        most = self.settings.max_attempts
        self.queue.extend(Pending(job, most, known[job.id]) for job in some)
        if self.monitor.throttled and self.clock() < self.ends:
            self.recover()
        self.batches(patient=True)
        unused = [one for pending in self.queue for one in pending.tries]
        self.void(unused, "there was no time for another attempt")
        self.queue.clear()

    def judge_again(self) -> None:
        """Call throttled what was taken for stable before the device was known to be faster.

        If it still is, references as well: from them later sessions learn how fast the device can
        be. After a spell that has passed they stay what they were, for it may never come again.
        """
        known = [
            m
            for m in self.table.accepted.values()
            if m.summary is not None and (m.unit != REFERENCE or not self.monitor.throttled)
        ]
        slow = [m for m in known if self.monitor.is_throttled(_level_us(m))]
        self.table.accept(self.throttled(m, _level_us(m)) for m in slow if m.verdict != "throttled")

    def check_stop(self) -> None:
        """Raise `KeyboardInterrupt` once the session is to end."""
        if self.stop.is_set():
            raise KeyboardInterrupt

    def sleep(self, seconds: float) -> None:
        """Rest, unless the session is to end."""
        started = self.clock()
        try:
            while seconds > 0:
                self.check_stop()
                self._sleep(min(seconds, _NAP_S))
                seconds -= _NAP_S
            self.check_stop()
        finally:
            self.tally.paused_s += self.clock() - started

    def rest(self) -> None:
        """Wait while the device says itself that it is unwell, at most until the session ends.

        Raises:
            DeviceError: it is so for too long.
        """
        self.check_stop()
        started, pause = self.clock(), self.settings.first_pause_s
        while reason := self.runner.unwell():
            self.show(f"waiting: {reason}", refresh=True)
            now = self.clock()
            if now >= self.ends:
                return
            left_s = started + self.settings.unwell_s - now
            if left_s <= 0:
                raise DeviceError(
                    f"the device is no better after {now - started:.0f} s: {reason}; what was "
                    "measured is kept, give the same command again to go on"
                )
            self.sleep(min(pause, left_s, self.ends - now))
            pause = min(2 * pause, self.settings.max_pause_s)

    # Warm-up

    def find_warmup(self) -> None:
        """Keep the warm-up that the table has while it is long enough, else find another.

        Raises:
            RunnerError: a kernel could not be measured.
        """
        if not self.runner.fresh_process:
            return
        if self.settings.warmup_ms is not None:
            self.set_warmup(self.settings.warmup_ms, ())  # somebody's choice is recorded as well
            return
        longest = max(WARMUPS_MS)
        known = self.table.warmups[-1].warmup_ms if self.table.warmups else None
        if known is not None:
            timings: tuple[WarmupTiming, ...] = ()
            if known < longest:
                timings = self.time_warmups((known, longest), CHECKED)
            if not timings or choose_warmup(timings) == known:
                self.set_warmup(known, timings)
                return
        timings = self.time_warmups(WARMUPS_MS, tuple(probe_graphs()))
        self.set_warmup(choose_warmup(timings), timings)

    def time_warmups(
        self, warmups_ms: Sequence[float], kernels: Sequence[str]
    ) -> tuple[WarmupTiming, ...]:
        """Time kernels after warm-ups of several lengths, each in a process of its own."""
        self.show("finding the warm-up", refresh=True)
        effort = self.settings.warmup_effort
        return time_warmups(self.runner, self.write, effort, warmups_ms, kernels, clock=self.clock)

    def set_warmup(self, warmup_ms: float, timings: tuple[WarmupTiming, ...]) -> None:
        """Use a warm-up from now on, and record it with what it was chosen by."""
        self.warmup_ms, self.warmup_checked_s = warmup_ms, self.clock()
        self.table.append_warmup(Warmup(warmup_ms, timings, round(self.clock() - self.zero, 3)))

    def warmed(self, effort: Effort, unit: str = REFERENCE) -> Effort:
        """Return an effort with the warm-up that the device needs."""
        if self.warmup_ms is None or not self.runner.fresh_process:
            return effort
        # A network wants its caches warm as well, for which its own effort knows how long.
        warmup_ms = max(self.warmup_ms, effort.warmup_ms if unit == NETWORK else 0.0)
        # A tool may have one maximum for both, which must not cut the warm-up short.
        return replace(effort, warmup_ms=warmup_ms, max_ms=max(effort.max_ms, warmup_ms))

    # References

    def reference_job(self) -> Job:
        """Return the next measurement of the reference kernel, under a name of its own."""
        self.references += 1
        name = f"{REFERENCE}-{self.references:06}"
        return Job(name, self.reference_model, self.warmed(self.settings.reference_effort))

    def measure_references(self, count: int) -> list[Measurement]:
        """Measure the reference `count` times.

        Raises:
            RunnerError: it did not run.
        """
        jobs = [self.reference_job() for _ in range(count)]
        found = [self.note_reference(result) for result in self.runner.run(jobs)]
        if len(found) != count:
            raise RunnerError(f"the runner gave {len(found)} results for {count} jobs")
        for measurement in found:
            if measurement.summary is None:
                kind = NotDelegatedError if measurement.verdict == "not_delegated" else RunnerError
                raise kind(
                    f"the reference kernel cannot be measured: {measurement.reason}; "
                    "without it no figure can be trusted"
                )
        return found

    def note_reference(self, result: Result) -> Measurement:
        """Judge and write what the reference kernel took."""
        return self.note(result, REFERENCE, REFERENCE, self.reference_text)

    def learn(self) -> None:
        """Set the gates while the device is steady.

        What is learned while it changes its speed all the time lets any change pass later on. So
        that is tried again, for as long as is waited at first; of a device that is never steady,
        the steadiest moment counts.
        """
        settings, clock = self.settings, self.clock
        runs, pause = max(settings.learn_runs, 1), settings.first_pause_s
        deadline = clock() + min(settings.first_patience_s, settings.patience_s)
        tries: list[tuple[float, list[Measurement]]] = []
        while True:
            started = clock()
            found = self.measure_references(runs)
            self.reference_s = (clock() - started) / runs
            gate = self.monitor.gate_of(_summaries(found))
            tries.append((gate.drift, found))
            if not self.monitor.is_blind(gate) or clock() + pause > deadline:
                break
            self.show("waiting for a steady device", refresh=True)
            self.sleep(pause)
            pause = min(2 * pause, settings.max_pause_s)
        _, best = min(tries, key=lambda each: each[0])
        for _, found in tries:
            if found is not best:
                self.void(found, "the device was not steady")
        self.monitor.learn(_summaries(best), self.history)
        self.accept_references(best)
        if self.monitor.throttled:  # slower than in earlier sessions, from the start
            self.recover()

    def accept_references(self, references: Sequence[Measurement]) -> None:
        """Accept references that the present level rests on."""
        slow = self.monitor.throttled
        self.table.accept(self.throttled(each) if slow else each for each in references)

    def recover(self) -> None:
        """Rest until the reference is back at its level, or holds another one."""
        checks: list[Measurement] = []
        try:
            self.await_level(checks)
        finally:
            self.void(checks, _AWAY)

    def await_level(self, checks: list[Measurement]) -> None:
        """Do what `recover` does; leave in `checks` what is not accepted."""
        settings, monitor, clock = self.settings, self.monitor, self.clock
        measured_s = clock() - self.began - self.tally.paused_s
        most_s = min(settings.patience_s, settings.first_patience_s + measured_s)
        patience_s = max(most_s - self.drifted_s, 0.0)
        deadline = min(clock() + (0.0 if self.impatient else patience_s), self.ends)
        pause, faster = settings.first_pause_s, False
        while True:
            self.show(f"waiting, reference {monitor.drift(monitor.last_us):+.0%}", refresh=True)
            if not (self.impatient or faster):
                resting = clock()
                self.sleep(max(min(pause, deadline - resting), 0.0))
                self.drifted_s += clock() - resting
            (check,) = self.measure_references(1)
            assert check.summary is not None
            median_us = check.summary.median_us
            if monitor.is_good(median_us) and not monitor.throttled:
                monitor.add(check.summary)
                self.table.accept([check])
                return
            checks.append(check)
            faster = monitor.drift(median_us) < 0  # it needs no rest
            if monitor.is_throttled(median_us):
                pause = min(pause * 2, settings.max_pause_s)
            if len(checks) < settings.steady_checks:
                continue
            levels_us = [_level_us(each) for each in checks]
            steady, late = monitor.is_steady(levels_us), clock() >= deadline
            slow = monitor.is_throttled(sorted(levels_us)[len(levels_us) // 2])
            if late or (steady and not slow):
                # Whoever has waited in vain does not wait again before the device was well.
                self.give_up(slow or not steady)
                monitor.adopt(levels_us)
                if steady:
                    found = [*checks]
                    checks.clear()
                    self.accept_references(found)
                return
            self.void([checks.pop(0)], _AWAY)

    def give_up(self, impatient: bool) -> None:
        """Note whether the device is waited for no more, and whether it came back since."""
        self.returns = self.returns or (self.impatient and not impatient)
        self.impatient = impatient

    # Batches

    def batch(self) -> None:
        """Run jobs up to the next check of the reference, and decide about them."""
        batch: dict[str, Pending] = {}
        unwritable: list[Result] = []
        found: list[tuple[Measurement, Result]] = []
        check: Measurement | None = None
        for result in self.runner.run(self.feed(batch, unwritable)):
            if result.job_id in batch:
                found.append((self.note_job(result, batch[result.job_id]), result))
            elif result.job_id == f"{REFERENCE}-{self.references:06}" and check is None:
                check = self.note_reference(result)
            else:
                raise RunnerError(f"the runner gave a result for no job: {result.job_id!r:.80}")
        answered = {result.job_id for _, result in found} | {r.job_id for r in unwritable}
        unanswered = [
            Result(name, error="the runner gave no result", kind="crashed")
            for name in batch
            if name not in answered
        ]
        for result in (*unwritable, *unanswered):
            found.append((self.note_job(result, batch[result.job_id]), result))
        self.decide(found, batch, check)

    def feed(self, batch: dict[str, Pending], unwritable: list[Result]) -> Iterator[Job]:
        """Yield jobs, each written only when it is asked for, and the reference last."""
        settings, size = self.settings, 0
        # Where a model takes seconds to initialise, as on a GPU, checks must not double the time.
        ends = self.clock() + max(self.length * settings.check_every_s, 5 * self.reference_s)
        while self.queue and len(batch) < self.length * settings.check_every_jobs:
            if batch and (size > settings.batch_bytes or self.clock() >= ends):
                break
            pending = self.queue.popleft()
            job = pending.job
            batch[job.id] = pending
            try:
                model = self.write(job.graph)
            except LatlasError as problem:
                text = f"cannot be written as a .tflite file: {problem}"
                unwritable.append(Result(job.id, error=text, kind="failed"))
                continue
            size += len(model)
            effort, network = self.warmed(job.effort, job.unit), job.unit == NETWORK
            yield Job(job.id, model, effort, job.profile, memory=network)
        yield self.reference_job()

    def note_job(self, result: Result, pending: Pending) -> Measurement:
        """Judge and write the result of a job."""
        return self.note(result, pending.job.unit, pending.job.name, pending.text)

    def note(self, result: Result, unit: str, name: str, text: str) -> Measurement:
        """Judge a result by itself, and write it as provisional."""
        judgement = judge(result, self.monitor.gate)
        last_us = self.monitor.last_us
        measurement = measurement_from(
            result,
            judgement,
            attempt=self.table.next_attempt(result.job_id),
            unit=unit,
            name=name,
            graph=text,
            at_s=self.clock() - self.zero,
            reference_us=last_us,
            drift=self.monitor.drift(last_us) if last_us else 0.0,
        )
        if measurement.summary is not None:
            summed_us = measurement.summary.n * measurement.summary.mean_us
            self.tally.timed_us += max(result.timed_ms * 1e3, summed_us)
        self.tally.warmup_ms += max(result.warmup_ms, 0.0)
        self.tally.init_ms += measurement.init_ms
        self.table.append_provisional(measurement)
        return measurement

    def decide(
        self,
        found: list[tuple[Measurement, Result]],
        batch: dict[str, Pending],
        check: Measurement | None,
    ) -> None:
        """Accept or void what a batch measured, in the light of the reference after it."""
        monitor = self.monitor
        summary = None if check is None else check.summary
        good = summary is not None and monitor.is_good(summary.median_us)
        slow = summary is not None and monitor.is_throttled(summary.median_us)
        if summary is None:
            why = f"the reference kernel did not run: {check.reason if check else 'no result'}"
        else:
            why = f"the reference kernel drifted by {monitor.drift(summary.median_us):+.1%}"
        accepted: list[Measurement] = []
        void: list[Measurement] = []
        for measurement, result in found:
            pending = batch[measurement.id]
            if measurement.summary is None:
                choice = pending.failed(measurement, result.kind in ("crashed", "timeout"))
            elif good and monitor.throttled:
                choice = pending.slowed(self.throttled(measurement))
            elif good:
                choice = pending.well(measurement)
            else:
                choice = pending.drifted(measurement, "throttled" if slow else "noisy", why)
            attempts = {m.attempt: m for m in (*pending.tries, measurement)}
            if choice is None:
                pending.losses += measurement not in pending.tries
                void += [m for m in attempts.values() if m not in pending.tries]
                if pending.slow is None or not pending.exhausted():
                    self.queue.insert(self.rng.randint(0, len(self.queue)), pending)
            else:
                accepted.append(choice)
                if not good and choice.summary is not None and choice not in pending.tries:
                    self.unsettled.add(choice.id)
                void += [m for m in attempts.values() if m.attempt != choice.attempt]
        references = []
        if check is not None and summary is not None and good:
            references = [self.throttled(check) if monitor.throttled else check]
        elif check is not None:
            void.append(check)
        self.table.accept((*accepted, *references))
        self.void(void, "another attempt was accepted" if good else why)
        self.count(accepted, batch)
        self.length = min(self.length * LONGER, 1.0) if good else max(self.length / 2, SHORTEST)
        if summary is not None and good:
            monitor.add(summary)
            self.give_up(self.impatient and monitor.throttled)
            self.show(f"drift {monitor.drift(summary.median_us):+.1%}")
        elif self.queue and self.clock() < self.ends:
            self.recover()

    def throttled(self, measurement: Measurement, level_us: float | None = None) -> Measurement:
        """Return a measurement as one of a slow device, whose reference took `level_us`."""
        slower = (level_us or self.monitor.level_us) / self.monitor.best_us - 1
        reason = f"the device had slowed down: its reference kernel took {slower:.0%} longer"
        return measurement.judged(
            "throttled", "; ".join(filter(None, (reason, measurement.reason)))
        )

    def void(self, measurements: Sequence[Measurement], reason: str) -> None:
        """Take measurements out of the table that nothing accepted, with the reason."""
        if measurements:
            self.table.void([(m.id, m.attempt) for m in measurements], reason)
            self.tally.voided += len(measurements)

    def count(self, accepted: Sequence[Measurement], batch: Mapping[str, Pending]) -> None:
        """Count what a batch brought, and move the bar on."""
        new = [m for m in accepted if batch[m.id].slow is None]
        self.tally.again += len(accepted) - len(new)
        self.tally.failed += sum(m.summary is None for m in new)
        self.tally.measured += sum(m.summary is not None for m in new)
        if new:
            self.progress.update(len(new))

    def show(self, text: str, *, refresh: bool = False) -> None:
        """Say what goes on behind the bar."""
        state = ", throttled" if self.monitor.throttled else ""
        self.progress.set_postfix_str(text + state, refresh=refresh)

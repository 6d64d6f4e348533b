"""Campaigns on a simulated device; run as a script, this file is one such campaign."""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import signal
import statistics
import subprocess
import sys
import time
import zlib
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Timer
from typing import Any

import pytest

from latlas.profiler.campaign import Campaign, CampaignJob, CampaignReport, CampaignSettings
from latlas.profiler.errors import (
    DeviceError,
    GraphError,
    NotDelegatedError,
    RunnerError,
    TableError,
    TargetMismatchError,
    UsageError,
)
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.jobs import interleave
from latlas.profiler.litert.local import LocalRunner
from latlas.profiler.reference import ReferenceMonitor, reference_graph
from latlas.profiler.runner import Effort, Job, Result
from latlas.profiler.statistics import NoiseGate, summarise
from latlas.profiler.table import JOURNAL, Table
from latlas.profiler.target import Target

TARGET = Target("simulated", "none 1.0", "cpu", "xnnpack")


def kernel(index: int) -> Graph:
    b = GraphBuilder((1, 8, 8, 1 + index))
    return b.build(b.conv(b.input, 4, 1))


def make_jobs(count: int, networks: int = 0) -> list[CampaignJob]:
    return [
        CampaignJob(f"k{i}", "conv", "kernel" if i >= networks else "network", kernel(i))
        for i in range(count)
    ]


class Device:
    """A runner on a device that exists only as a formula, with a clock of its own.

    `slowness(now_s)` multiplies every time; `trouble(job_id, attempt)` may return another result,
    or raise.
    """

    target = TARGET
    environment: Mapping[str, str] = {}
    fresh_process = False
    lists_operators = True

    def __init__(self, noise: float = 0.005, seed: int = 0) -> None:
        self.now = 0.0
        self.rng = random.Random(seed)
        self.noise = noise
        self.slowness: Callable[[float], float] = lambda now: 1.0
        self.trouble: Callable[[str, int], Result | None] = lambda job_id, attempt: None
        self.complaint: Callable[[float], str] = lambda now: ""
        self.attempts: dict[str, int] = {}
        self.order: list[str] = []
        self.rests: list[float] = []
        self.init_s = 0.0

    def true_us(self, model: bytes) -> float:
        return 50.0 + zlib.crc32(model) % 1000

    def unwell(self) -> str:
        return self.complaint(self.now)

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        for job in jobs:
            self.order.append(job.id)
            attempt = self.attempts[job.id] = self.attempts.get(job.id, 0) + 1
            result = self.trouble(job.id, attempt)
            if result is None:
                samples = []
                for _ in range(job.effort.min_runs):
                    time_us = self.true_us(job.model) * self.slowness(self.now)
                    samples.append(time_us * math.exp(self.rng.gauss(0, self.noise)))
                    self.now += samples[-1] / 1e6
                result = Result(job.id, tuple(samples), init_ms=0.5, warmup_ms=1.0)
            self.now += 0.0015 + self.init_s
            yield result

    def close(self) -> None:
        pass


class Bar:
    def __init__(self) -> None:
        self.done = 0
        self.texts: list[str] = []
        self.closed = False

    def update(self, n: int = 1) -> None:
        self.done += n

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        self.texts.append(text)

    def close(self) -> None:
        self.closed = True


def write(graph: Graph) -> bytes:
    return graph.to_text().encode()


def campaign(
    device: Device,
    folder: Path,
    jobs: list[CampaignJob],
    bar: Bar | None = None,
    stop: Event | None = None,
    **settings: Any,
) -> CampaignReport:
    settings = {"first_batch": 1.0, "first_patience_s": math.inf, "again_share": 9.0} | settings

    def sleep(seconds: float) -> None:
        device.rests.append(seconds)
        device.now += seconds

    return Campaign(
        device,
        folder,
        jobs,
        CampaignSettings(**settings),
        write=write,
        progress=lambda done, total: bar or Bar(),
        clock=lambda: device.now,
        sleep=sleep,
        stop=stop,
    ).run()


def records(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / JOURNAL).read_text().split("\n")
    assert lines.pop() == ""
    return [json.loads(line) for line in lines]


def check_every_job_once(folder: Path, jobs: list[CampaignJob]) -> Table:
    table = Table.open(folder, TARGET)
    assert sorted(m.id for m in table.measurements) == sorted(job.id for job in jobs)
    assert table.open_count == 0
    return table


def test_a_quiet_device(tmp_path: Path) -> None:
    device, jobs, bar = Device(), make_jobs(100, networks=4), Bar()
    report = campaign(device, tmp_path, jobs, bar)
    table = check_every_job_once(tmp_path, jobs)
    assert (report.measured, report.noisy, report.failed, report.left) == (100, 0, 0, 0)
    assert (bar.done, bar.closed) == (100, True)
    assert all("drift" in text for text in bar.texts)
    assert {m.verdict for m in table.measurements} == {"stable"}
    graphs = {job.id: job.graph for job in jobs}
    for m in table.measurements:
        assert m.summary is not None
        truth = device.true_us(write(graphs[m.id]))
        assert m.summary.median_us == pytest.approx(truth, rel=0.02)
        assert m.to_graph() == graphs[m.id]
        assert abs(m.drift) < 0.03
    assert report.timed_s + report.warmup_s == pytest.approx(
        device.now - 0.0005 * len(device.order), rel=0.01
    )
    assert 1 < report.overhead_ratio < 1.3


def test_the_reference_is_measured_first_last_and_in_between(tmp_path: Path) -> None:
    device = Device()
    campaign(device, tmp_path, make_jobs(50), check_every_jobs=10, learn_runs=4)
    kinds = "".join("r" if name.startswith("reference") else "." for name in device.order)
    assert kinds == "rrrr" + ("." * 10 + "r") * 5


def test_time_and_size_end_a_batch_too(tmp_path: Path) -> None:
    device = Device()
    campaign(device, tmp_path / "time", make_jobs(200), check_every_s=0.1, learn_runs=1)
    assert 15 < sum(name.startswith("reference") for name in device.order) < 40
    device = Device()
    campaign(device, tmp_path / "size", make_jobs(20), batch_bytes=1, learn_runs=1)
    assert sum(name.startswith("reference") for name in device.order) == 21


def test_checks_do_not_double_the_time_where_models_are_slow_to_start(tmp_path: Path) -> None:
    device = Device()
    device.init_s = 3.0
    campaign(device, tmp_path, make_jobs(50), learn_runs=5)
    assert sum(name.startswith("reference") for name in device.order) == 5 + 10


def test_models_are_written_when_they_are_needed(tmp_path: Path) -> None:
    """At no time are there more models in memory than one batch."""
    alive: list[bytes] = []
    device = Device()
    original = device.run

    def run(jobs: Iterable[Job]) -> Iterator[Result]:
        for job in jobs:
            assert len(alive) <= 1
            yield from original([job])
            alive.clear()

    device.run = run  # type: ignore[method-assign]

    def written(graph: Graph) -> bytes:
        alive.append(graph.to_text().encode())
        return alive[-1]

    Campaign(
        device, tmp_path, make_jobs(30), write=written, progress=lambda done, total: Bar()
    ).run()


def test_networks_are_spread_over_the_order() -> None:
    jobs = make_jobs(200, networks=10)
    order = interleave(jobs, seed=1)
    assert sorted(job.id for job in order) == sorted(job.id for job in jobs)
    places = [i for i, job in enumerate(order) if job.unit == "network"]
    for tenth, place in enumerate(places):
        assert abs(place - 20 * tenth - 10) <= 16
    assert interleave(jobs, 1) == order != interleave(jobs, 2)


def test_what_was_measured_since_the_device_slowed_down_is_repeated(tmp_path: Path) -> None:
    device, jobs = Device(), make_jobs(120)
    device.slowness = lambda now: 1.5 if 1.0 < now < 4.0 else 1.0
    report = campaign(device, tmp_path, jobs, check_every_jobs=10)
    check_figures(device, tmp_path, jobs)
    assert report.voided >= 2
    assert report.paused_s > 0
    assert report.throttled == 0
    reasons = {record["reason"] for record in records(tmp_path) if record.get("type") == "void"}
    assert any("drifted by +50" in reason or "drifted by +49" in reason for reason in reasons)


def test_a_device_that_stays_slow_is_recorded_as_throttled(tmp_path: Path) -> None:
    device, jobs = Device(), make_jobs(100)
    device.slowness = lambda now: 1.3 if now > 0.5 else 1.0
    report = campaign(device, tmp_path, jobs, check_every_jobs=10, patience_s=20)
    table = check_every_job_once(tmp_path, jobs)
    assert report.paused_s == pytest.approx(20, abs=1)
    verdicts = {m.id: m.verdict for m in table.measurements}
    assert set(verdicts.values()) == {"stable", "throttled"}
    assert report.throttled == list(verdicts.values()).count("throttled") > 50
    for m in table.measurements:
        graph = next(job.graph for job in jobs if job.id == m.id)
        truth = device.true_us(write(graph)) * (1.3 if m.verdict == "throttled" else 1)
        assert m.summary is not None
        assert m.summary.median_us == pytest.approx(truth, rel=0.02)
        assert ("30%" in m.reason or "29%" in m.reason) == (m.verdict == "throttled")


def check_figures(
    device: Device, folder: Path, jobs: list[CampaignJob], factor: float = 1.0
) -> Table:
    """Every job is accepted once, with what it takes on a device that is so many times slower."""
    table = check_every_job_once(folder, jobs)
    graphs = {job.id: job.graph for job in jobs}
    for m in table.measurements:
        assert m.summary is not None
        truth = factor * device.true_us(write(graphs[m.id]))
        assert m.summary.median_us == pytest.approx(truth, rel=0.02)
    return table


def test_what_was_measured_on_a_slow_device_is_measured_again(tmp_path: Path) -> None:
    device, jobs, bar = Device(), make_jobs(200), Bar()
    device.slowness = lambda now: 1.3 if 0.3 < now < 11 else 1.0
    report = campaign(device, tmp_path, jobs, bar, check_every_jobs=10, patience_s=10)
    table = check_figures(device, tmp_path, jobs)
    assert {m.verdict for m in table.measurements} == {"stable"}
    assert (report.measured, report.throttled, bar.done) == (200, 0, 200)
    assert 5 < report.again < 100
    assert sum("instead_of" in record for record in records(tmp_path)) == report.again


def test_another_steady_level_is_taken_for_what_it_is(tmp_path: Path) -> None:
    device, jobs = Device(), make_jobs(100)
    device.slowness = lambda now: 1.06 if now > 0.5 else 1.0
    report = campaign(device, tmp_path, jobs, check_every_jobs=10)
    table = check_every_job_once(tmp_path, jobs)
    assert {m.verdict for m in table.measurements} == {"stable"}
    assert (report.paused_s < 2, report.again) == (True, 0)
    levels = [m.reference_us for m in table.measurements]
    assert levels[-1] / levels[0] == pytest.approx(1.06, rel=0.01)


def test_a_device_that_turns_out_to_be_faster(tmp_path: Path) -> None:
    """What was measured before is measured again, or called throttled where it cannot be."""
    device, jobs = Device(), make_jobs(100)
    device.slowness = lambda now: 0.8 if now > 0.5 else 1.0
    report = campaign(device, tmp_path / "all", jobs, check_every_jobs=10)
    table = check_figures(device, tmp_path / "all", jobs, 0.8)
    assert {m.verdict for m in table.measurements} == {"stable"}
    assert (report.again > 10, report.throttled, report.paused_s < 2) == (True, 0, True)

    device = Device()
    device.slowness = lambda now: 0.8 if now > 0.5 else 1.0
    report = campaign(device, tmp_path / "ends", jobs, check_every_jobs=10, max_s=device_s(device))
    found = check_every_job_once(tmp_path / "ends", jobs).measurements
    early = [m for m in found if m.verdict == "throttled"]
    assert 10 < report.throttled == len(early) < 90
    assert all("25% longer" in m.reason for m in early)
    assert {m.verdict for m in found if m not in early} == {"stable"}


def device_s(device: Device) -> float:
    """Return how long a campaign of 100 kernels takes until each has been measured once."""
    alone = Device()
    alone.slowness = device.slowness
    ends: list[float] = []
    alone.trouble = lambda job_id, attempt: (
        ends.append(alone.now) if attempt == 1 and job_id.startswith("k") else None
    )
    with TemporaryDirectory() as folder:
        campaign(alone, Path(folder), make_jobs(100), check_every_jobs=10)
    return ends[-1] - 0.02


@pytest.mark.parametrize("usual_s", [0.3, 0.5, 1.0])
def test_a_machine_that_shares_its_core_with_another(tmp_path: Path, usual_s: float) -> None:
    """Slower by half, half of the time, from the beginning: figures are of the other half."""
    device, jobs, rng = Device(), make_jobs(150), random.Random(5)
    turns_s = list(itertools.accumulate(usual_s * rng.uniform(0.5, 1.5) for _ in range(2000)))
    device.slowness = lambda now: 1.0 if bisect(turns_s, now) % 2 else 1.5
    usual = CampaignSettings()
    report = campaign(
        device,
        tmp_path,
        jobs,
        first_batch=usual.first_batch,
        first_patience_s=usual.first_patience_s,
        again_share=usual.again_share,
    )
    graphs = {job.id: job.graph for job in jobs}
    table = check_every_job_once(tmp_path, jobs)
    assert report.measured == 150
    right = 0
    for m in table.measurements:
        assert m.summary is not None
        truth = device.true_us(write(graphs[m.id]))
        right += m.verdict == "stable" and m.summary.median_us == pytest.approx(truth, rel=0.02)
    assert right >= 135


def test_the_same_campaign_again_mends_what_was_throttled(tmp_path: Path) -> None:
    campaign(Device(), tmp_path, make_jobs(10))
    slow, jobs = Device(), make_jobs(30)
    slow.slowness = lambda now: 1.4
    report = campaign(slow, tmp_path, jobs, patience_s=5)
    assert (report.throttled, report.again, report.left) == (20, 0, 0)
    report = campaign(slow, tmp_path, jobs, patience_s=5)
    assert (report.skipped, report.measured, report.again) == (30, 0, 0)
    assert report.paused_s == pytest.approx(5, abs=1)
    well = Device()
    report = campaign(well, tmp_path, jobs)
    assert (report.skipped, report.measured, report.again) == (30, 0, 20)
    check_figures(well, tmp_path, jobs)
    before = (tmp_path / JOURNAL).read_bytes()
    assert campaign(well, tmp_path, jobs).again == 0
    assert (tmp_path / JOURNAL).read_bytes() == before


def test_a_slow_device_does_not_pass_for_well_by_repeating_the_command(tmp_path: Path) -> None:
    """References of a slow device must not become the level that later sessions compare with."""
    campaign(Device(), tmp_path / "short", make_jobs(10))
    slow, jobs = Device(), make_jobs(30)
    slow.slowness = lambda now: 1.4
    reports = [campaign(slow, tmp_path / "short", jobs, patience_s=5) for _ in range(4)]
    assert [(report.measured, report.again) for report in reports] == [(20, 0), *[(0, 0)] * 3]
    check_verdicts(tmp_path / "short", {"stable": 10, "throttled": 20})

    late, jobs = Device(), make_jobs(100)  # found out only just before the time is over
    late.slowness = lambda now: 1.0 if now > 0.5 else 1.4
    campaign(late, tmp_path / "late", jobs, check_every_jobs=10, max_s=0.6)
    found = Table.open(tmp_path / "late")
    early = [m.id for m in found.measurements if m.verdict == "throttled"]
    assert early
    campaign(slow, tmp_path / "late", jobs, patience_s=5)
    again = {m.id: m.verdict for m in Table.open(tmp_path / "late").measurements}
    assert {again[name] for name in early} == {"throttled"}


def test_a_fast_spell_does_not_make_a_table_slow_for_good(tmp_path: Path) -> None:
    usual, jobs = Device(), make_jobs(100)
    campaign(usual, tmp_path, jobs[:50])
    campaign(usual, tmp_path, jobs[:80])
    spell = Device()
    spell.slowness = lambda now: 0.86 if 0.2 < now < 0.6 else 1.0
    campaign(spell, tmp_path, jobs, check_every_jobs=5, patience_s=1)
    found = Counter(m.verdict for m in Table.open(tmp_path).measurements)
    assert found["throttled"] > 50
    report = campaign(usual, tmp_path, jobs, patience_s=1)
    assert (report.throttled, report.again > 50) == (0, True)
    check_verdicts(tmp_path, {"stable": 100})


def test_another_reference_kernel_is_refused(tmp_path: Path) -> None:
    campaign(Device(), tmp_path, make_jobs(2))
    other = Campaign(Device(), tmp_path, make_jobs(3), reference=kernel(9), write=write)
    with pytest.raises(UsageError, match="another reference kernel"):
        other.run()


def check_verdicts(folder: Path, expected: dict[str, int]) -> None:
    assert Counter(m.verdict for m in Table.open(folder).measurements) == expected


@pytest.mark.parametrize("why", ["interrupted", "gone"])
def test_what_was_measured_before_an_interruption_is_judged_again(tmp_path: Path, why: str) -> None:
    device, jobs = Device(), make_jobs(100)
    device.slowness = lambda now: 0.8 if now > 0.5 else 1.0

    def trouble(job_id: str, attempt: int) -> Result | None:
        if device.now > 0.9:
            raise KeyboardInterrupt if why == "interrupted" else DeviceError("unplugged")
        return None

    device.trouble = trouble
    with nullcontext() if why == "interrupted" else pytest.raises(DeviceError):
        campaign(device, tmp_path, jobs, check_every_jobs=10)
    found = Table.open(tmp_path).measurements
    levels = {m.reference_us for m in found if m.verdict == "stable"}
    assert max(levels) < 1.1 * min(levels)
    assert Counter(m.verdict for m in found)["throttled"] > 10


def test_a_session_ends_in_time_while_it_waits_for_the_device(tmp_path: Path) -> None:
    device = Device()
    device.slowness = lambda now: 1.4 if now > 0.3 else 1.0
    began = device.now
    campaign(device, tmp_path, make_jobs(100), max_s=3, first_patience_s=60, patience_s=60)
    assert device.now - began < 3.5


def test_a_second_look_that_fails_leaves_the_figure_that_is_there(tmp_path: Path) -> None:
    campaign(Device(), tmp_path, make_jobs(10))
    slow, jobs = Device(), make_jobs(14)
    slow.slowness = lambda now: 1.4
    campaign(slow, tmp_path, jobs, patience_s=5)
    well = Device()
    answers = {
        "k10": Result("k10", kind="crashed", error="died"),
        "k11": Result("k11", kind="failed", error="no"),
        "k12": Result("k12", tuple(100 * (1 + 0.3 * math.sin(i)) for i in range(30))),
    }
    well.trouble = lambda job_id, attempt: answers.get(job_id)
    report = campaign(well, tmp_path, jobs)
    verdicts = {m.id: m.verdict for m in check_every_job_once(tmp_path, jobs).measurements}
    assert report.again == 2
    assert [verdicts[f"k{i}"] for i in (10, 11, 12, 13)] == [
        *("throttled", "throttled", "noisy", "stable"),
    ]


def test_few_kernels_are_not_waited_for_as_long_as_many(tmp_path: Path) -> None:
    for count, slow_s, least_s, most_s in ((10, 0.12, 4, 6), (400, 2.5, 6, 12)):
        device, jobs = Device(), make_jobs(count)
        device.slowness = lambda now, since=slow_s: 1.3 if now > since else 1.0
        report = campaign(device, tmp_path / str(count), jobs, first_patience_s=5)
        assert least_s < report.paused_s < most_s
        assert (report.left, report.throttled > 0) == (0, True)


def test_creeping_heat_is_throttling_in_the_end(tmp_path: Path) -> None:
    """Small steps, each within the gate or soon adopted, must not pass for health."""
    device, jobs = Device(noise=0.001), make_jobs(400)
    device.slowness = lambda now: 1 + 0.1 * now
    report = campaign(device, tmp_path, jobs, check_every_jobs=10, patience_s=1)
    table = check_every_job_once(tmp_path, jobs)
    first = table.references[0].summary
    assert first is not None
    for m in table.measurements:
        assert m.verdict != "stable" or m.reference_us < first.median_us * 1.15
    assert report.throttled > 0


def test_a_device_that_never_settles_still_ends(tmp_path: Path) -> None:
    device, jobs = Device(), make_jobs(60)
    device.slowness = lambda now: (
        1.0 if now < 0.2 else 1 + 0.5 * (zlib.crc32(b"%d" % (now * 8)) % 9)
    )
    report = campaign(device, tmp_path, jobs, check_every_jobs=10, patience_s=5)
    table = check_every_job_once(tmp_path, jobs)
    assert report.left == 0
    assert any("drifted" in m.reason for m in table.measurements)
    assert max(m.attempt for m in table.measurements) <= 6  # three, and three at the second look


def test_a_noisy_job_is_tried_again_and_its_best_attempt_accepted(tmp_path: Path) -> None:
    device, jobs = Device(), make_jobs(20)
    spreads = {1: 0.5, 2: 0.2, 3: 0.4}

    def trouble(job_id: str, attempt: int) -> Result | None:
        if job_id == "k3":
            s = spreads[attempt]
            return Result(job_id, tuple(100 * (1 + s * math.sin(i)) for i in range(30)))
        if job_id == "k4" and attempt == 1:
            return Result(job_id, (100.0,) * 20, cpu_share=0.4)
        return None

    device.trouble = trouble
    report = campaign(device, tmp_path, jobs)
    found = {m.id: m for m in check_every_job_once(tmp_path, jobs).measurements}
    assert (found["k3"].verdict, found["k3"].attempt) == ("noisy", 2)
    assert "spread" in found["k3"].reason
    assert (found["k4"].verdict, found["k4"].attempt) == ("stable", 2)
    assert (report.noisy, report.measured, report.voided) == (1, 20, 3)


def test_failures_are_accepted_with_their_reason(tmp_path: Path) -> None:
    device, jobs = Device(), make_jobs(20)
    kinds: dict[str, Any] = {
        "k1": "failed",
        "k2": "crashed",
        "k3": "timeout",
        "k4": "not_delegated",
    }

    def trouble(job_id: str, attempt: int) -> Result | None:
        if job_id == "k5":
            return Result(job_id, (math.nan, 1.0))
        if job_id == "k6" and attempt == 1:
            return Result(job_id, error="signal 9", kind="crashed")
        return Result(job_id, error="why", kind=kinds[job_id]) if job_id in kinds else None

    def refuse(graph: Graph) -> bytes:
        if graph == kernel(7):
            raise GraphError("too odd")
        return write(graph)

    device.trouble = trouble
    report = Campaign(
        device, tmp_path, jobs, write=refuse, progress=lambda done, total: Bar()
    ).run()
    found = {m.id: m for m in check_every_job_once(tmp_path, jobs).measurements}
    assert {n: found[n].verdict for n in kinds} == dict.fromkeys(kinds, "failed") | {
        "k4": "not_delegated"
    }
    assert {n: device.attempts[n] for n in kinds} == {"k1": 1, "k2": 2, "k3": 2, "k4": 1}
    assert found["k2"].reason == "crashed: why"
    assert "impossible" in found["k5"].reason
    assert found["k6"].verdict == "stable"
    assert "too odd" in found["k7"].reason
    assert found["k7"].summary is None
    assert (report.failed, report.measured) == (6, 14)


def test_a_table_is_not_measured_twice(tmp_path: Path) -> None:
    device, jobs = Device(), make_jobs(30)
    campaign(device, tmp_path, jobs[:10])
    before = (tmp_path / JOURNAL).read_bytes()
    report = campaign(device, tmp_path, jobs[:10])
    assert (report.skipped, report.measured) == (10, 0)
    assert (tmp_path / JOURNAL).read_bytes() == before
    report = campaign(device, tmp_path, jobs)
    assert (report.skipped, report.measured) == (10, 20)
    table = check_every_job_once(tmp_path, jobs)
    assert [m.at_s for m in table.measurements] == sorted(m.at_s for m in table.measurements)


def test_a_session_that_starts_throttled_knows_it_from_earlier_ones(tmp_path: Path) -> None:
    campaign(Device(), tmp_path, make_jobs(10))
    slow = Device()
    slow.slowness = lambda now: 1.4
    report = campaign(slow, tmp_path, make_jobs(20), patience_s=5)
    assert (report.throttled, report.measured) == (10, 10)
    waits = Device()
    waits.slowness = lambda now: 1.4 if now < 3 else 1.0
    report = campaign(waits, tmp_path, make_jobs(30), patience_s=60)
    assert (report.throttled, report.measured) == (0, 10)


class Starting(Device):
    """A device whose clock is low until a process has run for a while, every time."""

    fresh_process = True

    def __init__(self, rise_ms: float, seed: int = 0) -> None:
        super().__init__(noise=0.001, seed=seed)
        self.rise_ms = rise_ms
        self.efforts: dict[str, Effort] = {}

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        for job in jobs:
            effort = self.efforts[job.id] = job.effort
            started, warm = self.now, (self.rise_ms - min(effort.warmup_ms, effort.max_ms)) / 1e3
            self.slowness = lambda now, cold=started + warm: 1.5 if now < cold else 1.0
            yield from super().run([job])
            self.now += effort.warmup_ms / 1e3


def probes(device: Device) -> int:
    return sum(name.startswith("warmup") for name in device.order)


def warmups_of(folder: Path) -> list[float]:
    return [warmup.warmup_ms for warmup in Table.open(folder).warmups]


@pytest.mark.parametrize(("rise_ms", "expected"), [(0, 1), (15, 20), (45, 50), (400, 500)])
def test_the_warm_up_that_a_device_needs(tmp_path: Path, rise_ms: float, expected: float) -> None:
    device, jobs = Starting(rise_ms), make_jobs(30)
    report = campaign(device, tmp_path, jobs)
    table = check_every_job_once(tmp_path, jobs)
    assert warmups_of(tmp_path) == [expected]
    (warmup,) = table.warmups
    assert {timing.kernel for timing in warmup.timings} == {"small", "medium", "large"}
    assert {timing.warmup_ms for timing in warmup.timings} == {1, 5, 20, 50, 100, 200, 500}
    measured = [name for name in device.order if not name.startswith("warmup")]
    assert {device.efforts[name].warmup_ms for name in measured} == {expected}
    assert (report.measured, report.noisy) == (30, 0)
    graphs = {job.id: job.graph for job in jobs}
    for m in table.measurements:
        assert m.summary is not None
        truth = device.true_us(write(graphs[m.id]))
        assert m.summary.median_us == pytest.approx(truth, rel=0.02)


def test_one_process_for_all_needs_no_probe(tmp_path: Path) -> None:
    device = Device()
    campaign(device, tmp_path, make_jobs(3))
    assert (probes(device), warmups_of(tmp_path)) == (0, [])


def test_the_maximum_does_not_cut_a_warm_up_short(tmp_path: Path) -> None:
    device = Starting(400)
    jobs = [CampaignJob("k", "conv", "kernel", kernel(0), Effort(max_ms=100))]
    campaign(device, tmp_path, jobs)
    assert device.efforts["k"] == Effort(max_ms=500, warmup_ms=500)


def test_a_resumed_campaign_checks_the_warm_up_that_it_has(tmp_path: Path) -> None:
    campaign(Starting(45), tmp_path, make_jobs(5))
    same = Starting(45, seed=1)
    campaign(same, tmp_path, make_jobs(10))
    assert warmups_of(tmp_path) == [50, 50]
    assert probes(same) == 3 * 2  # one kernel after two warm-ups, three times
    assert same.efforts["k9"].warmup_ms == 50
    slower = Starting(90, seed=2)
    campaign(slower, tmp_path, make_jobs(15))
    assert warmups_of(tmp_path) == [50, 50, 100]
    assert slower.efforts["k14"].warmup_ms == 100
    last = Table.open(tmp_path).warmups[-1]
    assert len(last.timings) == 21
    slowest = Starting(400, seed=3)
    campaign(slowest, tmp_path, make_jobs(20))
    campaign(slowest, tmp_path, make_jobs(25))  # the longest needs no check
    assert warmups_of(tmp_path) == [50, 50, 100, 500, 500]
    assert Table.open(tmp_path).warmups[-1].timings == ()
    check_every_job_once(tmp_path, make_jobs(25))


def test_the_warm_up_is_checked_every_so_often(tmp_path: Path) -> None:
    device, jobs = Starting(15), make_jobs(200)

    def later(job_id: str, attempt: int) -> Result | None:
        if len(device.order) > 150:
            device.rise_ms = 90.0
        return None

    device.trouble = later
    campaign(device, tmp_path, jobs, check_every_jobs=10, check_warmup_s=2.0)
    found = warmups_of(tmp_path)
    assert found[0] == 20
    assert found[-1] == 100
    assert set(found) == {20, 100}
    times = [warmup.at_s for warmup in Table.open(tmp_path).warmups]
    assert times == sorted(times)
    assert min(b - a for a, b in itertools.pairwise(times)) > 2.0
    check_every_job_once(tmp_path, jobs)
    assert device.efforts[device.order[-1]].warmup_ms == 100


def test_an_accident_of_a_probe_is_forgiven(tmp_path: Path) -> None:
    device = Starting(15)
    device.trouble = lambda job_id, attempt: (
        Result(job_id, error="gone", kind="crashed") if job_id.startswith("warmup-0-1") else None
    )
    campaign(device, tmp_path, make_jobs(3))
    assert warmups_of(tmp_path) == [20]


@pytest.mark.parametrize(
    ("kind", "error"),
    [("failed", RunnerError), ("crashed", RunnerError), ("not_delegated", NotDelegatedError)],
)
def test_a_probe_that_cannot_be_measured(tmp_path: Path, kind: Any, error: type[Exception]) -> None:
    device = Starting(15)
    device.trouble = lambda job_id, attempt: Result(job_id, error="why", kind=kind)
    with pytest.raises(error, match="shows the warm-up cannot be measured: why"):
        campaign(device, tmp_path, make_jobs(3))
    assert set(device.attempts.values()) == {1}
    assert probes(device) <= 3 * 21


def test_an_unwell_device_is_waited_for(tmp_path: Path) -> None:
    device, jobs, bar = Device(), make_jobs(60), Bar()
    device.complaint = lambda now: "battery at 12%" if 0.4 < now < 100 else ""
    report = campaign(device, tmp_path, jobs, bar, check_every_jobs=10)
    check_every_job_once(tmp_path, jobs)
    assert "waiting: battery at 12%" in bar.texts
    assert report.paused_s == pytest.approx(sum(device.rests))
    assert 95 < report.paused_s < 200
    assert (report.measured, report.voided, report.throttled) == (60, 0, 0)


def test_waiting_for_a_device_leaves_the_patience_for_heat(tmp_path: Path) -> None:
    device, jobs = Device(), make_jobs(60)
    device.complaint = lambda now: "hot" if 0.5 < now < 600 else ""
    device.slowness = lambda now: 1.3 if 600 < now < 650 else 1.0
    report = campaign(device, tmp_path, jobs, check_every_jobs=10, patience_s=120)
    check_every_job_once(tmp_path, jobs)
    assert report.throttled == 0
    assert report.paused_s > 630


def test_a_device_that_stays_unwell_ends_the_campaign(tmp_path: Path) -> None:
    device, jobs = Device(), make_jobs(60)
    device.complaint = lambda now: "battery at 12%" if now > 0.4 else ""
    with pytest.raises(DeviceError, match=r"no better after 300 s: battery at 12%.*go on"):
        campaign(device, tmp_path, jobs, check_every_jobs=10, unwell_s=300)
    assert sum(device.rests) == pytest.approx(300)
    kept = Table.open(tmp_path)
    assert len(kept.measurements) >= 10
    assert kept.open_count == 0
    device.complaint = lambda now: ""
    report = campaign(device, tmp_path, jobs)
    assert report.skipped == len(kept.measurements)
    check_every_job_once(tmp_path, jobs)


def test_a_session_that_is_over_does_not_wait_for_a_device(tmp_path: Path) -> None:
    device, jobs = Device(), make_jobs(60)
    device.complaint = lambda now: "hot" if now > 0.4 else ""
    report = campaign(device, tmp_path, jobs, check_every_jobs=10, max_s=50)
    assert device.now < 53
    assert 0 < report.left < 60
    assert not report.interrupted


def test_a_device_that_goes_away_while_it_is_waited_for(tmp_path: Path) -> None:
    device = Device()

    def complain(now: float) -> str:
        if now > 10:
            raise DeviceError("unplugged")
        return "hot" if now > 0.5 else ""

    device.complaint = complain
    bar = Bar()
    with pytest.raises(DeviceError, match="unplugged"):
        campaign(device, tmp_path, make_jobs(60), bar, check_every_jobs=10)
    assert bar.closed
    assert len(Table.open(tmp_path).measurements) >= 10


def test_a_stop_from_another_thread_ends_a_session_in_good_order(tmp_path: Path) -> None:
    device, jobs, stop = Device(), make_jobs(50), Event()

    def trouble(job_id: str, attempt: int) -> Result | None:
        if len(device.order) == 35:
            stop.set()
        return None

    device.trouble = trouble
    report = campaign(device, tmp_path, jobs, stop=stop, check_every_jobs=10)
    # The batch that runs is finished.
    assert (report.interrupted, report.measured, report.left) == (True, 30, 20)
    assert Table.open(tmp_path).open_count == 0
    again = campaign(device, tmp_path, jobs, stop=stop)
    assert (again.interrupted, again.measured) == (True, 0)
    assert campaign(device, tmp_path, jobs).measured == 20
    check_every_job_once(tmp_path, jobs)


@pytest.mark.parametrize("why", ["unwell", "throttled"])
def test_a_stop_ends_a_rest(tmp_path: Path, why: str) -> None:
    device, jobs, stop = Device(), make_jobs(50), Event()

    if why == "unwell":
        device.complaint = lambda now: "hot" if now > 0.5 else ""
    else:
        device.slowness = lambda now: 1.5 if now > 0.5 else 1.0
    rested, stopped_at = 0.0, 30.0

    class Watched(list[float]):
        def append(self, seconds: float) -> None:
            nonlocal rested
            rested += seconds
            if rested >= stopped_at:
                stop.set()

    device.rests = Watched()
    report = campaign(device, tmp_path, jobs, stop=stop, check_every_jobs=10, patience_s=1000)
    assert report.interrupted
    assert report.paused_s == pytest.approx(rested)
    assert rested < stopped_at + 1.01  # and not until the end of a pause
    assert Table.open(tmp_path).open_count <= 1


def test_a_real_rest_is_ended_by_a_stop(tmp_path: Path) -> None:
    device, stop = Device(), Event()
    device.complaint = lambda now: "hot"
    timer = Timer(0.3, stop.set)
    timer.start()
    started = time.monotonic()
    report = Campaign(
        device,
        tmp_path,
        make_jobs(3),
        CampaignSettings(first_pause_s=20),
        write=write,
        progress=lambda done, total: Bar(),
        stop=stop,
    ).run()
    timer.join()
    assert report.interrupted
    assert 0.3 < report.paused_s < time.monotonic() - started < 3


def test_what_cannot_be_started(tmp_path: Path) -> None:
    jobs = make_jobs(3)
    with pytest.raises(UsageError, match="unique"):
        campaign(Device(), tmp_path, [*jobs, jobs[0]])
    campaign(Device(), tmp_path, jobs)
    other = CampaignJob("k0", "conv", "kernel", kernel(99))
    with pytest.raises(UsageError, match="another graph"):
        campaign(Device(), tmp_path, [other])
    device = Device()
    device.target = Target("another", "none 1.0", "cpu", "xnnpack")
    with pytest.raises(TargetMismatchError):
        campaign(device, tmp_path, jobs)


@pytest.mark.parametrize(
    ("kind", "error"), [("failed", RunnerError), ("not_delegated", NotDelegatedError)]
)
def test_without_a_reference_nothing_is_measured(
    tmp_path: Path, kind: Any, error: type[Exception]
) -> None:
    device = Device()
    device.trouble = lambda job_id, attempt: Result(job_id, error="no", kind=kind)
    with pytest.raises(error, match="reference kernel cannot be measured"):
        campaign(device, tmp_path, make_jobs(3))


def test_a_runner_that_breaks_the_protocol(tmp_path: Path) -> None:
    device = Device()
    device.trouble = lambda job_id, attempt: Result("what?", (1.0,)) if job_id == "k1" else None
    with pytest.raises(RunnerError, match="no job: 'what"):
        campaign(device, tmp_path, make_jobs(3))


def test_a_check_without_a_result_does_not_stand_in_the_way_of_the_next_session(
    tmp_path: Path,
) -> None:
    class Silent(Device):
        def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
            return (result for result in super().run(jobs) if result.job_id != "reference-000008")

    campaign(Silent(), tmp_path, make_jobs(3))
    report = campaign(Device(seed=1), tmp_path, make_jobs(6))
    assert (report.measured, report.skipped, report.left) == (3, 3, 0)


def test_a_device_that_goes_away_loses_nothing(tmp_path: Path) -> None:
    device, jobs = Device(), make_jobs(50)

    def trouble(job_id: str, attempt: int) -> Result | None:
        if len(device.order) == 35:
            raise DeviceError("unplugged")
        return None

    device.trouble = trouble
    bar = Bar()
    with pytest.raises(DeviceError, match="unplugged"):
        campaign(device, tmp_path, jobs, bar, check_every_jobs=10)
    assert bar.closed
    kept = {m.id: m for m in Table.open(tmp_path).measurements}
    assert len(kept) == 20
    campaign(device, tmp_path, jobs)
    assert (
        kept.items() <= {m.id: m for m in check_every_job_once(tmp_path, jobs).measurements}.items()
    )


def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    device, jobs = Device(), make_jobs(50)

    def trouble(job_id: str, attempt: int) -> Result | None:
        if len(device.order) == 35:
            raise KeyboardInterrupt
        return None

    device.trouble = trouble
    report = campaign(device, tmp_path, jobs, check_every_jobs=10)
    assert (report.interrupted, report.measured, report.left) == (True, 20, 30)
    report = campaign(device, tmp_path, jobs)
    assert (report.interrupted, report.skipped, report.left) == (False, 20, 0)
    check_every_job_once(tmp_path, jobs)


def test_a_full_disk_ends_the_campaign_in_good_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, room = os.write, [20_000]

    def full(descriptor: int, data: Any) -> int:
        if room[0] < len(data):
            real(descriptor, bytes(data)[: room[0]])
            raise OSError(28, "No space left on device")
        room[0] -= len(data)
        return real(descriptor, data)

    jobs = make_jobs(60)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(TableError, match="No space left"):
            campaign(Device(), tmp_path, jobs, check_every_jobs=5)
    kept = Table.open(tmp_path).measurements
    assert 0 < len(kept) < 60
    campaign(Device(), tmp_path, jobs)
    assert check_every_job_once(tmp_path, jobs).measurements[: len(kept)] == kept


def test_a_bar_is_shown_on_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Campaign(Device(), tmp_path, make_jobs(5), write=write).run()
    out, err = capsys.readouterr()
    assert out == ""
    assert "5/5" in err


def test_gates_are_learned_when_the_device_is_steady(tmp_path: Path) -> None:
    """Its speed alternates while gates are learned, then it is steady, and slow at the end."""
    device, jobs = Device(), make_jobs(60)
    device.slowness = lambda now: (
        1 + 0.5 * (int(now / 0.004) % 2) if now < 1.0 else 1.3 if now > 1.6 else 1.0
    )
    report = campaign(device, tmp_path, jobs, patience_s=5.0)
    table = check_every_job_once(tmp_path, jobs)
    assert device.rests[0] == CampaignSettings().first_pause_s
    assert report.voided > 0
    verdicts = {m.verdict for m in table.measurements if m.at_s > 2.0}
    assert verdicts == {"throttled"}


def test_a_device_that_is_never_steady_is_measured_all_the_same(tmp_path: Path) -> None:
    device, jobs = Device(), make_jobs(20)
    device.slowness = lambda now: 1 + 0.5 * (int(now / 0.004) % 2)
    campaign(device, tmp_path, jobs, patience_s=3.0)
    check_every_job_once(tmp_path, jobs)
    assert device.now < 30


def test_the_monitor_needs_more_than_noise_to_see_throttling() -> None:
    monitor = ReferenceMonitor(throttle=0.1)
    monitor.learn([summarise([level] * 3) for level in (100, 114.142, 100, 85.858)])
    assert monitor.gate.drift == pytest.approx(3 * 1.4826 * 0.1, rel=1e-4)
    assert monitor.is_blind(monitor.gate)
    assert not ReferenceMonitor(throttle=0.1, drift_floor=1.0).is_blind(NoiseGate(0.1, 1.0))
    assert not monitor.is_throttled(140)
    assert monitor.is_throttled(150)
    assert monitor.is_good(130)
    assert not monitor.is_good(150)
    assert not monitor.is_steady([100, 200, 100])


def test_the_reference_kernel_is_of_medium_size() -> None:
    graph = reference_graph()
    madds = sum(node.op.madds(graph.input_shapes(node)) for node in graph.nodes)
    assert madds == 56 * 56 * 96 * (24 + 9)


def test_killed_again_and_again(tmp_path: Path) -> None:
    """Whatever the moment, what was accepted stays, and every job is accepted once in the end.

    The killing is done by a process of its own, which can fork without threads in the way.
    """
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5
    check_every_job_once(tmp_path, make_jobs(KILLED_JOBS))
    assert any(record.get("reason") == "interrupted" for record in records(tmp_path))


KILLED_JOBS = 300


def kill_again_and_again(folder: Path) -> int:
    """Run one campaign to its end through many sudden deaths; return how many there were."""
    jobs, rng = make_jobs(KILLED_JOBS), random.Random()
    kept: dict[str, Any] = {}
    for deaths in range(300):
        child = os.fork()
        if not child:
            device = Device()
            original = device.run

            def run(
                jobs: Iterable[Job], original: Callable[..., Iterator[Result]] = original
            ) -> Iterator[Result]:
                for result in original(jobs):
                    time.sleep(0.0002)
                    yield result

            device.run = run  # type: ignore[method-assign]
            campaign(device, folder, jobs, check_every_jobs=8)
            os._exit(0)
        time.sleep(rng.uniform(0, 0.05 + 0.003 * deaths))  # loading takes ever longer
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        killed = os.WIFSIGNALED(status)
        assert killed or not os.WEXITSTATUS(status), "the campaign failed"
        if (folder / JOURNAL).exists() and b"\n" in (folder / JOURNAL).read_bytes():
            now = {m.id: m for m in Table.open(folder).measurements}
            assert kept.items() <= now.items(), "something that was accepted is lost"
            kept = now
        if not killed:
            return deaths
    raise AssertionError("the campaign makes no progress")


def test_on_this_machine(tmp_path: Path) -> None:
    jobs = []
    for size in (7, 14, 28):
        for channels in (16, 32, 64):
            b = GraphBuilder((1, size, size, channels))
            graph = b.build(b.conv(b.input, channels, 1, activation="relu6"))
            jobs.append(CampaignJob(f"conv-{size}-{channels}", "conv", "kernel", graph))
    b = GraphBuilder((1, 32, 32, 3))
    x = b.conv(b.input, 16, 3, stride=2, activation="relu6")
    network = b.build(b.mean(b.depthwise(x, 3, activation="relu6")))
    jobs.append(CampaignJob("net", "net", "network", network, Effort(min_ms=5), profile=True))
    runner = LocalRunner("cpu")
    try:
        report = Campaign(
            runner,
            tmp_path,
            jobs,
            CampaignSettings(patience_s=2),
            progress=lambda done, total: Bar(),
        ).run()
        table = Table.open(tmp_path, runner.target)
    finally:
        runner.close()
    assert report.measured == len(table.measurements) == len(jobs)
    found = {m.id: m for m in table.measurements}
    assert len(found["net"].ops) == 3
    small, large = found["conv-7-16"].summary, found["conv-28-64"].summary
    assert small is not None
    assert large is not None
    assert small.median_us < large.median_us
    assert statistics.median(found["conv-28-64"].samples_us) == pytest.approx(
        large.median_us, rel=0.02
    )


if __name__ == "__main__":
    print(kill_again_and_again(Path(sys.argv[1])))


def test_networks_come_first_where_a_campaign_may_end_early(tmp_path: Path) -> None:
    jobs = make_jobs(20, networks=5)
    networks = {job.id for job in jobs if job.unit == "network"}
    device = Device()
    campaign(device, tmp_path, jobs, networks_first=3)
    order = [name for name in device.order if not name.startswith("reference-")]
    assert set(order[:3]) <= networks
    assert not set(order[3:6]) <= networks

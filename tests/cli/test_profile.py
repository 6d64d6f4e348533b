"""What ``latlas profile`` makes of a campaign, on a simulated device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from latlas.campaigns import measure
from latlas.profiler.graph import GraphBuilder
from latlas.profiler.jobs import CampaignJob
from latlas.profiler.runner import Job, Result
from latlas.profiler.target import Target


class FakeRunner:
    """Measures everything as a millisecond, but for one job."""

    target = Target("a phone", "litert 2.3.0", "cpu", "xnnpack")
    environment: Mapping[str, str] = {}
    fresh_process = False
    lists_operators = True

    def unwell(self) -> str:
        return ""

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        for job in jobs:
            if job.id == "2":
                yield Result(job.id, error="no memory", kind="failed")
            else:
                yield Result(job.id, (1000.0,) * 20)

    def close(self) -> None:
        pass


def jobs(count: int) -> list[CampaignJob]:
    b = GraphBuilder((1, 4, 4, 4))
    graph = b.build(b.relu(0))
    return [CampaignJob(str(index), "relu", "kernel", graph) for index in range(count)]


def test_what_could_not_be_measured_is_named_every_time(tmp_path: Path) -> None:
    wanted = [{"id": "2", "verdict": "failed", "reason": "failed: no memory"}]
    for measured in (3, 0):
        report, failed = measure(FakeRunner(), tmp_path, jobs(4), 0, None)
        assert (report.measured, failed) == (measured, wanted)
    report, failed = measure(FakeRunner(), tmp_path, jobs(1), 0, None)
    assert failed == []


def test_a_budget_that_is_spent_ends_the_campaign(tmp_path: Path) -> None:
    report, failed = measure(FakeRunner(), tmp_path, jobs(4), 0, 0.0)
    assert (report.measured, report.left, failed) == (0, 4, [])
    report, _ = measure(FakeRunner(), tmp_path, jobs(4), 0, 60.0)
    assert (report.measured, report.failed, report.left) == (3, 1, 0)

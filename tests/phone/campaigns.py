"""Small campaigns on the tests' phone, and what is expected of their tables."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from latlas.profiler.benchmark_model.binary import RunnerBinary
from latlas.profiler.benchmark_model.command import Execution
from latlas.profiler.benchmark_model.phone_runner import PhoneRunner
from latlas.profiler.campaign import Campaign, CampaignReport, CampaignSettings
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.jobs import CampaignJob
from latlas.profiler.journal import read_journal
from latlas.profiler.runner import Effort, Job, Result
from latlas.profiler.table import JOURNAL, Table
from latlas.profiler.target import Target

QUICK = Effort(min_runs=3, min_ms=1.0, warmup_ms=0.0)
BATCH = 10


class Nothing:
    """A display of progress that shows nothing."""

    def update(self, n: int = 1) -> None: ...

    def set_postfix_str(self, text: str, refresh: bool = True) -> None: ...

    def close(self) -> None: ...


def make_jobs(count: int = 25) -> list[CampaignJob]:
    """Return convolutions of different widths."""
    jobs = []
    for i in range(count):
        b = GraphBuilder((1, 14, 14, 8 * (i + 1)))
        name = f"conv {8 * (i + 1)}"
        jobs.append(CampaignJob(name, name, "kernel", b.build(b.conv(b.input, 16, 1)), QUICK))
    return jobs


class Sabotaged:
    """A runner that does something once, when so many results have come."""

    fresh_process = True
    lists_operators = True

    def __init__(self, runner: PhoneRunner, after: int, sabotage: Callable[[], None]) -> None:
        self.runner, self.after, self.sabotage = runner, after, sabotage
        self.seen = 0

    @property
    def target(self) -> Target:
        return self.runner.target

    @property
    def environment(self) -> Mapping[str, str]:
        return self.runner.environment

    def unwell(self) -> str:
        return self.runner.unwell()

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        for result in self.runner.run(jobs):
            self.seen += 1
            if self.seen == self.after:
                self.sabotage()
            yield result

    def close(self) -> None:
        self.runner.close()


def open_runner(
    serial: str,
    binary: RunnerBinary,
    cores: str = "",
    messages: list[str] | None = None,
    **options: Any,
) -> PhoneRunner:
    heard = [] if messages is None else messages
    options = {"execution": Execution(), "wait_s": 20.0, "timeout_s": 5.0, **options}
    return PhoneRunner(serial, binary, cores=cores, say=heard.append, **options)


def run_campaign(
    runner: PhoneRunner | Sabotaged, folder: Path, jobs: list[CampaignJob]
) -> CampaignReport:
    settings = CampaignSettings(
        warmup_ms=0.0,
        check_every_jobs=BATCH,
        reference_effort=QUICK,
        learn_runs=2,
        # What is tested here is not how quiet this machine is.
        drift_floor=100.0,
        spread_floor=100.0,
    )
    return Campaign(runner, folder, jobs, settings, progress=lambda done, total: Nothing()).run()


def check_table(folder: Path, jobs: list[CampaignJob], failed: Iterable[str] = ()) -> None:
    """Check that a table holds every job once, those that failed without a figure."""
    accepted = Counter(
        line["id"]
        for line in read_journal(folder / JOURNAL)
        if line.get("type") == "accepted" and not line["id"].startswith("reference-")
    )
    assert accepted == dict.fromkeys([job.id for job in jobs], 1)
    table = Table.open(folder)
    assert {m.id for m in table.measurements if m.summary is None} == set(failed)
    assert table.open_count == 0


@contextmanager
def within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds

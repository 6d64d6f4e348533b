"""Verifying a study on a simulated device."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from trials import trial_with

from latlas.commands.verify import main
from latlas.profiler.errors import SearchError, TargetMismatchError
from latlas.profiler.runner import Job, Result
from latlas.profiler.table import Table
from latlas.profiler.target import Target
from latlas.search.spaces import MogaSpace
from latlas.search.study import Study, record_of
from latlas.verification import verify, verify_text

TARGET = Target("a phone", "litert 2.3.0", "cpu", "xnnpack")
FRONT = [trial_with((gene,) * 14, 0.5 + gene / 100, 1.0 + gene, 1e6) for gene in range(4)]


class FakeRunner:
    """Measures everything as a millisecond."""

    environment: Mapping[str, str] = {}
    fresh_process = False
    lists_operators = True

    def __init__(self, target: Target = TARGET, fails: str = "", interrupt: bool = False) -> None:
        self.target, self.fails, self.interrupt = target, fails, interrupt

    def unwell(self) -> str:
        return ""

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        for job in jobs:
            if job.id.startswith("network:") and self.interrupt:
                raise KeyboardInterrupt
            if self.fails and job.id.startswith(self.fails):
                yield Result(job.id, error="no memory", kind="failed")
            else:
                yield Result(job.id, (1000.0,) * 20)

    def close(self) -> None:
        pass


@pytest.fixture
def study(tmp_path: Path) -> Study:
    settings = {
        "space": MogaSpace(resolution=32, classes=10).identity,
        "latency": {"latency_ms": {"target": TARGET.to_json()}},
    }
    study = Study.create(tmp_path / "study", settings)
    with study.writer(lambda trial: None) as writer:
        writer.append(map(record_of, FRONT))
    return study


def test_predicted_against_measured(study: Study) -> None:
    document = verify(study, FakeRunner())
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert [n["predicted_ms"] for n in document["networks"]] == [1.0, 2.0, 3.0, 4.0]
    assert {n["measured_ms"] for n in document["networks"]} == {1.0}
    assert document["mape"] == pytest.approx((0 + 1 + 2 + 3) / 4)
    assert document["kendall_tau"] is None  # equal latencies have no order
    assert document["unmeasured"] == []
    assert len(verify(study, FakeRunner(), most=2)["networks"]) == 2


def test_figures_of_two_targets_never_meet(study: Study) -> None:
    with pytest.raises(TargetMismatchError, match=r"litert 2\.4\.0"):
        verify(study, FakeRunner(replace(TARGET, runtime="litert 2.4.0")))
    assert not (study.folder / "verify").exists()


def test_networks_that_cannot_be_measured_are_named(study: Study) -> None:
    document = verify(study, FakeRunner(fails="network:0-"))
    assert len(document["networks"]) == 3
    assert document["unmeasured"] == [{"genes": [0] * 14, "reason": "failed: no memory"}]
    assert "no memory" in verify_text(document)


def test_none_can_be_measured(study: Study) -> None:
    with pytest.raises(SearchError, match="no memory"):
        verify(study, FakeRunner(fails="network:"))


def test_an_interrupted_verification_reports_nothing_and_goes_on(study: Study) -> None:
    with pytest.raises(KeyboardInterrupt):
        verify(study, FakeRunner(interrupt=True))
    assert not Table.open(study.folder / "verify").measurements
    assert len(verify(study, FakeRunner())["networks"]) == 4


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"latency": 3},
        {"latency": {"latency_ms": 3}},
        {"latency": {"latency_ms": {"target": {"device": "a phone"}}}},
        {"objectives": 3},
        {"objectives": [{"metric": "accuracy"}]},
        {"objectives": [{"metric": "accuracy", "direction": "up", "weight": 1}]},
        {"constraints": [{"metric": "accuracy", "bound": "max", "limit": "much"}]},
        {"space": None},
        {"space": {"name": "moga"}},
        {"space": {"name": "moga", "resolution": "large", "classes": 10}},
    ],
    ids=str,
)
def test_damaged_studies(study: Study, settings: dict[str, Any]) -> None:
    path = study.folder / "study.json"
    path.write_text(json.dumps(study.settings | settings if settings else {}))
    with pytest.raises(SearchError, match=r"study\.json"):
        verify(Study.open(study.folder), FakeRunner())


def test_a_study_without_a_front(tmp_path: Path) -> None:
    study = Study.create(tmp_path, {"latency": {"latency_ms": {"target": TARGET.to_json()}}})
    with pytest.raises(SearchError, match="latlas search"):
        verify(study, FakeRunner())
    missing = CliRunner().invoke(main, [str(tmp_path / "missing")])
    assert isinstance(missing.exception, SearchError)

"""What ``latlas profile`` makes of a campaign, on a simulated device."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tables import measured, write

from latlas.campaigns import measure
from latlas.commands import profile, search
from latlas.console import load_models
from latlas.profiler.errors import SearchError, UsageError
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.jobs import CampaignJob
from latlas.profiler.runner import Job, Result
from latlas.profiler.target import Target
from latlas.profiler.tflite.writer import to_tflite
from latlas.workloads import make_workload


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
    for count in (3, 0):
        report, failed = measure(FakeRunner(), tmp_path, jobs(4), 0, None)
        assert (report.measured, failed) == (count, wanted)
    report, failed = measure(FakeRunner(), tmp_path, jobs(1), 0, None)
    assert failed == []


def test_a_budget_that_is_spent_ends_the_campaign(tmp_path: Path) -> None:
    report, failed = measure(FakeRunner(), tmp_path, jobs(4), 0, 0.0)
    assert (report.measured, report.left, failed) == (0, 4, [])
    report, _ = measure(FakeRunner(), tmp_path, jobs(4), 0, 60.0)
    assert (report.measured, report.failed, report.left) == (3, 1, 0)


def test_patience_is_how_long_a_slow_device_is_waited_for(tmp_path: Path) -> None:
    class Slowing(FakeRunner):
        checks = 0

        def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
            for job in jobs:
                self.checks += job.id.startswith("reference")
                yield Result(job.id, (1000.0 if self.checks < 8 else 1500.0,) * 20)

    report, _ = measure(Slowing(), tmp_path, jobs(40), 0, None, patience_s=0.3)
    assert report.throttled > 0
    assert 0.2 < report.paused_s < 1.0  # by default it is at least five seconds


def plan(*arguments: object) -> dict[str, Any]:
    done = CliRunner().invoke(
        profile.main, [*map(str, arguments), "--plan", "--json"], catch_exceptions=False
    )
    found: dict[str, Any] = json.loads(done.stdout)["plan"]
    return found


@pytest.mark.parametrize(
    ("space", "networks"), [("fairnas", 30), ("mnasnet", 32), ("moga", 36), ("nasnet", 39)]
)
def test_every_space_can_be_profiled(space: str, networks: int) -> None:
    found = plan("--space", space, "--resolution", 32)
    assert found["jobs"]["network"] == networks
    assert found["coverage"]["by_count"] == 1


DEVICE = """models = ["Pixel 6"]
targets = [
    { delegate = "cpu", cores = "4-7", threads = 2 },
    { delegate = "cpu", cores = "0-3" },
    { delegate = "gpu", backend = "opencl" },
]
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    b = GraphBuilder((1, 8, 8, 4))
    path = tmp_path / "m.tflite"
    path.write_bytes(to_tflite(b.build(b.mean(b.conv(0, 8, 3)))))
    return path


def write_measured(folder: Path, model: Path) -> None:
    """Write a table of all that a model's campaign on a CPU measures."""
    work = make_workload(load_models((model,)), "cpu", 20, 20.0)
    found = [measured(job.unit, job.name, job.graph.to_text(), 1000.0) for job in work.jobs]
    write(folder, [replace(m, id=job.id) for m, job in zip(found, work.jobs, strict=True)])


def plans(*arguments: object) -> tuple[dict[str, int], str]:
    """Return how many jobs are planned for every target, and what was said."""
    done = CliRunner().invoke(
        profile.main, [*map(str, arguments), "--plan", "--json"], catch_exceptions=False
    )
    document = json.loads(done.stdout)
    found = document.get("plans") or {"": document["plan"]}
    return {name: sum(one["jobs"].values()) for name, one in found.items()}, done.stderr


def test_a_plan_knows_the_tables_of_several_targets(tmp_path: Path, model: Path) -> None:
    folder = tmp_path / "t"
    command = ["--models", model, "--table", folder]
    (whole,) = plans(*command)[0].values()
    write_measured(folder / "cpu", model)
    assert plans(*command, "--delegate", "cpu,gpu") == ({"cpu": 0, "gpu": whole}, "")
    # With one delegate, this machine's table is the folder itself.
    assert plans(*command) == ({"": whole}, "")
    write_measured(folder, model)
    assert plans(*command) == ({"": 0}, "")


def test_a_plan_knows_the_tables_of_a_phone(tmp_path: Path, model: Path) -> None:
    folder = tmp_path / "p"
    command = ["--models", model, "--table", folder, "--device", "SERIAL"]
    (whole,) = plans(*command)[0].values()
    write_measured(folder / "cpu-4-7-2t", model)
    # Without a configuration, the one table of a delegate is meant; of two, it is not known which.
    assert plans(*command) == ({"": 0}, "")
    write_measured(folder / "cpu-0-3", model)
    found, said = plans(*command)
    assert found == {"": whole}
    assert f"cpu: which table in {folder} it has is not known until SERIAL is asked" in said
    (folder / "device.toml").write_text(DEVICE)
    assert plans(*command, "--delegate", "cpu,gpu") == (
        {"cpu-4-7-2t": 0, "cpu-0-3": 0, "gpu-opencl": whole},
        "",
    )
    assert plans(*command, "--cores", "0-3") == ({"": 0}, "")
    assert plans(*command, "--cores", "5") == ({"": whole}, "")
    assert plans(*command, "--precision", "int8")[0].keys() == {"cpu-4-7-2t-int8", "cpu-0-3-int8"}
    assert "not known until all is asked" in plans(*command[:-1], "all")[1]


def test_blocks_of_a_space_are_planned() -> None:
    found = plan("--space", "fairnas", "--granularity", "block", "--resolution", 64)
    # Of 19 layers, 8 repeat the one before: same input, same choices.
    assert found["jobs"] == {"block": 2 + 6 * 11, "probe": 4, "network": 30}
    assert found["coverage"]["by_count"] == 1
    for arguments, words in (
        (["--space", "nasnet", "--granularity", "block"], "no chains of blocks"),
        (["--models", ".", "--granularity", "block"], "give --space"),
    ):
        with pytest.raises(UsageError, match=words):
            plan(*arguments)


def test_forms_of_a_space_are_profiled() -> None:
    form = ["--resolution", 32, "--width", 0.5, "--classes", 10]
    found = plan("--space", "nasnet", *form, "--set", "N=1", "--set", "F=12 kind=b")
    assert found["jobs"]["network"] == 39
    for arguments, words in (
        (["--space", "nasnet", "--set", "M=1"], "no setting 'M'; known are kind, N, F"),
        (["--space", "nasnet", "--set", "N"], "KEY=VALUE"),
        (["--space", "general", "--width", 2], "those of --space general have sizes of their own"),
        (["--models", ".", "--set", "N=1"], "models have sizes of their own"),
    ):
        with pytest.raises(UsageError, match=words):
            plan(*arguments)


def test_a_space_in_a_file_is_profiled(tmp_path: Path) -> None:
    space = f"toml:{Path(__file__).parents[2] / 'examples' / 'mobilenet_v3.toml'}"
    found = plan("--space", space, "--resolution", 32)
    assert found["jobs"]["network"] == 36
    blocks = plan("--space", space, "--resolution", 32, "--granularity", "block")
    # From stem to tail. A block that is left out is not measured, and equal ones once.
    assert blocks["jobs"]["block"] == 1 + 9 + 9 + 18 + 18 + 6 + 18 + 12 + 4 + 4 + 1
    huge = tmp_path / "huge.toml"
    block = """[[blocks]]
operator = ["conv", "separable", "mbconv3", "mbconv6"]
kernel = [1, 3, 5, 7, 9, 11, 13, 15]
se = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
filters = [8, 16, 24, 32, 40, 48, 56, 64]
layers = [1, 2, 3, 4, 5, 6, 7, 8]
"""
    huge.write_text(f'name = "huge"\n{block}{block}{block}')
    with pytest.raises(UsageError, match="huge has 278,536 blocks, more than 200,000"):
        plan("--space", f"toml:{huge}", "--resolution", 32, "--granularity", "block")


def test_only_spaces_that_have_a_supernet_are_searched(tmp_path: Path) -> None:
    command = ["--space", "nasnet", "--latency", "nothing", "-o", str(tmp_path / "study")]
    with pytest.raises(SearchError, match="supernet"):
        CliRunner().invoke(search.main, command, catch_exceptions=False)

"""``latlas fit`` with tables of other devices, on simulated devices."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import latlas.few_shot
import latlas.predictor.fit
from latlas.commands import evaluate, fit, predict
from latlas.predictor.file import load
from latlas.profiler.errors import LatlasError, PredictorError, TableError, UsageError
from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Graph
from latlas.profiler.kernel import FusionRules, Kernel, split
from latlas.profiler.measurement import Measurement, measurement_from
from latlas.profiler.runner import Job, OpTime, Result
from latlas.profiler.statistics import NoiseGate, judge
from latlas.profiler.table import Table, TableWriter
from latlas.profiler.target import Target
from latlas.profiler.tflite.reader import read_tflite
from latlas.profiler.tflite.writer import to_tflite
from latlas.search.cover import covering_genes
from latlas.search.spaces import MogaSpace

TARGET = Target("a new phone", "litert 2.3.0", "cpu", "xnnpack")
SPACE = MogaSpace(resolution=32, classes=10)
RULES = rules_for("cpu")


def kernel_us(kernel: Kernel, depthwise: float) -> float:
    inputs = tuple([kernel.inputs[value] for value in kernel.nodes[0].inputs])
    work = kernel.op.madds(inputs) or math.prod(inputs[0])
    return 2 + work / 5_000 * (depthwise if kernel.type == "depthwise_conv2d" else 1)


def result(
    id_: str,
    graph: Graph,
    profile: bool,
    rate: float,
    depthwise: float,
    rules: FusionRules = RULES,
) -> Result:
    times = [rate * kernel_us(kernel, depthwise) for kernel in split(graph, rules)]
    ops = [
        OpTime(kernel.type, time_us / rules.operators(kernel) - 0.5)
        for kernel, time_us in zip(split(graph, rules), times, strict=True)
        for _ in range(rules.operators(kernel))
    ]
    return Result(id_, (sum(times) + 30,) * 20, tuple(ops) if profile else ())


@dataclass
class FakeRunner:
    """A new device whose depthwise convolutions are slow."""

    target: Target = TARGET
    lists_operators: bool = False
    fail: str = "none"
    stop_after: int = 10**9
    measured: list[str] = field(default_factory=list)
    environment: Mapping[str, str] = field(default_factory=dict)
    fresh_process: bool = False

    def __enter__(self) -> FakeRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def unwell(self) -> str:
        return ""

    def close(self) -> None:
        pass

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        for job in jobs:
            if job.id == self.fail:
                yield Result(job.id, error="no memory", kind="failed")
                continue
            if job.id.startswith("network:"):
                if len(self.measured) >= self.stop_after:
                    raise KeyboardInterrupt
                self.measured.append(job.id)
            rules = rules_for(self.target.delegate)
            yield result(job.id, fold(read_tflite(job.model)), job.profile, 3.0, 3.0, rules)


def networks(count: int, seed: int = 0) -> dict[str, Graph]:
    genes = covering_genes(SPACE.choices, count, seed)
    return {f"net-{seed}-{i:02}": fold(SPACE.decode(each)) for i, each in enumerate(genes)}


def measurement(
    name: str, graph: Graph, rate: float, depthwise: float, rules: FusionRules
) -> Measurement:
    found = result(f"network:{name}", graph, True, rate, depthwise, rules)
    return measurement_from(
        found,
        judge(found, NoiseGate(1.0, 1.0)),
        attempt=1,
        unit="network",
        name=name,
        graph=graph.to_text(),
        at_s=0.0,
    )


def write(folder: Path, target: Target, rate: float, depthwise: float) -> Path:
    rules = rules_for(target.delegate)
    rows = [measurement(*each, rate, depthwise, rules) for each in networks(18).items()]
    with TableWriter(folder, target, fusion_rules=rules.version) as writer:
        for row in rows:
            writer.append_provisional(row)
        writer.accept(rows)
    return folder


@pytest.fixture(scope="module", autouse=True)
def few_trees() -> Iterator[None]:
    """Grow small forests: what is tested here is not how good they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latlas.predictor.fit, "fit", partial(latlas.predictor.fit.fit, trees=4))
        yield


@pytest.fixture(scope="module")
def sources(few_trees: None, tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """Options that name a table and a predictor file."""
    folder = tmp_path_factory.mktemp("sources")
    a = write(folder / "a", replace(TARGET, device="a"), 1.0, 1.5)
    b = write(folder / "b", replace(TARGET, device="b"), 2.0, 0.8)
    run(b, "-o", folder / "b.latlas")
    return ["--from", a, "--from", folder / "b.latlas"]


def run(*arguments: object, command: Any = fit.main) -> dict[str, Any]:
    done = CliRunner().invoke(command, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def refuse(kind: type[LatlasError], words: str, *arguments: object) -> None:
    with pytest.raises(kind, match=words):
        CliRunner().invoke(fit.main, [*map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> FakeRunner:
    found = FakeRunner()
    monkeypatch.setattr(latlas.few_shot, "open_runner", lambda choice: found)
    return found


def test_a_plan_measures_nothing(sources: list[object], tmp_path: Path) -> None:
    command = ["--few-shot", 8, *sources, "--plan", "--table", tmp_path / "new"]
    plan = run(*command)["plan"]
    assert len(set(plan["networks"])) == 8
    assert set(plan["networks"]) <= set(networks(18))
    assert plan["chosen_from"] == 18
    assert 0 < plan["expected_error"] < 0.3
    assert plan["minutes"] > 0
    assert run(*command)["plan"] == plan
    assert not (tmp_path / "new").exists()
    done = CliRunner().invoke(fit.main, [*map(str, command)], catch_exceptions=False)
    assert f"{plan['expected_error']:.1%}" in done.stdout
    assert all(name in done.stdout for name in plan["networks"])


def test_networks_come_from_a_space_or_from_models(sources: list[object], tmp_path: Path) -> None:
    few = ["--few-shot", 5, *sources, "--plan"]
    names = run(*few, "--space", "moga", "--resolution", 32)["plan"]["networks"]
    assert all(name.startswith("moga") for name in names)
    for name, graph in networks(9, seed=4).items():
        (tmp_path / f"{name}.tflite").write_bytes(to_tflite(graph))
    plan = run(*few, "--models", tmp_path)["plan"]
    assert all(name.endswith(".tflite") for name in plan["networks"])
    assert plan["chosen_from"] == 9


def test_from_tables_to_a_predictor(
    sources: list[object], runner: FakeRunner, tmp_path: Path
) -> None:
    table, output = tmp_path / "new", tmp_path / "new.latlas"
    command = ["--few-shot", 8, *sources, "--table", table, "-o", output]
    document = run(*command)
    assert document["report"]["measured"] == 8
    assert sorted(runner.measured) == sorted(f"network:{n}" for n in document["plan"]["networks"])
    assert document["transfer"]["networks"] == 8
    assert not document["transfer"]["kernels_measured"]
    assert document["transfer"]["expected_error"] < 0.1
    weights = [source["weights"] for source in document["transfer"]["sources"]]
    assert sum(w["depthwise_conv2d"] for w in weights) > sum(w["conv2d"] for w in weights)

    path = tmp_path / "unseen.tflite"
    graph = networks(9, seed=5)["net-5-03"]
    path.write_bytes(to_tflite(graph))
    (found,) = run(path, "--with", output, command=predict.main)["predictions"]
    truth_ms = result("", graph, False, 3.0, 3.0).samples_us[0] / 1e3
    assert found["latency_ms"] == pytest.approx(truth_ms, rel=0.1)
    assert found["low_ms"] < truth_ms < found["high_ms"]
    assert found["transferred_share"] == pytest.approx(1)
    text = CliRunner().invoke(predict.main, [str(path), "--with", str(output)]).stdout
    assert "transferred" in text
    assert "follows from a, litert" in text
    figures = run(table, "--predictor", output, command=evaluate.main)["overall"]
    assert figures["mape"] < 0.1

    # The same command again measures nothing more; the table alone makes the same predictor.
    again = run(*command)
    assert again["report"] is None
    assert len(runner.measured) == 8
    digest = load(output).digest
    run(table, *sources, "-o", tmp_path / "other.latlas")
    assert load(tmp_path / "other.latlas").digest == digest
    done = CliRunner().invoke(fit.main, [*map(str, command)], catch_exceptions=False)
    assert "expected mean error" in done.stdout
    assert "depthwise_conv2d" in done.stdout


def test_a_gpu_calculates_in_what_its_runner_says(runner: FakeRunner, tmp_path: Path) -> None:
    """Phones' GPUs calculate in fp16; before the phone is asked, it is expected to be as others."""
    runner.target = replace(TARGET, delegate="gpu", backend="opencl", precision="fp16")
    source = write(tmp_path / "source", replace(runner.target, device="a"), 1.0, 1.5)
    few = ["--few-shot", 8, "--from", source, "--delegate", "gpu"]
    for named in ([], ["--precision", "fp32"]):
        planned = run(*few, *named, "--plan")["plan"]
        assert len(planned["networks"]) == 8
    document = run(*few, "--table", tmp_path / "new", "-o", tmp_path / "new.latlas")
    assert document["plan"]["networks"] == planned["networks"]
    assert document["target"]["precision"] == "fp16"
    refuse(PredictorError, "of fp16, the new device of fp32", *few[:-1], "cpu", "--plan")
    refuse(UsageError, "one delegate", *few[:-1], "cpu,gpu", "--plan")
    refuse(UsageError, "GPU", *few, "--precision", "int8", "--plan")


def test_an_interrupted_table_goes_on(
    sources: list[object], runner: FakeRunner, tmp_path: Path
) -> None:
    command = ["--few-shot", 8, *sources, "--table", tmp_path / "new", "-o", tmp_path / "p.latlas"]
    runner.stop_after = 0
    done = CliRunner().invoke(fit.main, [*map(str, command)])
    assert done.exit_code != 0
    assert not (tmp_path / "p.latlas").exists()
    runner.stop_after = 10**9
    run("--few-shot", 5, *command[2:])
    before = set(runner.measured)
    document = run(*command)
    assert len(document["plan"]["measured"]) == 5
    assert len(document["plan"]["networks"]) == 3
    assert not before & {f"network:{name}" for name in document["plan"]["networks"]}
    names = {m.name for m in Table.open(tmp_path / "new").measurements if m.unit == "network"}
    assert len(names) == 8


def test_what_cannot_be_measured_is_not_chosen_again(
    sources: list[object], runner: FakeRunner, tmp_path: Path
) -> None:
    command = ["--few-shot", 8, *sources, "--table", tmp_path / "new", "-o", tmp_path / "p.latlas"]
    first = run(*command[:4], *command[4:6], "--plan")["plan"]["networks"][0]
    runner.fail = f"network:{first}"
    document = run(*command)
    assert [each["id"] for each in document["failed"]] == [runner.fail]
    assert document["transfer"]["networks"] == 7
    again = run(*command)
    assert len(again["plan"]["networks"]) == 1
    assert first not in again["plan"]["networks"]
    assert again["transfer"]["networks"] == 8


def test_listed_operators_are_measured_kernels(
    sources: list[object], runner: FakeRunner, tmp_path: Path
) -> None:
    runner.lists_operators = True
    document = run(
        "--few-shot", 6, *sources, "--table", tmp_path / "new", "-o", tmp_path / "p.latlas"
    )
    assert document["transfer"]["kernels_measured"]
    assert document["types"]["conv2d"]["kernels"] > 10


def test_sources_that_do_not_fit_are_refused_before_measuring(
    sources: list[object], runner: FakeRunner, tmp_path: Path
) -> None:
    few = ["--few-shot", 8, "--table", tmp_path / "new", "-o", tmp_path / "p.latlas"]
    runner.target = replace(TARGET, precision="int8")
    refuse(PredictorError, "of fp32, the new device of int8", *few, *sources)
    runner.target = replace(TARGET, delegate="gpu", backend="opencl", precision="fp32")
    refuse(PredictorError, "fusion rules", *few, *sources)
    assert not runner.measured
    assert not (tmp_path / "new").exists()
    refuse(TableError, "is not a latency table", *few, "--from", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["T", "--plan", "-o", "x"], "--plan: only with --few-shot"),
        (["T", "--device", "abc", "-o", "x"], "--device and its options: only with --few-shot"),
        (["-o", "x"], "which table"),
        (["T"], "-o FILE"),
        (["--few-shot", "8", "-o", "x"], "--from"),
        (["T", "--few-shot", "8", "--from", ".", "-o", "x"], "--table T"),
        (["--few-shot", "8", "--from", ".", "-o", "x"], "--table tables/NAME"),
        (["--few-shot", "8", "--from", ".", "--table", "T"], "-o FILE"),
        (["--few-shot", "8", "--from", ".", "--plan", "--resolution", "64"], "--space"),
    ],
)
def test_options_that_do_not_go_together(arguments: list[str], words: str) -> None:
    refuse(UsageError, words, *arguments)

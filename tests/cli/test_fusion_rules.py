"""``latlas profile --fusion-rules``, and all that becomes of its table, on this machine's CPU."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from latlas.commands import evaluate, fit, predict, profile
from latlas.predictor import file
from latlas.profiler import workload
from latlas.profiler.errors import PredictorError, TableError, UsageError
from latlas.profiler.fusion import DetectedRules, rules_file
from latlas.profiler.fusion.evidence import Evidence, FusionEvidence
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.quantise import quantise
from latlas.profiler.table import Table
from latlas.profiler.target import Delegate, Target
from latlas.profiler.tflite.writer import to_tflite

RULES = DetectedRules(frozenset({("conv2d", "hard_swish")}), chains=False)


def network(width: int) -> Graph:
    b = GraphBuilder((1, 12, 12, 3))
    x = b.hard_swish(b.conv(0, width, 3))
    return b.build(b.add(x, b.conv(x, width, 1)))


def write_rules(path: Path, delegate: Delegate = "cpu") -> Path:
    (types,) = RULES.fused
    target = Target("a device", "litert 2.3.0", delegate, "xnnpack" if delegate == "cpu" else "gl")
    evidence = Evidence("pair", types, 10.0, 1.0, 10.0, 1.0, 0.1, 0.0, "fused")
    rules_file.save(FusionEvidence(target, 0.5, 1 << 14, (evidence,)), path)
    return path


def write_models(folder: Path, networks: Sequence[Graph]) -> Path:
    folder.mkdir()
    for index, graph in enumerate(networks):
        (folder / f"m_{index}.tflite").write_bytes(to_tflite(graph))
    return folder


def succeed(command: click.Command, *arguments: object) -> Any:
    words = [*map(str, arguments), "--json"]
    done = CliRunner().invoke(command, words, catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def refused(error: type[Exception], words: str, command: click.Command, *arguments: object) -> None:
    with pytest.raises(error, match=words):
        CliRunner().invoke(command, list(map(str, arguments)), catch_exceptions=False)


def test_from_rules_to_an_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The vocabulary takes most of the time, and has nothing to do with the rules.
    monkeypatch.setattr(workload, "vocabulary_kernels", lambda precision: [])
    rules, table, learned = write_rules(tmp_path / "r.toml"), tmp_path / "t", tmp_path / "p.latlas"
    models = write_models(tmp_path / "models", [network(width) for width in range(4, 11)])
    command = ["--models", models, "--table", table, "--runs", 3, "--min-ms", 0]
    measured = succeed(profile.main, *command, "--fusion-rules", rules)
    assert measured["plan"]["kernels"] == {"conv2d": 14, "add": 7}
    assert Table.open(table).header.fusion_rules == RULES.version
    again = succeed(profile.main, *command, "--fusion-rules", rules)
    assert again["report"]["measured"] == 0
    refused(TableError, r"these are of 'xnnpack.*--fusion-rules", profile.main, *command)
    assert succeed(fit.main, table, "-o", learned)["fusion_rules"] == RULES.version
    model = models / "m_3.tflite"
    (predicted,) = succeed(predict.main, model, "--with", learned, "--kernels")["predictions"]
    assert (predicted["kernels"], predicted["measured_share"]) == (3, 1)
    assert "hard_swish" in predicted["kernel_list"][0]["kernel"]
    found = succeed(evaluate.main, table, "--predictor", learned, "--models", model)
    assert [each["name"] for each in found["networks"]] == [str(model)]
    others = replace(file.load(learned), rules_version="xnnpack-1")
    file.save(others, learned)
    refused(PredictorError, "fusion rules", evaluate.main, table, "--predictor", learned)


@pytest.mark.parametrize(("arguments", "words"), [
    (["--delegate", "gpu"], "give --delegate cpu"),
    (["--delegate", "cpu,gpu"], "by a command of their own"),
    (["--precision", "int8"], "float32"),
    (["--space", "moga", "--granularity", "block"], "leave --granularity block away"),
])  # fmt: skip
def test_rules_that_do_not_fit(arguments: list[str], words: str, tmp_path: Path) -> None:
    rules = write_rules(tmp_path / "rules.toml")
    command = ["--plan", "--fusion-rules", rules, *arguments]
    if "--space" not in arguments:
        command += ["--models", write_models(tmp_path / "models", [network(4)])]
    refused(UsageError, words, profile.main, *command)


def test_int8_models_are_refused(tmp_path: Path) -> None:
    models = write_models(tmp_path / "models", [quantise(network(4))])
    rules = write_rules(tmp_path / "rules.toml")
    refused(UsageError, "int8", profile.main, "--models", models, "--plan", "--fusion-rules", rules)


def test_what_is_no_rule_file(tmp_path: Path) -> None:
    models = write_models(tmp_path / "models", [network(4)])
    damaged = tmp_path / "rules.toml"
    damaged.write_text("format = 3")
    for path, words in ((damaged, "format"), (tmp_path / "none.toml", "none.toml")):
        command = ["--models", models, "--plan", "--fusion-rules", path]
        refused(UsageError, words, profile.main, *command)


def test_rounds_choose_among_kernels(tmp_path: Path) -> None:
    rules = write_rules(tmp_path / "rules.toml")
    models = write_models(tmp_path / "models", [network(width) for width in range(4, 16)])
    command = ["--models", models, "--plan", "--fusion-rules", rules]
    found = succeed(profile.main, *command, "--rounds", 2)["plan"]["rounds"]
    assert found["unit"] == "kernel"

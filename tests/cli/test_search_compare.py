"""Comparisons of small studies on simulated devices."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from simulated_device import Simulation

from latlas.commands import search
from latlas.predictor import file
from latlas.predictor.calibration import Calibration
from latlas.predictor.fit import fit
from latlas.predictor.observations import observe
from latlas.profiler.errors import SearchError, TargetMismatchError, UsageError

PLUG_IN = """
class ByWidth:
    standard_error = 0.0
    identity = {"version": 1}
    def __init__(self, space):
        self.space = space
    def evaluate(self, genes):
        from latlas.profiler.count import count
        return [0.5 + count(self.space.decode(one)).params / 1e8 for one in genes]
class Other(ByWidth):
    identity = {"version": 2}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with predictors of two targets, and studies of both."""
    folder = tmp_path_factory.mktemp("compare")
    simulation = Simulation()
    table = simulation.write(
        folder / "table", simulation.measurements(simulation.networks(12, seed=0))
    )
    here = fit(observe(table), trees=5)
    file.save(here, folder / "cpu.latlas")
    phone = replace(here, calibration=Calibration(0.1, 50.0, 0.0, 0.0, 5))
    file.save(
        replace(phone, target=replace(here.target, device="a phone")), folder / "phone.latlas"
    )
    (folder / "own_widths.py").write_text(PLUG_IN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        for name, latency, options in (
            ("random", "cpu", ["--searcher", "random", "--evaluations", 30]),
            ("evolution", "cpu", ["--searcher", "evolution", "--evaluations", 26]),
            ("phone", "phone", ["--searcher", "random", "--evaluations", 12]),
            ("tight", "cpu", [*EVOLVE, "--target-ms", 0.5]),
            ("loose", "cpu", [*EVOLVE, "--target-ms", 5.0]),
        ):
            arguments = [
                *("--resolution", 32, "--accuracy", "own_widths:ByWidth", "--json"),
                *("--latency", f"{latency}.latlas", "-o", name, *options),
            ]
            invoke(*arguments)
    sys.modules.pop("own_widths", None)
    return folder


EVOLVE: list[object] = ["--searcher", "evolution", "--evaluations", 12, "--reward", "hard"]


def invoke(*arguments: object) -> Any:
    result = CliRunner().invoke(search.main, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout if "--json" not in arguments else json.loads(result.stdout)


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_widths", raising=False)


def test_searchers_at_equal_evaluations(tmp_path: Path) -> None:
    png = tmp_path / "a.png"
    document = invoke("compare", "random", "evolution", "--json", "--png", png)
    rows = document["studies"]
    assert [row["searcher"] for row in rows] == ["random seed 0", "evolution seed 0"]
    assert [row["evaluations"] for row in rows] == [26, 26]
    for row in rows:
        best, five, most = row["top_means"].values()
        assert best >= five >= most > 0.5
        assert row["hypervolume"] > 0
    assert png.read_bytes().startswith(b"\x89PNG")
    text = invoke("compare", "random", "evolution", "--evaluations", 20)
    assert "top 5 mean" in text
    assert " - " in text  # a mean of 25 there is not yet
    rewarded = invoke(
        *("compare", "random", "evolution", "--reward", "hard", "--target-ms", 0.01, "--json"),
        *("--reference", "latency_ms=1000"),
    )
    assert rewarded["reference"]["latency_ms"] == 1000
    assert rewarded["studies"][0]["top_means"]["1"] != rows[0]["top_means"]["1"]


def test_targets_against_widths(tmp_path: Path) -> None:
    document = invoke(
        *("compare", "tight", "loose", "--scaled", ",".join(["3"] * 14), "--json"),
        *("--widths", "0.25,1,2", "--latency", "cpu.latlas", "--accuracy", "own_widths:ByWidth"),
        *("--png", tmp_path / "b.png"),
    )
    assert [one["target_ms"] for one in document["searched"]] == [0.5, 5.0]
    latencies = [one["latency_ms"] for one in document["scaled"]]
    assert latencies == sorted(latencies)
    assert document["scaled"][0]["accuracy"] < document["scaled"][2]["accuracy"]
    assert (tmp_path / "b.png").stat().st_size > 1000
    kept = Path("tight/scaled.jsonl").read_text()
    assert kept.count("\n") == 3
    again = invoke(
        *("compare", "tight", "loose", "--scaled", ",".join(["3"] * 14), "--json"),
        *("--widths", "0.25,1,2", "--latency", "cpu.latlas", "--accuracy", "own_widths:ByWidth"),
    )
    assert again["scaled"] == document["scaled"]
    assert Path("tight/scaled.jsonl").read_text() == kept
    wrong = ["compare", "tight", "--scaled", ",".join(["3"] * 14), "--latency"]
    with pytest.raises(UsageError, match=r"phone\.latlas is not what"):
        invoke(*wrong, "phone.latlas", "--accuracy", "own_widths:ByWidth")
    with pytest.raises(UsageError, match="Other is not what"):
        invoke(*wrong, "cpu.latlas", "--accuracy", "own_widths:Other")
    for source in ("supernet", "table:accuracies.csv"):
        with pytest.raises(UsageError, match="knows one width"):
            invoke(*wrong, "cpu.latlas", "--accuracy", source)
    with pytest.raises(UsageError, match="trains networks of every width"):
        invoke(*wrong, "cpu.latlas", "--accuracy", "train:digits")
    with pytest.raises(SearchError, match="published network"):
        invoke("compare", "tight", "--scaled", "x", *wrong[-1:], "cpu.latlas", "--accuracy",
               "own_widths:ByWidth")  # fmt: skip


def test_fronts_across_targets(tmp_path: Path) -> None:
    arguments = ["compare", "random", "phone", "--across", "--latency", "cpu.latlas"]
    document = invoke(
        *arguments, "--latency", "phone.latlas", "--json", "--png", tmp_path / "c.png"
    )
    assert [(p["target_of"], p["front_of"]) for p in document["pairs"]] == [
        ("random", "phone"),
        ("phone", "random"),
    ]
    for entry in document["fronts"]["random"]:
        assert entry["latency_ms"]["random"] != entry["latency_ms"]["phone"]
    assert "out of reach" in invoke(*arguments, "--latency", "phone.latlas")
    with pytest.raises(TargetMismatchError, match="a phone"):
        invoke(*arguments, "--latency", "cpu.latlas")
    with pytest.raises(UsageError, match="1 latencies"):
        invoke(*arguments)


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    for arguments, error, words in (
        (["random", "phone"], SearchError, "differ in their latency"),
        (["random", "random"], UsageError, "given twice"),
        (["random", "evolution", "--evaluations", "99"], UsageError, "tried only 26"),
        (["random", "--reference", "madds=3"], UsageError, "METRIC=VALUE"),
        (["random", "--latency", "cpu.latlas"], UsageError, "read with --scaled and with --across"),
        (["random", "--across", "--reward", "soft"], UsageError, "--reward is read without"),
        (["random", "--across", "--dataset", "digits"], UsageError, "--dataset is read with --sc"),
        (["random", "--scaled", "x", "--evaluations", "3"], UsageError, "--evaluations is read"),
        (["random", "--across", "--scaled", "x"], UsageError, "give one"),
        (["random", "--scaled", "x", "--accuracy", "x:y", "--widths", "1"], UsageError, "two"),
        ([str(tmp_path)], SearchError, "no study"),
    ):
        with pytest.raises(error, match=words):
            invoke("compare", *arguments)


def test_an_exported_network_is_predicted_as_it_was_searched() -> None:
    document = invoke(
        *("export", "random", "--no-train", "--no-measure", "--with", "cpu.latlas", "--json")
    )
    (network,) = document["networks"]
    assert network["predicted"]["cpu.latlas"]["latency_ms"] == pytest.approx(
        network["search_latencies"]["latency_ms"], rel=1e-3
    )
    assert "cpu predicted ms" in invoke(
        *("export", "random", "--no-train", "--no-measure", "--with", "cpu.latlas")
    )

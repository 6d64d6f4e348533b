"""What a search chose becomes files: trained on digits in one epoch, measured on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pictures import write_coco
from relaxed import relaxed

from latlas import exports
from latlas.commands import search, search_export
from latlas.profiler.errors import SearchError, UsageError
from latlas.profiler.tflite.reader import load_tflite
from latlas.search.protocols import Trial
from latlas.search.recipe import load_recipe
from latlas.search.spaces import open_space
from latlas.search.study import Study, record_of


def study_in(folder: Path, name: str, **settings: Any) -> Study:
    """Return a study of two architectures, whose latencies are a phone's."""
    space = open_space(name, **settings)
    accuracy = {"kind": "supernet", "dataset": "digits-32-seed0"}
    study = Study.create(folder, {"space": space.identity, "latency": {}, "accuracy": accuracy})
    genes = space.sample(2, seed=0)
    with study.writer(lambda trial: None) as writer:
        writer.append(
            record_of(Trial(one, {"accuracy": 0.5 + i / 10, "latency_ms": 1.0 + i, "params": 1e6}))
            for i, one in enumerate(genes)
        )
    return study


SMALL = """
name = "small"
[[blocks]]
operator = "conv"
filters = 8
stride = 2
[[blocks]]
operator = "mbconv"
kernel = 3
expansion = [2, 3]
filters = 16
stride = 2
[tail]
features = 24
"""


@pytest.fixture
def study(tmp_path: Path) -> Study:
    (tmp_path / "small.toml").write_text(SMALL)
    return study_in(tmp_path / "study", f"toml:{tmp_path / 'small.toml'}", resolution=8)


def invoke(*arguments: object) -> Any:
    arguments = ("export", *arguments)
    result = CliRunner().invoke(search.main, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout) if "--json" in arguments else result.stdout


@pytest.fixture(autouse=True)
def lenient() -> Iterator[None]:
    """What a busy machine does to measurements is tested elsewhere."""
    with relaxed():
        yield


def test_trained_converted_scored_and_measured_once(study: Study) -> None:
    arguments = [
        *(study.folder, "--ranks", "2", "--epochs", 1, "--measure", "here=local/cpu", "--json")
    ]
    document = invoke(*arguments)
    assert json.loads((study.folder / "export.json").read_text()) == document
    (network,) = document["networks"]
    assert network["rank"] == 2
    assert network["search_latencies"] == {}  # of other images: digits are grey
    for kind, file in network["files"].items():
        assert 0 <= file["accuracy"] <= 1
        assert file["latency"]["here"]["latency_ms"] > 0
        graph = load_tflite(file["path"])
        assert graph.is_float == (kind != "int8")
        assert graph.inputs == ((1, 8, 8, 1),)
    sizes = {kind: file["bytes"] for kind, file in network["files"].items()}
    assert sizes["fp16"] < sizes["float"]

    before = {path: path.stat().st_mtime_ns for path in study.folder.rglob("*.tflite")}
    assert invoke(*arguments) == document
    assert {path: path.stat().st_mtime_ns for path in study.folder.rglob("*.tflite")} == before


def test_what_was_searched_on_is_not_guessed(study: Study) -> None:
    path = study.folder / "study.json"
    settings = json.loads(path.read_text())

    def of(accuracy: dict[str, Any]) -> Study:
        path.write_text(json.dumps(settings | {"accuracy": accuracy}))
        return Study.open(study.folder)

    assert (exports.dataset_of(study), exports.recipe_of(study)) == ("digits", "digits")
    trained = {"kind": "train", "recipe": {**load_recipe("nasnet_cifar").identity, "epochs": 2}}
    cells = of({**trained, "data": "cifar10-32-seed0"})
    assert exports.recipe_of(cells) == "nasnet_cifar"
    with pytest.raises(UsageError, match="rest on 'cifar10-32-seed0'"):
        exports.dataset_of(cells)
    with pytest.raises(UsageError, match="--dataset is missing"):
        invoke(study.folder, "--no-measure")
    own = of({**trained, "recipe": {**trained["recipe"], "ema": 0.123}})
    with pytest.raises(UsageError, match="--recipe is missing"):
        exports.recipe_of(own)


def test_seeds_are_of_training_and_leave_the_final_test_alone(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def with_training(*arguments: Any) -> list[Any]:
        opened.append((arguments[4].name, arguments[6]))
        return []

    monkeypatch.setattr(search_export, "with_training", with_training)
    invoke(study.folder, "--seed", 1, "--no-measure")
    assert opened == [("digits-8-seed0", 1)]


def test_a_cell_is_exported_larger_without_training(tmp_path: Path) -> None:
    study = study_in(tmp_path, "nasnet", resolution=32, settings={"N": 1, "F": 8})
    arguments = [study.folder, "--no-train", "--no-measure", "--formats", "float,int8", "--json"]
    small = invoke(*arguments)
    document = invoke(*arguments, "--set", "N=2", "--set", "F=16", "--resolution", 64)
    assert document["space"]["settings"]["N"] == 2
    assert document["networks"][0]["params"] > 2 * small["networks"][0]["params"]
    assert document["networks"][0]["files"]["float"]["accuracy"] is None
    text = invoke(*arguments[:-1])
    assert "int8" in text
    with pytest.raises(UsageError, match="the settings of nasnet"):
        invoke(*arguments, "--set", "G=2")


def test_detectors_begin_with_the_trained_networks(study: Study, tmp_path: Path) -> None:
    write_coco(tmp_path / "coco")
    arguments = [
        *(study.folder, "--epochs", 1, "--formats", "float,int8", "--no-measure", "--json"),
        *("--detection", f"coco:{tmp_path / 'coco'}", "--detection-resolution", 64),
        *("--detection-epochs", 1),
    ]
    document = invoke(*arguments)
    classifier, detector = document["networks"]
    assert [classifier["task"], detector["task"]] == ["classification", "detection"]
    assert 0 <= detector["average_precision"] <= 1
    scores = {kind: file["average_precision"] for kind, file in detector["files"].items()}
    assert scores["float"] == pytest.approx(detector["average_precision"], abs=0.02)
    assert 0 <= scores["int8"] <= 1
    graph = load_tflite(detector["files"]["float"]["path"])
    assert graph.inputs == ((1, 64, 64, 3),)
    assert sorted(graph.shapes[value][-1] for value in graph.outputs) == [3, 4]
    assert invoke(*arguments) == document
    untrained = invoke(*arguments, "--no-train")["networks"][1]
    assert untrained["average_precision"] is None
    assert untrained["params"] == detector["params"]
    with pytest.raises(UsageError, match="expected coco:FOLDER"):
        invoke(*arguments, "--no-train", "--detection", "voc")


def test_what_is_refused(study: Study, tmp_path: Path) -> None:
    for arguments, error, words in (
        (["--top", 1, "--ranks", "1"], UsageError, "give one"),
        (["--ranks", "3"], UsageError, "it has 2"),
        (["--formats", "onnx"], UsageError, "no format 'onnx'"),
        (["--measure", "local/cpu", "--no-measure"], UsageError, "contradict"),
        (["--measure", "A,B/gpu"], UsageError, "one device each"),
        (["--classes", 11], UsageError, "10 classes"),
    ):
        measured = [] if "--measure" in arguments else ["--no-measure"]
        with pytest.raises(error, match=words):
            invoke(study.folder, *arguments, *measured)
    with pytest.raises(SearchError, match="no target"):
        invoke(study.folder)
    Study.create(tmp_path / "empty", {"space": study.settings["space"]})
    with pytest.raises(SearchError, match="no front"):
        invoke(tmp_path / "empty", "--no-measure")

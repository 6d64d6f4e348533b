"""Search, verify and quickstart, small but real: digits, and latencies of this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from relaxed import relaxed
from shallow_space import SHALLOW

from latlas.commands import quickstart, search, verify
from latlas.predictor import file
from latlas.profiler.errors import SearchError, TargetMismatchError, UsageError
from latlas.profiler.tflite.reader import load_tflite
from latlas.search.latency import read_sources
from latlas.search.spaces import open_space
from latlas.search.study import Study
from latlas.searching import open_latency

SCALE = quickstart.Scale(
    resolution=32,
    networks=(12, 12),
    runs=(3, 3),
    min_ms=(0.5, 0.5),
    epochs=1,
    evaluations=12,
    population=6,
    verified=4,
)


@pytest.fixture(autouse=True)
def lenient() -> Iterator[None]:
    """What a busy machine does to measurements is tested elsewhere."""
    with relaxed():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quickstart")


def test_quickstart_walks_the_whole_path_and_then_has_nothing_left(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    document, text = quickstart.run(folder, False, SCALE)
    assert json.loads(json.dumps(document)) == document
    assert (folder / "cpu.latlas").exists()
    assert (folder / "study" / "predicted_vs_measured.png").stat().st_size > 10_000
    assert len(Study.open(folder / "study").history) == 12
    networks = document["verify"]["networks"]
    assert 1 <= len(networks) <= 4
    assert all(n["measured_ms"] > 0 and n["predicted_ms"] > 0 for n in networks)
    assert "chance" in text
    page = Path(document["report"]).read_text()
    assert page.startswith("<!doctype html>") and f"report: {folder / 'report.html'}" in text
    assert all(f">{name}<" in page for name in ("The reference kernel", "Conditions over time"))
    assert f"Study {folder / 'study'}" in page
    # One epoch on digits ranks nothing: it has to say so whenever that is what it found.
    ranking = document["supernet"]["ranking"]
    assert ("its ranking is not significant" in text) == (not ranking["significant"])

    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.jsonl")}
    again, _ = quickstart.run(folder, False, SCALE)
    assert again["front"] == document["front"]
    assert [n["measured_ms"] for n in again["verify"]["networks"]] == [
        n["measured_ms"] for n in networks
    ]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.jsonl")} == before
    capfd.readouterr()


def invoke(command: Any, *arguments: object) -> Any:
    result = CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_search_and_verify_on_the_command_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "shallow.toml").write_text(SHALLOW)
    arguments = [
        *("--space", f"toml:{tmp_path / 'shallow.toml'}"),
        *("--latency", folder / "cpu.latlas", "--resolution", 32, "--epochs", 1),
        *("--population", 4, "-o", tmp_path / "study", "--json"),
    ]
    document = invoke(search.main, *arguments, "--evaluations", 6)
    assert document["tried"] == 6
    # Given again with more evaluations it goes on; the supernet is not trained again.
    longer = invoke(search.main, *arguments, "--evaluations", 8, "--tflite")
    assert longer["tried"] == 8
    front = longer["front"]
    files = sorted((tmp_path / "study" / "architectures").glob("*.tflite"))
    assert len(files) == len(front)
    assert load_tflite(files[0]).inputs == ((1, 32, 32, 3),)

    with pytest.raises(SearchError, match="other settings: searcher"):
        invoke(search.main, *arguments, "--seed", 1)
    verified = invoke(verify.main, tmp_path / "study", "--json")
    assert len(verified["networks"]) == len(front)


def test_latency_from_a_table_and_from_the_device_itself(folder: Path) -> None:
    space = open_space("moga", resolution=32)
    genes = [(0,) * 14, (11,) * 14]
    for where in (str(folder / "tables" / "cpu"), "device:local/cpu"):
        (source,) = read_sources([where])
        with open_latency(source, space) as site:
            small, large = (outcome.value for outcome in site.measure(genes))
            assert site.identity["target"]["delegate"] == "cpu"
        assert 0 < small < large
    for where, words in (
        ("nothing.latlas", "device:local/cpu"),
        ("device:local", "device:local/cpu"),
        ("device:local/npu", "there are cpu and gpu"),
        ("device:local/cpu,gpu", "one delegate"),
        ("device:local,A/cpu", "measures alone"),
    ):
        (source,) = read_sources([where])
        with pytest.raises(UsageError, match=words), open_latency(source, space):
            pass


def test_a_table_and_its_predictor_are_the_same_source(folder: Path) -> None:
    space = open_space("moga", resolution=32)
    identities = []
    for where in (folder / "tables" / "cpu", folder / "cpu.latlas"):
        (source,) = read_sources([str(where)])
        with open_latency(source, space) as site:
            identities.append(site.identity)
    assert identities[0] == identities[1]


def test_a_study_of_another_machine_is_not_verified_here(folder: Path, tmp_path: Path) -> None:
    study = Study.open(folder / "study")
    settings = json.loads(json.dumps(study.settings))
    settings["latency"]["latency_ms"]["target"]["device"] = "a phone"
    Study.create(tmp_path / "study", settings)
    with pytest.raises(TargetMismatchError, match="a phone"):
        invoke(verify.main, tmp_path / "study")


def test_quickstart_does_not_mix_targets(folder: Path, tmp_path: Path) -> None:
    predictor = file.load(folder / "cpu.latlas")
    other = replace(predictor, target=replace(predictor.target, runtime="litert 1.0.0"))
    file.save(other, tmp_path / "cpu.latlas")
    with pytest.raises(TargetMismatchError, match=r"litert 1\.0\.0"):
        quickstart.run(tmp_path, False, SCALE)
    assert not (tmp_path / "study").exists()

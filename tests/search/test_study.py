import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from trials import trial_with

from latlas.profiler.errors import DeviceError, SearchError
from latlas.profiler.graph import Graph, GraphBuilder
from latlas.search.nsga2 import WeightedNSGA2
from latlas.search.objectives import front_of
from latlas.search.protocols import Genes, Trial
from latlas.search.study import Study, run

SETTINGS = {"space": "tiny", "searcher": {"seed": 1}}
CHOICES = (4,) * 6


class TinySpace:
    choices = CHOICES

    def decode(self, genes: Sequence[int]) -> Graph:
        b = GraphBuilder((1, 8, 8, 3))
        x = b.input
        for gene in genes:
            x = b.relu(b.conv(x, 1 + gene, 3))
        return b.build(x)


class FakeOracle:
    """Stands in for training; counts what it is asked for."""

    standard_error = 0.0

    def __init__(self, bad: frozenset[int] = frozenset(), nan: int | None = None) -> None:
        self.asked: list[Genes] = []
        self.bad, self.nan = bad, nan

    def evaluate(self, genes: Sequence[Genes]) -> NDArray[np.float64]:
        for one in genes:
            if one[0] in self.bad:
                raise RuntimeError("does not converge")
        self.asked += genes
        scores = [math.nan if g[0] == self.nan else 0.5 + 0.1 * sum(g) / 6 for g in genes]
        return np.array(scores)


def latency_ms(genes: Sequence[Genes]) -> list[float]:
    return [1.0 + sum(gene**2 for gene in one) for one in genes]


def searcher() -> WeightedNSGA2:
    return WeightedNSGA2(CHOICES, population=10, seed=1)


def search(folder: Path, oracle: FakeOracle, evaluations: int, **other: object) -> list[Trial]:
    study = Study.create(folder, SETTINGS)
    arguments: dict[str, object] = {"progress": False, "chunk": 4, **other}
    return run(
        study, TinySpace(), searcher(), oracle, latency_ms, evaluations=evaluations, **arguments
    )  # type: ignore[arg-type]


def test_a_study_in_its_folder(tmp_path: Path) -> None:
    oracle = FakeOracle()
    front = search(tmp_path / "a", oracle, 47)
    study = Study.open(tmp_path / "a")
    assert study.settings == SETTINGS
    assert [trial.genes for trial in study.history] == oracle.asked
    assert len(set(oracle.asked)) == 47
    assert [t.generation for t in study.history] == [i // 10 for i in range(47)]
    entries = json.loads((tmp_path / "a/front.json").read_text())
    assert [tuple(entry["genes"]) for entry in entries] == [trial.genes for trial in front]
    assert front == front_of(study.history)
    for entry in entries:
        text = (tmp_path / "a" / entry["architecture"]).read_text().strip()
        assert Graph.from_text(text) == TinySpace().decode(entry["genes"])


def test_in_pieces_is_the_same_as_at_once(tmp_path: Path) -> None:
    whole, pieces = FakeOracle(), FakeOracle()
    front = search(tmp_path / "whole", whole, 45)
    for evaluations in (3, 10, 10, 24, 45):
        result = search(tmp_path / "pieces", pieces, evaluations)
    assert pieces.asked == whole.asked
    assert [t.genes for t in result] == [t.genes for t in front]
    # A finished study is read, not run; asking for less loses nothing.
    search(tmp_path / "pieces", pieces, 20)
    assert len(pieces.asked) == 45
    assert len(Study.open(tmp_path / "pieces").history) == 45


def test_a_shorter_front_removes_networks_that_left_it(tmp_path: Path) -> None:
    study = Study.create(tmp_path / "s", SETTINGS)
    trials = [trial_with((i,) * 6, 0.5, 1.0, 1.0) for i in range(3)]
    study.write_front(trials, TinySpace())
    study.write_front(trials[:1], TinySpace())
    assert [p.name for p in (tmp_path / "s/architectures").iterdir()] == ["1.txt"]


def test_models_of_networks_that_left_their_place_are_removed(tmp_path: Path) -> None:
    study = Study.create(tmp_path / "s", SETTINGS)
    trials = [trial_with((i,) * 6, 0.5, 1.0, 1.0) for i in range(3)]
    study.write_front(trials, TinySpace())
    folder = tmp_path / "s/architectures"
    for rank in (1, 2, 3):
        (folder / f"{rank}.tflite").touch()
    (folder / "mine.tflite").touch()
    study.write_front([trials[0], trials[2]], TinySpace())
    assert sorted(p.name for p in folder.glob("*.tflite")) == ["1.tflite", "mine.tflite"]


def test_other_settings_are_refused(tmp_path: Path) -> None:
    Study.create(tmp_path, SETTINGS)
    Study.create(tmp_path, SETTINGS)
    with pytest.raises(SearchError, match=r"other settings: searcher\.seed is 1 there, 2 here:"):
        Study.create(tmp_path, {"space": "tiny", "searcher": {"seed": 2}})
    with pytest.raises(SearchError, match="JSON"):
        Study.create(tmp_path / "b", {"a": object()})
    with pytest.raises(SearchError, match="holds no study"):
        Study.open(tmp_path / "c")
    (tmp_path / "study.json").write_text("[")
    with pytest.raises(SearchError, match="cannot read"):
        Study.open(tmp_path)


def test_another_searchers_history_is_refused(tmp_path: Path) -> None:
    search(tmp_path, FakeOracle(), 12)
    other = WeightedNSGA2(CHOICES, population=10, seed=2)
    with pytest.raises(SearchError, match="another searcher"):
        run(
            Study.open(tmp_path), TinySpace(), other, FakeOracle(), latency_ms,
            evaluations=20, progress=False,
        )  # fmt: skip


def test_failing_candidates_are_recorded_and_not_fatal(tmp_path: Path) -> None:
    front = search(tmp_path, FakeOracle(bad=frozenset({0}), nan=1), 40)
    history = Study.open(tmp_path).history
    assert len(history) == 40
    for trial in history:
        if trial.genes[0] == 0:
            assert trial.error == "RuntimeError: does not converge"
        elif trial.genes[0] == 1:
            assert "accuracy is nan" in trial.error
        else:
            assert trial.error == ""
    assert {trial.genes[0] for trial in front} <= {2, 3}


def test_a_broken_oracle_stops_the_search(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="all of the first 4 architectures failed"):
        search(tmp_path, FakeOracle(bad=frozenset(range(4))), 40)

    def unplugged(genes: Sequence[Genes]) -> list[float]:
        raise DeviceError("unplugged")

    with pytest.raises(DeviceError):
        run(
            Study.open(tmp_path), TinySpace(), searcher(), FakeOracle(), unplugged,
            evaluations=9, progress=False,
        )  # fmt: skip
    assert Study.open(tmp_path).history == []


def test_a_torn_line_is_cut_off(tmp_path: Path) -> None:
    search(tmp_path, FakeOracle(), 12)
    path = tmp_path / "history.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    assert len(Study.open(tmp_path).history) == 11
    again = FakeOracle()
    search(tmp_path, again, 12)
    assert len(again.asked) == 1
    assert len(path.read_bytes().splitlines()) == 12
    record = json.loads(whole.splitlines()[0])
    endless = [
        json.dumps(record | damage).replace('"endless"', "1e999").encode() + b"\n"
        for damage in ({"generation": "endless"}, {"values": {"params": "endless"}}, {"values": 3})
    ]
    for damaged in (b'{"genes": 3}\n', *endless):
        path.write_bytes(damaged)
        with pytest.raises(SearchError, match="no trial"):
            _ = Study.open(tmp_path).history


def test_two_writers_are_kept_apart(tmp_path: Path) -> None:
    study = Study.create(tmp_path, SETTINGS)
    with (
        study.writer(lambda trial: None),
        pytest.raises(SearchError, match="being written by another process"),
    ):
        search(tmp_path, FakeOracle(), 5)


def test_a_full_disk_is_said_and_nothing_is_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(tmp_path, FakeOracle(), 10)
    before = (tmp_path / "history.jsonl").read_bytes()
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 20:
            return real(descriptor, data[:20])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(SearchError, match="No space left"):
            search(tmp_path, FakeOracle(), 20)
    assert (tmp_path / "history.jsonl").read_bytes() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(SearchError, match="cannot write"):
        Study.create(tmp_path / "file" / "study", SETTINGS)


SLOW = """
import sys, time
from pathlib import Path
sys.path[:0] = [{tests!r}, {tests!r} + "/search"]
from test_study import FakeOracle, search
class Slow(FakeOracle):
    def evaluate(self, genes):
        time.sleep(0.05)
        with open({log!r}, "a") as log:
            log.writelines(f"{{one}}\\n" for one in genes)
        return super().evaluate(genes)
search(Path({folder!r}), Slow(), 48, chunk=2)
"""


def test_killed_and_resumed(tmp_path: Path) -> None:
    folder, log = tmp_path / "killed", tmp_path / "log"
    script = SLOW.format(tests=str(Path(__file__).parents[1]), log=str(log), folder=str(folder))
    history = folder / "history.jsonl"
    for wanted in (6, 20):
        process = subprocess.Popen([sys.executable, "-c", script])
        deadline = time.monotonic() + 60
        while not history.exists() or history.read_bytes().count(b"\n") < wanted:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = [trial.genes for trial in Study.open(folder).history]
    assert len(kept) >= 20
    rest, whole = FakeOracle(), FakeOracle()
    front = search(folder, rest, 48)
    assert [trial.genes for trial in front] == [
        trial.genes for trial in search(tmp_path / "whole", whole, 48)
    ]
    assert kept + rest.asked == whole.asked
    # What had been kept was not evaluated again: only the chunk in flight at a kill is.
    evaluated = log.read_text().splitlines()
    assert len(evaluated) <= len(kept) + 2 * 2

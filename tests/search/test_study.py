import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from trials import trial_with

from latlas.profiler.errors import DeviceError, SearchError
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.search.evaluation import Evaluator, InProcess, measure_with
from latlas.search.nsga2 import WeightedNSGA2
from latlas.search.objectives import Constraint, front_of
from latlas.search.protocols import Genes, Trial
from latlas.search.sizes import sizes_of
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


def evaluator(
    oracle: FakeOracle, latency: Callable[[Sequence[Genes]], list[float]] = latency_ms, **other: Any
) -> Evaluator:
    measures = {
        "latency_ms": measure_with(latency, "latency_ms"),
        "accuracy": measure_with(oracle.evaluate, "accuracy"),
    }
    return Evaluator(
        TinySpace(), InProcess(measures), list(measures), sizes_of(TinySpace()), **other
    )


def search(folder: Path, oracle: FakeOracle, evaluations: int) -> list[Trial]:
    study = Study.create(folder, SETTINGS)
    return run(study, searcher(), evaluator(oracle), evaluations=evaluations, progress=False)


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
        run(Study.open(tmp_path), other, evaluator(FakeOracle()), evaluations=20, progress=False)


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
    with pytest.raises(SearchError, match="all of the first 8 architectures failed"):
        search(tmp_path, FakeOracle(bad=frozenset(range(4))), 40)

    def unplugged(genes: Sequence[Genes]) -> list[float]:
        raise DeviceError("unplugged")

    study = Study.open(tmp_path)
    with pytest.raises(DeviceError):
        run(study, searcher(), evaluator(FakeOracle(), unplugged), evaluations=9, progress=False)
    assert study.history == []


def test_failures_before_the_first_success_are_kept_with_it(tmp_path: Path) -> None:
    first = searcher().ask()[:3]
    oracle = FakeOracle()

    def fails_at_first(genes: Sequence[Genes]) -> list[float]:
        if set(genes) & set(first):
            raise RuntimeError("no memory")
        return latency_ms(genes)

    study = Study.create(tmp_path, SETTINGS)
    run(study, searcher(), evaluator(oracle, fails_at_first), evaluations=20, progress=False)
    assert [trial.genes for trial in study.history[:3]] == first
    assert [bool(trial.error) for trial in study.history[:5]] == [True] * 3 + [False] * 2
    assert not set(first) & set(oracle.asked)  # what has no latency is not trained


class Repeating:
    """Asks for two architectures again and again, and at times for a new one."""

    def __init__(self, news: int) -> None:
        self.news, self.batches, self.told = news, 0, list[Trial]()

    def ask(self) -> list[Genes]:
        new = min(self.batches, self.news)
        return [(0,) * 6, (1,) * 6, (0,) * 6, (1 + new % 3,) * 6]

    def tell(self, trials: Sequence[Trial]) -> None:
        self.batches += 1
        self.told += trials


def test_repeated_architectures_are_evaluated_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    oracle = FakeOracle()
    study = Study.create(tmp_path, SETTINGS)
    for evaluations in (2, 3, 4):
        repeating = Repeating(2)
        run(study, repeating, evaluator(oracle), evaluations=evaluations, progress=False)
        assert len(study.history) == evaluations
        assert oracle.asked == [trial.genes for trial in study.history]
    assert len(repeating.told) == 3 * 4
    assert "asked" not in capsys.readouterr().err
    # One that has converged is asked so often and no longer.
    repeating = Repeating(0)
    folder = tmp_path / "converged"
    run(Study.create(folder, {}), repeating, evaluator(oracle), evaluations=9, progress=False)
    assert len(repeating.told) == 9 * 20
    assert len(Study.open(folder).history) == 2
    assert "2 architectures: the searcher asked 180 times" in capsys.readouterr().err
    run(
        Study.open(folder), Repeating(0), evaluator(oracle),
        evaluations=9, samples=8, progress=False,
    )  # fmt: skip
    assert "the searcher asked 8 times" in capsys.readouterr().err


def test_a_few_failures_are_not_passed_over(tmp_path: Path) -> None:
    """A searcher may have no more to ask for before there are enough of them to give up."""
    study = Study.create(tmp_path, {})
    broken = evaluator(FakeOracle(bad=frozenset(range(10))))
    with pytest.raises(SearchError, match=r"all of the first 2 .*does not converge"):
        run(study, Repeating(0), broken, evaluations=9, progress=False)
    assert not Study.open(tmp_path).history


def test_constraints_are_kept_by_the_front_and_screened_architectures_are_not_trained(
    tmp_path: Path,
) -> None:
    limit = Constraint("latency_ms", "max", 20.0)
    histories = {}
    for screen in (False, True):
        oracle = FakeOracle()
        front = run(
            Study.create(tmp_path / str(screen), SETTINGS),
            WeightedNSGA2(CHOICES, constraints=[limit], population=10, seed=1),
            evaluator(oracle, constraints=[limit], screen=screen),
            evaluations=60,
            constraints=[limit],
            progress=False,
        )
        histories[screen] = Study.open(tmp_path / str(screen)).history
        assert front == front_of(histories[screen], constraints=[limit])
        assert front and all(trial.latency_ms <= 20 for trial in front)
        trained = [trial.genes for trial in histories[screen] if not math.isnan(trial.accuracy)]
        assert trained == oracle.asked
    skipped = [trial for trial in histories[True] if math.isnan(trial.accuracy)]
    assert skipped and all(trial.latency_ms > 20 and not trial.error for trial in skipped)
    expected = "accuracy left out, since latency_ms is"
    assert all(trial.note.startswith(expected) for trial in skipped)
    # The searcher learns from them all the same: the search is led to what is allowed.
    assert sum(trial.latency_ms <= 20 for trial in histories[True][30:]) > sum(
        trial.latency_ms <= 20 for trial in histories[True][:30]
    )


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
        time.sleep(0.3)  # so slow that they come one at a time
        with open({log!r}, "a") as log:
            log.writelines(f"{{one}}\\n" for one in genes)
        return super().evaluate(genes)
search(Path({folder!r}), Slow(), 48)
"""


def test_killed_and_resumed(tmp_path: Path) -> None:
    folder, log = tmp_path / "killed", tmp_path / "log"
    script = SLOW.format(tests=str(Path(__file__).parents[1]), log=str(log), folder=str(folder))
    history = folder / "history.jsonl"
    for wanted in (4, 9):
        process = subprocess.Popen([sys.executable, "-c", script])
        deadline = time.monotonic() + 60
        while not history.exists() or history.read_bytes().count(b"\n") < wanted:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = [trial.genes for trial in Study.open(folder).history]
    assert len(kept) >= 9
    rest, whole = FakeOracle(), FakeOracle()
    front = search(folder, rest, 48)
    assert [trial.genes for trial in front] == [
        trial.genes for trial in search(tmp_path / "whole", whole, 48)
    ]
    assert kept + rest.asked == whole.asked
    # What had been kept was not evaluated again: only what was in flight at a kill is.
    evaluated = log.read_text().splitlines()
    assert len(evaluated) <= len(kept) + 2

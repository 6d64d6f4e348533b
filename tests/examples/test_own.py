"""The examples of a user's own runner, space, searcher and oracle run, and are short."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from latlas.cli import group
from latlas.profiler.table import Table
from latlas.search.accuracy import PlugIn
from latlas.search.protocols import Trial
from latlas.search.searchers import open_searcher
from latlas.search.spaces import open_space
from latlas.search.study import Study

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = ("--resolution", "32", "--classes", "10")
QUICK = {
    "own_space": ("--accuracy", "made_up:accuracy", "--population", "4"),
    "own_oracle": (*SMALL, "--population", "4"),
    "own_searcher": (*SMALL, "--accuracy", "made_up:accuracy"),
}
"""Options that make the commands of an example quick; of two, the last counts."""


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import an example as ``PYTHONPATH=examples`` does."""
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


def test_a_runner(example: Any, tmp_path: Path) -> None:
    report = example("own_runner").main(tmp_path, kernels=2)
    assert (report.measured, report.failed, report.left) == (2, 0, 0)
    assert Table.open(tmp_path).target.device == "my board"
    assert example("own_runner").main(tmp_path, kernels=2).skipped == 2


@pytest.mark.parametrize("name", ["own_space", "own_oracle"])
def test_a_search_is_the_same_again(example: Any, name: str, tmp_path: Path) -> None:
    front = example(name).main(tmp_path / "a", evaluations=24)
    assert front
    assert all(trial.latency_ms > 0 and 0 < trial.accuracy < 1 for trial in front)
    again = example(name).main(tmp_path / "b", evaluations=24)
    assert [trial.genes for trial in again] == [trial.genes for trial in front]


@pytest.mark.parametrize("name", QUICK)
def test_the_commands_that_they_show_run(
    example: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = (example(name).__doc__ or "").replace("\\\n", " ")
    (tmp_path / "made_up.py").write_text("def accuracy(genes):\n    return sum(genes) / 200\n")
    monkeypatch.chdir(tmp_path)
    for command in re.findall("PYTHONPATH=examples latlas (.+)", shown):
        words = shlex.split(command.replace("here-cpu.latlas", "device:local/cpu"))
        words += ("--evaluations", "4", *QUICK[name]) if "search" in words else ("--most", "2")
        assert not group.main(words, standalone_mode=False)
    (folder,) = (tmp_path / "studies").iterdir()
    history = Study.open(folder).history
    assert len(history) == 4 and all(trial.latency_ms > 0 for trial in history)


def test_an_accuracy_by_name(example: Any) -> None:
    oracle = PlugIn("own_oracle:accuracy", open_space("moga")).open()
    (accuracy,) = oracle.evaluate([(0,) * 14])
    assert 0 < accuracy < 1


def test_a_searcher_by_name_climbs_and_resumes(example: Any) -> None:
    space = open_space("moga")

    def climb(batches: int) -> list[list[Trial]]:
        searcher = open_searcher("own_searcher:HillClimber", space, settings={"batch": "16"})
        told = []
        for _ in range(batches):
            asked = searcher.ask()
            assert searcher.ask() == asked
            told.append([Trial(one, {"accuracy": sum(one) / 200}) for one in asked])
            searcher.tell(told[-1])
        return told

    batches = climb(30)
    assert climb(30) == batches
    best = [max(trial.accuracy for trial in batch) for batch in batches]
    assert best[-1] > best[0]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_they_are_short_and_say_how_to_run_them(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 60
    assert f"examples/{path.name}" in text or "PYTHONPATH=examples latlas" in text

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from latlas.profiler.errors import SearchError
from latlas.search.evaluation import InProcess, Outcome, Task
from latlas.search.memory import Remembering
from latlas.search.protocols import Genes

TASKS = [Task(metric, (i, 0)) for i in range(5) for metric in ("latency_ms", "accuracy")]


class Counting:
    """Finds out, with a failure at times, and counts."""

    def __init__(self) -> None:
        self.asked = list[Genes]()

    def __call__(self, genes: Sequence[Genes]) -> list[Outcome]:
        self.asked += genes
        return [
            Outcome(error="no memory") if one[0] == 3 else Outcome(0.25, note="noisy", seconds=1.5)
            for one in genes
        ]


def found(counting: Counting, path: Path, tasks: Sequence[Task] = TASKS) -> dict[Task, Outcome]:
    pool = InProcess({"latency_ms": counting, "accuracy": counting})
    with Remembering(pool, path) as remembering:
        remembering.submit(tasks)
        return dict(remembering.finished())


def test_nothing_is_found_out_twice_but_failures(tmp_path: Path) -> None:
    counting, path = Counting(), tmp_path / "finished.jsonl"
    part = found(counting, path, TASKS[:4])
    assert len(counting.asked) == 4
    first = found(counting, path)
    assert len(counting.asked) == 10
    assert first.items() >= part.items()
    assert first[TASKS[0]] == Outcome(0.25, note="noisy", seconds=1.5)
    again = found(counting, path)
    assert repr(again[TASKS[6]]) == repr(first[TASKS[6]])  # holds a NaN
    assert again.keys() == first.keys()
    assert counting.asked[10:] == [(3, 0), (3, 0)]


def test_tasks_submitted_meanwhile_are_answered_too(tmp_path: Path) -> None:
    path = tmp_path / "finished.jsonl"
    found(Counting(), path, TASKS[1:3])
    pool = InProcess({"latency_ms": Counting(), "accuracy": Counting()})
    with Remembering(pool, path) as remembering:
        remembering.submit(TASKS[:1])
        answered = []
        for task, _ in remembering.finished():
            answered.append(task)
            if len(answered) < 5:
                remembering.submit([TASKS[len(answered)]])
    assert answered == TASKS[:5]


@pytest.mark.parametrize(
    "damage",
    [
        {"genes": 3},
        {"genes": ["a"]},
        {"genes": [True]},
        {"metric": None},
        {"value": "a"},
        {"value": 1e999},
        {"seconds": -1},
        {"note": 1},
    ],
    ids=str,
)
def test_damage_is_an_error(tmp_path: Path, damage: dict[str, object]) -> None:
    path = tmp_path / "finished.jsonl"
    found(Counting(), path, TASKS[:1])
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | damage).replace("Infinity", "1e999") + "\n")
    with pytest.raises(SearchError):
        found(Counting(), path)

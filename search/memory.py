"""A journal of what was found out, as it was found out: whatever is in it is not asked for again.

With workers, metrics come in any order and architectures are finished in any order. A study's
history takes finished architectures in the order in which they were asked for; this journal takes
every metric at once, so that a search which is killed repeats none that came.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from latlas.profiler.errors import SearchError
from latlas.profiler.journal import Fields, JournalWriter
from latlas.search.evaluation import Outcome, Pool, Task, fault

FILE = "finished.jsonl"


class Remembering:
    """A pool that keeps what another one finds out; a context manager.

    Failures are not kept: they may have been the machine's.

    Args:
        pool: finds out what is not in the journal.
        path: of the journal.

    Raises:
        SearchError: another process writes the journal, it is damaged, or it cannot be written.
    """

    def __init__(self, pool: Pool, path: Path) -> None:
        self.pool = pool
        self.path = path
        self._known: dict[Task, Outcome] = {}
        self._ready: deque[Task] = deque()
        self._writer: JournalWriter

    def __enter__(self) -> Self:
        """Read the journal, and lock it for appending."""
        self._writer = JournalWriter(self.path, self._replay, SearchError)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the journal."""
        self._writer.close()

    def submit(self, tasks: Iterable[Task]) -> None:
        """Take tasks; those that were finished before are not measured again."""
        for task in tasks:
            if task in self._known:
                self._ready.append(task)
            else:
                self.pool.submit([task])

    def finished(self) -> Iterator[tuple[Task, Outcome]]:
        """Yield every task with its outcome; those that are new are written first."""
        yield from self._remembered()
        for task, outcome in self.pool.finished():
            if not outcome.error and not fault(task.metric, outcome.value):
                self._writer.append([_record_of(task, outcome)], sync=True)
                self._known[task] = outcome
            yield task, outcome
            yield from self._remembered()

    def _remembered(self) -> Iterator[tuple[Task, Outcome]]:
        while self._ready:
            task = self._ready.popleft()
            yield task, self._known[task]

    def _replay(self, record: dict[str, Any]) -> None:
        task, outcome = _of_record(record)
        self._known[task] = outcome


def _record_of(task: Task, outcome: Outcome) -> dict[str, Any]:
    return {
        "metric": task.metric,
        "genes": list(task.genes),
        "value": outcome.value,
        "note": outcome.note,
        "seconds": round(outcome.seconds, 4),
    }


def _of_record(record: dict[str, Any]) -> tuple[Task, Outcome]:
    fields = Fields(record, SearchError)
    genes = fields.items("genes")
    if not all(type(gene) is int for gene in genes):
        raise fields.fail("genes", "a list of integers")
    outcome = Outcome(
        fields.number("value", -1e300, 1e300),
        note=fields.text("note"),
        seconds=fields.number("seconds", 0, 1e12),
    )
    return Task(fields.text("metric"), tuple(genes)), outcome

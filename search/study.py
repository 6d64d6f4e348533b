"""A search that is kept in a folder, and goes on where it was interrupted.

::

    study.json            what the results depend on: space, searcher, seeds, oracles
    history.jsonl         one architecture a line, in the order in which they were asked for
    finished.jsonl        with workers: every figure as it came (`latlas.search.memory`)
    front.json            the best of them, written when the search ends
    architectures/1.txt   … and their networks (``Graph.to_text``), numbered as in front.json

A resumed search asks a new searcher again, from the first batch on. What the history knows is told
from there and never evaluated again, so that the searcher comes to where it was.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from latlas.profiler.errors import SearchError
from latlas.profiler.files import write_atomically
from latlas.profiler.journal import JournalWriter, read_journal
from latlas.search.evaluation import Evaluator
from latlas.search.objectives import DEFAULT_OBJECTIVES, Constraint, Objective, front_of
from latlas.search.protocols import Genes, Searcher, SearchSpace, Trial

T = TypeVar("T")

GIVE_UP_AFTER = 8
"""A search whose first so many architectures all fail is not begun."""

SAMPLES_PER_EVALUATION = 20
"""How often a searcher may ask, by default, for each architecture that is evaluated."""

SYNC_S = 1.0
"""What was tried is on the disk, and not only in the system's memory, after so many seconds."""


class Study:
    """A folder with a search; see `create`, `open` and `run`.

    Attributes:
        folder: where it is.
        settings: what its results depend on.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.settings = settings

    @classmethod
    def create(cls, folder: Path, settings: Mapping[str, Any]) -> Study:
        """Begin a study, or continue one that has the same settings.

        Args:
            folder: is created where missing.
            settings: plain values (as in JSON): space, searcher, seeds, objectives and oracles. The
                number of evaluations is none of them: a study may be made longer.

        Raises:
            SearchError: the folder holds another study, or cannot be written.
        """
        try:
            text = json.dumps(dict(settings), indent=2, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as problem:
            raise SearchError(f"settings must be plain JSON values: {problem}") from problem
        if (folder / "study.json").exists():
            study = cls.open(folder)
            different = _differences(study.settings, json.loads(text))
            if different:
                raise SearchError(
                    f"{folder} holds a study with other settings: "
                    + "; ".join(
                        f"{name} is {there!r} there, {here!r} here"
                        for name, there, here in different
                    )
                    + ": choose another folder"
                )
            return study
        if (folder / "history.jsonl").exists():
            raise SearchError(f"{folder} has a history without study.json: choose another folder")
        with write_atomically(folder / "study.json", SearchError) as file:
            file.write(text.encode() + b"\n")
        return cls(folder, json.loads(text))

    @classmethod
    def open(cls, folder: Path) -> Study:
        """Open a study that is there.

        Raises:
            SearchError: there is none, or it is damaged.
        """
        path = folder / "study.json"
        try:
            settings = json.loads(path.read_bytes())
        except FileNotFoundError as problem:
            raise SearchError(f"{folder} holds no study: {path} is missing") from problem
        except (OSError, ValueError, RecursionError) as problem:
            raise SearchError(f"cannot read {path}: {problem}") from problem
        if not isinstance(settings, dict):
            raise SearchError(f"{path} is not a JSON object")
        return cls(folder, settings)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What the study optimises; MoGA's objectives where its settings say nothing.

        Raises:
            SearchError: the settings are damaged.
        """
        if "objectives" not in self.settings:
            return DEFAULT_OBJECTIVES
        return self._settings_of("objectives", Objective)

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """What the study's front keeps.

        Raises:
            SearchError: the settings are damaged.
        """
        return self._settings_of("constraints", Constraint)

    def _settings_of(self, name: str, kind: Callable[..., T]) -> tuple[T, ...]:
        """Return what the settings list under a name."""
        found = self.settings.get(name, [])
        try:
            for each in found:
                if not isinstance(each.get("weight", each.get("limit")), int | float):
                    raise TypeError("a number is missing")
            return tuple([kind(**each) for each in found])
        except (AttributeError, TypeError, SearchError) as problem:
            raise SearchError(
                f"{self.folder / 'study.json'}: {found!r:.200} are no {name}: {problem}"
            ) from problem

    @property
    def history(self) -> list[Trial]:
        """Every architecture that was tried, in order; a torn last line is left out.

        Raises:
            SearchError: the history is damaged.
        """
        path = self.folder / "history.jsonl"
        if not path.exists():
            return []
        return [trial_of(record, path) for record in read_journal(path, SearchError)]

    def writer(self, replay: Callable[[Trial], None]) -> JournalWriter:
        """Lock the history for appending, and replay what is there.

        Raises:
            SearchError: another process is at this study, or the history is damaged.
        """
        path = self.folder / "history.jsonl"
        return JournalWriter(path, lambda record: replay(trial_of(record, path)), SearchError)

    def write_front(self, trials: Sequence[Trial], space: SearchSpace) -> None:
        """Write front.json and the networks on it, the first the most accurate.

        Networks that have left their place on it are removed, their .tflite files too.

        Raises:
            SearchError: a file cannot be written.
        """
        folder = self.folder / "architectures"
        entries = []
        for rank, trial in enumerate(trials, start=1):
            name = f"{rank}.txt"
            text = space.decode(trial.genes).to_text().encode() + b"\n"
            if not ((folder / name).is_file() and (folder / name).read_bytes() == text):
                (folder / f"{rank}.tflite").unlink(missing_ok=True)  # another network's
                with write_atomically(folder / name, SearchError) as file:
                    file.write(text)
            entries.append(
                {"rank": rank, **record_of(trial), "architecture": f"architectures/{name}"}
            )
        with write_atomically(self.folder / "front.json", SearchError) as file:
            file.write(json.dumps(entries, indent=2, allow_nan=False).encode() + b"\n")
        # Only now: what the old front.json named is there until the new one is.
        for path in (*folder.glob("*.txt"), *folder.glob("*.tflite")):
            if path.stem.isdecimal() and int(path.stem) > len(trials):
                path.unlink(missing_ok=True)


def _differences(
    there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = ""
) -> list[tuple[str, Any, Any]]:
    """Return dotted names and both values of settings that differ; None where there is none."""
    found: list[tuple[str, Any, Any]] = []
    for key in sorted({*there, *here}):
        old, new = there.get(key), here.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append((f"{prefix}{key}", old, new))
    return found


def record_of(trial: Trial) -> dict[str, Any]:
    """Return a trial as a line of the history; what is not a number becomes null."""

    def number(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "genes": list(trial.genes),
        "values": {metric: number(value) for metric, value in trial.values.items()},
        "error": trial.error,
        "generation": trial.generation,
        "seconds": trial.seconds,
        "note": trial.note,
    }


def trial_of(record: Mapping[str, Any], path: Path) -> Trial:
    """Read a line of a history.

    Args:
        record: the line.
        path: of the history, for the message.

    Raises:
        SearchError: it is not what `record_of` writes.
    """

    def number(value: Any) -> float:
        found = math.nan if value is None else float(value)
        if math.isinf(found):
            raise ValueError(f"{found} is not a number")
        return found

    try:
        return Trial(
            genes=tuple(int(gene) for gene in record["genes"]),
            values={str(name): number(value) for name, value in record["values"].items()},
            error=str(record["error"]),
            generation=int(record["generation"]),
            seconds=float(record["seconds"]),
            note=str(record.get("note", "")),
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as problem:
        raise SearchError(f"{path} has a line that is no trial: {problem!r}") from problem


def run(
    study: Study,
    searcher: Searcher,
    evaluator: Evaluator,
    *,
    evaluations: int,
    samples: int | None = None,
    objectives: Sequence[Objective] = DEFAULT_OBJECTIVES,
    constraints: Sequence[Constraint] = (),
    progress: bool = True,
) -> list[Trial]:
    """Search until so many architectures were tried, those of earlier runs included.

    Args:
        study: where results are kept.
        searcher: a new one, with the seed of the study.
        evaluator: finds out what architectures are worth.
        evaluations: how many different architectures to try.
        samples: ends the search after the searcher has asked so often, repeated architectures
            included: one that has converged would ask for the same for ever. None is
            `SAMPLES_PER_EVALUATION` for each evaluation.
        objectives: of the front.
        constraints: that the front keeps.
        progress: whether to show it on stderr.

    Returns:
        The front, the best in the first objective first. It is also written to the study.

    Raises:
        SearchError: another process is at this study, its history is of another searcher, the first
            architectures all fail, or a file cannot be written; what was tried before is kept.
    """
    limit = evaluations * SAMPLES_PER_EVALUATION if samples is None else samples
    trials: list[Trial] = []
    with (
        study.writer(trials.append) as writer,
        tqdm(
            total=max(evaluations, len(trials)),
            initial=len(trials),
            desc="search",
            unit="network",
            file=sys.stderr,
            disable=not progress,
        ) as bar,
    ):
        history = _History(study.folder, writer, trials, bar.update)
        asked = generation = 0
        while batch := searcher.ask():
            history.replay(batch)
            history.extend(evaluator, batch, generation, evaluations)
            if not history.known.keys() >= set(batch):
                break
            searcher.tell([history.known[genes] for genes in batch])
            generation += 1
            asked += len(batch)
            if (len(history.known) >= evaluations or asked >= limit) and not history.unasked:
                break
        if len(history.known) < evaluations:
            bar.write(
                f"the search ends with {len(history.known)} architectures: the searcher asked "
                f"{asked} times, and found no more that are new",
                file=sys.stderr,
            )
        history.close()
        front = front_of(list(history.known.values()), objectives, constraints)
        study.write_front(front, evaluator.space)
    return front


class _History:
    """What was tried, and the journal to which more is appended, in the order of asking.

    Args:
        folder: of the study, for messages.
        writer: of the journal.
        trials: that it held.
        show: called with the number of new trials.

    Attributes:
        known: trials by architecture.
        unasked: architectures of the journal that the searcher has not asked for yet.
    """

    def __init__(
        self,
        folder: Path,
        writer: JournalWriter,
        trials: Sequence[Trial],
        show: Callable[[int], Any],
    ) -> None:
        self.folder = folder
        self.writer = writer
        self.show = show
        self.known = {trial.genes: trial for trial in trials}
        self.unasked = set(self.known)
        self._failing = all(trial.error for trial in trials)
        self._held: list[Trial] = []
        self._synced_s = time.monotonic()

    def replay(self, batch: Sequence[Genes]) -> None:
        """Note what the searcher asks for.

        Raises:
            SearchError: the journal was written by another searcher.
        """
        self.unasked.difference_update(batch)
        if self.unasked and not self.known.keys() >= set(batch):
            raise SearchError(
                f"{self.folder} was written by another searcher: it tried architectures that "
                "this one does not ask for; choose another folder"
            )

    def extend(
        self, evaluator: Evaluator, batch: Sequence[Genes], generation: int, evaluations: int
    ) -> None:
        """Evaluate what is not known of a batch, as far as so many evaluations go.

        Raises:
            SearchError: the first architectures all failed.
        """
        missing = [genes for genes in dict.fromkeys(batch) if genes not in self.known]
        missing = missing[: max(evaluations - len(self.known), 0)]
        turn = iter(missing)
        due = next(turn, None)
        early: dict[Genes, Trial] = {}
        for trial in evaluator.evaluate(missing, generation):
            early[trial.genes] = trial
            ready = []
            while due in early:
                ready.append(early.pop(due))
                due = next(turn, None)
            self._append(ready, evaluations)

    def close(self) -> None:
        """Wait until everything is on the disk.

        Raises:
            SearchError: all architectures failed, however few they were.
        """
        if self._held:
            raise self._all_failed()
        self.writer.append([], sync=True)

    def _append(self, trials: Sequence[Trial], evaluations: int) -> None:
        self.known.update((trial.genes, trial) for trial in trials)
        self.show(len(trials))
        self._held += trials
        # A broken oracle fails for all: its failures are no results, and are not written.
        self._failing = self._failing and all(trial.error for trial in trials)
        if not self._failing:
            # Killed, nothing is lost that was written; a machine that dies loses a second.
            sync = time.monotonic() - self._synced_s > SYNC_S
            self.writer.append(map(record_of, self._held), sync=sync)
            self._synced_s = time.monotonic() if sync else self._synced_s
            self._held = []
        elif len(self._held) >= min(GIVE_UP_AFTER, evaluations):
            raise self._all_failed()

    def _all_failed(self) -> SearchError:
        return SearchError(
            f"all of the first {len(self._held)} architectures failed, the last with: "
            f"{self._held[-1].error}"
        )

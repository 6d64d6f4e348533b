"""A search that is kept in a folder, and goes on where it was interrupted.

::

    study.json            what the results depend on: space, searcher, seeds, oracles
    history.jsonl         one architecture a line, in the order in which they were tried
    front.json            the best of them, written when the search ends
    architectures/1.txt   … and their networks (`Graph.to_text`), numbered as in front.json

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
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from latlas.profiler.count import count
from latlas.profiler.errors import DeviceError, SearchError, TargetMismatchError, UsageError
from latlas.profiler.files import write_atomically
from latlas.profiler.journal import JournalWriter, read_journal
from latlas.search.objectives import DEFAULT_OBJECTIVES, Objective, front_of
from latlas.search.protocols import AccuracyOracle, Genes, Searcher, SearchSpace, Trial

LatencyFunction = Callable[[Sequence[Genes]], ArrayLike]
"""Architectures to latencies in milliseconds, shape (architectures,)."""

ParamsFunction = Callable[[Genes], float]

_NOT_THE_CANDIDATE = (DeviceError, TargetMismatchError, UsageError, MemoryError)
"""With one of these the next architecture would fail just the same."""


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
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as problem:
        raise SearchError(f"{path} has a line that is no trial: {problem!r}") from problem


def run(
    study: Study,
    space: SearchSpace,
    searcher: Searcher,
    accuracy: AccuracyOracle,
    latency_ms: LatencyFunction,
    params: ParamsFunction | None = None,
    *,
    evaluations: int,
    objectives: Sequence[Objective] = DEFAULT_OBJECTIVES,
    chunk: int = 8,
    progress: bool = True,
) -> list[Trial]:
    """Search until so many architectures were tried, those of earlier runs included.

    Args:
        study: where results are kept.
        space: where architectures come from.
        searcher: a new one, with the seed of the study.
        accuracy: scores architectures.
        latency_ms: gives their latencies in milliseconds.
        params: counts their parameters; None counts those of the decoded network.
        evaluations: how many architectures to try.
        objectives: of the front.
        chunk: how many are evaluated at a time, and at most lost when the process is killed.
        progress: whether to show it on stderr.

    Returns:
        The front, the most accurate first. It is also written to the study.

    Raises:
        SearchError: another process is at this study, its history is of another searcher, all
            architectures fail, or a file cannot be written; what was tried before is kept.
    """
    trials: list[Trial] = []
    count_params = params or (lambda genes: float(count(space.decode(genes)).params))
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
        known = {trial.genes: trial for trial in trials}
        replayed: set[Genes] = set()
        generation = 0
        while batch := searcher.ask():
            missing = [genes for genes in dict.fromkeys(batch) if genes not in known]
            replayed.update(batch)
            if missing and not replayed.issuperset(known):
                raise SearchError(
                    f"{study.folder} was written by another searcher: it tried architectures that "
                    "this one does not ask for; choose another folder"
                )
            while missing and len(known) < evaluations:
                part = missing[: min(chunk, evaluations - len(known))]
                missing = missing[len(part) :]
                found = _evaluate(part, space, accuracy, latency_ms, count_params, generation)
                if all(trial.error for trial in (*known.values(), *found)):
                    raise SearchError(
                        f"all of the first {len(known) + len(found)} architectures failed, the "
                        f"last with: {found[-1].error}"
                    )
                writer.append(map(record_of, found), sync=True)
                known.update((trial.genes, trial) for trial in found)
                bar.update(len(found))
            if missing:
                break
            searcher.tell([known[genes] for genes in batch])
            generation += 1
            if len(known) >= evaluations and replayed.issuperset(known):
                break
        front = front_of(list(known.values()), objectives)
        study.write_front(front, space)
    return front


def _evaluate(
    genes: Sequence[Genes],
    space: SearchSpace,
    accuracy: AccuracyOracle,
    latency_ms: LatencyFunction,
    params: ParamsFunction,
    generation: int,
) -> list[Trial]:
    """Evaluate architectures together, or one by one where that fails, to find out which does."""
    began = time.perf_counter()
    try:
        scores = _numbers(accuracy.evaluate(genes), len(genes), "accuracies")
        latencies = _numbers(latency_ms(genes), len(genes), "latencies")
        sizes = [float(params(one)) for one in genes]
    except _NOT_THE_CANDIDATE:
        raise
    except Exception as problem:
        # An oracle is the user's code, and may raise anything for one architecture among many.
        if len(genes) > 1:
            return [
                trial
                for one in genes
                for trial in _evaluate([one], space, accuracy, latency_ms, params, generation)
            ]
        text = f"{type(problem).__name__}: {problem}"[:500]
        return [Trial(genes[0], {}, text, generation)]
    seconds = round((time.perf_counter() - began) / len(genes), 4)
    return [
        Trial(
            one,
            {"accuracy": score, "latency_ms": latency, "params": size},
            _fault(score, latency, size),
            generation,
            seconds,
        )
        for one, score, latency, size in zip(
            genes, scores.tolist(), latencies.tolist(), sizes, strict=True
        )
    ]


def _numbers(values: ArrayLike, wanted: int, what: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (wanted,):
        raise SearchError(f"{wanted} {what} were expected, the oracle gave {array.shape}")
    return array


def _fault(accuracy: float, latency_ms: float, params: float) -> str:
    if not 0 <= accuracy <= 1:
        return f"the accuracy is {accuracy}, not a fraction"
    if not (math.isfinite(latency_ms) and latency_ms > 0):
        return f"the latency is {latency_ms} ms"
    return "" if math.isfinite(params) else f"the number of parameters is {params}"

"""Studies: opened together, what they search for, what must be alike in them, their numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from latlas.console import printable

if TYPE_CHECKING:
    from latlas.profiler.target import Target
    from latlas.search.spaces import Space
    from latlas.search.study import Study

MUST_AGREE = ("accuracy", "latency", "constraints")
"""Studies that differ in one of these settings were not after the same."""


def open_studies(folders: Sequence[Path]) -> dict[str, Study]:
    """Open studies, by the names of their folders.

    Raises:
        UsageError: one is given twice.
        SearchError: there is no study in a folder, or it has tried nothing.
    """
    from latlas.profiler.errors import SearchError, UsageError
    from latlas.search.study import Study

    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError("a study is given twice")
    names = [folder.resolve().name for folder in folders]
    found = {}
    for folder, name in zip(folders, names, strict=True):
        study = Study.open(folder)
        if not (folder / "history.jsonl").exists():
            raise SearchError(f"{folder} has tried nothing yet: run `latlas search -o` it first")
        found[printable(Path(name)) if names.count(name) == 1 else printable(folder)] = study
    return found


def require_alike(studies: dict[str, Study], names: Sequence[str] = MUST_AGREE) -> None:
    """Raise an error unless all studies have the same of some settings."""
    from latlas.profiler.errors import SearchError

    (first, one), *others = studies.items()
    for name in names:
        for other, study in others:
            there, here = one.settings.get(name), study.settings.get(name)
            if there != here:
                raise SearchError(
                    f"{first} and {other} differ in their {name} ({there!r:.200} and "
                    f"{here!r:.200}): their figures cannot be compared"
                )


def target_of(study: Study, metric: str = "latency_ms") -> Target:
    """Return what a latency of a study is valid for.

    Raises:
        SearchError: the study does not say it.
    """
    from latlas.profiler.errors import SearchError, TableError
    from latlas.profiler.target import Target

    latencies = study.settings.get("latency")
    latency = latencies.get(metric) if isinstance(latencies, dict) else None
    try:
        return Target.from_json(latency.get("target") if isinstance(latency, dict) else None)
    except TableError as problem:
        raise SearchError(
            f"{study.folder / 'study.json'} has no target of {metric}: {problem}"
        ) from problem


def metric_of(study: Study, name: str) -> str:
    """Return the latency that a user names, of a study with several; the first if "".

    Raises:
        UsageError: there is no such latency.
    """
    from latlas.profiler.errors import UsageError
    from latlas.search.latency import LATENCY

    latencies = study.settings.get("latency")
    known = list(latencies) if isinstance(latencies, dict) else []
    for metric in (name, f"{LATENCY}@{name}") if name else (LATENCY,):
        if metric in known or not name:
            return metric
    raise UsageError(
        f"--latency {name!r:.80}: the study has the latencies {', '.join(map(str, known))}; the "
        f"search's first source is {LATENCY}, whatever it was called"
    )


def space_of(study: Study) -> Space:
    """Return the space that a study searches.

    Raises:
        SearchError: the study does not say it.
    """
    from latlas.profiler.errors import SearchError
    from latlas.search.spaces import restore_space

    try:
        return restore_space(study.settings.get("space"))
    except SearchError as problem:
        path = study.folder / "study.json"
        raise SearchError(f"{path} describes no search space: {problem}") from problem


def known(value: float) -> float | None:
    """Return a number as JSON can hold it: None for what is not finite."""
    return value if math.isfinite(value) else None


def figure(value: float | None, form: str) -> str:
    """Return a number in a format, for people; ``-`` where there is none."""
    return "-" if value is None else format(value, form)

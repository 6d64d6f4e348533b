"""Finished studies beside each other: opened together, and what must be alike in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from latlas.console import printable

if TYPE_CHECKING:
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


def known(value: float) -> float | None:
    """Return a number as JSON can hold it: None for what is not finite."""
    return value if math.isfinite(value) else None


def figure(value: float | None, form: str) -> str:
    """Return a number in a format, for people; ``-`` where there is none."""
    return "-" if value is None else format(value, form)

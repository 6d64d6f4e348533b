"""Several tables of one target become one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import latlas
from latlas.profiler.errors import TableError, TargetMismatchError
from latlas.profiler.files import write_atomically
from latlas.profiler.measurement import REFERENCE, Measurement
from latlas.profiler.statistics import VERDICTS
from latlas.profiler.table import JOURNAL, SAME_ENVIRONMENT, Header, Table
from latlas.profiler.warmup import Warmup


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge gave.

    Attributes:
        header: of the new table.
        measurements: how many it holds, references aside.
        references: how many measurements of the reference kernel it holds.
        duplicates: ids that more than one table had; the best measurement of each was kept.
        levels_us: the reference kernel's median in every table, in microseconds; 0 where unknown.
    """

    header: Header
    measurements: int
    references: int
    duplicates: tuple[str, ...]
    levels_us: tuple[float, ...]


def merge(tables: Sequence[Table], folder: Path) -> Merged:
    """Write what tables of one target hold into a new table.

    Every job is in it once. Where several tables measured it, the best verdict counts, then the
    smallest spread, then the first table. Warm-ups are kept; what was open or void is not.

    Raises:
        TargetMismatchError: the tables belong to different targets, or to different phones, builds
            or binaries.
        TableError: they were split by different fusion rules, mean different networks by one name,
            or the new table exists already or cannot be written.
    """
    if (folder / JOURNAL).exists():
        raise TableError(f"{folder} is a table already: name a new folder")
    for first, other in combinations(tables, 2):  # what the first does not say, others may
        _require_mergeable(first, other)
    later_s = _later_s(tables)
    best, duplicates = _best(tables, later_s)
    ordered = list(best.values()) + _references(tables, later_s)
    warmups = _warmups(tables, later_s)
    header = replace(
        tables[0].header,
        latlas=latlas.__version__,
        created=min(map(_created, tables)).isoformat(timespec="seconds"),
        environment=_environment(tables),
    )
    with write_atomically(folder / JOURNAL, TableError) as file:
        for record in _records(header, warmups, ordered):
            file.write(json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n")
    return Merged(
        header,
        len(best),
        len(ordered) - len(best),
        tuple(duplicates),
        tuple(map(reference_level_us, tables)),
    )


def reference_level_us(table: Table) -> float:
    """Return the median of a table's reference measurements in microseconds, 0 without any."""
    levels = [m.summary.median_us for m in table.references if m.summary is not None]
    return median(levels) if levels else 0.0


def _require_mergeable(first: Table, other: Table) -> None:
    different = first.target.differences(other.target)
    if different:
        raise TargetMismatchError(
            f"{other.folder} cannot be merged with {first.folder}, their targets differ "
            f"({'; '.join(different)}): figures of two targets never mix; "
            "`latlas table diff` compares them"
        )
    mine, theirs = first.header.environment, other.header.environment
    for name, what in SAME_ENVIRONMENT.items():
        if name in mine and name in theirs and mine[name] != theirs[name]:
            raise TargetMismatchError(
                f"{other.folder} cannot be merged with {first.folder}, it was measured with "
                f"another {what} ({name}: {theirs[name]!r:.200} against {mine[name]!r:.200}); "
                "`latlas table diff` compares them"
            )
    if first.header.fusion_rules != other.header.fusion_rules:
        raise TableError(
            f"{other.folder} cannot be merged with {first.folder}, their kernels were split by "
            f"different fusion rules ({other.header.fusion_rules!r:.80} against "
            f"{first.header.fusion_rules!r:.80}): profile one of them again under the rules of "
            "the other (--fusion-rules)"
        )


def _created(table: Table) -> datetime:
    try:
        return datetime.fromisoformat(table.header.created).astimezone(UTC)
    except (ValueError, OverflowError) as problem:
        raise TableError(
            f"{table.folder} was created at {table.header.created!r:.80}, which is no time"
        ) from problem


def _later_s(tables: Sequence[Table]) -> list[float]:
    """Return how long was measured before each table was begun, in seconds.

    The time between two tables is an interruption, which does not count. A table that is given
    twice is one.
    """
    measured_s: dict[datetime, float] = {}
    for table in tables:
        found = (m.at_s for m in (*table.measurements, *table.references))
        begun = _created(table)
        measured_s[begun] = max(measured_s.get(begun, 0.0), max(found, default=0.0))
    return [
        sum(seconds for begun, seconds in measured_s.items() if begun < _created(table))
        for table in tables
    ]


def _later(measurement: Measurement, later_s: float) -> Measurement:
    """Return a measurement with its time counted from the earliest table's beginning."""
    return replace(measurement, at_s=round(measurement.at_s + later_s, 3))


def _best(
    tables: Sequence[Table], later_s: Sequence[float]
) -> tuple[dict[str, Measurement], dict[str, None]]:
    """Return the best measurement of every job, and the ids that several tables had."""
    best: dict[str, Measurement] = {}
    duplicates: dict[str, None] = {}
    for table, seconds in zip(tables, later_s, strict=True):
        for measurement in [_later(each, seconds) for each in table.measurements]:
            known = best.setdefault(measurement.id, measurement)
            if known is measurement:
                continue
            if known.graph != measurement.graph:
                raise TableError(
                    f"{table.folder} means another network by {measurement.id!r:.200} than the "
                    "tables before it: give the model another name and measure it again"
                )
            duplicates[measurement.id] = None
            if _quality(measurement) < _quality(known):
                best[measurement.id] = measurement
    return best, duplicates


def _quality(measurement: Measurement) -> tuple[int, float]:
    """Return a key that is smaller for better measurements."""
    summary = measurement.summary
    spread = float("inf") if summary is None else summary.robust_cv
    return VERDICTS.index(measurement.verdict), spread


def _references(tables: Sequence[Table], later_s: Sequence[float]) -> list[Measurement]:
    """Return all distinct reference measurements, those of earlier tables first, numbered anew."""
    found: list[Measurement] = []
    seen: set[Measurement] = set()
    for table, seconds in sorted(zip(tables, later_s, strict=True), key=lambda pair: pair[1]):
        # One table may hold what another does: merged tables are merged again.
        checks = [replace(each, id="", at_s=0.0) for each in table.references]
        pairs = zip(checks, table.references, strict=True)
        found += [_later(each, seconds) for check, each in pairs if check not in seen]
        seen.update(checks)
    return [replace(each, id=f"{REFERENCE}-{i}") for i, each in enumerate(found)]


def _environment(tables: Sequence[Table]) -> dict[str, str]:
    """Return what the tables' environments say; several values of a key are joined."""
    values: dict[str, dict[str, None]] = {}
    for table in tables:
        for key, value in table.header.environment.items():
            values.setdefault(key, {})[value] = None
    return {key: " | ".join(each) for key, each in values.items()}


def _warmups(tables: Sequence[Table], later_s: Sequence[float]) -> list[Warmup]:
    """Return the warm-ups that were found, the latest last, as it is the one that holds."""
    found = {
        replace(warmup, at_s=round(warmup.at_s + seconds, 3)): None
        for table, seconds in zip(tables, later_s, strict=True)
        for warmup in table.warmups
    }
    return sorted(found, key=lambda warmup: warmup.at_s)


def _records(
    header: Header, warmups: Sequence[Warmup], measurements: Sequence[Measurement]
) -> Iterator[dict[str, Any]]:
    yield header.to_json()
    for warmup in warmups:
        yield {"type": "warmup", **warmup.to_json()}
    for measurement in measurements:
        yield {"type": "measurement", **measurement.to_json(), "status": "provisional"}
        yield {"type": "accepted", "id": measurement.id, "attempt": measurement.attempt}

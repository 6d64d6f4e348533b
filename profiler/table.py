"""The latency table: a folder with an append-only journal of measurements on one target.

The first line of ``journal.jsonl`` is the header (format, target, fusion rules, environment). A
measurement is written as provisional; a later line accepts it, or voids it with a reason. What a
table holds are the accepted ones, exactly one for each job: an accepted line may name the attempt
that it replaces.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import latlas
from latlas.profiler.errors import TableError, TargetMismatchError
from latlas.profiler.journal import Fields, JournalWriter, read_journal
from latlas.profiler.measurement import REFERENCE, Measurement
from latlas.profiler.target import Target
from latlas.profiler.warmup import Warmup

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "latlas-table"
VERSION = 1
JOURNAL = "journal.jsonl"

SAME_ENVIRONMENT = {
    "unit": "phone of the same model",
    "fingerprint": "build of Android",
    "runner": "benchmark binary",
    "libraries": "set of LiteRT's libraries",
}
"""What a table's sessions have in common beside their target, where the device says it."""


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a table.

    Attributes:
        target: what the figures are valid for.
        fusion_rules: version of the rules that split networks into kernels.
        latlas: version of latlas that created the table.
        created: time of creation, ISO 8601 in UTC.
        environment: what else may explain the figures: kernel, processor, frequency governor.
    """

    target: Target
    fusion_rules: str
    latlas: str
    created: str
    environment: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return a plain dictionary."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "target": self.target.to_json(),
            "fusion_rules": self.fusion_rules,
            "latlas": self.latlas,
            "created": self.created,
            "environment": dict(self.environment),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Header:
        """Read what `to_json` wrote.

        Raises:
            TableError: it is not the header of a table, or of a table of another version.
        """
        get = Fields(data)
        if data.get("format") != FORMAT:
            raise get.fail("format", repr(FORMAT))
        version = get.integer("version", 0, 1 << 31)
        if version != VERSION:
            raise TableError(
                f"the table has format version {version}, this is latlas {latlas.__version__}, "
                f"which reads version {VERSION}: "
                + ("upgrade latlas" if version > VERSION else "measure it again")
            )
        environment = get.mapping("environment")
        return Header(
            target=Target.from_json(get.mapping("target")),
            fusion_rules=get.text("fusion_rules"),
            latlas=get.text("latlas"),
            created=get.text("created"),
            environment={key: Fields(environment).text(key) for key in environment},
        )


@dataclass
class _Contents:
    """What a journal amounts to, built line by line; refuses what cannot have happened."""

    path: Path
    samples: bool = True
    lines: int = 0
    header: Header | None = None
    open: dict[tuple[str, int], Measurement] = field(default_factory=dict)
    accepted: dict[str, Measurement] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    voided: int = 0
    warmups: list[Warmup] = field(default_factory=list)

    def replay(self, record: Mapping[str, Any]) -> None:
        self.lines += 1
        try:
            self.add(record)
        except (TableError, RecursionError) as problem:
            raise TableError(f"{self.path}, line {self.lines}: {problem}") from problem

    def add(self, record: Mapping[str, Any]) -> None:
        if self.header is None:
            self.header = Header.from_json(record)
            return
        get = Fields(record)
        match record.get("type"):
            case "measurement":
                measurement = Measurement.from_json(record)
                if not self.samples:
                    measurement = _without_samples(measurement)
                if measurement.attempt <= self.attempts.get(measurement.id, 0):
                    raise get.fail("attempt", "larger than that of the attempts before")
                self.attempts[measurement.id] = measurement.attempt
                self.open[measurement.id, measurement.attempt] = measurement
            case "accepted" | "void" as kind:
                key = get.text("id"), get.integer("attempt", 1, 1 << 53)
                before = self.accepted.get(key[0])
                revises = kind == "accepted" and before is not None and before.attempt == key[1]
                if key not in self.open and not revises:
                    raise TableError(f"{kind}: attempt {key[1]} of {key[0]!r:.80} is not open")
                if kind == "void":
                    get.text("reason")
                    self.voided += 1
                    del self.open[key]
                    return
                if before is not None:
                    if "instead_of" not in record:
                        raise TableError(f"{key[0]!r:.80} is accepted twice")
                    if get.integer("instead_of", 1, 1 << 53) != before.attempt:
                        raise get.fail("instead_of", f"{before.attempt}, the accepted attempt")
                    self.voided += not revises
                measurement = before if before is not None and revises else self.open.pop(key)
                if "verdict" in record:
                    revised = {name: record.get(name) for name in ("verdict", "reason")}
                    measurement = Measurement.from_json({**measurement.to_json(), **revised})
                self.accepted[key[0]] = measurement
            case "warmup":
                self.warmups.append(Warmup.from_json(record))
            case _:
                raise get.fail("type", "measurement, accepted, void or warmup")


def _without_samples(measurement: Measurement) -> Measurement:
    return replace(measurement, samples_us=(), ops=())


class Table:
    """The accepted measurements of a table.

    Attributes:
        folder: where it lies.
        header: its target and environment.
        measurements: what was measured, in the order in which it was accepted.
        references: the accepted measurements of the reference kernel.
        open_count: measurements neither accepted nor void: a campaign runs, or was interrupted.
        void_count: measurements that were made again.
        warmups: how long processes were warmed up, and why; empty where they are not.
    """

    def __init__(self, folder: Path, header: Header, contents: _Contents) -> None:
        self.folder = folder
        self.header = header
        accepted = contents.accepted.values()
        self.measurements = tuple(m for m in accepted if m.unit != REFERENCE)
        self.references = tuple(m for m in accepted if m.unit == REFERENCE)
        self.open_count = len(contents.open)
        self.void_count = contents.voided
        self.warmups = tuple(contents.warmups)

    @property
    def target(self) -> Target:
        """What the figures are valid for."""
        return self.header.target

    def temperatures_c(self) -> dict[str, list[tuple[float, float]]]:
        """Return, by sensor, seconds and degrees Celsius at every check of the reference kernel."""
        found: dict[str, list[tuple[float, float]]] = {}
        for check in self.references:
            for one in check.temperatures_c:
                found.setdefault(one.name, []).append((check.at_s, one.celsius))
        return found

    def to_frame(self) -> pd.DataFrame:
        """Return the measurements as a data frame, one row each, with the columns of
        `latlas.profiler.rows`.

        Raises:
            TableError: pandas is missing, or a graph is damaged.
        """
        from latlas.profiler.rows import to_frame

        return to_frame(self)

    @staticmethod
    def open(folder: str | Path, target: Target | None = None) -> Table:
        """Read a table.

        Args:
            folder: the table's folder.
            target: if given, the table must belong to it.

        Raises:
            TableError: there is no table, it is damaged, or of another format version.
            TargetMismatchError: it belongs to another target.
        """
        folder = Path(folder)
        path = folder / JOURNAL
        with suppress(OSError):  # of permissions: reading will tell
            if not path.exists():
                tables = sorted(each.parent.name for each in folder.glob(f"*/{JOURNAL}"))
                hint = f"; its tables are {', '.join(tables[:20])}" if tables else ""
                raise TableError(f"{folder} is not a latency table: it has no {JOURNAL}{hint}")
        contents = _Contents(path)
        for record in read_journal(path):
            contents.replay(record)
        if contents.header is None:
            raise TableError(f"{folder} is an empty table: measure something into it first")
        if target is not None:
            target.require_same(contents.header.target, f"the table {folder}")
        return Table(folder, contents.header, contents)


class TableWriter:
    """Extends a table; a context manager that holds the table's lock.

    What an interrupted writer left open is voided, so that it is measured again.

    Args:
        folder: the table's folder, created where it is missing.
        target: what the figures will be valid for.
        fusion_rules: version of the rules that split networks into kernels.
        environment: of the device that is measured, as its runner gives it.

    Attributes:
        accepted: the accepted measurements by job id, without samples, kept up to date.
        attempts: how often each job was tried.
        warmups: the warm-ups found for this target, the latest last.

    Raises:
        TableError: the table is being written by another process, is damaged, or cannot be written.
        TargetMismatchError: the table belongs to another target, to another phone of the same
            model, or to another version of its Android or of the benchmark binary.
    """

    def __init__(
        self,
        folder: str | Path,
        target: Target,
        *,
        fusion_rules: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = Path(folder)
        path = self.folder / JOURNAL
        environment = environment or {}
        contents = _Contents(path, samples=False)
        self._journal = JournalWriter(path, contents.replay)
        try:
            if contents.header is None:
                self.header = Header(
                    target,
                    fusion_rules,
                    latlas.__version__,
                    datetime.now(UTC).isoformat(timespec="seconds"),
                    environment,
                )
                self._journal.append([self.header.to_json()], sync=True)
            else:
                self.header = contents.header
                self._require_same(target, fusion_rules, environment)
            self.accepted = contents.accepted
            self.attempts = contents.attempts
            self.warmups = contents.warmups
            self._open = contents.open
            self.void(list(self._open), "interrupted")
        except BaseException:
            self._journal.close()
            raise

    def _require_same(
        self, target: Target, fusion_rules: str, environment: Mapping[str, str]
    ) -> None:
        target.require_same(self.header.target, f"the table {self.folder}")
        for name, what in SAME_ENVIRONMENT.items():
            before, now = self.header.environment.get(name), environment.get(name)
            if before is not None and now is not None and before != now:
                raise TargetMismatchError(
                    f"the table {self.folder} was measured with another {what} ({name}: "
                    f"{before!r:.200} against {now!r:.200}): measure this one into another folder"
                )
        if self.header.fusion_rules != fusion_rules:
            raise TableError(
                f"the table {self.folder} holds kernels of the fusion rules "
                f"{self.header.fusion_rules!r:.80}, these are of {fusion_rules!r:.80}: "
                "choose another folder, or the same rules (--fusion-rules)"
            )

    def next_attempt(self, job_id: str) -> int:
        """Return the number that the next measurement of a job must bear."""
        return self.attempts.get(job_id, 0) + 1

    def append_provisional(self, measurement: Measurement) -> None:
        """Write a measurement that is yet to be accepted or voided.

        Raises:
            TableError: it cannot be written; nothing of it was.
            ValueError: the attempt is not `next_attempt`.
        """
        key = measurement.id, measurement.attempt
        if measurement.attempt != self.next_attempt(measurement.id):
            raise ValueError(f"{measurement.id!r}: attempt {measurement.attempt} is out of turn")
        record = {"type": "measurement", **measurement.to_json(), "status": "provisional"}
        self._journal.append([record])
        self.attempts[measurement.id] = measurement.attempt
        self._open[key] = measurement

    def append_warmup(self, warmup: Warmup) -> None:
        """Write the warm-up that the next measurements have, and what it rests on.

        Raises:
            TableError: it cannot be written; nothing of it was.
        """
        self._journal.append([{"type": "warmup", **warmup.to_json()}])
        self.warmups.append(warmup)

    def accept(self, measurements: Iterable[Measurement]) -> None:
        """Accept measurements, under the verdicts that they now have, on the disk.

        Each is provisional, or the accepted one of its job, which gets another verdict. A job's
        accepted measurement is replaced.

        Raises:
            TableError: it cannot be written; none was accepted.
            ValueError: one is neither open nor accepted.
        """
        chosen = {measurement.id: measurement for measurement in measurements}
        lines = []
        for measurement in chosen.values():
            key, before = (measurement.id, measurement.attempt), self.accepted.get(measurement.id)
            line: dict[str, Any] = {"type": "accepted", "id": key[0], "attempt": key[1]}
            written = self._open.get(key)
            if before is not None:
                line["instead_of"] = before.attempt
                if before.attempt == measurement.attempt:
                    written = before
            if written is None:
                raise ValueError(f"{measurement.id!r} has no open attempt {measurement.attempt}")
            if (written.verdict, written.reason) != (measurement.verdict, measurement.reason):
                line |= {"verdict": measurement.verdict, "reason": measurement.reason}
            lines.append(line)
        kept = {name: _without_samples(measurement) for name, measurement in chosen.items()}
        self._journal.append(lines, sync=True)
        self.accepted.update(kept)  # at once: what is known is what is written, also after Ctrl-C
        for measurement in chosen.values():
            self._open.pop((measurement.id, measurement.attempt), None)

    def void(self, keys: Iterable[tuple[str, int]], reason: str) -> None:
        """Void provisional measurements, named by job id and attempt.

        Raises:
            TableError: it cannot be written; none was voided.
            ValueError: one is not open.
        """
        keys = list(keys)
        for key in keys:
            if key not in self._open:
                raise ValueError(f"{key[0]!r} has no open attempt {key[1]}")
        self._journal.append(
            {"type": "void", "id": job_id, "attempt": attempt, "reason": reason}
            for job_id, attempt in keys
        )
        for key in keys:
            del self._open[key]

    def close(self) -> None:
        """Give the lock back; what is still open will be voided by the next writer."""
        self._journal.close()

    def __enter__(self) -> TableWriter:
        """Return the writer itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the table."""
        self.close()

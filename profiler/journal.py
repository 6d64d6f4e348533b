"""An append-only file of JSON lines that survives being killed at any moment.

A line counts once its newline is on disk. A tail without a newline was torn by a crash or a full
disk: readers ignore it, and the next writer cuts it off under the lock. Anything else that is not
a JSON object is damage, and an error.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from latlas.profiler.errors import LatlasError, TableError

MAX_LINE_BYTES = 1 << 23
"""Longer lines are never written, and not read into memory."""


def read_journal(path: Path, error: type[LatlasError] = TableError) -> Iterator[dict[str, Any]]:
    """Yield every complete line of a journal, from the first.

    Args:
        path: the journal.
        error: the class of the exceptions raised.

    Raises:
        LatlasError: of class `error`: the file cannot be read, or a line is not a JSON object; the
            message names the line.
    """
    try:
        with _open_regular(path, os.O_RDONLY, error) as file:
            for _, record in _records(file, path, error):
                yield record
    except OSError as problem:
        raise error(f"cannot read {path}: {problem.strerror or problem}") from problem


class JournalWriter:
    """Holds a journal's lock and appends to it; a context manager.

    Opening creates the folder and the file where they are missing, takes the lock, and cuts off a
    torn tail.

    Args:
        path: the journal.
        replay: called with every line that is there, in order.
        error: the class of the exceptions raised.

    Raises:
        LatlasError: of class `error`: another writer holds the lock, the file cannot be opened, or
            it is damaged.
    """

    def __init__(
        self,
        path: Path,
        replay: Callable[[dict[str, Any]], None],
        error: type[LatlasError] = TableError,
    ) -> None:
        self.path = path
        self._error = error
        self._broken = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _open_regular(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, error)
        except OSError as problem:
            raise error(f"cannot write {path}: {problem.strerror or problem}") from problem
        try:
            self._lock()
            self._end = self._recover(replay)
        except BaseException:
            self._file.close()
            raise

    def append(self, records: Iterable[Mapping[str, Any]], *, sync: bool = False) -> None:
        """Append records, all or none of them.

        Args:
            records: plain dictionaries.
            sync: wait until they are on the disk.

        Raises:
            LatlasError: of class `error`: nothing was written, for the reason given.
        """
        if self._broken:
            raise self._error(f"{self.path} could not be repaired after a failed write")
        lines = [
            json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"
            for record in records
        ]
        longest = max(map(len, lines), default=0)
        if longest > MAX_LINE_BYTES:
            raise self._error(
                f"cannot append to {self.path}: a record of {longest} bytes is longer than the "
                f"{MAX_LINE_BYTES} that are read back"
            )
        data = b"".join(lines)
        descriptor = self._file.fileno()
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
            if sync:
                os.fsync(descriptor)
            self._end += len(data)
        except OSError as problem:
            self._cut()
            text = problem.strerror or problem
            raise self._error(
                f"cannot append to {self.path}: {text}; what was there before is kept"
            ) from problem
        except BaseException:
            # Ctrl-C between two writes must not leave half a line for the lines after it.
            self._cut()
            raise

    def close(self) -> None:
        """Close the file, which gives the lock back."""
        self._file.close()

    def __enter__(self) -> JournalWriter:
        """Return the writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise self._error(
                f"{self.path.parent} is being written by another process: wait for it, "
                "or choose another folder"
            ) from problem
        except OSError as problem:
            raise self._error(
                f"cannot lock {self.path}: {problem.strerror or problem}; "
                "keep it on a file system that has locks"
            ) from problem

    def _recover(self, replay: Callable[[dict[str, Any]], None]) -> int:
        """Replay what is there, cut off a torn tail, and return the length."""
        end = 0
        try:
            self._file.seek(0)
            for offset, record in _records(self._file, self.path, self._error):
                replay(record)
                end = offset
            if os.fstat(self._file.fileno()).st_size > end:
                os.ftruncate(self._file.fileno(), end)
        except OSError as problem:
            text = problem.strerror or problem
            raise self._error(f"cannot repair {self.path}: {text}") from problem
        return end

    def _cut(self) -> None:
        try:
            os.ftruncate(self._file.fileno(), self._end)
        except OSError:
            self._broken = True


def _open_regular(path: Path, flags: int, error: type[LatlasError]) -> IO[bytes]:
    # A pipe in the journal's place would block for ever without O_NONBLOCK.
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise error(f"{path} is not a regular file")
    return os.fdopen(descriptor, "rb" if flags & 3 == os.O_RDONLY else "rb+", buffering=1 << 16)


def _records(
    file: IO[bytes], path: Path, error: type[LatlasError]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield every complete line with the offset of its end."""
    end, number = 0, 0
    while line := file.readline(MAX_LINE_BYTES):
        number += 1
        if not line.endswith(b"\n"):
            if len(line) == MAX_LINE_BYTES:
                raise error(f"{path}, line {number}: longer than {MAX_LINE_BYTES} bytes")
            return
        end += len(line)
        try:
            record = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as problem:
            raise error(
                f"{path}, line {number}: not JSON ({problem}); the file is damaged: cut it off "
                "before this line, or begin with a new folder"
            ) from problem
        if not isinstance(record, dict):
            raise error(f"{path}, line {number}: not a JSON object but {_show(record)}")
        yield end, record


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _show(value: object) -> str:
    """Return a value for a message; containers by type, since they may be huge or deep."""
    return type(value).__name__ if isinstance(value, list | dict) else ascii(value)[:80]


class Fields:
    """Typed access to the fields of a record that may be hostile.

    Args:
        record: the dictionary.
        error: the class of the exceptions raised.
    """

    def __init__(self, record: Mapping[str, Any], error: type[LatlasError] = TableError) -> None:
        self._record = record
        self._error = error

    def fail(self, name: str, expected: str) -> LatlasError:
        """Return the error for a field that is not as expected."""
        got = _show(self._record[name]) if name in self._record else "nothing"
        return self._error(f"field {name!r} must be {expected}, got {got}")

    def text(self, name: str) -> str:
        """Return a string."""
        value = self._record.get(name)
        if not isinstance(value, str):
            raise self.fail(name, "a string")
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise self.fail(name, "text without lone surrogates")
        return value

    def integer(self, name: str, low: int, high: int) -> int:
        """Return an integer in ``[low, high]``."""
        value = self._record.get(name)
        if type(value) is not int or not low <= value <= high:
            raise self.fail(name, f"an integer from {low} to {high}")
        return value

    def number(self, name: str, low: float, high: float) -> float:
        """Return a finite number in ``[low, high]``."""
        value = self._record.get(name)
        # Compared before it is converted: an integer may be too large for a float.
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.fail(name, "a number")
        if not low <= value <= high or not math.isfinite(value):
            raise self.fail(name, f"a number from {low:g} to {high:g}")
        return float(value)

    def items(self, name: str) -> list[Any]:
        """Return a list of anything."""
        value = self._record.get(name)
        if not isinstance(value, list):
            raise self.fail(name, "a list")
        return value

    def mapping(self, name: str) -> dict[str, Any]:
        """Return a dictionary."""
        value = self._record.get(name)
        if not isinstance(value, dict):
            raise self.fail(name, "an object")
        return value

"""Files that are written whole or not at all, and read within bounds."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from latlas.profiler.errors import LatlasError


def read_bounded(path: Path, expected: str, max_bytes: int, error: type[LatlasError]) -> bytes:
    """Return what a user's file holds.

    Args:
        path: the file.
        expected: what it should be, for messages.
        max_bytes: it is no longer.
        error: class of the exception raised when the file cannot be read.

    Raises:
        LatlasError: of class `error`: there is no such file, it cannot be read, or it is too long.
    """
    name = ascii(str(path)[:200])
    try:
        if not path.is_file():  # a pipe or a device might never end
            raise error(f"no file {name}: name {expected}")
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except (OSError, ValueError) as problem:  # a NUL in the name is a ValueError
        reason = getattr(problem, "strerror", None) or problem
        raise error(f"cannot read {name}: {reason}") from problem
    if len(data) > max_bytes:
        raise error(f"{name}: longer than {max_bytes} bytes; is it the right file?")
    return data


@contextmanager
def write_atomically(path: Path, error: type[LatlasError]) -> Iterator[IO[bytes]]:
    """Give a file to write to, which becomes `path` when the block ends well.

    Args:
        path: the file; its folder is created.
        error: class of the exception raised when the file cannot be written.

    Raises:
        LatlasError: of class `error`; a file that was at `path` before is untouched.
    """
    temporary: Path | None = None
    try:
        if path.exists() and not path.is_file():  # a device would be replaced, not written to
            raise error(f"cannot write {path}: it is no regular file; nothing was written")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name[:50]}.{secrets.token_hex(4)}")
        # Opened by hand, since tempfile would keep it to its owner.
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        temporary = None
    except OSError as problem:
        reason = problem.strerror or problem
        raise error(f"cannot write {path}: {reason}; nothing was written") from problem
    finally:
        if temporary:
            with suppress(OSError):  # where nothing can be written, nothing is there
                temporary.unlink()

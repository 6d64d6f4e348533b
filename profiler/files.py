"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from latlas.profiler.errors import LatlasError


@contextmanager
def write_atomically(path: Path, error: type[LatlasError]) -> Iterator[IO[bytes]]:
    """Give a file to write to, which becomes `path` when the block ends well.

    Args:
        path: the file; its folder is created.
        error: class of the exception raised when the file cannot be written.

    Raises:
        LatlasError: of class `error`; a file that was at `path` before is untouched.
    """
    temporary = ""
    try:
        if path.exists() and not path.is_file():  # a device would be replaced, not written to
            raise error(f"cannot write {path}: it is no regular file; nothing was written")
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)  # mkstemp keeps the file to its owner
        Path(temporary).replace(path)
        temporary = ""
    except OSError as problem:
        reason = problem.strerror or problem
        raise error(f"cannot write {path}: {reason}; nothing was written") from problem
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)

"""How much memory this process takes, by Linux' account of it.

The peak of the resident set can be forgotten and looked at again, so that one process can tell it
of one model after the other: proc(5), ``/proc/pid/clear_refs`` and ``/proc/pid/status``.
"""

from __future__ import annotations

import ctypes
import gc
import re
from pathlib import Path

_FORGET_PEAK = b"5"


def forget_peak(process: Path = Path("/proc/self")) -> float | None:
    """Give back what is free, forget the peak so far; return what is resident now.

    What the models before have left to the allocator would otherwise serve the next one, which
    would seem to need nothing.

    Args:
        process: its folder in /proc.

    Returns:
        MB of 2^20 bytes; None where the C library or the kernel cannot do it.
    """
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # of glibc
        (process / "clear_refs").write_bytes(_FORGET_PEAK)
    except (AttributeError, OSError):
        return None
    return _status_mb(process, "VmRSS")


def peak_mb(process: Path = Path("/proc/self")) -> float | None:
    """Return the largest resident set since `forget_peak`.

    Args:
        process: its folder in /proc.

    Returns:
        MB of 2^20 bytes; None where the kernel does not say.
    """
    return _status_mb(process, "VmHWM")


def _status_mb(process: Path, field: str) -> float | None:
    try:
        status = (process / "status").read_text()
    except OSError:
        return None
    found = re.search(rf"^{field}:\s*([0-9]{{1,15}}) kB$", status, re.M)
    return int(found[1]) / 1024 if found else None

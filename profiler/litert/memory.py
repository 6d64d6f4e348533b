"""How much memory a model takes of this process, by Linux' account of it.

The peak of the resident set can be forgotten and looked at again, so that one process can tell it
of one model after the other: proc(5), ``/proc/pid/clear_refs`` and ``/proc/pid/status``.
"""

from __future__ import annotations

import ctypes
import gc
import re
from dataclasses import dataclass
from pathlib import Path

SELF = Path("/proc/self")
"""This process."""

_FORGET_PEAK = b"5"


@dataclass(frozen=True, slots=True)
class Resident:
    """What of a process is in memory.

    Attributes:
        total_mb: MB of 2^20 bytes.
        files_mb: … of them pages of files, which is the code of libraries.
    """

    total_mb: float
    files_mb: float


def forget_peak(process: Path = SELF) -> Resident | None:
    """Give back what is free, forget the peak so far; return what is resident now.

    What the models before have left to the allocator would otherwise serve the next one, which
    would seem to need nothing.

    Args:
        process: its folder in /proc.

    Returns:
        None where the C library or the kernel cannot do it.
    """
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # of glibc
        (process / "clear_refs").write_bytes(_FORGET_PEAK)
    except (AttributeError, OSError):
        return None
    return _resident(process, "VmRSS")


def growth_mb(before: Resident, process: Path = SELF) -> float | None:
    """Return by how much the resident set grew at most since `forget_peak`.

    Code of the runtime that ran for the first time is left out: it stays for the models that
    follow, of which only the first would seem to need it.

    Args:
        before: what `forget_peak` returned.
        process: its folder in /proc.

    Returns:
        MB of 2^20 bytes; None where the kernel does not say.
    """
    peak = _resident(process, "VmHWM")
    if peak is None:
        return None
    code_mb = max(peak.files_mb - before.files_mb, 0.0)
    return max(peak.total_mb - before.total_mb - code_mb, 0.0)


def _resident(process: Path, total: str) -> Resident | None:
    try:
        status = (process / "status").read_text()
    except OSError:
        return None
    found = dict(re.findall(r"^(\w+):\s*([0-9]{1,15}) kB$", status, re.M))
    if total not in found or "RssFile" not in found:
        return None
    return Resident(int(found[total]) / 1024, int(found["RssFile"]) / 1024)

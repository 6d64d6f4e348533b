"""CPU cores by number: which there are, and how sets of them are written."""

from __future__ import annotations

import os
from collections.abc import Iterable

from latlas.profiler.errors import DeviceError, UsageError


def parse_cores(text: str) -> frozenset[int]:
    """Read a set of cores such as ``0``, ``4-7`` or ``0,2-3``; empty text is the empty set.

    Raises:
        UsageError: the text is not a set of cores.

    >>> sorted(parse_cores("0,2-3"))
    [0, 2, 3]
    """
    cores: set[int] = set()
    for part in filter(None, text.replace(" ", "").split(",")):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or len(part) > 20:
            raise UsageError(f"cores are written like 0, 4-7 or 0,2-3, not {text!r:.80}")
        end = int(last) if dash else int(first)
        if not int(first) <= end < 4096:
            raise UsageError(f"{part!r} is not a range of cores")
        cores.update(range(int(first), end + 1))
    return frozenset(cores)


def format_cores(cores: Iterable[int]) -> str:
    """Write a set of cores as short as it goes.

    >>> format_cores([0, 2, 3])
    '0,2-3'
    """
    ranges: list[list[int]] = []
    for core in sorted(set(cores)):
        if ranges and ranges[-1][1] == core - 1:
            ranges[-1][1] = core
        else:
            ranges.append([core, core])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in ranges)


def allowed_cores() -> frozenset[int]:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def choose_cores(text: str, threads: int) -> frozenset[int]:
    """Return the cores to measure on; the empty set leaves it to the scheduler.

    Without a wish a single thread gets one core, the last, so that it does not migrate: the first
    is where interrupts go.

    Raises:
        DeviceError: a core that was asked for does not exist or may not be used.
    """
    wish, allowed = parse_cores(text), allowed_cores()
    if not wish:
        return frozenset({max(allowed)}) if threads == 1 else frozenset()
    if not wish <= allowed:
        raise DeviceError(
            f"cores {format_cores(wish - allowed)} cannot be used; "
            f"this process may use {format_cores(allowed)}"
        )
    return wish

"""The CPU of a phone: what its /sys and /proc/cpuinfo say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

Cores = Literal["pixel6", "host"]

# Capacity, highest clock in kHz, design.
_SLOW, _MIDDLE, _FAST = (124, 1803000, "0xd05"), (427, 2253000, "0xd0b"), (1024, 2802000, "0xd44")
_PIXEL6 = dict(enumerate(4 * [_SLOW] + 2 * [_MIDDLE] + 2 * [_FAST]))
_CPUINFO = """\
processor	: {core}
BogoMIPS	: 49.15
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc \
dcpop asimddp
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x1
CPU part	: {part}
CPU revision	: 0

"""


def write_cpu(folder: Path, cores: Cores) -> None:
    """Write ``cpuinfo.txt``, and below ``sys`` what a kernel says about each core.

    Args:
        folder: of the fixture.
        cores: ``pixel6`` for its eight in three clusters; ``host`` for those that this machine
            has, the first of them a slow cluster of its own, so that affinity masks work.
    """
    cpus = _PIXEL6 if cores == "pixel6" else _host()
    (folder / "cpuinfo.txt").write_text(
        "".join(_CPUINFO.format(core=core, part=part) for core, (_, _, part) in cpus.items())
    )
    sysfs = folder / "sys" / "devices" / "system" / "cpu"
    for core, (capacity, clock_khz, _) in cpus.items():
        cpufreq = sysfs / f"cpu{core}" / "cpufreq"
        cpufreq.mkdir(parents=True)
        (cpufreq / "cpuinfo_max_freq").write_text(f"{clock_khz}\n")
        (cpufreq.parent / "cpu_capacity").write_text(f"{capacity}\n")


def _host() -> dict[int, tuple[int, int, str]]:
    first, *rest = sorted(os.sched_getaffinity(0))
    return {first: _SLOW, **dict.fromkeys(rest, _FAST)} if rest else {first: _FAST}

"""Which phone it is: model, SoC, GPU, Android, CPU clusters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from latlas.profiler.adb.text import clean, whole_number

T = TypeVar("T")

_MAX_CORES = 256


@dataclass(frozen=True, slots=True)
class CpuCluster:
    """Cores of one speed.

    Attributes:
        cores: their numbers, ascending.
        capacity: the kernel's relative speed, 1024 for the fastest core; None if unknown.
        max_freq_khz: highest clock in kHz; None if unknown or not the same for all.
        part: the design as /proc/cpuinfo has it, e.g. ``0xd44``; None if unknown or not the same.
    """

    cores: tuple[int, ...]
    capacity: int | None = None
    max_freq_khz: int | None = None
    part: str | None = None

    @property
    def mask(self) -> str:
        """The affinity mask as Android's taskset wants it: hexadecimal, without 0x.

        >>> CpuCluster((4, 5)).mask
        '30'
        """
        return f"{sum(1 << core for core in self.cores):x}"


@dataclass(frozen=True, slots=True)
class PhoneIdentity:
    """What a phone says that it is; None where it says nothing.

    Attributes:
        manufacturer: e.g. ``Google``.
        model: as sold, e.g. ``Pixel 6``.
        soc: e.g. ``Google Tensor``; before Android 12 the board's name, e.g. ``msm8998``.
        gpu: as the driver names it, e.g. ``Mali-G78``; else the driver's own name, e.g. ``mali``.
        android: the version, e.g. ``14``.
        sdk: the API level, e.g. 34.
        abi: of programs, e.g. ``arm64-v8a``.
        fingerprint: of the build; changes with every update.
        clusters: the CPU, slowest cores first; empty if unknown.
    """

    manufacturer: str | None = None
    model: str | None = None
    soc: str | None = None
    gpu: str | None = None
    android: str | None = None
    sdk: int | None = None
    abi: str | None = None
    fingerprint: str | None = None
    clusters: tuple[CpuCluster, ...] = ()


def parse_properties(text: str) -> dict[str, str]:
    """Return what ``getprop`` prints, without lines that are no property.

    >>> parse_properties("[ro.product.model]: [Pixel 6]")
    {'ro.product.model': 'Pixel 6'}
    """
    found = re.findall(r"^\[([^\]\n]{1,200})\]: \[([^\n]{0,500})\]\r?$", text, re.MULTILINE)
    return dict(found)


def parse_gpu(text: str) -> str | None:
    """Return the renderer in SurfaceFlinger's ``GLES:`` line, or None.

    >>> parse_gpu("GLES: Qualcomm, Adreno (TM) 640, OpenGL ES 3.2 V@0502.0")
    'Adreno (TM) 640'
    """
    found = re.search(r"^GLES: [^,\n]{1,100}, ([^\n]{1,200}), OpenGL ES", text, re.MULTILINE)
    return clean(found[1]) if found else None


def parse_clusters(sysfs: str, cpuinfo: str) -> tuple[CpuCluster, ...]:
    """Return the clusters of a CPU, slowest first.

    Args:
        sysfs: lines ``/sys/devices/system/cpu/cpuN/…:value`` for ``cpu_capacity`` and
            ``cpufreq/cpuinfo_max_freq``. Cores are told apart by the one with more values:
            kernels before 5.0 or so lack the first, and offline cores the second.
        cpuinfo: /proc/cpuinfo.
    """
    capacities = _per_core(sysfs, "cpu_capacity")
    clocks = _per_core(sysfs, "cpufreq/cpuinfo_max_freq")
    parts = _parts(cpuinfo)
    finer_clocks = len(set(clocks.values())) > len(set(capacities.values()))
    speeds = clocks if finer_clocks else capacities
    return tuple(
        CpuCluster(
            cores,
            _same(capacities, cores),
            _same(clocks, cores),
            _same(parts, cores),
        )
        for speed in sorted(set(speeds.values()))
        for cores in [tuple(sorted(core for core in speeds if speeds[core] == speed))]
    )


def identify(
    properties: Mapping[str, str], gpu: str | None, clusters: Iterable[CpuCluster]
) -> PhoneIdentity:
    """Put together what a phone says."""

    def first(*names: str) -> str | None:
        values = (clean(properties.get(name)) for name in names)
        return next((value for value in values if value), None)

    maker, soc = first("ro.soc.manufacturer"), first("ro.soc.model")
    return PhoneIdentity(
        manufacturer=first("ro.product.manufacturer"),
        model=first("ro.product.model", "ro.product.device"),
        soc=f"{maker} {soc}" if maker and soc else soc or first("ro.board.platform", "ro.hardware"),
        gpu=gpu or first("ro.hardware.egl", "ro.hardware.vulkan"),
        android=first("ro.build.version.release"),
        sdk=whole_number(properties.get("ro.build.version.sdk")),
        abi=first("ro.product.cpu.abi"),
        fingerprint=first("ro.build.fingerprint"),
        clusters=tuple(clusters),
    )


def _per_core(sysfs: str, name: str) -> dict[int, int]:
    pattern = rf"^/sys/devices/system/cpu/cpu([0-9]{{1,3}})/{name}:([0-9]{{1,9}})\r?$"
    found = ((int(core), int(value)) for core, value in re.findall(pattern, sysfs, re.MULTILINE))
    return {core: value for core, value in found if core < _MAX_CORES and value > 0}


def _parts(cpuinfo: str) -> dict[int, str]:
    parts: dict[int, str] = {}
    core: int | None = None
    for line in cpuinfo.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "processor":
            core = whole_number(value)
        elif key == "CPU part" and core is not None and re.fullmatch("0x[0-9a-f]{1,8}", value):
            parts[core] = value
    return parts


def _same(values: Mapping[int, T], cores: Iterable[int]) -> T | None:
    found = {values.get(core) for core in cores}
    return found.pop() if len(found) == 1 else None

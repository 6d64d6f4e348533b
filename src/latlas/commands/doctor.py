"""``latlas doctor``: what is missing, and the command that mends it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass

import click

from latlas.commands.devices import FoundPhone, find_phones
from latlas.console import emit, json_option, table
from latlas.profiler.adb.condition import Battery, Thermal

MIN_BATTERY_PERCENT = 20
"""Android saves power, at lower clocks, from about here on."""
MAX_BATTERY_C = 40.0
"""A battery warmer than this is in a phone that is about to be throttled."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        ok: whether it is as it should be.
        found: what is there.
        mend: the command, or else the step, that mends it; empty where `ok`.
    """

    name: str
    ok: bool
    found: str
    mend: str = ""


def _cpu() -> Check:
    from latlas.profiler.errors import LatlasError
    from latlas.profiler.litert.local import LocalRunner

    try:
        with LocalRunner("cpu") as runner:
            return Check("CPU", True, str(runner.target))
    except LatlasError as problem:
        return Check("CPU", False, str(problem), "pip install --force-reinstall ai-edge-litert")


def _gpu() -> Check:
    from latlas.profiler.litert.local import probe_gpu

    probe = probe_gpu()
    if probe.adapter and not probe.software:
        return Check("GPU", True, f"{probe.adapter}, {probe.precision}")
    if probe.adapter:
        return Check(
            "GPU",
            True,
            f"{probe.adapter}: a software renderer, so its figures say nothing about a GPU",
        )
    return Check(
        "GPU",
        False,
        probe.problem,
        "install the GPU's Vulkan driver; to try things out without a GPU: "
        "apt-get install chromium libvulkan1 && export "
        "VK_DRIVER_FILES=/usr/lib/chromium/vk_swiftshader_icd.json "
        "VK_ICD_FILENAMES=/usr/lib/chromium/vk_swiftshader_icd.json",
    )


def _quiet() -> Check:
    load = os.getloadavg()[0]
    cores = len(os.sched_getaffinity(0))
    return Check(
        "quiet machine",
        load < 0.5 * cores,
        f"load {load:.1f} on {cores} cores",
        "" if load < 0.5 * cores else "close other programs before you profile",
    )


def _adb() -> Check:
    from adbutils import AdbError, adb_path

    try:
        return Check("adb", True, adb_path())
    except (AdbError, OSError) as problem:
        return Check("adb", False, str(problem), "apt-get install adb")


def _phones() -> list[Check]:
    phones, problem = find_phones()
    if not phones:
        mend = "attach a phone, switch on USB debugging, and accept this computer on its screen"
        return [Check("phones", False, problem, mend)]
    return [_phone(phone) for phone in phones]


def _phone(phone: FoundPhone) -> Check:
    name = f"phone {phone.name}"
    if phone.what_to_do:
        return Check(name, False, phone.problem or phone.state, phone.what_to_do)
    battery, thermal = phone.battery or Battery(), phone.thermal or Thermal()
    percent, celsius = battery.percent, battery.temperature_c
    spoilers = []
    if percent is not None and percent < MIN_BATTERY_PERCENT and not battery.charging:
        spoilers.append((f"battery at {percent:.0f}%", "charge it: phones save power when low"))
    if celsius is not None and celsius > MAX_BATTERY_C:
        spoilers.append((f"battery at {celsius:.1f} °C", "let it cool down, out of its case"))
    if thermal.status:
        spoilers.append((f"throttled, thermal status {thermal.status}", "let it cool down"))
    if thermal.overridden:
        reset = f"adb -s {shlex.quote(phone.name)} shell cmd thermalservice reset"
        spoilers.append(("its thermal status was set by hand", reset))
    if spoilers:
        found, mend = zip(*spoilers, strict=True)
        return Check(name, False, "; ".join(found), "; ".join(mend))
    model = phone.identity.model if phone.identity else None
    return Check(name, True, model or "ready")


CHECKS: tuple[Callable[[], Check], ...] = (_cpu, _gpu, _quiet, _adb)


@click.command("doctor")
@json_option
def main(as_json: bool) -> int:
    """Check CPU, GPU and phones; say what is missing and the command that mends it.

    Exit 0 if this machine's CPU can be measured, else 1: a GPU and phones are options.
    """
    checks = [*(check() for check in CHECKS), *_phones()]
    rows = [(check.name, "ok" if check.ok else "missing") for check in checks]
    lines = [table(("check", "state"), rows), ""]
    for check in checks:
        lines.append(f"{check.name}: {check.found}")
        if check.mend:
            lines.append(f"  mend: {check.mend}")
    emit({"checks": [asdict(check) for check in checks]}, as_json, "\n".join(lines))
    return 0 if checks[0].ok else 1

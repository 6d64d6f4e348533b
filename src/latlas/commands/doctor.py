"""``latlas doctor``: what is missing or spoils figures, and the command that mends it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, cast, get_args

import click

from latlas.console import emit, json_option, printable, say, table
from latlas.examination import Check, examine
from latlas.phones import FoundPhone, find_phones
from latlas.profiler.adb.conditions import BatteryLevel, ThermalStatus
from latlas.profiler.adb.health import Battery, Thermal
from latlas.profiler.adb.phone import Phone
from latlas.profiler.benchmark_model.binary import TOOLS, Tool
from latlas.targets import LOCAL, DeviceChoice, phone_options

_USUAL_ABI = "arm64-v8a"
_ANSWER_S = 5.0
_ATTACH = "attach a phone, switch on USB debugging, and accept this computer on its screen"

# This machine


def _cpu() -> Check:
    from latlas.profiler.errors import LatlasError
    from latlas.profiler.litert.local import LocalRunner

    try:
        with LocalRunner("cpu") as runner:
            return Check("CPU", True, str(runner.target))
    except LatlasError as problem:
        mend = "pip install --force-reinstall ai-edge-litert"
        return Check("CPU", False, str(problem), mend, "stops")


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
        "spoils",
    )


def _adb() -> Check:
    from adbutils import AdbError, adb_path

    try:
        return Check("adb", True, adb_path())
    except (AdbError, OSError) as problem:
        return Check("adb", False, str(problem), "apt-get install adb")


CHECKS: tuple[Callable[[], Check], ...] = (_cpu, _gpu, _quiet, _adb)


# Phones, at a glance


def glance() -> list[Check]:
    """Return one check for each attached phone, from what it says without being measured."""
    phones, problem = find_phones()
    if not phones:
        return [Check("phones", False, problem, _ATTACH)]
    return [judge(phone) for phone in phones]


def judge(found: FoundPhone) -> Check:
    """Return whether what a phone has said about itself would spoil a measurement.

    >>> judge(FoundPhone("0A1B", "device", battery=Battery(percent=12.0))).found
    'battery at 12%'
    """
    name = f"phone {found.name}"
    if found.what_to_do:
        return Check(name, False, found.problem or found.state, found.what_to_do)
    phone = _Said(found)
    problems = [
        problem
        for condition in (BatteryLevel(phone), ThermalStatus(phone))
        if (problem := condition.problem()) is not None
    ]
    if problems:
        mend = "; ".join(problem.mend for problem in problems)
        return Check(name, False, "; ".join(p.found for p in problems), mend, "spoils")
    model = found.identity.model if found.identity else None
    return Check(name, True, model or "ready")


class _Said(Phone):
    """A phone that is not asked again how it is doing."""

    def __init__(self, found: FoundPhone) -> None:
        super().__init__(found.serial)
        self._found = found

    def battery(self) -> Battery:
        return self._found.battery or Battery()

    def thermal(self) -> Thermal:
        return self._found.thermal or Thermal()


# Phones, examined


def _named_phones(choice: DeviceChoice) -> tuple[str, ...]:
    """Return the phones that are named; ``all`` are all that adb knows, usable or not."""
    from latlas.profiler.adb.server import list_phones

    if choice.device == "all":
        return tuple(phone.serial for phone in list_phones())
    return choice.devices()


def _examine_all(choice: DeviceChoice) -> list[Check]:
    from latlas.profiler.errors import DeviceError

    try:
        serials = _named_phones(choice)
    except DeviceError as problem:
        return [Check("adb", False, str(problem), "apt-get install adb", "stops")]
    if not serials:
        return [Check("phones", False, "no phone is attached", _ATTACH, "stops")]
    checks = []
    for serial in serials:
        if serial == LOCAL:
            checks += [check() for check in CHECKS]
        else:
            say(f"examining phone {FoundPhone(serial, '').name}")
            checks += examine(serial, choice)
    return checks


# Benchmark binaries


def _abis(choice: DeviceChoice) -> dict[str, None]:
    """Return the ABIs of the phones that are named, else of all attached, else the usual one."""
    from latlas.profiler.adb.server import list_phones
    from latlas.profiler.adb.text import clean
    from latlas.profiler.errors import DeviceError

    def ask(serial: str) -> str:
        found = clean(Phone(serial, _ANSWER_S).ask("getprop", "ro.product.cpu.abi"))
        if found is None:
            raise DeviceError(
                "it does not say what processor it has: name it with --abi", serial=serial
            )
        return found

    named = () if choice.device == "all" else choice.devices()
    if phones_named := [serial for serial in named if serial != LOCAL]:
        return dict.fromkeys(map(ask, phones_named))
    abis: dict[str, None] = {}
    try:
        phones = list_phones()
    except DeviceError:  # nobody has asked for a phone
        phones = ()
    for phone in phones:
        try:
            abis[ask(phone.serial)] = None
        except DeviceError as problem:
            say(f"left out: {problem}")
    if not abis:
        say(f"no phone says what processor it has: fetching for {_USUAL_ABI}, as most phones need")
    return abis or {_USUAL_ABI: None}


def fetch_runner(choice: DeviceChoice, tool: Tool, abi: str, url: str, as_json: bool) -> int:
    """Download benchmark binaries into the cache and print what came.

    Returns:
        The exit code: 1 if one of them could not be fetched.

    Raises:
        UsageError: there is no such ABI, or the address is none of http or https.
        DeviceError: a named phone does not say what processor it has.
    """
    from latlas.profiler.benchmark_model.download import fetch_binary
    from latlas.profiler.errors import DeviceError

    documents: list[dict[str, Any]] = []
    problems = []
    for each in [abi] if abi else _abis(choice):
        try:
            binary = fetch_binary(each, tool, base_url=url)
        except DeviceError as problem:
            problems.append(problem)
            continue
        documents.append(
            {
                "tool": tool,
                "abi": each,
                "path": printable(binary.path),
                "sha256": binary.sha256,
                "size": len(binary.content),
            }
        )
    lines = [
        f"{document['path']}\n  {tool} benchmark_model for {document['abi']}, "
        f"{document['size']} bytes, sha256 {document['sha256']}"
        for document in documents
    ]
    if documents or as_json:
        emit({"binaries": documents}, as_json, "\n".join(lines))
    for each_problem in problems:
        say(f"latlas: {each_problem}")
    return int(bool(problems))


@click.command("doctor")
@phone_options
@click.option(
    "--fetch-runner", "fetch", is_flag=True, help="Download a benchmark_model for phones."
)
@click.option("--tool", type=click.Choice(get_args(Tool)), help=f"Which one; {TOOLS[0]} if unset.")
@click.option("--abi", default="", help="For which processor; that of the phone if unset.")
@click.option("--runner-url", default="", help="Where to download from, if not from its makers.")
@json_option
def main(
    choice: DeviceChoice, fetch: bool, tool: str | None, abi: str, runner_url: str, as_json: bool
) -> int:
    """Check CPU, GPU and phones; say what is missing and the command that mends it.

    With --device, phones (serial numbers, or all) are examined: whether they can be measured, and
    what would spoil the figures. That puts back what an interrupted start has left there.

    Exit 0 if this machine's CPU, or with --device every phone named, can be measured, else 1: all
    else is an option (missing) or makes figures worse (spoils).

    \b
    latlas doctor
    latlas doctor --device all
    """
    if fetch:
        return fetch_runner(choice, cast(Tool, tool or TOOLS[0]), abi, runner_url, as_json)
    if tool or abi or runner_url:
        raise click.UsageError("--tool, --abi and --runner-url belong to --fetch-runner")
    if choice.device == LOCAL:
        checks = [*(check() for check in CHECKS), *glance()]
    else:
        checks = _examine_all(choice)
    lines = [table(("check", "state"), [(check.name, check.state) for check in checks]), ""]
    for check in checks:
        lines.append(f"{check.name}: {check.found}")
        if check.mend:
            lines.append(f"  mend: {check.mend}")
    emit({"checks": [check.to_json() for check in checks]}, as_json, "\n".join(lines))
    return int(any(not check.ok and check.trouble == "stops" for check in checks))

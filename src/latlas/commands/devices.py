"""``latlas devices``: what can be measured."""

from __future__ import annotations

from typing import Any

import click

from latlas.console import emit, json_option, table


def list_phones() -> tuple[list[dict[str, Any]], str]:
    """Return attached phones, and why there may be none."""
    from subprocess import SubprocessError

    from adbutils import AdbClient, AdbError

    try:
        devices = AdbClient(socket_timeout=5.0).list()
    except (AdbError, OSError, SubprocessError) as problem:  # it starts the server if need be
        return [], f"no adb server answers ({problem}); install Android's platform-tools"
    phones = [{"device": info.serial, "kind": "phone", "state": info.state} for info in devices]
    return phones, "" if phones else "no phone is attached"


@click.command("devices")
@json_option
def main(as_json: bool) -> None:
    """List this machine, with its CPU and GPU as LiteRT sees them, and attached phones."""
    from latlas.profiler.litert import library
    from latlas.profiler.litert.cores import allowed_cores
    from latlas.profiler.litert.local import machine_name, probe_gpu

    gpu = probe_gpu()
    phones, no_phones = list_phones()
    here = {
        "device": "local",
        "kind": "machine",
        "state": "device",
        "name": machine_name(),
        "cores": len(allowed_cores()),
        "runtime": f"litert {library.version()}",
        "gpu": gpu.adapter or None,
        "gpu_software": gpu.software,
        "gpu_problem": gpu.problem or None,
    }
    adapter = f"{gpu.adapter}{' (software)' if gpu.software else ''}" if gpu.adapter else "none"
    rows = [("local", "device", here["name"], f"{here['cores']} cores", adapter)]
    rows += [(phone["device"], phone["state"], "phone", "", "") for phone in phones]
    text = table(("device", "state", "name", "cpu", "gpu"), rows)
    if no_phones:
        text += f"\n\n{no_phones}"
    emit({"devices": [here, *phones]}, as_json, text)

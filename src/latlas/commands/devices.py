"""``latlas devices``: what can be measured."""

from __future__ import annotations

import click

from latlas.console import emit, json_option, table
from latlas.phones import find_phones, notes


@click.command("devices")
@json_option
def main(as_json: bool) -> None:
    """List this machine, with its CPU and GPU as LiteRT sees them, and attached phones.

    \b
    latlas devices
    latlas devices --json
    """
    from latlas.profiler.cores import allowed_cores
    from latlas.profiler.litert import library
    from latlas.profiler.litert.local import machine_name, probe_gpu

    gpu = probe_gpu()
    phones, no_phones = find_phones()
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
    rows = [("local", "device", here["name"], "", f"{here['cores']} cores", adapter, "", "", "")]
    text = table(
        ("device", "state", "name", "soc", "cpu", "gpu", "android", "battery", "temperature"),
        [*rows, *(phone.row() for phone in phones)],
    )
    remarks = [no_phones] if no_phones else notes(phones)
    if remarks:
        text += "\n\n" + "\n".join(remarks)
    emit({"devices": [here, *(phone.to_json() for phone in phones)]}, as_json, text)

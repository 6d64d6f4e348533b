"""`latlas profile` and `latlas bench` on phones, each in a process of its own."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from phone.conftest import ABI, LAST_CORE
from phone_lab.lab import LabPhone, lab_phone, wait_for
from phone_lab.proxy import FaultProxy

from latlas.profiler.device_config_file import load_config
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.journal import read_journal
from latlas.profiler.litert.local import GpuProbe
from latlas.profiler.table import JOURNAL, Table
from latlas.profiler.tflite.writer import to_tflite

TABLE = f"cpu-{LAST_CORE}"
pytestmark = pytest.mark.timeout(600)
"""On a machine that others share, campaigns wait for the moments in which it is alone."""
SHORT = ("--runs", "3", "--min-ms", "0.5", "--warmup-ms", "0", "--patience", "5s")
QUICK = (*SHORT, "--no-vocabulary")
STATUS = "IsStatusOverride: false\nThermal Status: {}\n"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with a small network."""
    b = GraphBuilder((1, 32, 32, 3))
    x = b.conv(b.input, 16, 3, stride=2, activation="relu6")
    for filters in range(24, 88, 8):
        x = b.conv(b.depthwise(x, 3), filters, 1, activation="relu6")
    x = b.fully_connected(b.mean(x, keepdims=False), 10)
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "net.tflite").write_bytes(to_tflite(b.build(b.softmax(x))))
    return folder


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "latlas", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def latlas(*arguments: object, status: int = 0) -> tuple[Any, str]:
    """Run a command to its end; return its document and its messages."""
    process = start(*arguments, "--json")
    out, err = process.communicate(timeout=500)
    assert process.returncode == status, err
    assert "Traceback" not in err
    return json.loads(out) if out else None, err


def accepted(folder: Path) -> list[str]:
    """Return what was accepted, except in place of what had been accepted before."""
    lines = [line for line in read_journal(folder / JOURNAL) if line.get("type") == "accepted"]
    return [line["id"] for line in lines if "instead_of" not in line]


def kernels(folder: Path) -> set[str]:
    """Return what a table holds, beside references."""
    return {m.id for m in Table.open(folder).measurements}


def test_bench(host_phone: LabPhone, tool: Path, models: Path) -> None:
    odd = models / "it's; touch pwned #$(id)\n.tflite"
    shutil.copy(models / "net.tflite", odd)
    where = ("--device", host_phone.serial, "--runner-binary", tool)
    found, _ = latlas("bench", odd, models / "net.tflite", *where, "--ops", "--min-ms", 1)
    assert [each["model"] for each in found["results"]] == [str(odd), str(models / "net.tflite")]
    assert found["target"]["device"] == "Google Pixel 6"
    assert found["target"]["cores"] == LAST_CORE  # the fastest cluster
    assert len(found["environment"]["runner"]) == 64
    for each in found["results"]:
        assert each["latency_ms"] > 0 and each["init_ms"] > 0
        assert each["peak_memory_mb"] > 0
        assert next(op["name"].split(" (")[0] for op in each["ops"]) == "Convolution"


def test_bench_on_the_gpu(host_phone: LabPhone, tool: Path, models: Path, gpu: GpuProbe) -> None:
    where = ("--device", host_phone.serial, "--runner-binary", tool, "--delegate", "gpu")
    found, messages = latlas("bench", models / "net.tflite", *where, "--ops", "--min-ms", 1)
    assert found["target"]["backend"] == "opengl"
    assert found["target"]["adapter"] == "Mali-G78"
    assert found["results"][0]["ops"] == []
    assert "no operators are listed by gpu/opengl" in messages


def test_a_new_phone(
    host_phone: LabPhone, tool: Path, models: Path, tmp_path: Path, gpu: GpuProbe
) -> None:
    host_phone.set_property("ro.product.model", "Never Seen")
    try:
        folder = tmp_path / "tables"
        where = ("--device", host_phone.serial, "--runner-binary", tool)
        command = ("profile", "--models", models, *where, "--table", folder, *SHORT)
        found, _ = latlas(*command, "--delegate", "cpu,gpu", "--budget", "6s")
        config = load_config(folder / "device.toml")
        clusters = sorted({"0", LAST_CORE}) if os.cpu_count() == 2 else None
        names = [campaign["name"] for campaign in found["campaigns"]]
        assert names[-1] == "gpu-opengl" and names[0].startswith("cpu-")
        assert config.models == ("Never Seen",)
        assert [target.delegate for target in config.targets] == ["cpu"] * (len(names) - 1) + [
            "gpu"
        ]
        assert clusters is None or sorted(t.cores for t in config.targets[:-1]) == clusters
        for campaign in found["campaigns"]:
            table = Table.open(campaign["table"])
            assert table.target.delegate == campaign["target"]["delegate"]
            assert table.header.environment["fingerprint"].startswith("google/oriole")
            assert campaign["report"]["measured"] + campaign["report"]["voided"] > 0
    finally:
        host_phone.set_property("ro.product.model", "Pixel 6")


def test_the_warmup_is_found_and_recorded(
    host_phone: LabPhone, tool: Path, models: Path, tmp_path: Path
) -> None:
    where = ("--device", host_phone.serial, "--runner-binary", tool, "--cores", LAST_CORE)
    effort = ("--runs", 3, "--min-ms", 0.5, "--budget", "3s")
    latlas("profile", "--models", models, *where, *effort, "--table", tmp_path / "T")
    table = Table.open(tmp_path / "T" / TABLE)
    assert all("battery" in {one.name for one in m.temperatures_c} for m in table.references)
    (warmup,) = table.warmups
    assert {timing.kernel for timing in warmup.timings} == {"small", "medium", "large"}
    assert warmup.warmup_ms in {timing.warmup_ms for timing in warmup.timings}


def test_one_phone_s_failure_does_not_stop_the_others(
    weak_phone: LabPhone, tool: Path, models: Path, tmp_path: Path
) -> None:
    (tmp_path / "second").mkdir()
    with lab_phone(weak_phone.server, tmp_path / "second", cores="host") as second:
        second.set_property("ro.product.cpu.abi", "arm64-v8a")  # for which the tool is not built
        found, _ = latlas(
            *("profile", "--models", models, "--device", "all", "--runner-binary", tool),
            *("--cores", LAST_CORE, "--table", tmp_path / "tables", *QUICK),
            status=1,
        )
        good, bad = sorted(found["campaigns"], key=lambda campaign: "error" in campaign)
        assert (good["device"], bad["device"]) == (weak_phone.serial, second.serial)
        assert "not for arm64-v8a" in bad["error"]
        assert good["report"]["left"] == 0
        second.set_property("ro.product.cpu.abi", ABI)
        found, _ = latlas(
            *("profile", "--models", models, "--device", f"{weak_phone.serial},{second.serial}"),
            *("--runner-binary", tool, "--cores", LAST_CORE),
            *("--table", tmp_path / "tables", *QUICK),
        )
    assert found["campaigns"][0]["report"]["measured"] == 0
    assert found["campaigns"][1]["report"]["measured"] == good["report"]["measured"]
    assert len({campaign["table"] for campaign in found["campaigns"]}) == 2


def test_one_phone_attached_twice_is_measured_once(
    weak_phone: LabPhone, tool: Path, models: Path, tmp_path: Path
) -> None:
    second = FaultProxy(weak_phone.link.target)
    second.start()
    try:
        serial = f"127.0.0.1:{second.port}"
        weak_phone.server.adb("connect", serial)
        wait_for(lambda: weak_phone.server.state(serial) == "device", "the second link")
        found, messages = latlas(
            *("profile", "--models", models, "--device", "all", "--runner-binary", tool),
            *("--cores", LAST_CORE, "--table", tmp_path / "tables", *QUICK),
        )
    finally:
        second.stop()
    assert "once more: left out" in messages
    assert found["device"] in (weak_phone.serial, serial)  # and no other campaign
    assert found["report"]["measured"] > 0


def test_an_interrupt_before_anything_is_measured(
    host_phone: LabPhone, tool: Path, models: Path, tmp_path: Path
) -> None:
    where = ("--device", host_phone.serial, "--runner-binary", tool, "--delegate", "cpu")
    command = ("profile", "--models", models, *where, "--table", tmp_path / "T")
    process = start(*command)
    # The warm-up is being found: the first target's table is there, without a figure.
    wait_for(lambda: any((tmp_path / "T").glob(f"*/{JOURNAL}")), "the table")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 1


def test_two_processes_on_one_phone(host_phone: LabPhone, tool: Path, models: Path) -> None:
    where = ("--device", host_phone.serial, "--runner-binary", tool)
    first = start("bench", models / "net.tflite", *where, "--min-ms", 4000)
    wait_for(lambda: "benchmark_model" in host_phone.sh("ps -A -o args"), "the first")
    _, messages = latlas("bench", models / "net.tflite", *where, status=1)
    assert "another campaign or process of latlas measures on it" in messages
    first.communicate(timeout=60)
    assert first.returncode == 0


def test_an_interrupt_puts_the_phone_back(
    host_phone: LabPhone, tool: Path, models: Path, tmp_path: Path
) -> None:
    where = ("--device", host_phone.serial, "--runner-binary", tool, "--cores", LAST_CORE)
    command = ("profile", "--models", models, *where, "--table", tmp_path / "T", *QUICK)
    stay_on = "settings get global stay_on_while_plugged_in"
    assert host_phone.sh(stay_on) == "null\n"
    process = start(*command)
    table = tmp_path / "T" / TABLE
    wait_for(lambda: (table / JOURNAL).exists() and kernels(table) != set(), "figures")
    assert host_phone.sh(stay_on) == "15\n"
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "run it again to go on" in messages and "Traceback" not in messages
    assert host_phone.sh(stay_on) == "null\n"
    assert host_phone.sh("ls /data/local/tmp/latlas") == "bin\n"
    found, _ = latlas(*command)
    assert found["report"]["left"] == 0 and found["report"]["skipped"] > 0


def test_kill_9_at_random_moments(
    host_phone: LabPhone, tool: Path, models: Path, tmp_path: Path
) -> None:
    where = ("--device", host_phone.serial, "--runner-binary", tool, "--cores", LAST_CORE)
    command = ("profile", "--models", models, *where, *QUICK)
    stay_on = "settings get global stay_on_while_plugged_in"
    host_phone.sh("settings put global stay_on_while_plugged_in 2")
    rng = random.Random(0)
    for _ in range(3):
        process = start(*command, "--table", tmp_path / "torn")
        time.sleep(rng.uniform(0.5, 4.0))
        process.kill()
        process.communicate()
    latlas(*command, "--table", tmp_path / "torn")
    assert host_phone.sh(stay_on) == "2\n"
    latlas(*command, "--table", tmp_path / "whole")
    torn = tmp_path / "torn" / TABLE
    assert kernels(torn) == kernels(tmp_path / "whole" / TABLE)
    assert len(accepted(torn)) == len(set(accepted(torn)))
    host_phone.sh("settings delete global stay_on_while_plugged_in")


def test_a_hot_phone_is_waited_for(
    weak_phone: LabPhone, tool: Path, models: Path, tmp_path: Path
) -> None:
    weak_phone.set_dumpsys("thermalservice", STATUS.format(3))
    where = ("--device", weak_phone.serial, "--runner-binary", tool, "--cores", LAST_CORE)
    command = ("profile", "--models", models, *where, "--table", tmp_path / "T", *QUICK)
    process = start(*command)
    table = tmp_path / "T" / TABLE
    wait_for((table / JOURNAL).exists, "the table")
    time.sleep(2)
    assert accepted(table) == []
    weak_phone.set_dumpsys("thermalservice", STATUS.format(0))
    _, messages = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "waiting: throttled, thermal status 3" in messages
    assert accepted(table)


def test_fixed_performance_is_part_of_the_target(
    host_phone: LabPhone, tool: Path, models: Path
) -> None:
    where = ("--device", host_phone.serial, "--runner-binary", tool, "--fixed-performance")
    before = len(host_phone.calls())
    found, _ = latlas("bench", models / "net.tflite", *where, "--min-ms", 1)
    assert found["target"]["clocks"] == "fixed"
    calls = [call for call in host_phone.calls()[before:] if "fixed-performance" in call]
    assert [call.split()[-1] for call in calls] == ["true", "false"]

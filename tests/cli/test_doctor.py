"""`latlas doctor` with phones attached, and as it fetches binaries; in processes of their own."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from components import require
from phone_lab.build import build, build_without_gpu
from phone_lab.build import missing as missing_for_build
from phone_lab.lab import LabPhone, adb_server, best_daemon, lab_phone, missing, wait_for

from latlas.commands.doctor import judge
from latlas.phones import FoundPhone
from latlas.profiler.adb.conditions import usual_conditions
from latlas.profiler.adb.health import Battery, Thermal
from latlas.profiler.adb.phone import Phone
from latlas.profiler.adb.server import list_phones
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.litert.local import GpuProbe
from latlas.profiler.tflite.writer import to_tflite

ARM = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, 183) + bytes(44) + b"code" * 1000
CONFIG = """\
models = ["Pixel 6"]
thermal_limit = {limit}
targets = [{{ delegate = "cpu" }}, {{ delegate = "gpu" }}]
"""
# Nobody publishes a binary for x86_64, which is what the tests' phone can run.
WITH_X86 = """
from latlas.cli import main
from latlas.profiler.benchmark_model import download
download._OFFICIAL["tflite", "x86_64"] = ("https://nowhere.invalid", "x86_benchmark_model")
main()
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LATLAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    reason = missing_for_build()
    require("what builds benchmark_model", not reason, reason)
    return build(tmp_path_factory.mktemp("tool"))


@pytest.fixture
def pocket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LabPhone]:
    """A phone that can run the tool: with this machine's processor, and one or two clusters."""
    reason = missing(best_daemon())
    require("a phone on this machine", not reason, reason)
    folders = tmp_path / "adb", tmp_path / "phone"
    for folder in folders:
        folder.mkdir()
    with adb_server(folders[0]) as server, lab_phone(server, folders[1], cores="host") as phone:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        phone.set_property("ro.product.cpu.abi", "x86_64")
        yield phone


def latlas(*arguments: object, code: str = "") -> subprocess.CompletedProcess[str]:
    start = ["-c", code] if code else ["-m", "latlas"]
    command = [sys.executable, *start, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def doctor(phone: LabPhone, *arguments: object) -> tuple[dict[str, dict[str, Any]], int]:
    """Examine a phone; return its checks by what they are about, and the exit code."""
    done = latlas("doctor", "--device", phone.serial, "--json", *arguments)
    assert done.stdout, done.stderr
    checks = json.loads(done.stdout)["checks"]
    assert all(set(check) == {"name", "ok", "found", "mend"} for check in checks)
    assert all(bool(check["mend"]) != check["ok"] for check in checks)
    before = f"phone {phone.serial}: "
    assert all(check["name"].startswith(before) for check in checks)
    assert len({check["name"] for check in checks}) == len(checks)
    return {check["name"].removeprefix(before): check for check in checks}, done.returncode


def wrong(checks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [name for name, check in checks.items() if not check["ok"]]


# ---- At a glance ----


def test_phones_at_a_glance(phone: LabPhone) -> None:
    checks = json.loads(latlas("doctor", "--json").stdout)["checks"]
    assert checks[-1] == {
        "name": f"phone {phone.serial}",
        "ok": True,
        "found": "Pixel 6",
        "mend": "",
    }


@pytest.mark.parametrize(
    ("battery", "thermal", "found"),
    [
        (Battery(percent=12.0), None, "battery at 12%"),
        (Battery(percent=12.0, charging=True), None, ""),
        (Battery(temperature_c=41.5), Thermal(status=0), "battery at 41.5 °C"),
        (None, Thermal(status=2), "throttled, thermal status 2"),
        (None, Thermal(overridden=True), "its thermal status was set by hand"),
        (Battery(percent=3.0), Thermal(status=1), "battery at 3%; throttled, thermal status 1"),
        (None, None, ""),
    ],
)
def test_what_would_spoil_a_measurement(
    battery: Battery | None, thermal: Thermal | None, found: str
) -> None:
    check = judge(FoundPhone("0A1B", "device", battery=battery, thermal=thermal))
    assert check.ok == (not found)
    assert check.found == (found or "ready")
    assert bool(check.mend) == bool(found)


# ---- A phone, examined ----


def test_a_phone_that_can_be_measured(
    pocket: LabPhone, tool: Path, tmp_path: Path, gpu: GpuProbe
) -> None:
    config = tmp_path / "mine.toml"
    config.write_text(CONFIG.format(limit=0))
    pocket.sh("settings put global stay_on_while_plugged_in 2")
    checks, code = doctor(pocket, "--runner-binary", tool, "--device-config", config)
    assert (wrong(checks), code) == ([], 0)
    assert list(checks) == [
        *("state", "identity", "configuration", "power saver", "free space", "battery"),
        *("thermal status", "charging", "idle", "leftovers", "screen awake"),
        *("fixed performance mode", "affinity", "benchmark binary", "runs there", "CPU", "GPU"),
    ]
    assert checks["identity"]["found"].startswith("Google Pixel 6; Google Tensor; Mali-G78; ")
    assert checks["battery"]["found"] == "87%, 26.8 °C"
    assert "cpu/xnnpack" in checks["CPU"]["found"]
    assert "gpu/" in checks["GPU"]["found"]
    # It is as it was.
    assert pocket.sh("settings get global stay_on_while_plugged_in").strip() == "2"
    fixed = [call for call in pocket.calls() if "fixed-performance" in call]
    assert [call.split()[-1] for call in fixed] == ["true", "false"]
    assert pocket.sh("ls /data/local/tmp/latlas").split() == ["bin"]


def test_what_spoils_a_measurement_stops_none(pocket: LabPhone, tmp_path: Path, tool: Path) -> None:
    pocket.sh("settings put global low_power 1")
    pocket.sh("cmd thermalservice override-status 2")
    pocket.set_property("lab.power_hal", "none")
    pocket.set_dumpsys("battery", "  level: 12\n  scale: 100\n  temperature: 268\n")
    pocket.fill(100 << 20)
    text = latlas("doctor", "--device", pocket.serial, "--runner-binary", tool)
    assert text.returncode == 0, text.stderr
    states = {
        line.partition(": ")[2].rpartition(" ")[0].strip(): line.split()[-1]
        for line in text.stdout.partition("\n\n")[0].splitlines()[2:]
    }
    states.pop("GPU")
    assert {name: state for name, state in states.items() if state != "ok"} == {
        "configuration": "spoils",  # that of a real Pixel 6, which has other cores
        "power saver": "spoils",
        "free space": "spoils",
        "battery": "spoils",
        "thermal status": "spoils",
        "fixed performance mode": "missing",
    }
    on_it = f"adb -s {pocket.serial} shell"
    for line in (
        "battery: battery at 12%",
        f"mend: {on_it} settings put global low_power 0",
        f"mend: {on_it} cmd thermalservice reset",
        "Power HAL AIDL is not implemented",
    ):
        assert line in text.stdout


def test_a_limit_of_heat_is_the_configurations(pocket: LabPhone, tmp_path: Path) -> None:
    status = "IsStatusOverride: false\nThermal Status: 2\n"
    pocket.set_dumpsys("thermalservice", status)
    config = tmp_path / "warm.toml"
    for limit in (1, 2):
        config.write_text(CONFIG.format(limit=limit))
        checks, _ = doctor(pocket, "--device-config", config)
        assert checks["thermal status"]["ok"] == (limit == 2)


def test_a_configuration_of_another_phone(pocket: LabPhone, tmp_path: Path, tool: Path) -> None:
    config = tmp_path / "other.toml"
    config.write_text('models = ["Pixel 4"]\n')
    checks, code = doctor(pocket, "--device-config", config, "--runner-binary", tool)
    assert (wrong(checks), code) == (["configuration"], 1)
    assert "'Pixel 6' on the phone" in checks["configuration"]["found"]
    assert str(config) in checks["configuration"]["mend"]


def test_cores_that_cannot_be_set(pocket: LabPhone, tool: Path) -> None:
    core = pocket.folder / "fixture" / "sys" / "devices" / "system" / "cpu" / "cpu200"
    core.mkdir()
    (core / "cpu_capacity").write_text("2000\n")  # the fastest: it is what is measured first
    checks, code = doctor(pocket, "--runner-binary", tool)
    assert code == 1
    assert {"affinity", "CPU"} <= set(wrong(checks))
    assert f"{1 << 200:x}" in checks["affinity"]["found"]
    assert "200" in checks["CPU"]["found"]


def test_without_a_binary_nothing_can_be_measured(pocket: LabPhone, tmp_path: Path) -> None:
    checks, code = doctor(pocket)
    assert code == 1
    assert list(checks)[-1] == "benchmark binary"
    assert checks["benchmark binary"]["mend"] == (
        f"latlas doctor --fetch-runner --device {pocket.serial}"
    )
    stranger = tmp_path / "stranger"
    stranger.write_text("#!/system/bin/sh\necho hello\n")
    checks, code = doctor(pocket, "--runner-binary", stranger)
    assert code == 1
    assert list(checks)[-1] == "runs there"
    assert "no benchmark_model" in checks["runs there"]["found"]
    assert "--runner-binary" in checks["runs there"]["mend"]


def test_a_tool_without_a_gpu_can_measure_the_cpu(pocket: LabPhone, tmp_path: Path) -> None:
    reason = missing_for_build()
    require("what builds benchmark_model", not reason, reason)
    checks, code = doctor(pocket, "--runner-binary", build_without_gpu(tmp_path))
    assert code == 0
    assert checks["CPU"]["ok"]
    assert "built without the GPU delegate" in checks["GPU"]["found"]


def test_what_an_interrupted_start_has_left_is_put_back(pocket: LabPhone) -> None:
    pocket.sh("settings put global stay_on_while_plugged_in 2")
    usual_conditions(Phone(pocket.serial), fixed_performance=True).write()
    assert pocket.sh("settings get global stay_on_while_plugged_in").strip() == "15"
    leftovers = [doctor(pocket)[0]["leftovers"]["found"] for _ in range(2)]
    assert "screen awake" in leftovers[0]
    assert "fixed performance mode" in leftovers[0]
    assert leftovers[1] == "none"
    assert pocket.sh("settings get global stay_on_while_plugged_in").strip() == "2"
    assert [call for call in pocket.calls() if "fixed-performance" in call][-1].endswith("false")


def test_another_measurement_is_left_alone(pocket: LabPhone, tool: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path)
    bench = ["bench", str(model), "--device", pocket.serial, "--runner-binary", str(tool)]
    command = [sys.executable, "-m", "latlas", *bench, "--min-ms", "6000", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as measuring:
        runs = "pgrep -f 'min_secs[=]6'"  # and not the small model that comes before
        try:
            wait_for(lambda: bool(pocket.sh(runs).strip()), "the tool", 60)
            checks, code = doctor(pocket, "--runner-binary", tool)
            assert code == 1
            assert "another measurement runs" in checks["idle"]["found"]
            assert list(checks)[-1] == "idle"
            printed, _ = measuring.communicate(timeout=100)
        finally:
            measuring.kill()
    assert measuring.returncode == 0
    assert json.loads(printed)["results"][0]["latency_ms"] > 0


def test_what_a_phone_says_is_printed_cleaned(pocket: LabPhone) -> None:
    pocket.set_property("ro.product.model", "Evil\x1b[2J\x07")
    pocket.set_property("ro.product.cpu.abi", "mips\x1b[31m")
    for device in (pocket.serial, "local"):
        done = latlas("doctor", "--device", device)
        assert "Evil?[2J?" in done.stdout
        assert not {"\x1b", "\x07"} & set(done.stdout + done.stderr)
    assert done.returncode == 0
    checks, code = doctor(pocket)
    assert code == 1
    assert "unknown ABI" in checks["benchmark binary"]["found"]


# ---- A phone that cannot be used ----


def test_a_frozen_phone_is_given_up_in_time(pocket: LabPhone) -> None:
    pocket.link.frozen = True
    started = time.monotonic()
    checks, code = doctor(pocket)
    assert time.monotonic() - started < 40  # 5 s for the phone, the rest for a busy machine
    assert (code, wrong(checks)) == (1, ["state"])
    assert checks["state"]["found"] == "not answering"
    assert "plug it in again" in checks["state"]["mend"]


def test_a_phone_that_goes_away_meanwhile_is_given_up(pocket: LabPhone, tool: Path) -> None:
    pocket.link.stay_cut = True
    pocket.link.cut_after = 20_000  # in the middle of the binary
    checks, code = doctor(pocket, "--runner-binary", tool)
    assert code == 1
    assert list(checks)[-2:] == ["benchmark binary", "answers"]
    assert f"latlas doctor --device {pocket.serial}" in checks["answers"]["mend"]


def test_phones_in_other_states(fragile_phone: LabPhone) -> None:
    fragile_phone.detach()
    checks, code = doctor(fragile_phone)
    assert (code, checks["state"]["found"]) == (1, "not attached")
    nothing = latlas("doctor", "--device", "all")
    assert nothing.returncode == 1
    assert "no phone is attached" in nothing.stdout
    fragile_phone.link.unauthorized = True
    fragile_phone.server.adb("connect", fragile_phone.serial)
    wait_for(lambda: [phone.state for phone in list_phones()] == ["unauthorized"], "its question")
    done = latlas("doctor", "--device", "all")
    assert done.returncode == 1
    assert f"phone {fragile_phone.serial}: state: unauthorized" in done.stdout
    assert "mend: unlock the phone and accept this computer on its screen" in done.stdout


def test_without_adb() -> None:
    for device in ("all", "0A1B"):
        done = latlas("doctor", "--device", device)
        assert done.returncode == 1
        assert "no adb server answers" in done.stdout
        assert "mend: apt-get install adb" in done.stdout


# ---- Benchmark binaries ----


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve the files of a folder; return the address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    return folder


def write_model(folder: Path) -> Path:
    b = GraphBuilder((1, 28, 28, 16))
    path = folder / "model.tflite"
    path.write_bytes(to_tflite(b.build(b.depthwise(b.input, 3))))
    return path


def test_a_binary_is_fetched_without_a_phone(mirror: Path, cache: Path) -> None:
    (mirror / "android_aarch64_benchmark_model").write_bytes(ARM)
    with serving(mirror) as url:
        done = latlas("doctor", "--fetch-runner", "--runner-url", url, "--json")
        text = latlas("doctor", "--fetch-runner", "--runner-url", url, "--abi", "arm64-v8a")
    assert done.returncode == 0, done.stderr
    assert "fetching for arm64-v8a" in done.stderr
    path = cache / "runners" / "tflite-arm64-v8a" / "benchmark_model"
    digest = hashlib.sha256(ARM).hexdigest()
    expected = {"tool": "tflite", "abi": "arm64-v8a", "path": str(path), "sha256": digest}
    assert json.loads(done.stdout) == {"binaries": [{**expected, "size": len(ARM)}]}
    assert path.read_bytes() == ARM
    assert text.returncode == 0
    assert text.stdout.split("\n")[:2] == [
        str(path),
        f"  tflite benchmark_model for arm64-v8a, {len(ARM)} bytes, sha256 {digest}",
    ]


def test_the_other_tool_is_fetched(mirror: Path, cache: Path) -> None:
    (mirror / "android_arm64").mkdir()
    (mirror / "android_arm64" / "benchmark_model").write_bytes(ARM)
    with serving(mirror) as url:
        done = latlas("doctor", "--fetch-runner", "--runner-url", url, "--tool", "litert")
    assert done.returncode == 0, done.stderr
    assert (cache / "runners" / "litert-arm64-v8a" / "benchmark_model").read_bytes() == ARM


@pytest.mark.parametrize(
    "page", [None, b"<!DOCTYPE html><title>Sign in</title>", ARM.replace(b"\xb7", b"\x3e", 1)]
)
def test_what_is_no_binary_is_not_kept(mirror: Path, cache: Path, page: bytes | None) -> None:
    if page is not None:
        (mirror / "android_aarch64_benchmark_model").write_bytes(page)
    with serving(mirror) as url:
        done = latlas("doctor", "--fetch-runner", "--abi", "arm64-v8a", "--runner-url", url)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"latlas: {url}/android_aarch64_benchmark_model ")
    assert ("server answers 404" in line) == (page is None)
    assert line.endswith("by hand and give it with --runner-binary PATH")
    assert not (cache / "runners").exists() or not list(cache.rglob("benchmark_model"))


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--fetch-runner", "--abi", "x86_64"], 1, "no benchmark_model of tflite is published"),
        (["--fetch-runner", "--abi", "arm"], 2, "unknown ABI 'arm'"),
        (["--fetch-runner", "--runner-url", "file:///etc"], 2, "must begin with https://"),
        (["--fetch-runner", "--tool", "other"], 2, "'other' is not one of"),
        (["--fetch-runner", "--device", "0A1B"], 1, "no adb server answers"),
        (["--abi", "arm64-v8a"], 2, "belong to --fetch-runner"),
        (["--device", ","], 2, "names no usable device"),
    ],
)
def test_what_cannot_be_done_is_refused(arguments: list[str], code: int, expected: str) -> None:
    done = latlas("doctor", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_the_binary_is_for_the_phones_that_are_attached(phone: LabPhone, mirror: Path) -> None:
    (mirror / "android_arm_benchmark_model").write_bytes(ARM)
    (mirror / "android_aarch64_benchmark_model").write_bytes(ARM)
    with serving(mirror) as url:
        done = latlas("doctor", "--fetch-runner", "--runner-url", url, "--json")
    assert [each["abi"] for each in json.loads(done.stdout)["binaries"]] == ["arm64-v8a"]


def test_what_was_fetched_measures(
    pocket: LabPhone, mirror: Path, tool: Path, tmp_path: Path, cache: Path
) -> None:
    (mirror / "x86_benchmark_model").write_bytes(tool.read_bytes())
    fetch = ("doctor", "--fetch-runner", "--device", pocket.serial)
    with serving(mirror) as url:
        done = latlas(*fetch, "--runner-url", url, "--json", code=WITH_X86)
    assert done.returncode == 0, done.stderr
    (binary,) = json.loads(done.stdout)["binaries"]
    assert binary["path"] == str(cache / "runners" / "tflite-x86_64" / "benchmark_model")
    checks, code = doctor(pocket)
    assert code == 0
    assert binary["sha256"][:12] in checks["CPU"]["found"]
    bench = latlas("bench", write_model(tmp_path), "--device", pocket.serial, "--json")
    assert bench.returncode == 0, bench.stderr
    document = json.loads(bench.stdout)
    assert document["environment"]["runner"] == binary["sha256"]
    assert document["results"][0]["latency_ms"] > 0

"""A phone with the cores of this machine, and a benchmark binary for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from components import require
from phone_lab import build
from phone_lab.lab import AdbServer, LabPhone, adb_server, best_daemon, lab_phone, missing

from latlas.profiler.benchmark_model.binary import RunnerBinary, cached_path, find_binary
from tests.profiler.litert.conftest import partly_supported

__all__ = ["partly_supported"]  # a fixture of the local runner's tests

ABI = "x86_64"
LAST_CORE = str(max(os.sched_getaffinity(0)))


@pytest.fixture(scope="session")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests' benchmark_model."""
    reason = build.missing()
    require("a benchmark_model", not reason, reason)
    return build.build(tmp_path_factory.mktemp("tool"))


@pytest.fixture(scope="session")
def binary(tool: Path) -> RunnerBinary:
    return find_binary(ABI, path=tool)


@pytest.fixture
def runner(tool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark_model where `latlas doctor --fetch-runner` leaves it."""
    monkeypatch.setenv("LATLAS_CACHE", str(tmp_path / "cache"))
    cached = cached_path(ABI, "tflite")
    cached.parent.mkdir(parents=True)
    cached.symlink_to(tool)


@pytest.fixture(scope="session")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabPhone]:
    require_phone()
    with (
        adb_server(tmp_path_factory.mktemp("adb")) as server,
        lab_phone(server, tmp_path_factory.mktemp("phone"), cores="host") as phone,
    ):
        phone.set_property("ro.product.cpu.abi", ABI)
        yield phone


@pytest.fixture
def host_phone(_shared: LabPhone, monkeypatch: pytest.MonkeyPatch) -> LabPhone:
    """A phone whose cores exist, shared by tests that leave it as it is."""
    _attach(_shared.server, monkeypatch)
    return _shared


@pytest.fixture
def weak_phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LabPhone]:
    """Such a phone with an adb server of its own, which a test may break."""
    require_phone()
    for name in ("adb", "phone"):
        (tmp_path / name).mkdir()
    with (
        adb_server(tmp_path / "adb") as server,
        lab_phone(server, tmp_path / "phone", cores="host") as phone,
    ):
        phone.set_property("ro.product.cpu.abi", ABI)
        _attach(server, monkeypatch)
        yield phone


def require_phone() -> None:
    """Skip the test where no phone can run."""
    reason = missing(best_daemon())
    require("a phone on this machine", not reason, reason)


def _attach(server: AdbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)

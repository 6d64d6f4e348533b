import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# Tests are imported by path, so that their folders may be called like those of the package; what
# they share (components.py) is found through this.
sys.path.insert(0, str(Path(__file__).parent))

from components import require, require_ray
from hypothesis import settings
from phone_lab.lab import (
    AdbServer,
    Daemon,
    LabPhone,
    adb_server,
    best_daemon,
    lab_phone,
    missing,
)

from latlas.profiler.litert.local import GpuProbe, probe_gpu

if TYPE_CHECKING:
    from running import Prototypes

settings.register_profile("latlas", deadline=None)  # a busy machine is no bug
settings.load_profile("latlas")

SWIFTSHADER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")


@pytest.fixture(scope="session")
def vulkan() -> Iterator[GpuProbe]:
    """Any Vulkan device, with SwiftShader as the substitute where it is installed."""
    with pytest.MonkeyPatch.context() as patch:
        if SWIFTSHADER.exists() and "VK_DRIVER_FILES" not in os.environ:
            patch.setenv("VK_DRIVER_FILES", str(SWIFTSHADER))
            patch.setenv("VK_ICD_FILENAMES", str(SWIFTSHADER))
        yield probe_gpu()


@pytest.fixture
def gpu(vulkan: GpuProbe) -> GpuProbe:
    """The GPU of the tests; without one they are skipped."""
    require("a Vulkan device", bool(vulkan.adapter), vulkan.problem)
    return vulkan


@pytest.fixture(scope="module")
def prototypes(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Prototypes]":
    """What commands of README and docs/ read."""
    from running import prototypes_in  # many libraries that few tests need

    with prototypes_in(tmp_path_factory.mktemp("prototypes")) as found:
        yield found


@pytest.fixture(scope="session", autouse=True)
def no_real_phones() -> Iterator[None]:
    """Keep tests from phones that are attached to this machine, and from starting an adb server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDROID_ADB_SERVER_PORT", "1")
        patch.setenv("ADBUTILS_ADB_PATH", "/bin/false")
        yield


@pytest.fixture(scope="session")
def ray_hosts() -> Iterator[Any]:
    """A Ray cluster of two hosts with two CPUs each; the second offers the phone A."""
    require_ray()
    with pytest.MonkeyPatch.context() as patch:
        path = os.pathsep.join(
            [*filter(None, [os.environ.get("PYTHONPATH")]), str(Path(__file__).parent)]
        )
        patch.setenv("PYTHONPATH", path)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # Without this, Ray replaces 127.0.0.1 by an address of the network, where there is one.
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        from ray.cluster_utils import Cluster as Hosts

        options = {
            "include_dashboard": False,
            "node_ip_address": "127.0.0.1",
            "object_store_memory": 80_000_000,
        }
        hosts = Hosts(initialize_head=True, head_node_args={"num_cpus": 2, **options})
        hosts.add_node(num_cpus=2, resources={"phone:A": 1}, **options)
        yield hosts
        hosts.shutdown()


@pytest.fixture(scope="session")
def running_phone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LabPhone]:
    """A phone with Google's adbd where that is installed, or with the daemon of a parameter."""
    daemon: Daemon = getattr(request, "param", None) or best_daemon()
    reason = missing(daemon)
    require(f"a phone on this machine ({daemon})", not reason, reason)
    with (
        adb_server(tmp_path_factory.mktemp("adb")) as server,
        lab_phone(server, tmp_path_factory.mktemp("phone"), daemon) as phone,
    ):
        yield phone


@pytest.fixture
def phone(running_phone: LabPhone, monkeypatch: pytest.MonkeyPatch) -> LabPhone:
    """The only phone there is. It must stay as it is."""
    _only_phones_of(running_phone.server, monkeypatch)
    return running_phone


@pytest.fixture
def fragile_phone(
    running_phone: LabPhone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LabPhone]:
    """A phone with an adb server of its own, which a test may change, cut, kill and boot."""
    folders = tmp_path / "adb", tmp_path / "phone"
    for folder in folders:
        folder.mkdir()
    with (
        adb_server(folders[0]) as server,
        lab_phone(server, folders[1], running_phone.daemon) as phone,
    ):
        _only_phones_of(server, monkeypatch)
        yield phone


def _only_phones_of(server: AdbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)

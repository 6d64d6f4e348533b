"""A phone on this machine: the real adb server, Google's real adbd, and a link that can break.

Both processes get SIGKILL from the kernel when the tests' process ends, however it ends; adbd's
namespaces, with its mounts and all that runs in them, end with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path

from phone_lab.proxy import FaultProxy

LAB = Path(__file__).parent
ADB = Path(str(files("adbutils") / "binaries" / "adb"))
ADBD = Path("/usr/lib/android-sdk/platform-tools/adbd")
_DIE_WITH_US = ("setpriv", "--pdeathsig", "KILL")


def missing() -> str:
    """Return what keeps the phone from running here, and how to get it; empty if nothing."""
    if os.geteuid() != 0:
        return "namespaces with mounts need root: sudo make test"
    if not ADBD.exists():
        return "apt-get install -t bookworm-backports adbd (.ci/run shows the source)"
    for tool in ("mksh", "toybox"):
        if not shutil.which(tool):
            return f"apt-get install {tool}"
    for tool in ("unshare", "setpriv", "chroot"):
        if not shutil.which(tool):
            return "apt-get install util-linux coreutils"
    if not os.access(ADB, os.X_OK):
        return "pip install --force-reinstall adbutils, as a wheel that bundles adb"
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--net", "--fork", "true"], capture_output=True, text=True
    )
    return f"a machine that allows namespaces ({tried.stderr.strip()})" if tried.returncode else ""


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: it does not within the time.
    """
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"still waiting for {what} after {timeout_s} s"
        time.sleep(0.02)


class AdbServer:
    """An adb server of the tests' own, which knows no phone but theirs."""

    def __init__(self, home: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.environment: Mapping[str, str] = {
            "ADBUTILS_ADB_PATH": str(ADB),
            "ANDROID_ADB_SERVER_HOST": "127.0.0.1",
            "ANDROID_ADB_SERVER_PORT": str(self.port),
            "ADB_EMU": "0",
            "ADB_MDNS": "0",
            "ADB_MDNS_OPENSCREEN": "0",
            "ADB_USB": "0",
            "HOME": str(home),
            "TMPDIR": str(home),
        }
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_DIE_WITH_US, ADB, "-P", str(self.port), "nodaemon", "server"],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(self._answers, "the adb server")

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def adb(self, *arguments: str) -> str:
        done = subprocess.run(
            [ADB, "-P", str(self.port), *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=30,
        )
        return done.stdout

    def state(self, serial: str) -> str:
        """Return the state of a phone, empty if the server does not know it."""
        lines = (line.partition("\t") for line in self.adb("devices").splitlines())
        return next((state for name, _, state in lines if name == serial), "")

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False


class LabPhone:
    """A phone that is attached to an adb server through a `FaultProxy`."""

    def __init__(self, server: AdbServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.link = FaultProxy(folder / "adbd.sock")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.link.port}"

    def boot(self) -> None:
        """Start adbd in its namespaces."""
        root, gate = self.folder / "root", self.folder / "adbd.sock"
        root.mkdir(exist_ok=True)
        gate.unlink(missing_ok=True)
        namespaces = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child"]
        adbd = ["sh", LAB / "root.sh", LAB, root, gate, sys.executable]
        with (self.folder / "adbd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_DIE_WITH_US, *namespaces, *adbd],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(lambda: gate.exists() or not self.runs, "adbd")
        assert self.runs, (self.folder / "adbd.log").read_text()

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End adbd and all that it runs at once, as a phone whose battery is pulled out."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def attach(self) -> None:
        """Connect the adb server to it, and wait until commands can be run."""
        self.server.adb("connect", self.serial)
        wait_for(lambda: self.server.state(self.serial) == "device", "the phone to be ready")

    def detach(self) -> None:
        self.server.adb("disconnect", self.serial)


@contextlib.contextmanager
def adb_server(home: Path) -> Iterator[AdbServer]:
    """Run an adb server."""
    server = AdbServer(home)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def lab_phone(server: AdbServer, folder: Path) -> Iterator[LabPhone]:
    """Run a phone, attached to a server."""
    phone = LabPhone(server, folder)
    phone.link.start()
    try:
        phone.boot()
        phone.attach()
        yield phone
    finally:
        phone.kill()
        phone.link.stop()

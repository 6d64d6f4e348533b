"""A phone on this machine: the real adb server, a phone's daemon, and a link that can break.

The daemon is Google's real adbd, or daemon.py where that is not installed. All processes get
SIGKILL from the kernel when the tests' process ends, however it ends; the daemon's namespaces, with
its mounts and all that runs in them, end with it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from phone_lab.cpu import Cores, write_cpu
from phone_lab.proxy import FaultProxy

Daemon = Literal["adbd", "python"]

LAB = Path(__file__).parent
ADB = Path(str(files("adbutils") / "binaries" / "adb"))
DEBIAN_ADB = Path("/usr/bin/adb")
ADBD = Path("/usr/lib/android-sdk/platform-tools/adbd")
DIE_WITH_US = ("setpriv", "--pdeathsig", "KILL")
_DATA_SIZE = "2g"


def missing(daemon: Daemon) -> str:
    """Return what keeps the phone from running here, and how to get it; empty if nothing."""
    if os.geteuid() != 0:
        return "namespaces with mounts need root: sudo make test"
    if daemon == "adbd" and not ADBD.exists():
        return "apt-get install -t bookworm-backports adbd (.ci/run shows the source)"
    for tool in ("mksh", "toybox"):
        if not shutil.which(tool):
            return f"apt-get install {tool}"
    for tool in ("unshare", "nsenter", "setpriv", "chroot"):
        if not shutil.which(tool):
            return "apt-get install util-linux coreutils"
    if not os.access(ADB, os.X_OK):
        return "pip install --force-reinstall adbutils, as a wheel that bundles adb"
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--net", "--fork", "true"], capture_output=True, text=True
    )
    return f"a machine that allows namespaces ({tried.stderr.strip()})" if tried.returncode else ""


def best_daemon() -> Daemon:
    """Return adbd where it can run, else its substitute."""
    return "python" if missing("adbd") else "adbd"


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
    """An adb server of the tests' own, which knows no phone but theirs.

    Args:
        home: folder for what it keeps.
        program: the adb to run; without one, that which comes with adbutils.
    """

    def __init__(self, home: Path, program: Path = ADB) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.environment: Mapping[str, str] = {
            "ADBUTILS_ADB_PATH": str(program),
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
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*DIE_WITH_US, self._program, "-P", str(self.port), "nodaemon", "server"],
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
            [self._program, "-P", str(self.port), *arguments],
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
    """A phone that is attached to an adb server through a `FaultProxy`.

    Args:
        server: that it is attached to.
        folder: its own, for all that it keeps.
        daemon: that speaks adb on it.
        cores: its CPU: that of a Pixel 6, or as many cores as this machine has.
    """

    def __init__(
        self, server: AdbServer, folder: Path, daemon: Daemon, cores: Cores = "pixel6"
    ) -> None:
        self.server = server
        self.folder = folder
        self.daemon: Daemon = daemon
        self.cores = cores
        self.link = FaultProxy(folder / "adbd.sock")
        self._fixture = folder / "fixture"
        self._storage: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._reboot: threading.Thread | None = None

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.link.port}"

    def start(self) -> None:
        """Make it: its link, its storage, and what it says about itself."""
        self.link.start()
        for name in ("data", "root"):
            (self.folder / name).mkdir()
        shutil.copytree(LAB / "fixture", self._fixture)
        write_cpu(self._fixture, self.cores)
        self.set_property("ro.serialno", f"LAB{secrets.token_hex(5).upper()}")
        (self._fixture / "settings").mkdir()
        (self._fixture / "calls.txt").touch()
        mount = f'mount -t tmpfs -o mode=771,size={_DATA_SIZE} data "$1" && echo && exec sleep inf'
        self._storage = subprocess.Popen(
            [*DIE_WITH_US, "unshare", "--mount", "sh", "-c", mount, "sh", self.folder / "data"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._storage.stdout
        with self._storage.stdout as ready:
            assert ready.readline(), "the phone's storage cannot be mounted"

    def stop(self) -> None:
        """End it, with all that it keeps."""
        self.kill()
        if self._reboot:
            self._reboot.join()
            self.kill()
        if self._storage:
            self._storage.kill()
            self._storage.wait()
        self.link.stop()

    def boot(self) -> None:
        """Start its daemon in its namespaces. What was written below /data is still there."""
        assert self._storage
        gate = self.folder / "adbd.sock"
        gate.unlink(missing_ok=True)
        storage = ["nsenter", "--target", str(self._storage.pid), "--mount"]
        namespaces = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child"]
        litert = find_spec("ai_edge_litert")
        assert litert and litert.origin
        litert_folder = str(Path(litert.origin).parent)
        arguments = [str(LAB), str(self.folder), sys.executable, litert_folder, self.daemon]
        with (self.folder / "daemon.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*DIE_WITH_US, *storage, *namespaces, "sh", str(LAB / "root.sh"), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(lambda: gate.exists() or not self.runs, self.daemon)
        assert self.runs, (self.folder / "daemon.log").read_text()

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End its daemon and all that it runs at once, as a phone whose battery is pulled out."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def reboot(self, down_s: float = 1.0) -> None:
        """Kill it, and boot it again in a while. Nobody tells the adb server to connect again."""

        def boot() -> None:
            time.sleep(down_s)
            self.boot()
            assert self._process
            self._process.wait()  # the kernel ends a process with the thread that started it

        self.kill()
        self._reboot = threading.Thread(target=boot, name=f"reboot {self.serial}")
        self._reboot.start()

    def attach(self) -> None:
        """Connect the adb server to it, and wait until commands can be run."""
        self.server.adb("connect", self.serial)
        wait_for(lambda: self.server.state(self.serial) == "device", "the phone to be ready")

    def detach(self) -> None:
        self.server.adb("disconnect", self.serial)

    def offline(self) -> None:
        """Let the adb server know it, but not reach it: its state is "offline".

        Let it come back with ``link.refuse = False`` and `attach`.
        """
        self.link.refuse = True
        self.link.cut()
        wait_for(lambda: self.server.state(self.serial) == "offline", "the phone to be offline")

    def sh(self, command: str) -> str:
        """Return what a line of shell prints on it; for the tests' own use."""
        return self.server.adb("-s", self.serial, "shell", command)

    def fill(self, free_bytes: int) -> None:
        """Leave only so much room below /data, but for less than a page."""
        assert self._storage
        data = os.statvfs(f"/proc/{self._storage.pid}/root{self.folder / 'data'}")
        used = (data.f_blocks - data.f_bfree) * data.f_frsize
        self._resize(str(used + free_bytes))

    def free(self) -> None:
        """Make room again below /data."""
        self._resize(_DATA_SIZE)

    def set_property(self, name: str, value: str | None) -> None:
        """Change what getprop says; None for a property that it lacks."""
        path = self._fixture / "properties.txt"
        lines = [
            line for line in path.read_text().splitlines() if not line.startswith(f"[{name}]:")
        ]
        if value is not None:
            lines.append(f"[{name}]: [{value}]")
        _replace(path, "".join(f"{line}\n" for line in lines))

    def set_dumpsys(self, service: str, text: str | None) -> None:
        """Change what dumpsys says about a service; None for one that it lacks."""
        path = self._fixture / "dumpsys" / f"{service}.txt"
        if text is None:
            path.unlink(missing_ok=True)
        else:
            _replace(path, text)

    def calls(self) -> list[str]:
        """Return every call of cmd, input, settings and svc until now, with its arguments."""
        return (self._fixture / "calls.txt").read_text().splitlines()

    def _resize(self, size: str) -> None:
        assert self._storage
        enter = ["nsenter", "--target", str(self._storage.pid), "--mount"]
        remount = ["mount", "-o", f"remount,size={size}", str(self.folder / "data")]
        subprocess.run([*enter, *remount], check=True)


def _replace(path: Path, text: str) -> None:
    """Write a file at once: it may be read at any time."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    new.replace(path)


@contextlib.contextmanager
def adb_server(home: Path, program: Path = ADB) -> Iterator[AdbServer]:
    """Run an adb server."""
    server = AdbServer(home, program)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        server.adb("kill-server")  # one that a client has started in its place


@contextlib.contextmanager
def lab_phone(
    server: AdbServer, folder: Path, daemon: Daemon | None = None, cores: Cores = "pixel6"
) -> Iterator[LabPhone]:
    """Run a phone, attached to a server; without a daemon, it has the best there is."""
    phone = LabPhone(server, folder, daemon or best_daemon(), cores)
    try:
        phone.start()
        phone.boot()
        phone.attach()
        yield phone
    finally:
        phone.stop()

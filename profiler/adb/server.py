"""The adb server of this machine: which phones it knows, and a connection to it.

Connections end at a deadline and say what went wrong. Protocols: SERVICES.TXT and SYNC.TXT in
https://android.googlesource.com/platform/packages/modules/adb/.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import time
from dataclasses import dataclass
from subprocess import DEVNULL, SubprocessError
from types import TracebackType
from typing import Literal, Self

from latlas.profiler.errors import (
    DeviceCommandError,
    DeviceError,
    DeviceLost,
    DeviceTimeout,
)

Stream = Literal["stdout", "stderr"]

CHUNK_BYTES = 1 << 16
"""So much is sent and received at a time."""

_START_S = 20.0
_MAX_REQUEST_BYTES = 0xFFFF
_MAX_REASON_BYTES = 4096
_LAST_WORDS_BYTES = 2000
_WHAT_TO_DO = {
    "device": "",
    "unauthorized": "unlock the phone and accept this computer on its screen",
    "authorizing": "wait a moment; if it stays, unlock the phone and look at its screen",
    "connecting": "wait a moment; if it stays, unplug the phone and plug it in again",
    "offline": "unplug the phone and plug it in again, or run: adb reconnect offline",
    "recovery": "restart the phone into Android: adb reboot",
    "rescue": "restart the phone into Android: adb reboot",
    "sideload": "restart the phone into Android: adb reboot",
    "bootloader": "restart the phone into Android: fastboot reboot",
    "no permissions": "install udev rules: apt-get install android-sdk-platform-tools-common",
}


@dataclass(frozen=True, slots=True)
class AttachedPhone:
    """A phone that the adb server knows.

    Attributes:
        serial: what adb calls it.
        state: ``device`` when it can be used, else e.g. ``unauthorized`` or ``offline``.
    """

    serial: str
    state: str

    @property
    def ready(self) -> bool:
        """Whether commands can be run on it."""
        return self.state == "device"

    @property
    def what_to_do(self) -> str:
        """What makes it ready; empty when it is.

        >>> AttachedPhone("0A1B", "unauthorized").what_to_do
        'unlock the phone and accept this computer on its screen'
        """
        return _WHAT_TO_DO.get(self.state, "restart the phone, and accept this computer on it")


def list_phones(timeout_s: float = 5.0) -> tuple[AttachedPhone, ...]:
    """Return every phone that the adb server knows, usable or not.

    Where no server runs it is started, which may take 20 s more.

    Raises:
        DeviceTimeout: the server does not answer.
        DeviceError: there is no server, and none can be started.
    """
    with Connection("", "list of phones", timeout_s) as connection:
        connection.request("host:devices")
        text = connection.block().decode("utf-8", "surrogateescape")
    phones = []
    for line in text.splitlines():
        serial, tab, state = line.partition("\t")
        if tab and serial:
            # "no permissions (user in plugdev group; …); see [http://…]"
            state = "no permissions" if state.startswith("no permissions") else state.strip()
            phones.append(AttachedPhone(serial, state))
    return tuple(phones)


def request_connection(address: str, timeout_s: float = 5.0) -> str:
    """Ask the adb server to connect to a phone over TCP; return what it answers.

    A server that was restarted has forgotten such phones; those on a cable it finds by itself.

    Args:
        address: ``host:port``.
        timeout_s: seconds in all.

    Raises:
        DeviceTimeout: the server does not answer.
        DeviceError: there is no server, or it does not want to.
    """
    with Connection("", f"connect {address}", timeout_s) as connection:
        connection.request("host:connect:" + address)
        return connection.block().decode("utf-8", "replace")


def _start_server() -> None:
    # Imported here because it takes 0.1 s, and most commands of latlas need no phone.
    from adbutils import AdbError, adb_path

    try:
        command = [adb_path(), "start-server"]
    except AdbError as problem:
        raise FileNotFoundError(str(problem)) from None
    # Not captured: the server keeps what it inherits open, and reading would never end.
    subprocess.run(command, timeout=_START_S, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)


def encode(text: str) -> bytes:
    """Return text for adb, or nothing if it cannot be sent (lone surrogates, null bytes)."""
    try:
        encoded = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return b""
    return b"" if b"\0" in encoded else encoded


class Connection:
    """A connection to the adb server that ends at a deadline, and that says what went wrong.

    Args:
        serial: the phone, or empty for the server itself.
        what: is done, for the messages.
        timeout_s: seconds from now to the deadline.
    """

    def __init__(self, serial: str, what: str, timeout_s: float) -> None:
        self._serial = serial
        self._what = what
        self._last_words: dict[Stream, bytes] = {"stdout": b"", "stderr": b""}
        self._buffer = bytearray()
        self.allow(timeout_s)
        self._socket = self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()  # what still runs on the phone gets SIGHUP from adbd

    def allow(self, timeout_s: float) -> None:
        """Move the deadline to so many seconds from now."""
        self._timeout_s = timeout_s
        self._end = time.monotonic() + timeout_s

    def note(self, stream: Stream, data: bytes) -> None:
        """Keep the end of what was printed, for the messages."""
        self._last_words[stream] = (self._last_words[stream] + data)[-_LAST_WORDS_BYTES:]

    def error(
        self, kind: type[DeviceError], message: str, exit_code: int | None = None, output: str = ""
    ) -> DeviceError:
        """Return an error that names the phone, the command and what it printed last."""
        printed = b"".join(self._last_words.values())
        return kind(
            message,
            serial=self._serial,
            command=self._what,
            exit_code=exit_code,
            output=output or printed.decode("utf-8", "replace"),
        )

    def open(self, service: bytes) -> None:
        """Ask the phone for a service."""
        self.request("host:transport:" + self._serial)
        self._request(service)

    def request(self, service: str) -> None:
        """Ask the adb server for something."""
        self._request(encode(service))

    def block(self) -> bytes:
        """Return what the adb server sends with its length in front of it."""
        digits = self.receive(4)
        if not re.fullmatch(rb"[0-9a-fA-F]{4}", digits):
            raise self.error(DeviceError, f"this is no adb server: it sent {digits!r}")
        return self.receive(int(digits, 16))

    def sync_reply(
        self, more: bytes, done: bytes = b"", refusal: str = "the phone refused"
    ) -> int | None:
        """Return the number that comes with the reply `more`, or None at the reply `done`."""
        kind, number = struct.unpack("<4sI", self.receive(8))
        if kind == b"FAIL":
            reason = self.receive(min(number, _MAX_REASON_BYTES)).decode("utf-8", "replace")
            raise self.error(DeviceCommandError, refusal, output=reason)
        if kind not in (more, done):
            raise self.error(DeviceLost, f"the phone sent {kind!r} instead of a reply")
        return None if kind == done else int(number)

    def send(self, data: bytes) -> None:
        """Send bytes before the time is up."""
        try:
            self._socket.settimeout(self._left_s())
            self._socket.sendall(data)
        except TimeoutError:
            raise self._late() from None
        except OSError as problem:
            raise self._lost(problem) from None

    def receive(self, size: int) -> bytes:
        """Return exactly so many bytes, received before the time is up."""
        while len(self._buffer) < size:
            try:
                self._socket.settimeout(self._left_s())
                data = self._socket.recv(
                    max(CHUNK_BYTES, min(size - len(self._buffer), 16 * CHUNK_BYTES))
                )
            except TimeoutError:
                raise self._late() from None
            except OSError as problem:
                raise self._lost(problem) from None
            if not data:
                raise self._lost("the link was closed")
            self._buffer += data
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _connect(self) -> socket.socket:
        # The variables that adb and adbutils read.
        host = os.environ.get("ANDROID_ADB_SERVER_HOST", "127.0.0.1")
        port = os.environ.get("ANDROID_ADB_SERVER_PORT", "5037")
        try:
            address = (host, int(port))
            try:
                return socket.create_connection(address, self._left_s())
            except ConnectionRefusedError:
                _start_server()
                self._end = time.monotonic() + self._timeout_s
                return socket.create_connection(address, self._timeout_s)
        except TimeoutError:
            raise self._late() from None
        except (OSError, OverflowError, SubprocessError, ValueError) as problem:
            raise self.error(
                DeviceError,
                f"no adb server answers at {host}:{port} ({problem}): apt-get install adb",
            ) from None

    def _request(self, service: bytes) -> None:
        if not 0 < len(service) <= _MAX_REQUEST_BYTES:
            raise self.error(
                DeviceLost if self._serial else DeviceError,
                "no phone has such a name or address: `latlas devices` lists those that there are",
            )
        self.send(b"%04x" % len(service) + service)
        reply = self.receive(4)
        if reply == b"FAIL":
            reason = " ".join(self.block().decode("utf-8", "replace").split())
            raise self.error(
                DeviceLost if self._serial else DeviceError,
                "it cannot be used (`latlas devices` says what to do)",
                output=reason,
            )
        if reply != b"OKAY":
            raise self.error(DeviceError, f"this is no adb server: it sent {reply!r}")

    def _left_s(self) -> float:
        left_s = self._end - time.monotonic()
        if left_s <= 0:
            raise self._late()
        return left_s

    def _late(self) -> DeviceError:
        who = "" if self._serial else "the adb server: "
        return self.error(DeviceTimeout, f"{who}not done after {self._timeout_s:.3g} s")

    def _lost(self, problem: object) -> DeviceError:
        who = "" if self._serial else "the adb server: "
        return self.error(DeviceLost, f"{who}it went away ({problem})")

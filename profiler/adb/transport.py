"""Commands and files to and from a phone, over adb.

adbutils brings adb and finds it. What goes through a connection to the adb server is spoken here,
because its helpers take a lost link for the end of the output, count idle time only, drop why a
push failed, and leak sockets. Protocols: SERVICES.TXT, SYNC.TXT and shell_service.h in
https://android.googlesource.com/platform/packages/modules/adb/.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import socket
import stat
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from subprocess import DEVNULL, SubprocessError
from types import TracebackType
from typing import Literal, Self

from latlas.profiler.errors import (
    DamagedTransfer,
    DeviceCommandError,
    DeviceError,
    DeviceLost,
    DeviceTimeout,
)

Stream = Literal["stdout", "stderr"]
OnOutput = Callable[[Stream, bytes], None]

MAX_COMMAND_BYTES = 60_000
"""A request to the adb server has four hexadecimal digits for its length."""
MAX_OUTPUT_BYTES = 64 << 20
"""A command that prints more than this is ended."""
MAX_FILE_BYTES = 1 << 30
"""A file larger than this is not pulled."""

_START_S = 20.0
_CHUNK = 1 << 16
_MAX_PATH_BYTES = 1000
_MAX_REQUEST_BYTES = 0xFFFF
_MAX_REASON_BYTES = 4096
_LAST_WORDS_BYTES = 2000
_STREAMS: dict[int, Stream] = {1: "stdout", 2: "stderr"}
_EXIT, _CLOSE_STDIN = 3, 4

_EXIT_CODES = {
    126: "it cannot be executed (no permission, or built for another processor)",
    127: "there is no such command",
    132: "illegal instruction",
    134: "it aborted",
    137: "it was killed",
    139: "it crashed",
}
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


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command on a phone gave.

    Attributes:
        command: the line that the phone's shell was given.
        exit_code: 0 to 255; 128 + n where signal n ended it.
        stdout: what it printed.
        stderr: what it complained about.
        elapsed_s: seconds from the request to the exit code, seen from here.
    """

    command: str
    exit_code: int
    stdout: bytes
    stderr: bytes
    elapsed_s: float

    @property
    def text(self) -> str:
        """Standard output as text; bytes that are no UTF-8 are replaced."""
        return self.stdout.decode("utf-8", "replace")


def list_phones(timeout_s: float = 5.0) -> tuple[AttachedPhone, ...]:
    """Return every phone that the adb server knows, usable or not.

    Where no server runs it is started, which may take 20 s more.

    Raises:
        DeviceTimeout: the server does not answer.
        DeviceError: there is no server, and none can be started.
    """
    with _Connection("", "list of phones", timeout_s) as connection:
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


class AdbTransport:
    """A way to one phone. Every call is a connection of its own; it may be used by many threads.

    Args:
        serial: what adb calls the phone.

    Example::

        transport = AdbTransport("0A1B2C3D")
        transport.push(model, "/data/local/tmp/model.tflite", timeout_s=60)
        print(transport.run(["ls", "-l", "/data/local/tmp"], timeout_s=5).text)
    """

    def __init__(self, serial: str) -> None:
        self.serial = serial

    @contextmanager
    def start(self, arguments: Sequence[str], timeout_s: float) -> Iterator[RunningCommand]:
        """Start a command whose output is read while it runs; leaving the block ends it.

        Nothing in an argument is ever interpreted by the phone's shell: a script is an argument
        of ``sh``, as in ``["sh", "-c", 'wc -c < "$1"', "sh", path]``. Standard input is empty.

        Args:
            arguments: the command and its arguments.
            timeout_s: seconds in all, unless `RunningCommand.allow` gives it more. A command that
                takes longer gets SIGHUP from adbd; what it has started itself lives on unless it
                passes that on.

        Raises:
            DeviceLost: the phone is not there, not usable, or goes away before the exit code comes.
            DeviceTimeout: there is no exit code in time; with the output until then.
            DeviceCommandError: the command is too long, or prints too much.
        """
        command = shlex.join(arguments)
        encoded = _encode("shell,v2,raw:" + command)
        if not 0 < len(encoded) <= MAX_COMMAND_BYTES:
            raise DeviceCommandError(
                f"a command is text of at most {MAX_COMMAND_BYTES} bytes, none of them 0; got "
                f"{len(command)} characters: put long ones into a script and push that",
                serial=self.serial,
                command=command,
            )
        with _Connection(self.serial, command, timeout_s) as connection:
            connection.open(encoded)
            connection.send(struct.pack("<BI", _CLOSE_STDIN, 0))
            yield RunningCommand(command, connection)

    def run(
        self,
        arguments: Sequence[str],
        timeout_s: float,
        on_output: OnOutput | None = None,
        check: bool = True,
    ) -> CommandResult:
        """Run a command and wait for its exit code.

        Args:
            arguments: the command and its arguments, as in `start`.
            timeout_s: seconds in all.
            on_output: called with ``stdout`` or ``stderr`` and the bytes, as they come.
            check: whether an exit code other than 0 is an error.

        Raises:
            DeviceLost: the phone is not there, not usable, or went away before the exit code came.
            DeviceTimeout: there was no exit code in time; with the output until then.
            DeviceCommandError: it failed, printed too much, or is too long.
        """
        started = time.monotonic()
        streams: dict[Stream, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        with self.start(arguments, timeout_s) as running:
            for stream, data in running.output():
                streams[stream] += data
                if on_output is not None:
                    on_output(stream, data)
            if check and running.exit_code:
                raise running.failure()
        assert running.exit_code is not None
        return CommandResult(
            running.command,
            running.exit_code,
            bytes(streams["stdout"]),
            bytes(streams["stderr"]),
            time.monotonic() - started,
        )

    def push(self, content: bytes, path: str, timeout_s: float, mode: int = 0o644) -> str:
        """Write a file on the phone and compare its checksum there; return that sha256.

        Args:
            content: of the file.
            path: absolute, on the phone. Folders on the way are made.
            timeout_s: seconds in all.
            mode: permissions, e.g. ``0o755`` for a program.

        Raises:
            DeviceLost: the phone is not there, not usable, or went away meanwhile.
            DeviceTimeout: it was not done in time.
            DeviceCommandError: the phone could not write it; the output says why.
            DamagedTransfer: the phone holds something else now; the file is removed.
        """
        return self.push_files({path: content}, timeout_s, mode)

    def push_files(self, contents: Mapping[str, bytes], timeout_s: float, mode: int = 0o644) -> str:
        """Write files on the phone through one connection and compare their checksum there.

        Args:
            contents: of every file, by its absolute path on the phone.
            timeout_s: seconds in all.
            mode: permissions of each.

        Returns:
            The sha256 of all contents, one behind the other.

        Raises:
            DeviceLost: the phone is not there, not usable, or went away meanwhile.
            DeviceTimeout: it was not done in time.
            DeviceCommandError: the phone could not write one of them; the message says which, the
                output why. It has the files before that one, and none after it.
            DamagedTransfer: the phone holds something else now; the files are removed.
        """
        end = time.monotonic() + timeout_s
        size = sum(map(len, contents.values()))
        where = next(iter(contents)) if len(contents) == 1 else f"{len(contents)} files"
        what = f"push {size} bytes to {where}"
        targets = [self._path(path, what) + f",{stat.S_IFREG | mode}".encode() for path in contents]
        with _Connection(self.serial, what, timeout_s) as connection:
            connection.open(b"sync:")
            try:
                for target, content in zip(targets, contents.values(), strict=True):
                    connection.send(b"SEND" + struct.pack("<I", len(target)) + target)
                    for start in range(0, len(content), _CHUNK):
                        chunk = content[start : start + _CHUNK]
                        connection.send(b"DATA" + struct.pack("<I", len(chunk)) + chunk)
                    connection.send(b"DONE" + struct.pack("<I", int(time.time())))
            except DeviceLost:
                pass  # a phone that refused may have hung up already, its reason waits below
            for path in contents:
                connection.sync_reply(b"OKAY", refusal=f"the phone refused to write {path!a}")
        digest = hashlib.sha256()
        for content in contents.values():
            digest.update(content)
        expected = digest.hexdigest()
        left_s = max(end - time.monotonic(), 0.0)
        found = self.run(["sh", "-c", 'cat "$@" | sha256sum', "sh", *contents], left_s)
        if found.text[:64] != expected:
            with suppress(DeviceError):  # what matters is said below
                self.run(["rm", "-f", *contents], max(end - time.monotonic(), 0.0))
            raise DamagedTransfer(
                f"what is there has another sha256 than {expected}: it was damaged on the way, "
                "use another cable or port",
                serial=self.serial,
                command=what,
                exit_code=found.exit_code,
                output=found.text,
            )
        return expected

    def pull(self, path: str, timeout_s: float) -> bytes:
        """Return the content of a file on the phone.

        Args:
            path: absolute, on the phone.
            timeout_s: seconds in all.

        Raises:
            DeviceLost: the phone is not there, not usable, or went away meanwhile.
            DeviceTimeout: it was not done in time.
            DeviceCommandError: the phone could not read it (the output says why), or it is larger
                than `MAX_FILE_BYTES`.
        """
        what = f"pull {path}"
        target = self._path(path, what)
        content = bytearray()
        with _Connection(self.serial, what, timeout_s) as connection:
            connection.open(b"sync:")
            connection.send(b"RECV" + struct.pack("<I", len(target)) + target)
            while (size := connection.sync_reply(b"DATA", b"DONE")) is not None:
                if size + len(content) > MAX_FILE_BYTES:
                    raise connection.error(DeviceCommandError, "the file is too large")
                content += connection.receive(size)
        return bytes(content)

    def _path(self, path: str, what: str) -> bytes:
        encoded = _encode(path)
        if encoded.startswith(b"/") and len(encoded) <= _MAX_PATH_BYTES:
            return encoded
        raise DeviceCommandError(
            f"a path on a phone starts with / and has at most {_MAX_PATH_BYTES} bytes, none 0",
            serial=self.serial,
            command=what,
        )


class RunningCommand:
    """A command that runs on a phone; `AdbTransport.start` makes it.

    Attributes:
        command: the line that the phone's shell was given.
        exit_code: 0 to 255, 128 + n where signal n ended it; None until it has ended.
    """

    def __init__(self, command: str, connection: _Connection) -> None:
        self.command = command
        self.exit_code: int | None = None
        self._connection = connection

    def allow(self, timeout_s: float) -> None:
        """Give the command so many seconds from now."""
        self._connection.allow(timeout_s)

    def output(self) -> Iterator[tuple[Stream, bytes]]:
        """Yield what it prints, as it comes, until it has ended."""
        connection, printed = self._connection, 0
        while True:
            kind, size = struct.unpack("<BI", connection.receive(5))
            if kind == _EXIT and size == 1:
                self.exit_code = connection.receive(1)[0]
                return
            printed += size
            if printed > MAX_OUTPUT_BYTES:
                raise connection.error(
                    DeviceCommandError, f"it printed more than {MAX_OUTPUT_BYTES >> 20} MiB"
                )
            data = connection.receive(size)
            if kind in _STREAMS:
                connection.note(_STREAMS[kind], data)
                yield _STREAMS[kind], data

    def failure(self, meaning: str = "") -> DeviceError:
        """Return the error that it failed, with what its exit code usually means."""
        code = self.exit_code
        usual = "it failed" if code is None else _EXIT_CODES.get(code, "it failed")
        return self._connection.error(DeviceCommandError, meaning or usual, code)


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
    with _Connection("", f"connect {address}", timeout_s) as connection:
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


def _encode(text: str) -> bytes:
    """Return text for adb, or nothing if it cannot be sent (lone surrogates, null bytes)."""
    try:
        encoded = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return b""
    return b"" if b"\0" in encoded else encoded


class _Connection:
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
        self._request(_encode(service))

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
        try:
            self._socket.settimeout(self._left_s())
            self._socket.sendall(data)
        except TimeoutError:
            raise self._late() from None
        except OSError as problem:
            raise self._lost(problem) from None

    def receive(self, size: int) -> bytes:
        while len(self._buffer) < size:
            try:
                self._socket.settimeout(self._left_s())
                data = self._socket.recv(max(_CHUNK, min(size - len(self._buffer), 16 * _CHUNK)))
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

"""Commands and files to and from a phone, over adb.

adbutils brings adb and finds it. What goes through a connection to the adb server is spoken here,
because its helpers take a lost link for the end of the output, count idle time only, drop why a
push failed, and leak sockets. Protocols: SERVICES.TXT, SYNC.TXT and shell_service.h in
https://android.googlesource.com/platform/packages/modules/adb/.
"""

from __future__ import annotations

import hashlib
import shlex
import stat
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from latlas.profiler.adb.server import CHUNK_BYTES, Connection, Stream, encode
from latlas.profiler.errors import DamagedTransfer, DeviceCommandError, DeviceError, DeviceLost

OnOutput = Callable[[Stream, bytes], None]

MAX_COMMAND_BYTES = 60_000
"""A request to the adb server has four hexadecimal digits for its length."""
MAX_OUTPUT_BYTES = 64 << 20
"""A command that prints more than this is ended."""
MAX_FILE_BYTES = 1 << 30
"""A file larger than this is not pulled."""

_MAX_PATH_BYTES = 1000
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
    def start(
        self, arguments: Sequence[str], timeout_s: float, name: str = ""
    ) -> Iterator[RunningCommand]:
        """Start a command whose output is read while it runs; leaving the block ends it.

        Nothing in an argument is ever interpreted by the phone's shell: a script is an argument
        of ``sh``, as in ``["sh", "-c", 'wc -c < "$1"', "sh", path]``. Standard input is empty.

        Args:
            arguments: the command and its arguments.
            timeout_s: seconds in all, unless `RunningCommand.allow` gives it more. A command that
                takes longer gets SIGHUP from adbd; what it has started itself lives on unless it
                passes that on.
            name: for the messages, of a script that nobody wants to read there.

        Raises:
            DeviceLost: the phone is not there, not usable, or goes away before the exit code comes.
            DeviceTimeout: there is no exit code in time; with the output until then.
            DeviceCommandError: the command is too long, or prints too much.
        """
        command = shlex.join(arguments)
        encoded = encode("shell,v2,raw:" + command)
        if not 0 < len(encoded) <= MAX_COMMAND_BYTES:
            raise DeviceCommandError(
                f"a command is text of at most {MAX_COMMAND_BYTES} bytes, none of them 0; got "
                f"{len(command)} characters: put long ones into a script and push that",
                serial=self.serial,
                command=command,
            )
        with Connection(self.serial, name or command, timeout_s) as connection:
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
        with Connection(self.serial, what, timeout_s) as connection:
            connection.open(b"sync:")
            try:
                for target, content in zip(targets, contents.values(), strict=True):
                    connection.send(b"SEND" + struct.pack("<I", len(target)) + target)
                    for start in range(0, len(content), CHUNK_BYTES):
                        chunk = content[start : start + CHUNK_BYTES]
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
        with Connection(self.serial, what, timeout_s) as connection:
            connection.open(b"sync:")
            connection.send(b"RECV" + struct.pack("<I", len(target)) + target)
            while (size := connection.sync_reply(b"DATA", b"DONE")) is not None:
                if size + len(content) > MAX_FILE_BYTES:
                    raise connection.error(DeviceCommandError, "the file is too large")
                content += connection.receive(size)
        return bytes(content)

    def _path(self, path: str, what: str) -> bytes:
        encoded = encode(path)
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

    def __init__(self, command: str, connection: Connection) -> None:
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

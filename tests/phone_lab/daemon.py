"""daemon.py ROOT SOCKET: a phone's side of adb, for where Google's adbd is not installed.

It speaks to the real adb server, and knows what latlas and the tests need: shell version 2 without
a terminal, and sync with stat, list, send and receive. What adbd does beyond that it refuses.
Protocols: protocol.txt, SERVICES.TXT, SYNC.TXT and shell_service.h in
https://android.googlesource.com/platform/packages/modules/adb/.

It runs this machine's Python: so it starts outside of the phone, listens on SOCKET, and only then
makes ROOT its / and becomes the user shell. Nothing may be imported after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

_CNXN, _OPEN, _OKAY, _CLSE, _WRTE = (
    int.from_bytes(name, "little") for name in (b"CNXN", b"OPEN", b"OKAY", b"CLSE", b"WRTE")
)
_VERSION = 0x01000001  # the first in which checksums are not looked at
_MAX_PAYLOAD = 1 << 20
_FEATURES = "shell_v2,cmd,stat_v2,ls_v2,fixed_push_mkdir"
_PRODUCT = ("ro.product.name", "ro.product.model", "ro.product.device")

_CHUNK = 1 << 16
_MAX_PATH = 1024
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)
_SHELL = 2000


class Hangup(Exception):
    """The other side has closed the stream, or the link is gone."""


class Stream:
    """Bytes both ways between one service and the adb server."""

    def __init__(self, link: Link, local: int, remote: int) -> None:
        self._link = link
        self._local = local
        self._remote = remote
        self._buffer = bytearray()
        self._owes_okay = False
        self._closed = False
        self._arrived = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()

    def on_write(self, data: bytes) -> None:
        self._buffer += data
        self._owes_okay = True
        self._arrived.set()

    def on_okay(self) -> None:
        self._may_write.set()

    def on_close(self) -> None:
        self._closed = True
        self._arrived.set()
        self._may_write.set()

    async def read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            if self._closed:
                raise Hangup
            self._arrived.clear()
            if self._owes_okay:  # only now: what is not read yet holds the other side up
                self._owes_okay = False
                await self._link.send(_OKAY, self._local, self._remote)
            await self._arrived.wait()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), self._link.max_payload):
            while not self._may_write.is_set():  # output and complaints wait for the same
                await self._may_write.wait()
            if self._closed:
                raise Hangup
            self._may_write.clear()
            part = data[start : start + self._link.max_payload]
            await self._link.send(_WRTE, self._local, self._remote, part)

    async def close(self) -> None:
        if not self._closed:
            self.on_close()
            await self._link.send(_CLSE, self._local, self._remote)


class Link:
    """A connection to an adb server, with its streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.max_payload = 4096
        self._reader = reader
        self._writer = writer
        self._streams: dict[int, Stream] = {}
        self._services: set[asyncio.Task[None]] = set()
        self._next = 1

    async def run(self) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                header = struct.unpack("<6I", await self._reader.readexactly(24))
                command, first, second, size, _, magic = header
                if magic != command ^ 0xFFFFFFFF or size > _MAX_PAYLOAD:
                    break
                await self._handle(command, first, second, await self._reader.readexactly(size))
        for stream in self._streams.values():
            stream.on_close()
        self._writer.close()

    async def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        header = (command, first, second, len(data), sum(data) if command == _CNXN else 0)
        self._writer.write(struct.pack("<6I", *header, command ^ 0xFFFFFFFF))
        self._writer.write(data)
        await self._writer.drain()

    async def _handle(self, command: int, first: int, second: int, data: bytes) -> None:
        if command == _CNXN:
            self.max_payload = min(second, _MAX_PAYLOAD)
            await self.send(_CNXN, _VERSION, _MAX_PAYLOAD, _banner())
        elif command == _OPEN:
            service = _service(data.rstrip(b"\0"))
            if service is None:
                await self.send(_CLSE, 0, first)
                return
            local, self._next = self._next, self._next + 1
            self._streams[local] = Stream(self, local, first)
            await self.send(_OKAY, local, first)
            task = asyncio.create_task(self._serve(local, service))
            self._services.add(task)
            task.add_done_callback(self._services.discard)
        elif stream := self._streams.get(second):
            if command == _WRTE:
                stream.on_write(data)
            elif command == _OKAY:
                stream.on_okay()
            elif command == _CLSE:
                stream.on_close()

    async def _serve(self, local: int, service: Service) -> None:
        stream = self._streams[local]
        try:
            with contextlib.suppress(Hangup, ConnectionError):
                await service(stream)
        finally:
            del self._streams[local]
            with contextlib.suppress(ConnectionError):
                await stream.close()


Service = Callable[[Stream], Awaitable[None]]


def _banner() -> bytes:
    lines = Path("/system/fixture/properties.txt").read_text().splitlines()
    properties = dict(line[1:-1].split("]: [", 1) for line in lines)
    product = "".join(f"{name}={properties.get(name, '')};" for name in _PRODUCT)
    return f"device::{product}features={_FEATURES}".encode()


def _service(name: bytes) -> Service | None:
    kind, _, argument = name.partition(b":")
    if kind == b"sync":
        return _sync
    protocol, *options = kind.split(b",")
    if protocol == b"shell" and b"v2" in options and b"pty" not in options and argument:
        return lambda stream: _shell(stream, argument)
    return None


async def _shell(stream: Stream, command: bytes) -> None:
    """Run a line of shell; when the other side hangs up first, the shell gets SIGHUP.

    As in adbd, input and output are one socket, and complaints another.
    """
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as sockets:
        ours, theirs, our_errors, their_errors = (
            sockets.enter_context(each) for pair in (0, 1) for each in socket.socketpair()
        )
        ours.setblocking(False)
        our_errors.setblocking(False)
        process = subprocess.Popen(
            ["/system/bin/sh", "-c", command],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=their_errors.fileno(),
            start_new_session=True,
        )
        theirs.close()
        their_errors.close()

        async def feed() -> None:
            with contextlib.suppress(Hangup):
                while True:
                    kind, size = struct.unpack("<BI", await stream.read(5))
                    data = await stream.read(size)
                    with contextlib.suppress(OSError):  # a command need not read all
                        if kind == _STDIN:
                            await loop.sock_sendall(ours, data)
                        elif kind == _CLOSE_STDIN:
                            ours.shutdown(socket.SHUT_WR)

        async def pump(kind: int, source: socket.socket) -> None:
            # A command that did not read all, or the other side has hung up, as feed notices too.
            with contextlib.suppress(ConnectionError, Hangup):
                while data := await loop.sock_recv(source, _CHUNK):
                    await stream.write(struct.pack("<BI", kind, len(data)) + data)

        async def answer() -> None:
            await asyncio.gather(pump(_STDOUT, ours), pump(_STDERR, our_errors))
            code = await _exit_code(process)
            await stream.write(struct.pack("<BIB", _EXIT, 1, code if code >= 0 else 128 - code))

        tasks = [asyncio.create_task(feed()), asyncio.create_task(answer())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    process.send_signal(signal.SIGHUP)  # nothing happens if it has ended
    await _exit_code(process)


async def _exit_code(process: subprocess.Popen[bytes]) -> int:
    if process.poll() is None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        handle = os.pidfd_open(process.pid)
        loop.add_reader(handle, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(handle)
            os.close(handle)
    return process.wait()


async def _sync(stream: Stream) -> None:
    """Serve requests about files until one fails, as adbd does."""
    while True:
        name, size = struct.unpack("<4sI", await stream.read(8))
        if name == b"QUIT":
            break
        if size > _MAX_PATH:
            await _fail(stream, "path too long")
            break
        argument = os.fsdecode(await stream.read(size))
        path = Path(argument)
        try:
            if name in (b"STAT", b"STA2", b"LST2"):
                await stream.write(name + _stat(path, name))
            elif name in (b"LIST", b"LIS2"):
                await _list(stream, path, b"STAT" if name == b"LIST" else b"LST2")
            elif name == b"RECV":
                await _receive(stream, path)
            elif name == b"SEND":
                await _send(stream, argument)
            else:
                raise OSError(0, f"unknown command {name!r}")
        except OSError as problem:
            await _fail(stream, problem.strerror or str(problem))
            break


async def _fail(stream: Stream, reason: str) -> None:
    await stream.write(struct.pack("<4sI", b"FAIL", len(reason.encode())) + reason.encode())


def _stat(path: Path, name: bytes) -> bytes:
    try:
        found = path.stat(follow_symlinks=name == b"STA2")
    except OSError as problem:
        return bytes(12) if name == b"STAT" else struct.pack("<I64x", problem.errno or 0)
    if name == b"STAT":
        size = found.st_size & 0xFFFFFFFF
        return struct.pack("<III", found.st_mode, size, int(found.st_mtime))
    owner = (found.st_mode, found.st_nlink, found.st_uid, found.st_gid, found.st_size)
    times = (int(found.st_atime), int(found.st_mtime), int(found.st_ctime))
    return struct.pack("<IQQ4IQ3q", 0, found.st_dev, found.st_ino, *owner, *times)


async def _list(stream: Stream, path: Path, name: bytes) -> None:
    answer, entry = bytearray(), b"DENT" if name == b"STAT" else b"DNT2"
    with contextlib.suppress(OSError):  # adbd says of a missing folder that it is empty
        for each in [".", "..", *(found.name for found in path.iterdir())]:
            answer += entry + _stat(path / each, name)
            answer += struct.pack("<I", len(os.fsencode(each))) + os.fsencode(each)
    end = bytes(16 if name == b"STAT" else 72)
    await stream.write(bytes(answer) + b"DONE" + end)


async def _receive(stream: Stream, path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while data := file.read(_CHUNK):
            await stream.write(struct.pack("<4sI", b"DATA", len(data)) + data)
    await stream.write(b"DONE" + bytes(4))


async def _send(stream: Stream, argument: str) -> None:
    """Write a file: what is there is replaced, and half a file never stays.

    As adbd does, say at once why it failed, and take what is still sent, or the other side would
    not read that.
    """
    name, _, mode = argument.rpartition(",")
    parts = _parts(stream)
    try:
        if not mode.isdecimal() or not stat.S_ISREG(int(mode)):
            raise OSError(0, "only files are taken, as PATH,MODE")
        await _write(Path(name), int(mode), parts)
    except OSError as problem:
        await _fail(stream, f"couldn't create file: {problem.strerror}")
        async for _ in parts:
            pass
        raise Hangup from None
    await stream.write(b"OKAY" + bytes(4))


async def _write(path: Path, mode: int, parts: AsyncIterator[bytes]) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink()
    for folder in reversed(path.parents):
        if not folder.exists():
            folder.mkdir(0o775)
    with path.open("xb", buffering=0) as file:
        try:
            async for data in parts:
                left = memoryview(data)
                while left:
                    left = left[file.write(left) :]
            mode |= mode >> 3 & 0o070  # others may do what the owner may
            mode |= mode >> 3 & 0o007
            path.chmod(mode & 0o777)
        except BaseException:
            path.unlink()
            raise


async def _parts(stream: Stream) -> AsyncIterator[bytes]:
    while True:
        kind, size = struct.unpack("<4sI", await stream.read(8))
        if kind == b"DONE":  # the number is the time of the file
            return
        if kind != b"DATA" or size > _CHUNK:
            raise Hangup
        yield await stream.read(size)


async def _main(root: str, path: str) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    os.chroot(root)
    os.chdir("/")
    os.setgroups([_SHELL])
    os.setgid(_SHELL)
    os.setuid(_SHELL)
    os.umask(0)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Link(reader, writer).run()

    server = await asyncio.start_unix_server(accept, sock=listener, limit=4 * _MAX_PAYLOAD)
    await server.serve_forever()


if __name__ == "__main__":
    os.environ.pop("LC_CTYPE", None)  # Python's own
    asyncio.run(_main(*sys.argv[1:]))

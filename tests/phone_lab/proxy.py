"""Stands between the adb server and a phone, and spoils the link on request."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import threading
from pathlib import Path

_AUTH, _PUBLIC_KEY = 0x48545541, 3
_TOKEN = struct.pack("<6I", _AUTH, 1, 0, 20, 0, _AUTH ^ 0xFFFFFFFF) + bytes(20)


class FaultProxy:
    """Listens on 127.0.0.1 and forwards to a unix socket, in a thread of its own.

    Attributes:
        port: where it listens.
        frozen: keep the link open, but let nothing through.
        refuse: close new links at once, as if the phone were unplugged.
        unauthorized: answer new links as a phone whose owner has not accepted this computer.
        corrupt_after: flip one byte after this many more towards the phone.
        cut_after: break every link after this many more bytes towards the phone.
        stay_cut: then refuse new links, too.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.port = 0
        self.frozen = False
        self.refuse = False
        self.unauthorized = False
        self.corrupt_after: int | None = None
        self.cut_after: int | None = None
        self.stay_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._serve()])

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    def cut(self) -> None:
        """Break every link that is there now."""
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self) -> None:
        links: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task
            links.add(task)
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._link(reader, writer)
            links.discard(task)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        self._cut()
        for task in links:
            task.cancel()
        await asyncio.gather(*links)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened = {writer}
        self._writers.add(writer)
        try:
            if self.refuse:
                return
            while self.unauthorized:
                command, kind, _, size, _, _ = struct.unpack("<6I", await reader.readexactly(24))
                await reader.readexactly(size)
                if (command, kind) != (_AUTH, _PUBLIC_KEY):  # at that a phone asks its owner
                    writer.write(_TOKEN)
            inner_reader, inner_writer = await asyncio.open_unix_connection(self.target)
            opened.add(inner_writer)
            self._writers.add(inner_writer)
            await asyncio.gather(
                self._pump(reader, inner_writer, towards_phone=True),
                self._pump(inner_reader, writer),
            )
        finally:
            self._writers -= opened
            for each in opened:
                each.transport.abort()

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        towards_phone: bool = False,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                while self.frozen:
                    await asyncio.sleep(0.02)
                if towards_phone and self.corrupt_after is not None:
                    data = self._corrupt(data)
                cut = towards_phone and self._cuts(data)
                sink.write(data)
                await sink.drain()
                if cut:
                    self._cut()
        sink.transport.abort()

    def _cuts(self, data: bytes) -> bool:
        if self.cut_after is None:
            return False
        self.cut_after -= len(data)
        if self.cut_after > 0:
            return False
        self.cut_after = None
        self.refuse = self.refuse or self.stay_cut
        return True

    def _corrupt(self, data: bytes) -> bytes:
        assert self.corrupt_after is not None
        if self.corrupt_after >= len(data):
            self.corrupt_after -= len(data)
            return data
        damaged = bytearray(data)
        damaged[self.corrupt_after] ^= 0xFF
        self.corrupt_after = None
        return bytes(damaged)

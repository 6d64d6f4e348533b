"""Messages between the runner and its worker: a length-prefixed JSON header, then raw bytes.

Nothing is ever unpickled, and a model of any size travels without being encoded.
"""

from __future__ import annotations

import json
import os
import select
import struct
import time
from typing import Any

from latlas.profiler.errors import RunnerError, RunnerTimeout

_LENGTHS = struct.Struct(">IQ")
_CHUNK = 1 << 20
MAX_HEADER = 1 << 24
MAX_PAYLOAD = 1 << 32
"""Bytes; longer frames are a sign of a stream out of step."""


class Closed(RunnerError):
    """The other side is gone."""


class Channel:
    """A pair of pipe ends that carries whole messages.

    Args:
        reading: file descriptor to read from.
        writing: file descriptor to write to.
        deadlines: whether calls give deadlines; if not, every call blocks until it is through.
    """

    def __init__(self, reading: int, writing: int, deadlines: bool = False) -> None:
        self._reading = reading
        self._writing = writing
        if deadlines:  # a pipe that nobody empties must not block the writer for ever
            os.set_blocking(writing, False)

    def send(
        self, header: dict[str, Any], payload: bytes = b"", deadline: float | None = None
    ) -> None:
        """Write one message; `deadline` is a time of `time.monotonic`, in seconds.

        Raises:
            Closed: the other side is gone.
            RunnerTimeout: the deadline has passed.
        """
        text = json.dumps(header).encode()
        try:
            self._write(_LENGTHS.pack(len(text), len(payload)) + text, deadline)
            self._write(payload, deadline)
        except BrokenPipeError:
            raise Closed("the other side of the pipe is gone") from None

    def receive(self, deadline: float | None = None) -> tuple[dict[str, Any], bytes]:
        """Read one message; `deadline` is a time of `time.monotonic`, in seconds.

        Raises:
            Closed: the other side is gone.
            RunnerTimeout: the deadline has passed.
            RunnerError: what came is not a message.
        """
        header_size, payload_size = _LENGTHS.unpack(self._read(_LENGTHS.size, deadline))
        if header_size > MAX_HEADER or payload_size > MAX_PAYLOAD:
            raise RunnerError(f"a message of {header_size} + {payload_size} bytes makes no sense")
        try:
            header = json.loads(self._read(header_size, deadline))
        except ValueError as error:
            raise RunnerError(f"a message cannot be read: {error}") from error
        if not isinstance(header, dict):
            raise RunnerError(f"a message must be an object, got {header!r:.80}")
        return header, self._read(payload_size, deadline)

    def _write(self, data: bytes, deadline: float | None) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._writing, view) :]
            except BlockingIOError:
                _wait(self._writing, select.POLLOUT, deadline)

    def _read(self, size: int, deadline: float | None) -> bytes:
        parts, missing = [], size
        while missing:
            if deadline is not None:
                _wait(self._reading, select.POLLIN, deadline)
            part = os.read(self._reading, min(missing, _CHUNK))
            if not part:
                raise Closed("the other side of the pipe is gone")
            parts.append(part)
            missing -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _wait(descriptor: int, event: int, deadline: float | None) -> None:
    """Wait until a pipe is ready."""
    poll = select.poll()
    poll.register(descriptor, event)
    left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
    if not poll.poll(left):
        raise RunnerTimeout("the other side of the pipe did not answer in time")

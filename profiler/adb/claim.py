"""One user of a phone at a time: two campaigns on one phone would spoil each other's figures."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from pathlib import Path

from latlas.profiler.errors import DeviceError


class Claim:
    """The right to measure on a phone, among the processes of this machine.

    It ends with `release`, or with the process, however that ends.

    Args:
        serial: what adb calls the phone.
        unit: what tells it from all others, however it is attached.

    Raises:
        DeviceError: another process measures on the phone.
    """

    def __init__(self, serial: str, unit: str) -> None:
        name = hashlib.sha256(unit.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        path = Path(tempfile.gettempdir()) / f"latlas-{os.getuid()}-phone-{name}.lock"
        try:
            # Nobody else's link is followed: the folder belongs to everyone.
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(path, flags, 0o600)
        except OSError as problem:
            raise DeviceError(
                f"cannot be claimed: {path}: {problem.strerror}", serial=serial
            ) from problem
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            os.close(self._descriptor)
            raise DeviceError(
                "another campaign or process of latlas measures on it: wait for it, or end it",
                serial=serial,
            ) from problem

    def release(self) -> None:
        """Give it back; a second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

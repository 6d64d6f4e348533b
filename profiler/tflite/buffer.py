"""Bounds-checked reading of flatbuffers.

The generated classes are slow and trust their input; a .tflite may be anybody's. Here every offset
is checked by `struct` against the end of the data, every vector's length before it is used.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from latlas.profiler.tflite.schema import FieldKind, Options

Bytes = bytes | memoryview
"""The contents of a file."""

_Unpack = Callable[[Bytes, int], tuple[Any, ...]]

_I8 = struct.Struct("<b").unpack_from
_U16 = struct.Struct("<H").unpack_from
_I32 = struct.Struct("<i").unpack_from
_U32 = struct.Struct("<I").unpack_from
_U64 = struct.Struct("<Q").unpack_from
MAX_SLOTS = 16
"""Fields of a table that can be read; latlas reads none beyond."""

_OFFSETS = [struct.Struct(f"<{count}H").unpack_from for count in range(MAX_SLOTS + 1)]
_SCALARS = {
    "int8": _I8,
    "int32": _I32,
    "bool": struct.Struct("<?").unpack_from,
    "float32": struct.Struct("<f").unpack_from,
}


class DamagedError(Exception):
    """The bytes do not hold together; the reader words it for the user."""


class Table:
    """One table of a flatbuffer.

    Args:
        data: the whole file.
        at: where the table starts; never negative.

    Raises:
        DamagedError: by every method, where an offset leads out of the file.
    """

    __slots__ = ("_offsets", "at", "data")

    def __init__(self, data: Bytes, at: int) -> None:
        self.data = data
        self.at = at
        try:
            layout = at - _I32(data, at)[0]
            # struct counts a negative offset from the end, so that it must be caught here
            size = _U16(data, layout)[0] if layout >= 0 else 0
            if size < 4:
                raise DamagedError("a table has no valid layout")
            self._offsets = _OFFSETS[min(size // 2 - 2, MAX_SLOTS)](data, layout + 4)
        except struct.error as error:
            raise DamagedError("a table lies outside the file") from error

    @staticmethod
    def root(data: Bytes) -> Table:
        """Return the table that everything hangs on."""
        try:
            return Table(data, _U32(data, 0)[0])
        except struct.error as error:
            raise DamagedError("there is no root table") from error

    def _place(self, slot: int) -> int:
        """Return where a field is, or 0 where it has its default."""
        offset: int = self._offsets[slot] if slot < len(self._offsets) else 0
        return self.at + offset if offset else 0

    def scalar(self, slot: int, kind: FieldKind, default: float = 0) -> float:
        """Return a number."""
        place = self._place(slot)
        if not place:
            return default
        try:
            value: float = _SCALARS[kind](self.data, place)[0]
        except struct.error as error:
            raise DamagedError("a number lies outside the file") from error
        return value

    def integer(self, slot: int) -> int:
        """Return a signed 32-bit integer; the schema's unsigned ones are small indices."""
        return self._number(slot, _I32)

    def byte(self, slot: int) -> int:
        """Return a signed byte."""
        return self._number(slot, _I8)

    def long(self, slot: int) -> int:
        """Return an unsigned 64-bit integer."""
        return self._number(slot, _U64)

    def _number(self, slot: int, unpack: _Unpack) -> int:
        place = self._place(slot)
        try:
            return int(unpack(self.data, place)[0]) if place else 0
        except struct.error as error:
            raise DamagedError("a number lies outside the file") from error

    def _follow(self, place: int) -> int:
        try:
            return place + int(_U32(self.data, place)[0])
        except struct.error as error:
            raise DamagedError("an offset lies outside the file") from error

    def table(self, slot: int) -> Table | None:
        """Return a table that this one refers to."""
        place = self._place(slot)
        return Table(self.data, self._follow(place)) if place else None

    def vector(self, slot: int, item_bytes: int) -> tuple[int, int]:
        """Return where a vector's items start and how many there are; (0, 0) where it is absent."""
        place = self._place(slot)
        if not place:
            return 0, 0
        start = self._follow(place)
        try:
            count: int = _U32(self.data, start)[0]
        except struct.error as error:
            raise DamagedError("a vector lies outside the file") from error
        if start + 4 + count * item_bytes > len(self.data):
            raise DamagedError(f"a vector of {count} items runs past the end")
        return start + 4, count

    def tables(self, slot: int, limit: int, what: str) -> list[int]:
        """Return where each table of a vector is, in order; `Table` opens one.

        Raises:
            DamagedError: there are more than `limit`.
        """
        start, count = self.vector(slot, 4)
        if count > limit:
            raise DamagedError(f"there are {count} {what}, more than the {limit} that are read")
        offsets = struct.unpack_from(f"<{count}I", self.data, start)
        return [start + 4 * index + offset for index, offset in enumerate(offsets)]

    def ints(self, slot: int, limit: int) -> tuple[int, ...] | None:
        """Return a vector of signed 32-bit integers, or None where it is absent.

        Raises:
            DamagedError: there are more than `limit`.
        """
        start, count = self.vector(slot, 4)
        if not start:
            return None
        if count > limit:
            raise DamagedError(f"a list has {count} items, more than the {limit} that are read")
        return struct.unpack_from(f"<{count}i", self.data, start)

    def text(self, slot: int, limit: int = 80) -> str:
        """Return the beginning of a string."""
        start, count = self.vector(slot, 1)
        return bytes(self.data[start : start + min(count, limit)]).decode("utf-8", "replace")


def read_options(table: Table | None, layout: Options) -> dict[str, float]:
    """Return an operator's options by name, the defaults where there is no table."""
    values: dict[str, float] = {}
    for name, (slot, kind, default) in layout.fields.items():
        if kind != "ints":
            values[name] = default if table is None else table.scalar(slot, kind, default)
    return values

"""Put a .tflite file together: tensors, operators, and the tables that hold them.

What stands in a network is the writer's business; this knows the schema and how flatbuffers are
built, last things first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import flatbuffers
import numpy as np

from latlas.profiler.graph import Array
from latlas.profiler.ops import Pair, Shape
from latlas.profiler.tflite.quantisation import Scale
from latlas.profiler.tflite.schema import IDENTIFIER, OPTIONS, VERSION, Code, Type

_ALIGNMENT = 16
"""The schema asks for it, and delegates map weights straight from the file."""

_NO_BYTE = 127
"""What the field that was once all an operator code had holds for the numbers beyond."""


class FileBuilder:
    """Collects tensors and operators in a flatbuffer; everything is named by its index.

    Args:
        size: bytes that the file will have, roughly.
    """

    def __init__(self, size: int) -> None:
        # A flatbuffer grows by copying itself: ask for enough at once.
        self.builder = flatbuffers.Builder(size)
        self.buffers = [self.table({})]  # buffer 0 is the empty one, by convention
        self.tensors: list[int] = []
        self.operators: list[int] = []
        self.codes: dict[tuple[Code, int], int] = {}
        self.integers: dict[Shape, int] = {}
        self.constants: dict[tuple[str, Shape, bytes], int] = {}
        self.scales: dict[tuple[bytes, int, int], int] = {}

    def table(self, fields: dict[int, tuple[str, float, float]]) -> int:
        """Write a table; `fields` maps a slot to kind, value and default."""
        builder = self.builder
        builder.StartObject(max(fields, default=-1) + 1)
        for slot, (kind, value, default) in fields.items():
            match kind:
                case "offset":
                    builder.PrependUOffsetTRelativeSlot(slot, value, 0)
                case "int8":
                    builder.PrependInt8Slot(slot, value, default)
                case "bool":
                    builder.PrependBoolSlot(slot, value, default)
                case "uint8":
                    builder.PrependUint8Slot(slot, value, default)
                case "int32":
                    builder.PrependInt32Slot(slot, value, default)
                case "uint32":
                    builder.PrependUint32Slot(slot, value, default)
                case "float32":
                    builder.PrependFloat32Slot(slot, value, default)
                case _:
                    raise AssertionError(kind)
        return int(builder.EndObject())

    def offsets(self, tables: Sequence[int]) -> int:
        """Write a vector of tables."""
        self.builder.StartVector(4, len(tables), 4)
        for table in reversed(tables):
            self.builder.PrependUOffsetTRelative(table)
        return int(self.builder.EndVector())

    def ints(self, values: Iterable[int]) -> int:
        """Write a vector of 32-bit integers; equal ones are shared."""
        key = tuple(values)
        if key not in self.integers:
            self.builder.StartVector(4, len(key), 4)
            for value in reversed(key):
                self.builder.PrependInt32(value)
            self.integers[key] = int(self.builder.EndVector())
        return self.integers[key]

    def scale(self, sizes: Array, zero_point: int = 0, axis: int = 0) -> int:
        """Write scales, one or one for each place on an axis; their zero points are equal."""
        sizes = np.ascontiguousarray(sizes, "<f4")
        key = (sizes.tobytes(), zero_point, axis)
        if key not in self.scales:
            zeros = np.full(sizes.shape, zero_point, "<i8")
            offsets = self.builder.CreateNumpyVector(sizes), self.builder.CreateNumpyVector(zeros)
            self.scales[key] = self.table(
                {
                    2: ("offset", int(offsets[0]), 0),
                    3: ("offset", int(offsets[1]), 0),
                    6: ("int32", axis, 0),
                }
            )
        return self.scales[key]

    def tensor(
        self,
        shape: Shape,
        name: str,
        buffer: int = 0,
        kind: Type = Type.FLOAT32,
        scale: int = 0,
    ) -> int:
        """Add a tensor; `scale` is what `scale` returned, where it is quantised."""
        offsets = self.ints(shape), int(self.builder.CreateString(name))
        self.tensors.append(
            self.table(
                {
                    0: ("offset", offsets[0], 0),
                    1: ("int8", kind, 0),
                    2: ("uint32", buffer, 0),
                    3: ("offset", offsets[1], 0),
                    4: ("offset", scale, 0),
                    8: ("bool", not shape, 0),
                }
            )
        )
        return len(self.tensors) - 1

    def value(self, shape: Shape, name: str, scale: Scale | None) -> int:
        """Add the tensor of an activation, of int8 where it has a scale."""
        if scale is None:
            return self.tensor(shape, name)
        where = self.scale(np.array([scale.scale]), scale.zero_point)
        return self.tensor(shape, name, 0, Type.INT8, where)

    def array(self, values: Array, name: str, kind: Type = Type.FLOAT32, scale: int = 0) -> int:
        """Add a tensor of constants."""
        raw = values.reshape(-1).view(np.uint8)
        # CreateNumpyVector aligns to the element only, and copies three times.
        self.builder.StartVector(1, raw.size, _ALIGNMENT)
        self.builder.head -= raw.size
        self.builder.Bytes[self.builder.head : self.builder.head + raw.size] = raw.data
        data = int(self.builder.EndVector())
        self.buffers.append(self.table({0: ("offset", data, 0)}))
        return self.tensor(values.shape, name, len(self.buffers) - 1, kind, scale)

    def constant(self, values: Array, name: str, kind: Type = Type.FLOAT32) -> int:
        """Add a small tensor of constants; equal ones are shared."""
        key = (values.dtype.str, values.shape, values.tobytes())
        if key not in self.constants:
            self.constants[key] = self.array(values, name, kind)
        return self.constants[key]

    def indices(self, values: Sequence[int] | Sequence[Pair], name: str) -> int:
        """Add a tensor of integer constants."""
        return self.constant(np.array(values, np.int32), name, Type.INT32)

    def operator(
        self, code: Code, inputs: Sequence[int], output: int, version: int = 1, **options: float
    ) -> int:
        """Add an operator and return its output."""
        layout = OPTIONS.get(code)
        table = 0
        if layout is not None:
            fields: dict[int, tuple[str, float, float]] = {}
            for name, value in options.items():
                slot, kind, default = layout.fields[name]
                fields[slot] = ("offset" if kind == "ints" else kind, value, default)
            table = self.table(fields)
        index = self.codes.setdefault((code, version), len(self.codes))
        offsets = self.ints(inputs), self.ints((output,))
        self.operators.append(
            self.table(
                {
                    0: ("uint32", index, 0),
                    1: ("offset", offsets[0], 0),
                    2: ("offset", offsets[1], 0),
                    3: ("uint8", layout.number if layout else 0, 0),
                    4: ("offset", table, 0),
                }
            )
        )
        return output

    def signature(self, inputs: Sequence[int], outputs: Sequence[int]) -> int:
        """Write the signature that gives inputs and outputs their names."""
        vectors = []
        for letter, values in (("x", inputs), ("y", outputs)):
            names = [int(self.builder.CreateString(f"{letter}{i}")) for i in range(len(values))]
            maps = [
                self.table({0: ("offset", name, 0), 1: ("uint32", value, 0)})
                for name, value in zip(names, values, strict=True)
            ]
            vectors.append(self.offsets(maps))
        key = int(self.builder.CreateString("serving_default"))
        return self.table(
            {0: ("offset", vectors[0], 0), 1: ("offset", vectors[1], 0), 2: ("offset", key, 0)}
        )

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """Write what holds everything together and return the file."""
        fields = [
            self.offsets(self.tensors),
            self.ints(inputs),
            self.ints(outputs),
            self.offsets(self.operators),
            int(self.builder.CreateString("main")),
        ]
        subgraph = self.table({slot: ("offset", value, 0) for slot, value in enumerate(fields)})
        codes = [
            self.table(
                {
                    0: ("int8", min(code, _NO_BYTE), 0),
                    2: ("int32", version, 1),
                    3: ("int32", int(code), 0),
                }
            )
            for code, version in self.codes
        ]
        description = int(self.builder.CreateString("latlas"))
        vectors = {
            1: self.offsets(codes),
            2: self.offsets([subgraph]),
            3: description,
            4: self.offsets(self.buffers),
            7: self.offsets([self.signature(inputs, outputs)]),
        }
        model = {slot: ("offset", value, 0) for slot, value in vectors.items()}
        root = self.table({0: ("uint32", VERSION, 0), **model})
        self.builder.Finish(root, IDENTIFIER)
        return bytes(memoryview(self.builder.Bytes)[self.builder.Head() :])

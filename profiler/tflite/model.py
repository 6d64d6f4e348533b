"""The contents of a .tflite file: tensors, operators and constants, checked as they are read."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from latlas.profiler.errors import ModelFileError, UnsupportedOpError
from latlas.profiler.graph import Array
from latlas.profiler.ops import Shape
from latlas.profiler.tflite.buffer import Bytes, DamagedError, Table, read_options
from latlas.profiler.tflite.schema import (
    CUSTOM,
    IDENTIFIER,
    OPTIONS,
    Code,
    Type,
    code_name,
    type_name,
)

MAX_OPERATORS = 100_000
"""Operators, tensors or buffers of one file."""

MAX_OPERANDS = 400_000
"""Inputs of all operators together."""

MAX_RANK = 8
"""Dimensions of one tensor."""

_KNOWN = frozenset(Code)
_DTYPES: dict[int, np.dtype[Any]] = {
    Type.FLOAT32: np.dtype("<f4"),
    Type.FLOAT16: np.dtype("<f2"),
    Type.INT32: np.dtype("<i4"),
    Type.INT64: np.dtype("<i8"),
    Type.INT8: np.dtype("i1"),
}
_READABLE: frozenset[int] = frozenset({Type.FLOAT32, Type.INT32, Type.INT64, Type.INT8})
_CONDITIONS = frozenset({Type.BOOL})
_ALSO_READABLE: dict[Code, frozenset[int]] = {
    Code.DEQUANTIZE: frozenset({Type.FLOAT16}),
    Code.BROADCAST_TO: _CONDITIONS,
    Code.EQUAL: _CONDITIONS,
    Code.SELECT: _CONDITIONS,
    Code.SELECT_V2: _CONDITIONS,
    Code.SHAPE: _CONDITIONS,
}
_PARTING = frozenset({Code.SPLIT, Code.SPLIT_V, Code.UNPACK})
"""The operators that may have several outputs."""

_OTHER_FORMATS = {
    b"PK\x03\x04": "a zip archive (a .keras file is one)",
    b"\x89HDF": "an HDF5 file (Keras wrote such files)",
    b"ONNX": "an ONNX file",
}


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of the file; tensors are named by index."""

    position: int
    code: Code
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    table: Table

    @property
    def output(self) -> int:
        """The only output of most operators."""
        return self.outputs[0]

    def options(self) -> dict[str, float]:
        """Return the operator's options by name."""
        layout = OPTIONS.get(self.code)
        return {} if layout is None else read_options(self.table.table(4), layout)


class Model:
    """An opened file.

    Args:
        data: the bytes of the file.

    Raises:
        ModelFileError: this is no .tflite file, or not one with a single subgraph.
        UnsupportedOpError: an operator or element type is not known to latlas.
        DamagedError: offsets or lengths do not hold together.
    """

    def __init__(self, data: Bytes) -> None:
        _check_identifier(data)
        self.data = data
        root = Table.root(data)
        subgraphs = root.tables(2, MAX_OPERATORS, "subgraphs")
        if len(subgraphs) != 1:
            raise ModelFileError(
                f"the file has {len(subgraphs)} subgraphs; latlas reads networks of one, without "
                "control flow: convert a single function"
            )
        subgraph = Table(data, subgraphs[0])
        self._buffers = root.tables(4, MAX_OPERATORS, "buffers")
        self._tensors = subgraph.tables(0, MAX_OPERATORS, "tensors")
        self._tables: dict[int, Table] = {}
        self._types: dict[int, int] = {}
        self._constants: dict[int, Array | None] = {}
        self._budget = 4 * len(data) + (1 << 24)
        self.inputs = subgraph.ints(1, MAX_OPERATORS) or ()
        self.outputs = subgraph.ints(2, MAX_OPERATORS) or ()
        if not self.inputs or not self.outputs:
            raise ModelFileError("the file has no inputs or no outputs: it is not a network")
        self.operators = self._read_operators(root, subgraph)

    def _read_operators(self, root: Table, subgraph: Table) -> list[Operator]:
        codes = [
            _code(Table(self.data, at)) for at in root.tables(1, MAX_OPERATORS, "operator codes")
        ]
        found = []
        refused: Counter[str] = Counter()
        operands = 0
        for position, at in enumerate(subgraph.tables(3, MAX_OPERATORS, "operators")):
            table = Table(self.data, at)
            index = table.integer(0)
            if not 0 <= index < len(codes):
                raise DamagedError(f"operator {position} has no operator code {index}")
            code, name = codes[index]
            inputs = table.ints(1, MAX_OPERANDS) or ()
            outputs = table.ints(2, MAX_OPERANDS) or ()
            operands += len(inputs) + len(outputs)
            if operands > MAX_OPERANDS:
                raise DamagedError(f"operators have more than {MAX_OPERANDS} operands")
            if code is None:
                refused[name] += 1
                continue
            bad = {self.type(tensor) for tensor in (*inputs, *outputs) if tensor != -1}
            bad -= _READABLE | _ALSO_READABLE.get(code, frozenset())
            if bad:
                refused[f"{code.name} of {', '.join(sorted(map(type_name, bad)))}"] += 1
            elif not inputs or not outputs or (len(outputs) > 1 and code not in _PARTING):
                raise DamagedError(
                    f"operator {position} ({code.name}) has {len(inputs)} inputs and "
                    f"{len(outputs)} outputs"
                )
            else:
                found.append(Operator(position, code, inputs, outputs, table))
        if refused:
            raise UnsupportedOpError(
                f"operators that latlas does not read: {_listed(refused)}; it reads networks of "
                f"float32 or int8 with {', '.join(code.name for code in Code)}: replace those "
                "layers; quantise to int8 or not at all"
            )
        return found

    def _tensor(self, index: int) -> Table:
        found = self._tables.get(index)
        if found is None:
            if not 0 <= index < len(self._tensors):
                raise DamagedError(f"there is no tensor {index}")
            found = self._tables[index] = Table(self.data, self._tensors[index])
        return found

    def type(self, index: int) -> int:
        """Return the element type of a tensor."""
        found = self._types.get(index)
        if found is None:
            found = self._types[index] = self._tensor(index).byte(1)
        return found

    def shape(self, index: int) -> tuple[Shape, Shape]:
        """Return the shape of a tensor, and the same with -1 for every dynamic dimension."""
        table = self._tensor(index)
        shape = table.ints(0, MAX_RANK) or ()
        signature = table.ints(7, MAX_RANK) or shape
        if len(signature) != len(shape):
            raise DamagedError(f"tensor {index} has two ranks")
        return shape, signature

    def constant(self, index: int) -> Array | None:
        """Return a view of a constant tensor's elements, or None where the tensor has none."""
        if index not in self._constants:
            self._constants[index] = self._read_constant(index)
        return self._constants[index]

    def _read_constant(self, index: int) -> Array | None:
        table = self._tensor(index)
        number = table.integer(2)
        if not number:
            return None
        if not 0 <= number < len(self._buffers):
            raise DamagedError(f"there is no buffer {number}")
        buffer = Table(self.data, self._buffers[number])
        start, size = buffer.vector(0, 1)
        if not size:  # files of more than 2 GiB keep their buffers behind the flatbuffer
            start, size = buffer.long(1), buffer.long(2)
            if size and start + size > len(self.data):
                raise DamagedError(f"buffer {number} runs past the end")
        shape = table.ints(0, MAX_RANK) or ()
        dtype = _DTYPES.get(self.type(index))
        if not size:
            empty = shape == (0,) and dtype is not None and dtype.kind == "i"  # a scalar's shape
            return np.empty(0, dtype) if empty else None
        count = math.prod(shape)
        if dtype is None or min(shape, default=1) < 1 or count * dtype.itemsize != size:
            raise DamagedError(f"tensor {index} of shape {shape} has {size} bytes of data")
        return np.frombuffer(self.data, dtype, count, start).reshape(shape)

    def real(self, index: int, array: Array) -> Array:
        """Return what an int8 constant of one scale stands for, as float32.

        Raises:
            DamagedError: the tensor has no scale.
        """
        quantisation = self._tensor(index).table(4)
        scales = quantisation.vector(2, 4) if quantisation else (0, 0)
        zeros = self.zero_points(index)
        if scales[1] != 1 or len(zeros) != 1:
            raise DamagedError(f"tensor {index} of int8 does not have one scale and zero point")
        scale = np.frombuffer(self.data, "<f4", 1, scales[0])[0]
        if not -128 <= zeros[0] <= 127:
            raise DamagedError(f"tensor {index} of int8 has the zero point {zeros[0]}")
        real: Array = (array.astype(np.float32) - np.float32(zeros[0])) * scale
        return real

    def zero_points(self, index: int) -> Array:
        """Return the zero points of a tensor: none, one, or one for each channel."""
        quantisation = self._tensor(index).table(4)
        start, count = quantisation.vector(3, 8) if quantisation else (0, 0)
        return np.frombuffer(self.data, "<i8", count, start)

    def spend(self, array: Array) -> None:
        """Account for a copy of an array: a small file may refer to one buffer very often."""
        self._budget -= array.nbytes
        if self._budget < 0:
            raise DamagedError("operators share their weights too often")


def _check_identifier(data: Bytes) -> None:
    start = bytes(data[:8])
    if start[4:] == IDENTIFIER:
        return
    advice = "expected a .tflite file, as tf.lite.TFLiteConverter writes it"
    if not data:
        raise ModelFileError(f"the file is empty; {advice}")
    for magic, what in _OTHER_FORMATS.items():
        if start.startswith(magic):
            raise ModelFileError(f"the file is {what}; {advice}: convert it first")
    if len(data) < 8:
        raise ModelFileError(f"the file has only {len(data)} bytes; {advice}")
    raise ModelFileError(f"the file starts with {start!r}, without TFL3 at byte 4; {advice}")


def _code(table: Table) -> tuple[Code | None, str]:
    """Return the operator that a code stands for, or None and its name where it is not known."""
    # Old files have the first field only, new ones put 127 there for numbers beyond a byte.
    number = max(table.byte(0), table.integer(3))
    if number in _KNOWN:
        return Code(number), ""
    return None, f"CUSTOM {table.text(1)!r}" if number == CUSTOM else code_name(number)


def _listed(counts: Counter[str]) -> str:
    shown = [f"{name} x{count}" for name, count in counts.most_common(20)]
    return ", ".join(shown) + (", …" if len(counts) > 20 else "")

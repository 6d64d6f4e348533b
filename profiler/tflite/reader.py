"""Read a .tflite file of float32 or int8 as a network, a few milliseconds for MobileNetV3.

Shapes are worked out anew, since the ones in files with a dynamic batch are wrong, and what a
converter spells out is spelled as latlas does: hard-sigmoid, hard-swish. A quantised network stays
as it is spelled, since its runtime takes chains of arithmetic as one operator anyway.
Nothing in the file is trusted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from latlas.profiler.errors import GraphError, ModelFileError
from latlas.profiler.graph import Graph
from latlas.profiler.ops import Shape
from latlas.profiler.tflite.buffer import Bytes, DamagedError
from latlas.profiler.tflite.model import Model
from latlas.profiler.tflite.schema import Type, type_name
from latlas.profiler.tflite.translate import Translator

MAX_FILE_BYTES = 2**32
"""Larger files are refused before they are read."""


def _input_shape(model: Model, position: int, asked: Shape | None) -> Shape:
    """Return the concrete shape of one input."""
    tensor = model.inputs[position]
    kind = model.type(tensor)
    if kind not in (Type.FLOAT32, Type.INT8):
        raise ModelFileError(
            f"input {position} holds {type_name(kind)}; latlas reads networks of FLOAT32 or INT8"
        )
    _, signature = model.shape(tensor)
    if asked is None:
        shape = (1, *signature[1:]) if signature[:1] == (-1,) else signature
        if -1 in shape:
            example = ",".join(str(224 if size == -1 else size) for size in shape)
            raise ModelFileError(
                f"input {position} has the dynamic shape {signature}: say how large it is, with "
                f"input_shapes=[({example})], or --input-shape {example} on the command line"
            )
        return shape
    fits = len(asked) == len(signature) and all(
        size == fixed or (fixed == -1 and size > 0)
        for size, fixed in zip(asked, signature, strict=True)
    )
    if not fits:
        raise ModelFileError(
            f"input {position} has the shape {signature} (-1 is any size), not {asked}"
        )
    return tuple(asked)


def _input_shapes(model: Model, asked: Sequence[Shape] | None) -> list[Shape]:
    count = len(model.inputs)
    if len(set(model.inputs)) != count:
        raise DamagedError("an input is listed twice")
    if asked is not None and len(asked) != count:
        raise ModelFileError(f"the file has {count} input(s), input_shapes has {len(asked)}")
    return [
        _input_shape(model, position, None if asked is None else tuple(asked[position]))
        for position in range(count)
    ]


def read_tflite(data: Bytes, input_shapes: Sequence[Shape] | None = None) -> Graph:
    """Return the network in the bytes of a .tflite file.

    Its weights are read-only views of `data`; those of a quantised network are not read. A dynamic
    batch is read as 1. Hard-sigmoid and hard-swish spelled as arithmetic become activations, in
    networks of float32; `latlas.profiler.fold.fold` then gives the inference form.

    Args:
        data: the bytes of the file.
        input_shapes: shape of every input; needed where more than the batch is dynamic.

    Raises:
        ModelFileError: the bytes are not a .tflite file that latlas can read.
        UnsupportedOpError: some operators have no place in a `Graph`; the message lists them.

    >>> from latlas.profiler.graph_builder import GraphBuilder
    >>> from latlas.profiler.tflite.writer import to_tflite
    >>> b = GraphBuilder((1, 8, 8, 3))
    >>> data = to_tflite(b.build(b.relu6(b.average_pool(b.input, 2, stride=2))))
    >>> read_tflite(data).to_text()
    '1x8x8x3 | pool kind=average kernel=2x2 stride=2x2 @0 | activation kind=relu6 @1 | @2'
    """
    try:
        model = Model(data)
        return Translator(model, _input_shapes(model, input_shapes)).graph()
    except DamagedError as error:
        raise ModelFileError(
            f"the file is damaged or cut off after {len(data)} bytes ({error}): copy or convert "
            "it again"
        ) from error
    except GraphError as error:
        raise ModelFileError(f"the file's network is not well formed: {error}") from error


def _read(file: Path, size: int) -> memoryview:
    """Read a file into an array: its large pages cost a third of the time of `bytes`."""
    memory = np.empty(size, np.uint8).data
    done = 0
    with file.open("rb", buffering=0) as stream:
        while done < size:
            count = stream.readinto(memory[done:])
            if not count:  # somebody cut it meanwhile
                break
            done += count
    return memory[:done].toreadonly()


def load_tflite(path: str | os.PathLike[str], input_shapes: Sequence[Shape] | None = None) -> Graph:
    """Return the network in a .tflite file; see `read_tflite`.

    Raises:
        ModelFileError: the file cannot be read, or is not a .tflite file that latlas can read.
        UnsupportedOpError: some operators have no place in a `Graph`; the message lists them.
    """
    file = Path(path)
    try:
        if not file.is_file():  # also keeps away from pipes and devices, which may never end
            what = "is not a file" if file.exists() else "does not exist"
            raise ModelFileError(f"{file} {what}: expected the path of a .tflite file")
        size = file.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ModelFileError(f"{file} has {size} bytes, more than the {MAX_FILE_BYTES} allowed")
        data = _read(file, size)
    except OSError as error:
        raise ModelFileError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ModelFileError(f"{path!r} is not a path: {error}") from error
    try:
        return read_tflite(data, input_shapes)
    except ModelFileError as error:
        raise type(error)(f"{file}: {error}") from error

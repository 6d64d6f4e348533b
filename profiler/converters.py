"""Converters of other formats to .tflite, run in a process of their own by
`latlas.profiler.importers`.

``python -m latlas.profiler.converters keras|saved_model|torch SOURCE TARGET`` reads a model and
writes a .tflite file. TensorFlow and PyTorch are imported here alone: they take seconds to start
and print a great deal, none of which concerns the process that asked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def keras_model(model: Any) -> bytes:
    """Convert a Keras model that is in memory.

    Args:
        model: a ``keras.Model`` with a batch of any size.
    """
    import tensorflow as tf

    return bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


def keras(source: Path) -> bytes:
    """Convert a .keras or .h5 file; layers that hold code of their own are refused by Keras."""
    import keras as k

    return keras_model(k.models.load_model(source, compile=False))


def saved_model(source: Path) -> bytes:
    """Convert the folder of a SavedModel, its default signature."""
    import tensorflow as tf

    return bytes(tf.lite.TFLiteConverter.from_saved_model(str(source)).convert())


def torch(source: Path) -> bytes:
    """Convert what ``torch.export.save`` wrote, by litert-torch; pictures become NHWC.

    PyTorch computes on NCHW. A network that was not told otherwise begins with a transpose, which
    costs time on a device and is no part of the network.
    """
    import litert_torch
    import torch as t

    program = t.export.load(source)
    module = program.module()
    if program.example_inputs is None:
        raise ValueError("it holds no example inputs: export it with torch.export.export")
    arguments, keywords = program.example_inputs
    if keywords:
        raise ValueError("its inputs must be positional")
    pictures = [i for i, value in enumerate(arguments) if _rank(value) == 4]
    with t.no_grad():
        found = module(*arguments)
    outputs = found if isinstance(found, tuple | list) else (found,)
    maps = [i for i, value in enumerate(outputs) if _rank(value) == 4]
    if pictures or maps:
        module = litert_torch.to_channel_last_io(
            module, args=pictures or None, outputs=maps or None
        )
    moved = tuple(
        value.permute(0, 2, 3, 1) if i in pictures else value for i, value in enumerate(arguments)
    )
    return bytes(litert_torch.convert(module, moved).model_content())


def _rank(value: Any) -> int:
    return getattr(value, "ndim", 0)


CONVERTERS: dict[str, Callable[[Path], bytes]] = {
    "keras": keras,
    "saved_model": saved_model,
    "torch": torch,
}


def main(kind: str, source: str, target: str) -> None:
    """Convert one file. The last line of stderr says what went wrong."""
    try:
        data = CONVERTERS[kind](Path(source))
    except Exception as problem:
        lines = str(problem).strip().splitlines() or [""]
        sys.exit(f"{type(problem).__name__}: {lines[0]}")
    Path(target).write_bytes(data)


if __name__ == "__main__":
    main(*sys.argv[1:])

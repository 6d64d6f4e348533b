"""Models of any format that latlas takes: .tflite as it is, others through their converters.

Keras and SavedModel are converted by TensorFlow, ONNX by onnx2tf
(https://github.com/PINTO0309/onnx2tf), PyTorch's exported programs by litert-torch
(https://github.com/google-ai-edge/litert-torch). Each converter runs in a process of its own, with
a limit of time: of what it prints, the last line is kept where it fails.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latlas.profiler.errors import ModelFileError, UsageError
from latlas.profiler.graph import Graph
from latlas.profiler.ops import Shape
from latlas.profiler.tflite.reader import MAX_FILE_BYTES, load_tflite, read_tflite

TFLITE = ".tflite"
KINDS = {".keras": "keras", ".h5": "keras", ".onnx": "onnx", ".pt2": "torch"}
"""Converters by the end of a file's name."""

SEARCHED = (TFLITE, ".keras", ".onnx", ".pt2")
"""Files that are taken from folders; other .h5 files hold weights alone, or no model at all."""

SAVED_MODEL = "saved_model.pb"
"""What makes a folder a SavedModel."""

LIMIT_S = 600.0
"""No conversion may take longer."""

ONNX_PICTURES = "calibration_image_sample_data_20x128x128x3_float32.npy"
"""Pictures that onnx2tf would fetch from the internet to check its work with: noise serves too."""


def kind_of(path: Path) -> str:
    """Return the format of a model: ``tflite``, ``keras``, ``saved_model``, ``onnx`` or ``torch``.

    >>> kind_of(Path("a/model.onnx"))
    'onnx'

    A file with another name is taken for a .tflite, whose reader says what is wrong with it.
    """
    if is_saved_model(path):
        return "saved_model"
    return KINDS.get(path.suffix.lower(), "tflite")


def is_saved_model(path: Path) -> bool:
    """Tell whether a path is the folder of a SavedModel."""
    return (path / SAVED_MODEL).is_file()


def models_in(folder: Path) -> list[Path]:
    """Return the models in a folder and its subfolders, in order; a SavedModel is one."""
    found = []
    for path in sorted(folder.rglob("*")):
        inside = any(is_saved_model(parent) for parent in path.parents if parent != folder.parent)
        if not inside and (path.suffix.lower() in SEARCHED or is_saved_model(path)):
            found.append(path)
    return found


def load_model(path: Path, input_shapes: Sequence[Shape] | None = None) -> Graph:
    """Return the network in a file of any format.

    Args:
        path: the file, or the folder of a SavedModel.
        input_shapes: shapes of inputs that the file leaves open, NHWC.

    Raises:
        ModelFileError: it cannot be read or converted; operators that latlas does not know are an
            `latlas.profiler.errors.UnsupportedOpError`.
        UsageError: the converter is not installed.
    """
    if kind_of(path) == "tflite":
        return load_tflite(path, input_shapes)
    return read_model(path, tflite_bytes(path), input_shapes)


def read_model(path: Path, data: bytes, input_shapes: Sequence[Shape] | None = None) -> Graph:
    """Return the network that `tflite_bytes` gave the bytes of; else as `load_model`."""
    try:
        return read_tflite(data, input_shapes)
    except ModelFileError as problem:
        text = str(problem)
        raise type(problem)(text if str(path) in text else f"{path}: {text}") from problem


def tflite_bytes(path: Path) -> bytes:
    """Return a model of any format as the bytes of a .tflite file.

    Raises:
        ModelFileError: it cannot be read or converted.
        UsageError: the converter is not installed.
    """
    kind = kind_of(path)
    try:
        if kind != "saved_model" and not path.is_file():  # a pipe or a device might never end
            raise ModelFileError(f"{path} is not a file: expected a model")
        if kind == "tflite":
            if (size := path.stat().st_size) > MAX_FILE_BYTES:
                raise ModelFileError(f"{path} has {size} bytes, more than {MAX_FILE_BYTES}")
            return path.read_bytes()
        with tempfile.TemporaryDirectory(prefix="latlas-") as folder:
            if kind == "onnx":
                return _convert_onnx(path, Path(folder))
            return _convert(kind, path, Path(folder))
    except OSError as problem:
        raise ModelFileError(f"cannot read {path}: {problem.strerror or problem}") from problem


def _convert(kind: str, path: Path, folder: Path) -> bytes:
    if kind == "torch" and importlib.util.find_spec("litert_torch") is None:
        raise UsageError(f"{path}: PyTorch needs its converter: pip install 'latlas[torch]'")
    target = folder / "model.tflite"
    _run(
        [sys.executable, "-m", "latlas.profiler.converters", kind, path.resolve(), target],
        path,
        folder,
    )
    return target.read_bytes()


def _convert_onnx(path: Path, folder: Path) -> bytes:
    command = onnx_command()
    if command is None:
        raise UsageError(
            f"{path}: ONNX needs the command onnx2tf, in this environment or on the PATH: "
            "pip install 'latlas[onnx]'"
        )
    with (folder / ONNX_PICTURES).open("wb") as pictures:
        np.save(pictures, np.random.default_rng(0).random((20, 128, 128, 3), np.float32))
    source = folder / "model.onnx"
    shutil.copyfile(path, source)
    _run([command, "-i", source, "-o", folder / "out", "-n"], path, folder)
    target = folder / "out" / "model_float32.tflite"
    if not target.is_file():
        raise ModelFileError(f"{path} cannot be converted: onnx2tf wrote no .tflite")
    return target.read_bytes()


def onnx_command() -> str | None:
    """Return onnx2tf's command: this environment's, else the first on the PATH."""
    own = shutil.which("onnx2tf", path=str(Path(sys.executable).parent))
    return own or shutil.which("onnx2tf")


def _run(command: Sequence[str | Path], path: Path, folder: Path) -> None:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    try:
        done = subprocess.run(
            list(map(str, command)),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as problem:
        raise ModelFileError(
            f"{path} cannot be converted: no end after {LIMIT_S:.0f} s"
        ) from problem
    except OSError as problem:
        raise ModelFileError(f"{path} cannot be converted: {problem}") from problem
    if done.returncode:
        raise ModelFileError(
            f"{path} cannot be converted: {_last_line(done.stderr or done.stdout)}"
        )


def _last_line(output: bytes) -> str:
    """Return what a converter said last, in ASCII."""
    lines = output.decode(errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    return ascii(said[-1][:500])[1:-1] if said else "its converter gave no reason"


def graph_of(model: str | Path | Graph | Any) -> Graph:
    """Return the network of a path, of a Keras model, or of a graph itself.

    Raises:
        ModelFileError: the model cannot be read or converted.
        UsageError: it is none of these, or its converter is not installed.
    """
    if isinstance(model, Graph):
        return model
    if isinstance(model, str | Path):
        return load_model(Path(model))
    if type(model).__module__.partition(".")[0] == "torch" or hasattr(model, "state_dict"):
        raise UsageError(
            "a PyTorch model is given as a file: torch.export.save(torch.export.export("
            "model.eval(), (example,)), 'model.pt2')"
        )
    if not hasattr(model, "get_config"):
        raise UsageError(
            f"a model is the path of a file, a Graph or a Keras model, not {type(model).__name__}"
        )
    from latlas.profiler.converters import keras_model

    try:
        data = keras_model(model)
    except Exception as problem:
        raise ModelFileError(f"the Keras model cannot be converted: {problem}") from problem
    return read_tflite(data)

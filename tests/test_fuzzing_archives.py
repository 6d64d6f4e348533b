"""Archives of arrays are read, or refused with an error of the project's own."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hostile import FEW, changed, damaged, refusing
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tables import TARGET

from latlas.predictor import file
from latlas.predictor.calibration import Calibration
from latlas.predictor.predictor import LatencyPredictor
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.kernel import Kernel
from latlas.search.exporting import read_weights, write_weights
from latlas.search.supernet_checkpoint import Checkpoint
from latlas.search.training_state import load_state, save_state


@cache
def predictor() -> tuple[Any, dict[str, Any]]:
    """Return the header and the arrays of a small predictor's file."""
    import tempfile

    known = Kernel.from_text("1x8x8x4 | conv2d filters=8 kernel=1x1 @0 | @1")
    learned = LatencyPredictor(
        TARGET, rules_for("cpu").version, {known: 10.0}, {}, {}, Calibration(1, 0, 5, 0.1, 9)
    )
    with tempfile.TemporaryDirectory() as folder:
        file.save(learned, Path(folder) / "p.latlas")
        with np.load(Path(folder) / "p.latlas") as archive:
            arrays = dict(archive)
    return json.loads(arrays.pop("header").tobytes()), arrays


@FEW
@given(st.data())
def test_predictors(tmp_path: Path, data: st.DataObject) -> None:
    header, arrays = predictor()
    text = json.dumps(data.draw(changed(header)))
    path = tmp_path / "p.latlas"
    written = io.BytesIO()
    np.savez(written, header=np.frombuffer(text.encode(), np.uint8), **arrays)
    path.write_bytes(written.getvalue())
    with refusing():
        found = file.load(path)
        assert np.isfinite(list(found.table_us.values())).all()
        found.predict([next(iter(found.table_us)).graph], accept_unknown=True)


IDENTITY = "what it was trained on"


@cache
def small() -> Graph:
    """Return a network with few weights."""
    b = GraphBuilder((1, 4, 4, 3))
    return b.build(b.conv(b.input, 2, 1))


def variables() -> dict[str, tf.Variable]:
    return {"kernel": tf.Variable(np.ones((2, 3), np.float32)), "step": tf.Variable(7)}


def supernet() -> Checkpoint:
    one = {"kernel": np.ones((2, 3), np.float32)}
    return Checkpoint(one, one, np.ones((2, 4), np.int64), [0.5, 0.25])


def save_predictor(path: Path) -> None:
    header, arrays = predictor()
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with path.open("wb") as written:
        np.savez(written, header=text, **arrays)


def load_predictor(path: Path) -> None:
    found = file.load(path)
    found.predict([next(iter(found.table_us)).graph], accept_unknown=True)


def save_weights(path: Path) -> None:
    weights = {name: np.ones(s, np.float32) for name, s in small().weight_shapes().items()}
    write_weights(path, weights, 0.5)


ARCHIVES: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "predictor": (save_predictor, load_predictor),
    "training": (
        lambda path: save_state(path, IDENTITY, [0.5], variables()),
        lambda path: load_state(path, IDENTITY, variables()),
    ),
    "supernet": (
        lambda path: supernet().save(path, IDENTITY),
        lambda path: Checkpoint.load(path, IDENTITY, supernet()),
    ),
    "weights": (save_weights, lambda path: read_weights(path, small())),
}
"""What writes an archive of arrays, and what reads it."""


def as_npy(array: NDArray[Any]) -> bytes:
    """Return an array's file, a pickle if it has to be one."""
    written = io.BytesIO()
    np.lib.format.write_array(written, array, allow_pickle=True)
    return written.getvalue()


def claiming(shape: tuple[int, ...]) -> bytes:
    """Return the file of an array that holds less than it says."""
    written = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(written, header)
    return written.getvalue() + bytes(64)


MEMBERS = [
    *map(as_npy, (np.array("x"), np.array(["9" * 1000]), np.zeros(0), np.zeros((1,) * 10))),
    *map(as_npy, (np.array([np.nan]), np.array(1j), np.full(3, 1e308), np.array([{}], object))),
    *map(as_npy, (np.zeros(3, "V8"), np.array(0, "M8[s]"), np.full((2, 3), np.inf, np.float32))),
    *map(claiming, ((1 << 40,), (1 << 62, 1 << 62), (1 << 28,), (-1,), (0, 1 << 60))),
    b"",
    b"no array",
    bytes(1 << 12),
    b"\x93NUMPY\x01\x00\xff\xff{",
]
"""Files of arrays that a reader does not expect."""


@pytest.mark.parametrize("kind", ARCHIVES)
@FEW
@given(data=st.data())
@example(data=None)
def test_archives(kind: str, data: st.DataObject | None) -> None:
    save, load = ARCHIVES[kind]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.npz"
        save(path)
        if data is None:
            load(path)
            return
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name = data.draw(st.sampled_from(sorted(members)))
        match data.draw(st.sampled_from(("replace", "replace", "remove", "damage"))):
            case "replace":
                members[name] = data.draw(st.sampled_from(MEMBERS))
            case "remove":
                del members[name]
            case _:
                members[name] = data.draw(damaged(members[name]))
        with zipfile.ZipFile(path, "w") as archive:
            for name, raw in members.items():
                archive.writestr(name, raw)
        with refusing():
            load(path)


@pytest.mark.parametrize("kind", ARCHIVES)
@settings(FEW, max_examples=30)
@given(data=st.data())
def test_bytes_of_archives(kind: str, data: st.DataObject) -> None:
    save, load = ARCHIVES[kind]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.npz"
        save(path)
        path.write_bytes(data.draw(damaged(path.read_bytes())))
        with refusing():
            load(path)

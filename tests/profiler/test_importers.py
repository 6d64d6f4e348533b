from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from components import require
from shown import ROOT, blocks

from latlas.profiler import converters, importers
from latlas.profiler.errors import ModelFileError, UsageError
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.importers import graph_of, kind_of, load_model, models_in, tflite_bytes
from latlas.profiler.tflite.reader import read_tflite
from latlas.profiler.tflite.writer import to_tflite

OPERATORS = ["conv2d", "depthwise_conv2d", "activation", "fully_connected"]


def operators(graph: Graph) -> list[str]:
    """Return the names of the operators that do the work."""
    return [node.op.name for node in graph.nodes if node.op.name in OPERATORS]


@pytest.fixture(scope="module")
def keras_model() -> Any:
    import keras

    return keras.Sequential(
        [
            keras.layers.Input((32, 32, 3)),
            keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            keras.layers.DepthwiseConv2D(3, padding="same"),
            keras.layers.Activation("hard_swish"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10),
        ]
    )


def test_a_keras_model_in_memory(keras_model: Any) -> None:
    graph = graph_of(keras_model)
    assert operators(graph) == OPERATORS
    assert graph.inputs == ((1, 32, 32, 3),)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_keras_file(keras_model: Any, tmp_path: Path, suffix: str) -> None:
    keras_model.save(tmp_path / f"model.{suffix}")
    graph = load_model(tmp_path / f"model.{suffix}")
    assert fold(graph).to_text() == fold(graph_of(keras_model)).to_text()


def test_a_saved_model(keras_model: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    class Module(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3))])  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            return tf.nn.relu(tf.nn.conv2d(x, tf.ones((1, 1, 3, 4)), 1, "SAME"))

    module = Module()
    tf.saved_model.save(module, str(tmp_path / "models" / "saved"), module.__call__)
    assert models_in(tmp_path / "models") == [tmp_path / "models" / "saved"]
    assert kind_of(tmp_path / "models" / "saved") == "saved_model"
    graph = read_tflite(converters.saved_model(tmp_path / "models" / "saved"))
    assert graph.to_text() == "1x8x8x3 | conv2d filters=4 kernel=1x1 activation=relu @0 | @1"


def test_graphs_and_tflite_files_are_taken_as_they_are(tmp_path: Path) -> None:
    b = GraphBuilder((1, 8, 8, 3))
    graph = b.build(b.conv(b.input, 4, 1))
    assert graph_of(graph) is graph
    path = tmp_path / "no suffix"
    path.write_bytes(to_tflite(graph))
    assert kind_of(path) == "tflite"
    assert tflite_bytes(path) == path.read_bytes()
    assert graph_of(str(path)).to_text() == graph.to_text()


def test_damaged_files_are_errors_of_our_own(tmp_path: Path) -> None:
    path = tmp_path / "bad.keras"
    path.write_bytes(b"no model\n\x1b[31m")
    with pytest.raises(ModelFileError, match=r"bad\.keras cannot be converted: .*Error") as caught:
        load_model(path)
    assert str(caught.value).isprintable()
    with pytest.raises(ModelFileError, match="is not a file"):
        load_model(tmp_path / "missing.h5")


def test_files_that_cannot_be_read_are_errors_of_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importers, "onnx_command", lambda: "true")
    (tmp_path / "m.onnx").symlink_to("/proc/self/mem")  # a regular file without a first byte
    with pytest.raises(ModelFileError, match=r"cannot read .*m\.onnx: Input/output error"):
        load_model(tmp_path / "m.onnx")
    os.mkfifo(tmp_path / "m.tflite")
    with pytest.raises(ModelFileError, match="is not a file"):
        tflite_bytes(tmp_path / "m.tflite")


def test_a_converter_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "onnx2tf"
    script.write_text("#!/bin/sh\nexec sleep 100\n")
    script.chmod(0o755)
    (tmp_path / "m.onnx").write_bytes(b"")
    monkeypatch.setattr(importers, "onnx_command", lambda: str(script))
    monkeypatch.setattr(importers, "LIMIT_S", 0.2)
    with pytest.raises(ModelFileError, match="no end after 0 s"):
        load_model(tmp_path / "m.onnx")
    script.write_text("#!/bin/sh\nexit 0\n")
    with pytest.raises(ModelFileError, match=r"wrote no \.tflite"):
        load_model(tmp_path / "m.onnx")


def test_missing_converters_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("m.onnx", "m.pt2"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr(importers, "onnx_command", lambda: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'latlas\[onnx\]'"):
        load_model(tmp_path / "m.onnx")
    with pytest.raises(UsageError, match=r"pip install 'latlas\[torch\]'"):
        load_model(tmp_path / "m.pt2")


def test_what_is_no_model() -> None:
    with pytest.raises(UsageError, match="not int"):
        graph_of(3)

    class Module:
        def state_dict(self) -> None: ...

    with pytest.raises(UsageError, match=r"torch\.export\.save"):
        graph_of(Module())


def test_models_in_folders(tmp_path: Path) -> None:
    for name in ("b.tflite", "a.ONNX", "c/d.keras", "weights.h5", "x.txt", "s/saved_model.pb"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "s" / "inside.tflite").write_bytes(b"")
    found = [str(path.relative_to(tmp_path)) for path in models_in(tmp_path)]
    assert found == ["a.ONNX", "b.tflite", "c/d.keras", "s"]


def require_extra(name: str, found: object) -> None:
    require(f"the extra {name}", bool(found), f"pip install '.[{name}]'", "LATLAS_REQUIRE_EXTRAS")


def test_onnx(tmp_path: Path) -> None:
    require_extra("onnx", importers.onnx_command() and importlib.util.find_spec("onnx"))
    import onnx
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(0)
    shapes = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (8, 1, 3, 3), "w3": (10, 8), "b3": (10,)}
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    pads = {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], strides=[2, 2], **pads),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], group=8, **pads),
        helper.make_node("HardSwish", ["c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], transB=1),
    ]
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 3, 32, 32]), ("y", [1, 10]))
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "m.onnx")
    found = load_model(tmp_path / "m.onnx")
    assert found.inputs == ((1, 32, 32, 3),)
    assert operators(found) == OPERATORS


def test_torch(tmp_path: Path) -> None:
    require_extra("torch", importlib.util.find_spec("litert_torch"))
    page = ROOT / "docs" / "migrating.md"
    (shown,) = [each.text for each in blocks(page) if "torch.export.save" in each.text]
    # PyTorch and what it converts with warn about themselves: a process of its own.
    code = """
import torch
model = torch.nn.Sequential(
    torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
    torch.nn.Conv2d(8, 8, 3, 1, 1, groups=8), torch.nn.Hardswish(),
    torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 10),
)
example = torch.randn(1, 3, 32, 32)
"""
    subprocess.run([sys.executable, "-c", code + shown], cwd=tmp_path, check=True)
    found = load_model(tmp_path / "model.pt2")
    assert found.inputs == ((1, 32, 32, 3),)
    assert operators(found) == OPERATORS

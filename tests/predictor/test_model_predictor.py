from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import latlas
from latlas import load_predictor
from latlas.predictor import file
from latlas.predictor.predictor import LatencyPredictor
from latlas.profiler.errors import PredictorError, UnknownKernelError
from latlas.profiler.fold import fold
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.tflite.writer import to_tflite


@pytest.fixture(scope="module")
def saved(predictor: LatencyPredictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("predictor") / "p.latlas"
    file.save(predictor, path)
    return path


def test_one_line(
    saved: Path, predictor: LatencyPredictor, simulation: Any, tmp_path: Path
) -> None:
    graph = next(iter(simulation.networks(1, 5).values()))
    (tmp_path / "m.tflite").write_bytes(to_tflite(fold(graph)))
    (wanted,) = predictor.predict([graph])
    found = load_predictor(saved)
    assert found.predict(graph) == wanted.latency_ms
    assert found.predict(str(tmp_path / "m.tflite")) == pytest.approx(wanted.latency_ms)
    assert found.explain(tmp_path / "m.tflite").high_ms == pytest.approx(wanted.high_ms)
    assert found.target == predictor.target


def test_unknown_kernels(predictor: LatencyPredictor, tmp_path: Path) -> None:
    file.save(replace(predictor, forests={}), tmp_path / "p.latlas")
    b = GraphBuilder((1, 9, 9, 3))
    graph = b.build(b.conv(b.input, 5, 3))
    found = load_predictor(tmp_path / "p.latlas")
    with pytest.raises(UnknownKernelError):
        found.predict(graph)
    with pytest.warns(UserWarning, match="an estimate: nothing is known about 1 of"):
        assert found.predict(graph, accept_unknown=True) > 0


def test_missing_predictor(tmp_path: Path) -> None:
    with pytest.raises(PredictorError):
        load_predictor(tmp_path / "p.latlas")


def test_importing_latlas_imports_nothing_else() -> None:
    code = "import sys, latlas; print({'numpy', 'click', 'latlas.predictor'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    with pytest.raises(AttributeError, match="'latlas' has no attribute 'load_everything'"):
        latlas.load_everything  # noqa: B018
    assert set(latlas.__all__) == {"__version__", "load_predictor"}

"""Latency in a user's own study, against real Optuna."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from components import require

from latlas.predictor import file
from latlas.predictor.calibration import Calibration
from latlas.predictor.predictor import LatencyPredictor
from latlas.profiler.fusion import rules_for
from latlas.profiler.kernel import Kernel
from latlas.profiler.target import Target

EXAMPLE = Path(__file__).parents[2] / "examples" / "optuna_latency.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    present = importlib.util.find_spec("optuna") is not None
    require("Optuna", present, "pip install --group test")
    spec = importlib.util.spec_from_file_location("optuna_latency", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def predictor(tmp_path: Path) -> Path:
    """A predictor that knows one kernel, and takes others for like it."""
    kernel = Kernel.from_text("1x8x8x4 | conv2d filters=8 kernel=1x1 @0 | @1")
    target = Target("a phone", "litert 2.3.0", "cpu", "xnnpack")
    calibration = Calibration(1.0, 50.0, 5.0, 0.1, 9)
    rules = rules_for("cpu").version
    learned = LatencyPredictor(target, rules, {kernel: 10.0}, {}, {}, calibration)
    file.save(learned, tmp_path / "p.latlas")
    return tmp_path / "p.latlas"


def test_the_front_is_fast_enough(
    example: ModuleType, predictor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with pytest.warns(UserWarning, match="an estimate"):  # that predictor knows one kernel
        study = example.main(str(predictor), trials=30)
    assert len(study.trials) == 30
    latencies = {trial.values[1] for trial in study.best_trials}
    assert latencies
    assert max(latencies) <= example.LIMIT_MS
    monkeypatch.setattr(example, "LIMIT_MS", -1.0)  # nothing is that fast
    with pytest.warns(UserWarning, match="an estimate"):
        assert not example.main(str(predictor), trials=5).best_trials


def test_it_is_short() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 60

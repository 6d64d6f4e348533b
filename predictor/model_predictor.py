"""A predictor that takes models as users have them, in one line."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latlas.predictor.file import load
from latlas.predictor.predictor import LatencyPredictor, Prediction
from latlas.profiler.importers import graph_of
from latlas.profiler.target import Target

if TYPE_CHECKING:
    from latlas.profiler.graph import Graph


class ModelPredictor:
    """Predicts models: paths of files, graphs, or Keras models.

    Args:
        predictor: of graphs.
    """

    def __init__(self, predictor: LatencyPredictor) -> None:
        self.predictor = predictor

    @property
    def target(self) -> Target:
        """What the latencies are valid for."""
        return self.predictor.target

    def predict(self, model: str | Path | Graph | Any, *, accept_unknown: bool = False) -> float:
        """Return the latency of a model in milliseconds.

        Args:
            model: the path of a model (.tflite, .keras, SavedModel; .onnx and .pt2 with their
                extras), a `Graph`, or a Keras model.
            accept_unknown: estimate kernels that nothing is known about, instead of raising; a
                warning tells of each such model, and `explain` of its kernels.

        Raises:
            UnknownKernelError: the model has kernels that nothing is known about.
            ModelFileError: the model cannot be read.
            UsageError: it is no model, or its converter is not installed.
        """
        found = self.explain(model, accept_unknown=accept_unknown)
        if found.unknown:
            warnings.warn(
                f"an estimate: nothing is known about {len(found.unknown)} of the model's kernels",
                stacklevel=2,
            )
        return found.latency_ms

    def explain(
        self, model: str | Path | Graph | Any, *, accept_unknown: bool = False
    ) -> Prediction:
        """Return the latency with its bounds and what it rests on; else as for `predict`."""
        (found,) = self.predictor.predict([graph_of(model)], accept_unknown=accept_unknown)
        return found


def load_predictor(path: str | Path) -> ModelPredictor:
    """Read what ``latlas fit`` wrote.

    ::

        from latlas import load_predictor

        latency_ms = load_predictor("pixel8-cpu.latlas").predict("model.tflite")

    Raises:
        PredictorError: the file is missing, damaged, too large or of another version.
    """
    return ModelPredictor(load(Path(path)))

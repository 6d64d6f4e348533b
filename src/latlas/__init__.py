"""latlas: an atlas of on-device latency.

Three sub-packages, each importing only those to its left::

    latlas.device_configs  <-  latlas.profiler  <-  latlas.predictor  <-  latlas.search

A predictor in one line::

    from latlas import load_predictor

    latency_ms = load_predictor("pixel8-cpu.latlas").predict("model.tflite")
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latlas.predictor.model_predictor import load_predictor

__version__ = "0.1.0"

__all__ = ["__version__", "load_predictor"]


def __getattr__(name: str) -> object:
    """Import what is asked for, and not before: ``import latlas`` loads nothing else."""
    if name == "load_predictor":
        from latlas.predictor.model_predictor import load_predictor

        return load_predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

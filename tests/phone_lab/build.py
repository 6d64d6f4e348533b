"""Builds the tests' benchmark_model, which says what the real one says and runs LiteRT."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("benchmark_model.c")
_LIBRARY = "libLiteRt.so"


def litert_folder() -> Path:
    """Return the folder of LiteRT's libraries, which the tool needs.

    It looks for them in ``/system/litert``, or where the environment's ``LITERT_DIR`` says.
    """
    spec = importlib.util.find_spec("ai_edge_litert")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(missing())
    return Path(spec.origin).parent


def missing() -> str:
    """Return what keeps the tool from being built and run, and how to get it; empty if nothing."""
    if not shutil.which("cc"):
        return "apt-get install gcc libc6-dev"
    spec = importlib.util.find_spec("ai_edge_litert")
    if spec is None or spec.origin is None or not (Path(spec.origin).parent / _LIBRARY).exists():
        return "pip install ai-edge-litert"
    return ""


def build(folder: Path) -> Path:
    """Compile the tool into a folder, as ``benchmark_model``, and return its path."""
    return _compile(folder)


def build_without_gpu(folder: Path) -> Path:
    """Compile a tool that does not know the GPU's flags: it says so and runs on the CPU."""
    return _compile(folder, "-DWITHOUT_GPU")


def build_old(folder: Path) -> Path:
    """Compile a tool that prints no percentiles."""
    return _compile(folder, "-DOLD")


def _compile(folder: Path, *options: str) -> Path:
    path = folder / "benchmark_model"
    strict = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror")
    subprocess.run(["cc", *strict, *options, SOURCE, "-o", path, "-lm", "-ldl"], check=True)
    return path

"""The command lines of the classic TFLite ``benchmark_model`` and of LiteRT's.

Flags: ``--help`` of the classic tool, and litert/tools/benchmark_litert_model.h, both of LiteRT's
main branch of August 2026 (https://github.com/google-ai-edge/LiteRT). An older binary ignores what
it does not know and says so; `latlas.profiler.benchmark_model.output_parser` makes that an error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from latlas.profiler.benchmark_model.binary import Tool
from latlas.profiler.errors import RunnerError
from latlas.profiler.runner import Effort
from latlas.profiler.target import Delegate

GpuBackend = Literal["", "cl", "gl", "webgpu"]

PROFILE_EVENTS = 16_384
"""Operators of one run that are profiled at most; the tool's own limit of 1024 drops the rest."""

_MAX_INT = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Execution:
    """How the tool is to run a model.

    Which cores it runs on is not its business: start it through ``taskset``.

    Attributes:
        delegate: ``cpu`` or ``gpu``.
        threads: CPU threads; without meaning on the GPU.
        use_xnnpack: whether XNNPACK runs the model on the CPU, instead of the reference kernels;
            LiteRT's tool always uses it.
        force_fp16: whether XNNPACK calculates in half precision; the classic tool only.
        gpu_backend: ``cl`` or ``gl`` of the classic tool, ``gl`` or ``webgpu`` of LiteRT's. Empty
            is OpenCL with OpenGL as a fallback, in LiteRT's what its accelerator library prefers.
        gpu_fp16: whether the GPU may calculate in half precision, as it does by default.
        tool: which of the two the binary is.
    """

    delegate: Delegate = "cpu"
    threads: int = 1
    use_xnnpack: bool = True
    force_fp16: bool = False
    gpu_backend: GpuBackend = ""
    gpu_fp16: bool = True
    tool: Tool = "tflite"


def benchmark_command(
    binary: str,
    graph: str,
    effort: Effort,
    execution: Execution,
    *,
    profile: bool = False,
    result_file: str = "",
) -> list[str]:
    """Return the arguments that measure one model, the binary first.

    Nothing is quoted: whoever hands the arguments to a shell quotes each of them.

    Every minimum and maximum is stated. With the tool's own, 0.5 s of warm-up and 1 s of runs, a
    small kernel would cost 1.5 s instead of some milliseconds. `Effort.max_ms` also ends the
    warm-up: the tool knows one maximum for both.

    On the GPU the CPU is forbidden. Without it LiteRT's tool ends with an error when an operator
    is left over (since April 2025). It prints nothing about delegation, but ``gpu-precision``,
    which is always stated, is newer (May 2026): a binary that knows it and exits with 0 ran the
    whole model on the GPU.

    A profiled run lists the operators as CSV on stdout, which has more digits than its table. Its
    end-to-end times are invalid, because profiling slows down the runs.

    Args:
        binary: the tool's path on the device.
        graph: the model's path on the device.
        effort: how long the model is run.
        execution: on what.
        profile: whether per-operator times are wanted; the classic tool only.
        result_file: path on the device for the figures, see
            `latlas.profiler.benchmark_model.result_file`; empty for none.

    >>> benchmark_command("./benchmark_model", "conv.tflite", Effort(), Execution())
    ... # doctest: +NORMALIZE_WHITESPACE
    ['./benchmark_model', '--graph=conv.tflite', '--num_runs=20', '--min_secs=0.02',
     '--max_secs=2', '--warmup_runs=1', '--warmup_min_secs=0.005', '--num_threads=1',
     '--use_xnnpack=true']

    Raises:
        RunnerError: a figure or a path is impossible, or the tool cannot do what is asked.
    """
    flags = {
        "graph": _path("model", graph),
        "num_runs": _integer("min_runs", effort.min_runs),
        "min_secs": _seconds("min_ms", effort.min_ms),
        "max_secs": _seconds("max_ms", effort.max_ms),
        "warmup_runs": "1",
        "warmup_min_secs": _seconds("warmup_ms", effort.warmup_ms),
    }
    if execution.tool == "litert":
        flags |= _litert(execution, profile)
    else:
        flags |= _gpu(execution) if execution.delegate == "gpu" else _cpu(execution)
    if result_file:
        flags["result_file_path"] = _path("result file", result_file)
    if profile:
        flags |= {
            "enable_op_profiling": "true",
            "op_profiling_output_mode": "csv",
            "max_profiling_buffer_entries": str(PROFILE_EVENTS),
        }
    return [_path("binary", binary), *(f"--{name}={value}" for name, value in flags.items())]


def _cpu(execution: Execution) -> dict[str, str]:
    flags = {
        "num_threads": _integer("threads", execution.threads),
        "use_xnnpack": _boolean(execution.use_xnnpack),
    }
    return flags | ({"xnnpack_force_fp16": "true"} if execution.force_fp16 else {})


def _gpu(execution: Execution) -> dict[str, str]:
    if execution.gpu_backend == "webgpu":
        raise RunnerError(
            "the classic benchmark_model has no WebGPU: use gpu_backend 'cl' or 'gl', or LiteRT's"
        )
    flags = {
        "use_gpu": "true",
        "gpu_precision_loss_allowed": _boolean(execution.gpu_fp16),
        # A model that falls back to the CPU is refused before time is spent on running it.
        "require_full_delegation": "true",
    }
    return flags | ({"gpu_backend": execution.gpu_backend} if execution.gpu_backend else {})


def _litert(execution: Execution, profile: bool) -> dict[str, str]:
    if profile:
        raise RunnerError(
            "LiteRT's benchmark_model does not list operators in a form that latlas knows: "
            "profile with the classic one"
        )
    if execution.delegate == "cpu":
        if not execution.use_xnnpack or execution.force_fp16:
            raise RunnerError(
                "LiteRT's benchmark_model cannot leave out XNNPACK or force half precision: "
                "use the classic one"
            )
        return {"use_cpu": "true", "num_threads": _integer("threads", execution.threads)}
    if execution.gpu_backend == "cl":
        # The tool would ignore the value, and take OpenGL where there is no OpenCL.
        raise RunnerError(
            "LiteRT's benchmark_model cannot be held to OpenCL: leave gpu_backend empty, or use "
            "the classic one"
        )
    flags = {
        "use_cpu": "false",
        "use_gpu": "true",
        "gpu-precision": "fp16" if execution.gpu_fp16 else "fp32",
        "require_full_delegation": "true",
    }
    return flags | ({"gpu_backend": execution.gpu_backend} if execution.gpu_backend else {})


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _integer(name: str, value: int) -> str:
    if not 1 <= value <= _MAX_INT:
        raise RunnerError(f"{name} must be from 1 to {_MAX_INT}, got {value!r:.40}")
    return str(value)


def _seconds(name: str, value_ms: float) -> str:
    if not (math.isfinite(value_ms) and 0 <= value_ms < 1e9):
        raise RunnerError(f"{name} must be a number from 0 to 1e9, got {value_ms!r:.40}")
    return f"{value_ms / 1e3:.6f}".rstrip("0").rstrip(".")


def _path(what: str, value: str) -> str:
    # The tool repeats the model's path: a line break in it could pass for a line of its own.
    if not value or not value.isprintable():
        raise RunnerError(f"the path of the {what} is empty or has control characters: {value!r}")
    return value

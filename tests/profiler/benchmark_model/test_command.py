"""The command lines of both benchmark_models."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from components import require

from latlas.profiler.benchmark_model.command import Execution, benchmark_command
from latlas.profiler.errors import RunnerError
from latlas.profiler.runner import Effort

LOGS = Path(__file__).parents[3].parent / "shared" / "benchmark_model_logs"


def test_a_cpu_command_states_every_minimum() -> None:
    effort = Effort(min_runs=7, min_ms=1.5, max_ms=400, warmup_ms=0.001)
    assert benchmark_command("/d/bm", "/d/a b;$(x)'.tflite", effort, Execution(threads=4)) == [
        "/d/bm",
        "--graph=/d/a b;$(x)'.tflite",
        "--num_runs=7",
        "--min_secs=0.0015",
        "--max_secs=0.4",
        "--warmup_runs=1",
        "--warmup_min_secs=0.000001",
        "--num_threads=4",
        "--use_xnnpack=true",
    ]
    plain = benchmark_command("b", "g", effort, Execution(use_xnnpack=False))
    assert plain[-1] == "--use_xnnpack=false"
    half = benchmark_command("b", "g", effort, Execution(force_fp16=True))
    assert half[-1] == "--xnnpack_force_fp16=true"


def test_a_gpu_command_refuses_to_fall_back() -> None:
    execution = Execution("gpu", gpu_backend="cl", gpu_fp16=False)
    assert benchmark_command("b", "g", Effort(), execution)[7:] == [
        "--use_gpu=true",
        "--gpu_precision_loss_allowed=false",
        "--require_full_delegation=true",
        "--gpu_backend=cl",
    ]


def test_a_profiled_command_lists_operators_as_csv() -> None:
    flags = benchmark_command("b", "g", Effort(), Execution(), profile=True)[-3:]
    assert flags[:2] == ["--enable_op_profiling=true", "--op_profiling_output_mode=csv"]
    assert flags[2].startswith("--max_profiling_buffer_entries=")


@pytest.mark.parametrize(
    "change",
    [
        {"min_runs": 0},
        {"min_runs": 1 << 31},
        {"min_ms": math.nan},
        {"max_ms": math.inf},
        {"warmup_ms": -1.0},
        {"graph": ""},
        {"graph": "a\nINFO: count=1"},
        {"binary": "b\0"},
        {"threads": 0},
    ],
)
def test_impossible_commands_are_refused(change: dict[str, object]) -> None:
    values: dict[str, object] = {"graph": "g", "binary": "b", "threads": 1, **change}
    graph, binary, threads = (values.pop(name) for name in ("graph", "binary", "threads"))
    effort = Effort(**values)  # type: ignore[arg-type]
    with pytest.raises(RunnerError):
        benchmark_command(str(binary), str(graph), effort, Execution(threads=threads))  # type: ignore[arg-type]


def test_the_flags_are_those_of_the_real_tool() -> None:
    require("benchmark_model_logs", LOGS.is_dir(), "put shared/ beside the checkout")
    known = set(re.findall(r"--(\w+)=", (LOGS / "gpu_help.txt").read_text()))
    for delegate in ("cpu", "gpu"):
        execution = Execution(delegate, force_fp16=True, gpu_backend="gl")  # type: ignore[arg-type]
        flags = benchmark_command("b", "g", Effort(), execution, profile=True)[1:]
        assert {flag[2:].partition("=")[0] for flag in flags} <= known


def test_a_result_file_is_asked_for_on_either_tool() -> None:
    for execution in (Execution(), Execution(tool="litert"), Execution("gpu", tool="litert")):
        flags = benchmark_command("b", "g", Effort(), execution, result_file="/d/r.pb")
        assert flags[-1] == "--result_file_path=/d/r.pb"
    with pytest.raises(RunnerError, match="result file"):
        benchmark_command("b", "g", Effort(), Execution(), result_file="/d/\n")


def test_litert_on_the_cpu() -> None:
    flags = benchmark_command("b", "g", Effort(), Execution(threads=4, tool="litert"))
    assert flags[7:] == ["--use_cpu=true", "--num_threads=4"]
    assert flags[:7] == benchmark_command("b", "g", Effort(), Execution())[:7]


def test_litert_on_the_gpu_forbids_the_cpu() -> None:
    execution = Execution("gpu", gpu_fp16=False, gpu_backend="webgpu", tool="litert")
    assert benchmark_command("b", "g", Effort(), execution)[7:] == [
        "--use_cpu=false",
        "--use_gpu=true",
        "--gpu-precision=fp32",
        "--require_full_delegation=true",
        "--gpu_backend=webgpu",
    ]
    assert "--gpu-precision=fp16" in benchmark_command(
        "b", "g", Effort(), Execution("gpu", tool="litert")
    )


@pytest.mark.parametrize(
    ("execution", "profile", "words"),
    [
        (Execution(tool="litert"), True, "operators"),
        (Execution(tool="litert", use_xnnpack=False), False, "XNNPACK"),
        (Execution(tool="litert", force_fp16=True), False, "half precision"),
        (Execution("gpu", gpu_backend="cl", tool="litert"), False, "OpenCL"),
        (Execution("gpu", gpu_backend="webgpu"), False, "WebGPU"),
    ],
)
def test_what_a_tool_cannot_do_is_refused(execution: Execution, profile: bool, words: str) -> None:
    with pytest.raises(RunnerError, match=words):
        benchmark_command("b", "g", Effort(), execution, profile=profile)

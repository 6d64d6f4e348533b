"""What a binary says of itself with --help."""

from __future__ import annotations

from pathlib import Path

import pytest
from components import require
from hypothesis import given
from hypothesis import strategies as st

from latlas.profiler.benchmark_model.help import (
    MAX_CHARS,
    MAX_FLAGS,
    can_profile,
    has_gpu,
    has_result_file,
    parse_help,
    tool_of,
)
from latlas.profiler.errors import RunnerError

LOGS = Path(__file__).parents[3].parent / "shared" / "benchmark_model_logs"


def usage(*names: str) -> str:
    lines = "".join(f"\t--{name}=0    \tint32\toptional\tsee --nothing=1\t\n" for name in names)
    return f"INFO: STARTING!\nERROR: usage: ./benchmark_model <flags>\nFlags:\n{lines}\n"


LITERT = (
    "\n  NPU Vendor Flags from LiteRT:\n    --qualcomm_log_level (the level); default: off;\n"
    + usage("num_runs", "graph", "use_cpu", "use_gpu", "use_npu", "gpu-precision")
)


@pytest.mark.parametrize(("name", "gpu"), [("help", False), ("gpu_help", True)])
def test_the_real_tool(name: str, gpu: bool) -> None:
    require("benchmark_model_logs", LOGS.is_dir(), "put shared/ beside the checkout")
    text = (LOGS / f"{name}.txt").read_text()
    flags = parse_help(text)
    assert len(flags) > 50 and {"graph", "num_runs", "xnnpack_force_fp16", "help"} <= flags
    assert tool_of(flags) == "tflite"
    assert (has_gpu(flags), has_result_file(flags), can_profile(flags)) == (gpu, True, True)


def test_litert() -> None:
    flags = parse_help(LITERT)
    assert flags == {"num_runs", "graph", "use_cpu", "use_gpu", "use_npu", "gpu-precision"}
    assert tool_of(flags) == "litert"
    assert (has_gpu(flags), has_result_file(flags), can_profile(flags)) == (True, False, False)
    assert parse_help(LITERT.replace("\n", "\r\n")) == flags


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sh: ./benchmark_model: not found",
        "usage: ls [-a] --graph=1\t",
        usage("graph"),
        usage("num_runs", "graph").replace("usage:", ""),
        "x" * (MAX_CHARS + 1),
        usage("graph", "num_runs", *(f"flag{n}" for n in range(MAX_FLAGS))),
    ],
)
def test_what_is_no_benchmark_model_is_refused(text: str) -> None:
    with pytest.raises(RunnerError, match="is no benchmark_model") as caught:
        parse_help(text)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 2000


@given(st.text(max_size=400))
def test_any_text_is_survived(text: str) -> None:
    try:
        flags = parse_help(text)
    except RunnerError:
        flags = parse_help(usage("graph", "num_runs") + text)
    assert {"graph", "num_runs"} <= flags

"""benchmark_model's output, against real logs where they are at hand."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from components import require
from hypothesis import given, settings
from hypothesis import strategies as st

from latlas.profiler.benchmark_model.output import Delegation, Output, Replacement, Timing
from latlas.profiler.benchmark_model.output_parser import (
    MAX_CHARS,
    MAX_LINES,
    MAX_OPS,
    parse_output,
)
from latlas.profiler.benchmark_model.result import to_result
from latlas.profiler.errors import RunnerError
from latlas.profiler.statistics import NoiseGate, judge, summary_of

LOGS = Path(__file__).parents[3].parent / "shared" / "benchmark_model_logs"
NAMES = sorted(path.stem for path in LOGS.glob("*.txt") if path.stem != "timing_dw")
FAILED = ("failed", "")

CPU = """\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Graph: [dw.tflite]
INFO: Signature to run: []
INFO: Loaded model dw.tflite
INFO: The input model file size (MB): 0.002048
INFO: Initialized session in 0.702ms.
INFO: Running benchmark for at least 1 iterations and at least 0.001 seconds but terminate if exceeding 150 seconds.
INFO: count=18 first=136 curr=39 min=39 max=136 avg=45.3889 std=22 p5=39 median=39 p95=136

INFO: Running benchmark for at least 50 iterations and at least 0.001 seconds but terminate if exceeding 150 seconds.
INFO: count=50 first=40 curr=39 min=38 max=43 avg=39.26 std=1 p5=38 median=39 p95=40

INFO: Inference timings in us: Init: 702, First inference: 136, Warmup (avg): 45.3889, Inference (avg): 39.26
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual memory footprint of the model at runtime. Take the information at your discretion.
INFO: Memory footprint delta from the start of the tool (MB): init=3.14844 overall=4.02344
"""  # noqa: E501
STDERR = "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
TIMING = Timing(50, 40, 39, 38, 43, 39.26, 1, 38, 39, 40)

CSV = """\
INFO: Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
AllocateTensors, 0.072, 0.072, 47.3684%, 100%, 0, 1, AllocateTensors/0

============================== Top by Computation Time ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
AllocateTensors, 0.072, 0.072, 47.3684%, 100%, 0, 1, AllocateTensors/0

Number of nodes executed: 1

INFO: Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
Convolution (NHWC, F32) DWConv, 0.043, 0.0412742, 98%, 98%, 0, 1, Delegate/Convolution (NHWC\t F32) DWConv:0
CONV_2D, 0.001, 0.0005, 2%, 100%, 0, 2, [a\t b]:1

============================== Top by Computation Time ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
Convolution (NHWC, F32) DWConv, 0.043, 0.0412742, 100%, 100%, 0, 1, Delegate/Convolution (NHWC\t F32) DWConv:0

Number of nodes executed: 2
============================== Summary by node type ==============================
node type, count, avg_ms, avg %, cdf %, mem KB, times called
Convolution (NHWC, F32) DWConv, 1, 0.041, 100%, 100%, 0, 1

Timings (microseconds): count=16325 first=43 curr=39 min=37 max=145 avg=41.2742 std=5
Memory (bytes): count=0
2 nodes observed

"""  # noqa: E501
TABLE = """\
INFO: Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
\t                             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t          Convolution (NHWC, F32) DWConv\t    0.060\t    0.054\t100.000%\t100.000%\t     0.000\t        1\tDelegate/Convolution (NHWC, F32) DWConv:0

Number of nodes executed: 1
"""  # noqa: E501
GPU = (
    "INFO: Explicitly applied GPU delegate, and the model graph will be completely executed by "
    "the delegate.\n"
)
PARTIAL = (
    "ERROR: Following operations are not supported by GPU delegate:\n"
    "TRANSPOSE_CONV: Max version supported: 3. Requested version 4.\n"
    "SPLIT: Operation is not supported.\n"
    "130 operations will run on the GPU, and the remaining 114 operations will run on the CPU.\n"
    "INFO: Explicitly applied GPU delegate, and the model graph will be partially executed by "
    "the delegate w/ 2 delegate kernels.\n"
)
NO_OPENCL = """\
INFO: STARTING!
INFO: Use gpu: [1]
INFO: Loaded model dw.tflite
INFO: GPU delegate created.
INFO: Failed to load OpenCL library with dlopen: libOpenCL.so: cannot open shared object file: No such file or directory. Trying ICD loader.
ERROR: Can not open OpenCL library on this device - ./benchmark_model_gpu: undefined symbol: clEnqueueTask
ERROR: Falling back to OpenGL
ERROR: Failed to apply GPU delegate.
ERROR: Benchmarking failed.
"""  # noqa: E501
OLD = """\
STARTING!
Loaded model old.tflite
Initialized session in 17.187ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=1 curr=3512391

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798

Inference timings in us: Init: 17187, First inference: 3512391, Warmup (avg): 3.51239e+06, Inference (avg): 2.95034e+06
Peak memory footprint (MB): init=4.21094 overall=46.0859
Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
\t             [node type]\t          [start]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t   TfLiteXNNPackDelegate\t            0.000\t    1.356\t    1.400\t100.000%\t100.000%\t     0.000\t        1\t[out]:9

Number of nodes executed: 1
Delegate internal:
============================== Run Order ==============================
\t             [node type]\t          [start]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t                 DWConv\t            0.000\t    1.356\t    0.400\t 30.000%\t 30.000%\t     0.000\t        1\tDelegate/DWConv:0
\t                   GEMM\t            0.000\t    1.356\t    0.900\t 70.000%\t100.000%\t     0.000\t        1\tDelegate/GEMM:1

Number of nodes executed: 2
"""  # noqa: E501
LITERT = """\
========== BENCHMARK RESULTS ==========
INFO: [benchmark_litert_model.h:94] Model initialization: 23744.73 ms
INFO: [benchmark_litert_model.h:96] Warmup (first):       7441.04 ms
INFO: [benchmark_litert_model.h:98] Warmup (avg):         7441.04 ms (1 runs)
INFO: [benchmark_litert_model.h:100] Inference (avg):      7430.20 ms (10 runs)
INFO: [benchmark_litert_model.h:104] Inference (min):      7416.40 ms
INFO: [benchmark_litert_model.h:106] Inference (max):      7448.86 ms
INFO: [benchmark_litert_model.h:108] Inference (std):      9.92
INFO: [benchmark_litert_model.h:115] Throughput:           27.46 MB/s
INFO: [benchmark_litert_model.h:124] \nMemory Usage:
INFO: [benchmark_litert_model.h:126] Init footprint:       6391.74 MB
INFO: [benchmark_litert_model.h:128] Overall footprint:    6391.74 MB
"""


# The output


def test_a_run_on_the_cpu() -> None:
    found = parse_output(CPU, STDERR)
    assert (found.kind, found.problem, found.timing) == ("ok", "", TIMING)
    assert found.warmup is not None and found.warmup.count == 18
    assert (found.init_ms, found.memory.init_mb, found.memory.overall_mb) == (
        0.702,
        3.14844,
        4.02344,
    )
    assert not found.ops and not found.profiled and not found.delegations
    result = to_result("a", found, delegate="cpu")
    assert (result.kind, result.samples_us, result.init_ms) == ("ok", (), 0.702)
    assert result.warmup_ms == pytest.approx(18 * 45.3889 / 1e3)
    summary = summary_of(result)
    assert (summary.n, summary.median_us, summary.mean_us, summary.mad_us) == (
        50,
        39.26,
        39.26,
        None,
    )
    assert judge(result, NoiseGate(0.02, 0.02, 0.8)).verdict == "stable"
    assert to_result("a", found, delegate="gpu").kind == "not_delegated"


@pytest.mark.parametrize(
    "text", [CPU.replace("\n", "\r\n"), STDERR + CPU, CPU.replace("INFO: ", "")]
)
def test_line_ends_streams_and_prefixes_do_not_matter(text: str) -> None:
    assert parse_output(text).timing == TIMING


SAME = CPU.replace(
    "count=50 first=40 curr=39 min=38 max=43 avg=39.26 std=1 p5=38 median=39 p95=40",
    "count=50 curr=2(all same) p5=2 median=2 p95=2",
).replace("Inference (avg): 39.26", "Inference (avg): 2")


def test_runs_that_all_took_the_same_time() -> None:
    """Of these the tool prints only one, and not the mean."""
    output = parse_output(SAME, STDERR, 0)
    assert (output.kind, output.problem) == ("ok", "")
    assert output.timing == Timing(50, 2, 2, 2, 2, 2, 0, 2, 2, 2)
    summary = summary_of(to_result("k", output, delegate="cpu", tool="tflite"))
    assert (summary.n, summary.median_us, summary.min_us, summary.max_us) == (50, 2, 2, 2)
    assert summary.robust_cv == 0
    # Older tools print no percentiles.
    older = parse_output(SAME.replace(" p5=2 median=2 p95=2", ""), STDERR, 0)
    assert older.timing == output.timing
    # The warm-up may be as even.
    uneven = "first=136 curr=39 min=39 max=136 avg=45.3889 std=22 p5=39 median=39 p95=136"
    assert uneven in SAME
    even = SAME.replace(uneven, "curr=45(all same) p5=45 median=45 p95=45")
    even = even.replace("Warmup (avg): 45.3889", "Warmup (avg): 45")
    found = parse_output(even, STDERR, 0)
    assert (found.kind, found.warmup) == ("ok", Timing(18, 45, 45, 45, 45, 45, 0, 45, 45, 45))


@pytest.mark.parametrize(
    "text",
    [
        "count=50 curr=2(all same) p5=2 median=2 p95=3",
        "count=50 curr=2(all same) p5=1 median=1 p95=1",
        "count=50 first=3 curr=2(all same)",
        "count=50 curr=2(all same) curr=3(all same)",
        "count=50 curr=2(all same)(all same)",
        "count=50 curr=2(all",
        "count=50 curr=(all same)",
        "count=50 curr=-2(all same)",
        "count=50 curr=9e99(all same)",
        "count=50 p5=2(all same)",
    ],
)
def test_runs_that_cannot_all_be_the_same(text: str) -> None:
    changed = SAME.replace("count=50 curr=2(all same) p5=2 median=2 p95=2", text)
    assert changed != SAME
    with pytest.raises(RunnerError):
        parse_output(changed, STDERR, 0)


def test_operators_as_csv_and_as_a_table() -> None:
    found = parse_output(CPU + CSV, STDERR)
    assert [row.type for row in found.ops] == ["Convolution (NHWC, F32) DWConv", "CONV_2D"]
    assert [row.name for row in found.ops] == [
        "Delegate/Convolution (NHWC  F32) DWConv:0",
        "[a  b]:1",
    ]
    assert found.ops[0].mean_us == pytest.approx(41.2742)
    assert found.profiled
    assert parse_output(CPU, STDERR, profile=CSV.replace("INFO: ", "")).ops == found.ops
    (row,) = parse_output(CPU + TABLE).ops
    assert (row.type, row.mean_us) == ("Convolution (NHWC, F32) DWConv", pytest.approx(54))


def test_operators_come_from_a_pass_of_their_own() -> None:
    timed, profiled = parse_output(CPU), parse_output(CPU + CSV)
    result = to_result("a", timed, profiled, delegate="cpu")
    assert [op.mean_us for op in result.ops] == pytest.approx([41.2742, 1.0])
    with pytest.raises(RunnerError, match="profiled"):
        to_result("a", profiled, delegate="cpu")
    with pytest.raises(RunnerError, match="not profiled"):
        to_result("a", timed, timed, delegate="cpu")
    torn = parse_output("Warning: Dropping ProfileBuffer event.\n" + CPU + CSV)
    assert "dropped" in to_result("a", timed, torn, delegate="cpu").error
    failed = parse_output("", "ERROR: Benchmarking failed.", 1)
    assert "in the profiled run" in to_result("a", timed, failed, delegate="cpu").error


def test_only_a_model_wholly_on_the_gpu_counts() -> None:
    assert to_result("a", parse_output(GPU + CPU), delegate="gpu").kind == "ok"
    partial = to_result("a", parse_output(PARTIAL + CPU), delegate="gpu")
    assert partial.kind == "not_delegated"
    assert "2 kernels" in partial.error and "TRANSPOSE_CONV: Max version" in partial.error
    assert "SPLIT" in partial.error and "remaining" not in partial.error
    for text, words in (
        (GPU.replace("GPU", "XNNPACK"), "nothing says"),
        (GPU + PARTIAL, "in part"),
        (
            "INFO: Though GPU delegate is explicitly applied, the model graph will not be "
            "executed by the delegate.\n",
            "runs nothing",
        ),
        ("WARN: Unconsumed cmdline flags: --use_gpu=true\n", "without the GPU delegate"),
    ):
        result = to_result("a", parse_output(text + CPU), delegate="gpu")
        assert (result.kind, words in result.error) == ("not_delegated", True), result.error
    assert parse_output("INFO: Initialized OpenCL-based API.\n" + CPU).gpu_api == "OpenCL"


@pytest.mark.parametrize("delegate", ["cpu", "gpu"])
def test_flags_that_an_older_tool_ignores_are_an_error(delegate: str) -> None:
    found = parse_output(GPU + "WARN: Unconsumed cmdline flags: --a=1 --b\n" + CPU)
    assert found.unconsumed == ("--a=1", "--b")
    result = to_result("a", found, delegate=delegate)  # type: ignore[arg-type]
    assert result.kind == "failed" and "--a=1 --b" in result.error


@pytest.mark.parametrize(
    ("stderr", "exit_code", "kind", "words"),
    [
        (NO_OPENCL, 1, "not_delegated", "OpenCL is not found"),
        ("ERROR: Disallowed CPU fallback detected.", 1, "not_delegated", "does not run all"),
        ("ERROR: Could not open 'x'.\nERROR: Benchmarking failed.", 1, "failed", "not on the dev"),
        ("ERROR: Benchmarking failed.", 1, "failed", "exit code 1: it says nothing"),
        ("", 7, "failed", "exit code 7: it says nothing"),
        ("", 137, "crashed", "SIGKILL"),
        ("terminate called\n", -6, "crashed", "SIGABRT; its last words: terminate called"),
        ("", 139, "crashed", "SIGSEGV"),
        ("", 124, "timeout", "in time"),
        ("/system/bin/sh: ./bm: Permission denied", 126, "failed", "may not be executed"),
        ("./bm: not executable: 64-bit ELF file", 126, "failed", "another processor"),
        ('CANNOT LINK EXECUTABLE "./bm": library "x" not found', 1, "failed", "misses a library"),
        ("sh: ./bm: inaccessible or not found", 127, "failed", "is not on the device"),
        ("", 0, "failed", "cut short"),
    ],
)
def test_failures_have_reasons(stderr: str, exit_code: int, kind: str, words: str) -> None:
    for found in (parse_output("", stderr, exit_code), parse_output(stderr, "", exit_code)):
        assert found.kind == kind
        assert words in found.problem
        result = to_result("a", found, delegate="cpu")
        assert (result.kind, result.error) == (kind, found.problem)


def test_the_exit_code_is_honoured_after_a_complete_output() -> None:
    assert parse_output(CPU, STDERR, 139).kind == "crashed"
    assert parse_output(CPU, STDERR, 1).kind == "failed"


def test_a_cut_output_has_no_figure() -> None:
    ends = CPU.index("INFO: Note")
    for cut in range(ends - 1):
        try:
            found = parse_output(CPU[:cut])
        except RunnerError:
            continue
        assert (found.kind, "cut short" in found.problem) == ("failed", True)
    assert parse_output(CPU[:ends]).kind == "ok"
    for cut in range(CSV.index("INFO: Operator-wise"), CSV.rindex("2\n=====")):
        try:
            found = parse_output(CPU + CSV[:cut])
        except RunnerError:
            continue
        assert found.ops == ()
    assert len(parse_output(CPU + CSV[: CSV.rindex("2\n=====") + 2]).ops) == 2


def test_older_tools() -> None:
    found = parse_output(OLD)
    assert found.timing is not None and found.timing.mean_us == 2950340
    assert found.warmup is not None and found.warmup.median_us == 3512391
    assert found.memory.overall_mb == 46.0859
    assert [(row.type, row.mean_us) for row in found.ops] == [("DWConv", 400), ("GEMM", 900)]
    unprofiled = parse_output(OLD[: OLD.index("Operator-wise")])
    assert "no median" in to_result("a", unprofiled, delegate="cpu").error


def test_litert() -> None:
    found = parse_output("", LITERT)
    assert found.timing is not None and found.warmup is not None
    timing = found.timing
    assert (timing.count, timing.mean_us, timing.std_us) == (10, 7430200, pytest.approx(9920))
    assert (timing.min_us, timing.max_us) == pytest.approx((7416400, 7448860))
    assert (found.init_ms, found.memory.init_mb) == (23744.73, 6391.74)
    assert "no median" in to_result("a", found, delegate="cpu").error
    # With the base tool's lines on stdout there is a median.
    lines = CPU[CPU.index("INFO: Running") : CPU.index("INFO: Inference")]
    both = parse_output(lines, LITERT)
    assert (both.timing, both.init_ms) == (TIMING, 23744.73)


def test_litert_says_nothing_of_delegation_but_must_not_contradict() -> None:
    replaced = "VERBOSE: Replacing 31 out of 31 node(s) with delegate (LITERT_CL) node, yielding 1"
    lines = CPU[CPU.index("INFO: Running") : CPU.index("INFO: Inference")]
    for stderr in (LITERT, f"{replaced} partitions for subgraph 0 (main).\n{LITERT}"):
        found = parse_output(lines, stderr)
        assert found.tool == "litert"
        assert to_result("a", found, delegate="gpu", tool="litert").kind == "ok"
        # The same words after a command that does not forbid the CPU say nothing.
        assert to_result("a", found, delegate="gpu").kind == "not_delegated"
    assert found.replaced == (Replacement("LITERT_CL", 31, 31),)
    for stdout, stderr, words in (
        (lines, replaced.replace("31 out", "30 out") + " parts\n" + LITERT, "30 of 31"),
        (lines, replaced.replace("LITERT_CL", "TfLiteXNNPackDelegate") + "\n" + LITERT, "CPU"),
        (CPU, "", "nothing says"),
        (GPU + CPU, "", "nothing says"),
        (f"WARN: Unconsumed cmdline flags: --gpu-precision=fp16\n{lines}", LITERT, "nothing says"),
    ):
        result = to_result("a", parse_output(stdout, stderr), delegate="gpu", tool="litert")
        assert (result.kind, words in result.error) == ("not_delegated", True), result.error


def test_what_litert_leaves_over_is_a_failure_with_a_reason() -> None:
    said = (
        "ERROR: [litert/tools/benchmark_litert_model.cc:310]\n"
        "ERROR: Some ops are not accelerated. Add kLiteRtHwAcceleratorCpu to the compilation "
        "accelerator set to allow using the CPU to run those.\nERROR: Benchmarking failed.\n"
    )
    result = to_result("a", parse_output("", said, 1), delegate="gpu", tool="litert")
    assert result.kind == "not_delegated" and "does not run all of it" in result.error


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("count=50 ", "count=-50 "),
        ("count=50 ", "count=5e1 "),
        ("count=50 ", "count=" + "9" * 5000 + " "),
        ("count=50 ", "count=50 count=51 "),
        ("count=50 ", "count=\u0665 "),
        ("median=39 p95=40", "median=nan p95=40"),
        ("median=39 p95=40", "median=inf p95=40"),
        ("median=39 p95=40", "median=-39 p95=40"),
        ("median=39 p95=40", "median=1e13 p95=1e13"),
        ("median=39 p95=40", "median=3_9 p95=40"),
        ("median=39 p95=40", "median=41 p95=40"),
        ("median=39 p95=40", "median= p95=40"),
        ("avg=39.26", "avg=44"),
        ("Inference (avg): 39.26", "Inference (avg): 45"),
        ("Inference (avg): 39.26", "Inference (av"),
        ("Init: 702", "Init: x"),
        ("0.702ms", "nanms"),
        ("overall=4.02344", "overall=nan"),
        ("INFO: Inference timings", "INFO: count=1 curr=1\nINFO: Inference timings"),
    ],
)
def test_impossible_figures_are_refused(old: str, new: str) -> None:
    assert old in CPU
    with pytest.raises(RunnerError):
        parse_output(CPU.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (", 0.0412742,", ", nan,"),
        (", 0.0412742,", ", -1,"),
        ("100%, 0, 2, [a", "100%, 0, many, [a"),
        ("CONV_2D, 0.001", "CONV_2D"),
        ("0, 2, [a", "0, 2, [a\nb"),
        ("node type, first, avg_ms", "node type, avg_ms"),
    ],
)
def test_impossible_operators_are_refused(old: str, new: str) -> None:
    assert old in CSV
    with pytest.raises(RunnerError):
        parse_output(CPU + CSV.replace(old, new))


def test_endless_output_is_refused() -> None:
    for text in ("x" * (MAX_CHARS + 1), "\n" * (MAX_LINES + 1)):
        with pytest.raises(RunnerError, match="more than"):
            parse_output(CPU, text)
    head = TABLE.splitlines()[:3]
    cells = "\n".join(["\ta\t1\t1\t1%\t1%\t0\t1\tb"] * (MAX_OPS + 1))
    with pytest.raises(RunnerError, match="operators"):
        parse_output("\n".join([*head, cells]))
    long = parse_output(CPU, "ERROR: " + "x\x1b" * 100_000, 1)
    assert len(long.problem) <= 400 and long.problem.isprintable()


@pytest.mark.parametrize(
    ("median_us", "mean_us", "figure_us"),
    [
        (0, 0.31, 0.31),
        (0, 0.9, 0.5),
        (1, 0.62, 0.62),
        (3, 9.0, 3.5),
        (99, 98.2, 98.5),
        (100, 98, 100),
    ],
)
def test_a_small_median_is_refined_by_the_mean(
    median_us: float, mean_us: float, figure_us: float
) -> None:
    timing = replace(TIMING, min_us=0, p05_us=0, median_us=median_us, mean_us=mean_us, max_us=200)
    result = to_result("a", replace(parse_output(CPU), timing=timing), delegate="cpu")
    assert result.summary is not None
    assert result.summary.median_us == figure_us
    assert result.summary.p05_us <= figure_us <= result.summary.p95_us


def test_a_time_below_the_resolution_is_no_figure() -> None:
    tiny = replace(TIMING, min_us=0.0, p05_us=0.0, median_us=0.0, mean_us=0.0)
    result = to_result("a", replace(parse_output(CPU), timing=tiny), delegate="cpu")
    assert result.kind == "failed" and "microsecond" in result.error


# The real logs


def sections(name: str) -> tuple[int, dict[str, str]]:
    head, *parts = re.split(r"^===== (.+) =====\n", (LOGS / f"{name}.txt").read_text(), flags=re.M)
    code = re.search(r"# exit code: (-?\d+)", head)
    assert code is not None
    return int(code[1]), dict(zip(parts[::2], parts[1::2], strict=True))


def parse_log(name: str) -> Output:
    code, texts = sections(name)
    stderr = texts.pop("stderr", "")
    stdout = next(texts.pop(key) for key in list(texts) if key.startswith("stdout"))
    (profile,) = texts.values() or ("",)
    return parse_output(stdout, stderr, code, profile)


EXPECTED: dict[str, tuple[str, str]] = {
    "dw_dry_run": ("failed", "no timed run"),
    "mnv2_dry_run": ("failed", "no timed run"),
    "dw_use_gpu_not_compiled_in": ("failed", "--use_gpu=true"),
    "mnv2_use_gpu_not_compiled_in": ("failed", "--use_gpu=true"),
    "err_bad_bool_value": ("failed", "a flag has an impossible value (exit code 1): Failed to par"),
    "err_bad_flag_value": ("failed", "'--num_threads=abc'"),
    "err_bad_output_mode": ("failed", "Output modexml is not supported"),
    "err_empty_graph": ("failed", "the model on the device is empty"),
    "err_flag_without_value": ("failed", "--num_runs"),
    "err_missing_graph": ("failed", "Could not open 'missing.tflite'"),
    "err_missing_graph_combined": ("failed", "Could not open 'missing.tflite'"),
    "err_no_args": ("failed", "no model was given"),
    "err_text_file_graph": ("failed", "damaged, or is no model"),
    "err_truncated_graph": ("failed", "damaged, or is no model"),
    "err_unknown_flag": ("failed", "--no_such_flag=1"),
    "help": ("failed", "usage"),
    "gpu_help": ("failed", "usage"),
    **{
        f"gpu_{model}_{case}": ("not_delegated", words)
        for model in ("dw", "mnv2")
        for case, words in (
            ("no_gpu_device", "there is no GPU that OpenCL can use"),
            ("no_opencl", "OpenCL is not found"),
            ("no_opencl_combined", "OpenCL is not found"),
        )
    },
}


def test_the_logs_are_at_hand() -> None:
    require("benchmark_model_logs", bool(NAMES), "put shared/ beside the checkout")
    assert set(EXPECTED) <= set(NAMES) and len(NAMES) > 60


@pytest.mark.parametrize("name", NAMES)
def test_every_log_is_understood(name: str) -> None:
    found = parse_log(name)
    kind, words = EXPECTED.get(name, ("ok", ""))
    assert (found.kind, words in found.problem) == (kind, True), found.problem
    assert bool(found.problem) == (kind != "ok")
    text = (LOGS / f"{name}.txt").read_text()
    passes = re.findall(r"^INFO: count=(\d+) (.*)$", text, flags=re.M)
    for timing, (count, rest) in zip((found.warmup, found.timing), passes, strict=bool(passes)):
        printed = dict(part.split("=") for part in rest.split())
        assert timing is not None and timing.count == int(count)
        if int(count):
            assert timing.median_us == float(printed["median"])
            assert timing.p95_us == float(printed["p95"])
            assert timing.mean_us == float(printed.get("avg", printed["curr"]))
            assert timing.last_us == float(printed["curr"])
    if init := re.search(r"Initialized session in (.*)ms", text):
        assert found.init_ms == float(init[1])
    if memory := re.search(r"\(MB\): init=(.*) overall=(.*)$", text, flags=re.M):
        assert (found.memory.init_mb, found.memory.overall_mb) == tuple(map(float, memory.groups()))
    assert (found.memory.peak_mb is not None) == ("via periodic monitoring" in text)


@pytest.mark.parametrize("name", [name for name in NAMES if "profil" in name or "_all_" in name])
def test_every_operator_of_the_logs_is_read(name: str) -> None:
    found = parse_log(name)
    text = (LOGS / f"{name}.txt").read_text()
    assert found.profiled and not found.profile_torn
    counts = re.findall(r"^Number of nodes executed: (\d+)$", text, flags=re.M)
    assert len(found.ops) == int(counts[-1])
    (mean,) = re.findall(r"^Timings \(microseconds\): .* avg=(\S+)", text, flags=re.M)[-1:]
    # A table has whole microseconds.
    total = sum(row.mean_us * row.times_called for row in found.ops)
    assert total == pytest.approx(float(mean), rel=1e-3, abs=0.51 * len(found.ops))
    for row in found.ops:
        assert re.fullmatch(r".+[:/]\d+", row.name) and row.type and row.times_called == 1


@pytest.mark.parametrize("name", [name for name in NAMES if name not in EXPECTED])
def test_the_logs_become_results(name: str) -> None:
    found = parse_log(name)
    on_gpu = "pocl" in name
    assert bool(found.delegation_problem()) != on_gpu
    if on_gpu:
        assert found.delegations == (Delegation("GPU", "complete"),)
        assert found.gpu_api == "OpenCL"
    timed = replace(found, ops=(), profiled=False)
    profiled = found if found.ops else None
    result = to_result("a", timed, profiled, delegate="gpu" if on_gpu else "cpu")
    assert result.kind == "ok" and len(result.ops) == len(found.ops)
    judgement = judge(result, NoiseGate(math.inf, 1))
    assert judgement.summary is not None and judgement.verdict == "stable"
    assert found.timing is not None and found.timing.median_us is not None
    assert abs(judgement.summary.median_us - found.timing.median_us) <= 0.5
    if not on_gpu:
        assert to_result("a", timed, delegate="gpu").kind == "not_delegated"


# Hostile output

SEEDS = [CPU, CPU + CSV, CPU + TABLE, PARTIAL + CPU, NO_OPENCL, OLD, LITERT]
LINES = sorted({line for seed in SEEDS for line in seed.split("\n")})


def survive(stdout: str, stderr: str, exit_code: int) -> None:
    try:
        found = parse_output(stdout, stderr, exit_code)
    except RunnerError:
        return
    assert (found.kind == "ok") == (not found.problem)
    assert found.kind != "ok" or exit_code == 0
    if found.profiled:
        found = replace(found, profiled=False)
    for delegate in ("cpu", "gpu"):
        result = to_result("a", found, delegate=delegate)  # type: ignore[arg-type]
        if result.kind == "ok":
            summary = summary_of(result)
            assert 0 < summary.median_us < 1e12 and summary.n > 0 and summary.robust_cv >= 0
            assert summary.min_us <= summary.median_us <= summary.max_us


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300), st.text(max_size=300), st.integers(-300, 300))
def test_any_text_is_survived(stdout: str, stderr: str, exit_code: int) -> None:
    survive(stdout, stderr, exit_code)


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_mutated_output_is_survived(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(SEEDS))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(start + 30, len(text))))
        text = (
            text[:start] + data.draw(st.text("0159.-+e=,%\t\n:naif \x00é", max_size=8)) + text[end:]
        )
    survive(text, "", 0)


@settings(max_examples=250, deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=30), st.sampled_from([0, 0, 1, 137]))
def test_shuffled_lines_are_survived(lines: list[str], exit_code: int) -> None:
    survive("\n".join(lines), "", exit_code)

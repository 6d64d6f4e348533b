"""The tests' benchmark_model against real logs of the tool, and as latlas reads it."""

from __future__ import annotations

import os
import re
import shlex
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from components import require
from phone_lab.build import build, build_old, build_without_gpu, litert_folder, missing

from latlas.profiler.benchmark_model.command import Execution, benchmark_command
from latlas.profiler.benchmark_model.output import Output
from latlas.profiler.benchmark_model.output_parser import parse_output
from latlas.profiler.benchmark_model.result import to_result
from latlas.profiler.benchmark_model.result_file import merge, parse_result_file
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph, Node
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.litert.local import GpuProbe, LocalRunner
from latlas.profiler.ops import Softmax
from latlas.profiler.runner import Effort, Job
from latlas.profiler.tflite.writer import to_tflite
from latlas.search import zoo
from tests.profiler.litert.conftest import dynamic_batch, small

__all__ = ["dynamic_batch", "small"]  # fixtures of the local runner's tests

LOGS = Path(__file__).parents[2].parent / "shared" / "benchmark_model_logs"
# Left out: what needs an OpenCL device, and what is no log of one run.
NAMES = sorted(
    path.stem
    for path in LOGS.glob("*.txt")
    if not re.search(r"_pocl_|_no_gpu_device|^timing_dw", path.stem)
)
SHORT = {  # flag: value, and what the tool calls it, for logs that left it at its default
    "num_runs": ("3", "Min num runs"),
    "min_secs": ("0.01", "Min runs duration (seconds)"),
    "warmup_runs": ("2", "Min warmup runs"),
    "warmup_min_secs": ("0.001", "Min warmup runs duration (seconds)"),
}
QUICK = Effort(min_runs=5, min_ms=5, max_ms=2000, warmup_ms=1)
NO_VULKAN = {"VK_DRIVER_FILES": "/nowhere/icd.json", "VK_ICD_FILENAMES": "/nowhere/icd.json"}
STREAMS = ("stdout", "stderr", "stdout and stderr, as interleaved")


@dataclass(frozen=True, slots=True)
class Run:
    """What a run said, by stream, and the files that it wrote."""

    exit_code: int
    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Tools:
    """The stand-in, with the GPU's delegate, without it, and of old."""

    full: Path
    without_gpu: Path
    old: Path


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    reason = missing()
    require("what builds benchmark_model", not reason, reason)
    folders = [tmp_path_factory.mktemp(name) for name in ("full", "without_gpu", "old")]
    return Tools(build(folders[0]), build_without_gpu(folders[1]), build_old(folders[2]))


@pytest.fixture(scope="module")
def kernel() -> bytes:
    """A depthwise convolution that XNNPACK runs as one operator."""
    b = GraphBuilder((1, 56, 56, 32))
    return to_tflite(b.build(b.depthwise(b.input, 3, activation="relu6")))


@pytest.fixture(scope="module")
def models(kernel: bytes) -> Mapping[str, bytes]:
    """The files that the logs' commands name. The logs' MobileNetV2 ends in a softmax."""
    network = fold(zoo.build("mobilenet_v2"))
    softmax = Node(Softmax(), network.outputs)
    network = Graph(
        network.inputs, (*network.nodes, softmax), (network.outputs[0] + 1,), network.weights
    )
    return {
        "dw.tflite": kernel,
        "mnv2.tflite": to_tflite(network),
        "truncated.tflite": kernel[: len(kernel) // 2],
        "empty.tflite": b"",
        "notes.txt": b"A shopping list is no model.\n" * 20,
    }


@pytest.fixture
def folder(tmp_path: Path, models: Mapping[str, bytes]) -> Path:
    for name, content in models.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def run(command: Sequence[str], folder: Path, *, together: bool = False, **environment: str) -> Run:
    before = set(folder.iterdir())
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "LITERT_DIR": str(litert_folder()), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if together else subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    if together:
        texts = {STREAMS[2]: done.stdout}
    else:
        texts = {"stdout": done.stdout, "stderr": done.stderr}
    written = {f"file {path.name}": path for path in set(folder.iterdir()) - before}
    texts |= {name: path.read_text(errors="replace") for name, path in written.items()}
    return Run(done.returncode, texts)


def measure(
    tool: Path, folder: Path, model: str, execution: Execution, *, profile: bool = False
) -> Output:
    done = run(benchmark_command(str(tool), model, QUICK, execution, profile=profile), folder)
    return parse_output(done.texts["stdout"], done.texts["stderr"], done.exit_code)


# ---- As the real tool ----


def read_log(name: str) -> tuple[list[str], Run]:
    """Return a log's arguments and what the real tool said."""
    text = (LOGS / f"{name}.txt").read_text()
    command, exit_code = (
        re.search(rf"^# {what}: (.*)$", text, re.M)[1]  # type: ignore[index]
        for what in ("command", "exit code")
    )
    parts = re.split(r"^===== (.*) =====$\n?", text, flags=re.M)
    texts = dict(zip(parts[1::2], parts[2::2], strict=True))
    return shlex.split(command), Run(int(exit_code), texts)


def masked(line: str) -> str:
    """Return a line without its figures, and without what is only the tool's or the model's."""
    if re.match(r"\t--\w+=", line):
        return "\t".join(line.split("\t")[:4])  # a flag: its description is its author's
    line = re.sub(r"curr=\d+\(all same\)", "first=1 curr=1 min=1 max=1 avg=1 std=1", line)
    line = re.sub(r"\[[\w;:/.]*\]:\d+$", "[tensor]:0", line)
    return re.sub(r" *-?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|nan)", "#", line)


def lines(text: str, network: bool) -> list[str]:
    """Return the masked lines; sorted, where their order is that of the times in them.

    Args:
        text: what was said.
        network: whether the model is a network: which of its operators take the most time, and
            how they add up, is this machine's business.
    """
    found: list[str] = []
    table: list[str] = []
    title = ""
    for line in [*text.rstrip("\n").split("\n"), ""]:
        if line.startswith(("=====", "Number of")) or not line.strip():
            if network and "Top" in title:
                table = [f"{len(table)} rows"]
            found += table if "Run Order" in title else sorted(table)
            table, title = [], line if line.startswith("=====") else ""
            found.append(line if title else masked(line))
        elif title:
            table.append(masked(line))
        else:
            found.append(masked(line))
    return found


def shortened(command: list[str]) -> tuple[list[str], set[str]]:
    """Return a command that takes less time, and what it says about that."""
    given = {argument.partition("=")[0].removeprefix("--") for argument in command}
    if "dry_run" in given or not any(name.startswith("graph") for name in given):
        return command, set()
    added = {name: SHORT[name] for name in SHORT if name not in given}
    if "verbose" in given:  # which says it all anyway
        return [*command, *(f"--{name}={value}" for name, (value, _) in added.items())], set()
    if "warmup_min_secs" in given and "--graph=mnv2.tflite" in command:
        added.pop("warmup_runs", None)  # of which that time is enough for one run only
    if "max_secs" in given:
        added.pop("min_secs", None)
    return (
        [*command, *(f"--{name}={value}" for name, (value, _) in added.items())],
        {f"INFO: {label}: [{value}]" for value, label in added.values()},
    )


@pytest.mark.parametrize("name", NAMES or [""])
def test_says_what_the_real_tool_says(name: str, tools: Tools, folder: Path) -> None:
    require("benchmark_model_logs", bool(name), "put shared/ beside the checkout")
    command, real = read_log(name)
    of_gpu = "_gpu" in command[0]
    (folder / command[0]).symlink_to(tools.full if of_gpu else tools.without_gpu)
    arguments, told = shortened(command)
    found = run(arguments, folder, together=STREAMS[2] in real.texts, **NO_VULKAN)
    network = "--graph=mnv2.tflite" in command

    assert found.exit_code == real.exit_code
    # The proto of --op_profiling_output_mode=proto is not written.
    assert found.texts.keys() == real.texts.keys() - {"file p.bin"}
    for stream, expected in real.texts.items():
        said = [line for line in found.texts[stream].splitlines() if line not in told]
        assert lines("\n".join(said), network) == lines(expected, network), stream


# ---- As latlas reads it ----


def test_the_cpu_is_timed(tools: Tools, folder: Path) -> None:
    output = measure(tools.full, folder, "dw.tflite", Execution())
    assert [found.extent for found in output.delegations] == ["complete"]
    assert output.init_ms is not None and output.init_ms > 0
    assert output.memory.init_mb is not None
    result = to_result("dw", output, delegate="cpu")
    assert result.kind == "ok", result.error
    assert result.summary is not None
    assert result.summary.n >= QUICK.min_runs
    assert 0 < result.summary.min_us <= result.summary.median_us <= result.summary.max_us


@pytest.mark.parametrize("model", ["dw.tflite", "mnv2.tflite"])
def test_operators_are_those_of_the_local_runner(
    model: str, tools: Tools, folder: Path, models: Mapping[str, bytes]
) -> None:
    timed = measure(tools.full, folder, model, Execution())
    profiled = measure(tools.full, folder, model, Execution(), profile=True)
    result = to_result("a", timed, profiled, delegate="cpu")
    with LocalRunner("cpu") as runner:
        (local,) = runner.run([Job("a", models[model], QUICK, profile=True)])
    assert result.kind == local.kind == "ok"
    assert [op.name for op in result.ops] == [op.name for op in local.ops]
    assert profiled.timing is not None
    total_us = sum(op.mean_us for op in result.ops)
    assert 0 < total_us < (profiled.timing.mean_us or 0)  # a profiled run is longer than its parts


def test_a_partly_delegated_model_lists_the_runtime_s_kernels(
    tools: Tools, folder: Path, partly_supported: bytes
) -> None:
    (folder / "part.tflite").write_bytes(partly_supported)
    output = measure(tools.full, folder, "part.tflite", Execution(), profile=True)
    assert [(found.extent, found.kernels) for found in output.delegations] == [("partial", 2)]
    assert [row.type for row in output.ops] == ["Sigmoid (NC)", "L2_NORMALIZATION", "TanH (NC)"]


@pytest.mark.parametrize(("kernel_name", "tolerance"), [("convolution", 4), ("depthwise", 4)])
def test_times_are_those_of_the_local_runner(
    kernel_name: str, tolerance: float, tools: Tools, folder: Path
) -> None:
    b = GraphBuilder((1, 56, 56, 64))
    x = b.conv(b.input, 64, 3) if kernel_name == "convolution" else b.depthwise(b.input, 5)
    model = to_tflite(b.build(x))
    (folder / "kernel.tflite").write_bytes(model)
    output = measure(tools.full, folder, "kernel.tflite", Execution())
    with LocalRunner("cpu") as runner:
        (local,) = runner.run([Job("a", model, QUICK)])
    assert output.timing is not None and output.timing.median_us is not None
    ratio = output.timing.median_us / statistics.median(local.samples_us)
    assert 1 / tolerance < ratio < tolerance


def test_dynamic_sizes_become_one(tools: Tools, folder: Path, dynamic_batch: bytes) -> None:
    (folder / "dynamic.tflite").write_bytes(dynamic_batch)
    result = to_result(
        "a", measure(tools.full, folder, "dynamic.tflite", Execution()), delegate="cpu"
    )
    assert result.kind == "ok", result.error


def test_half_precision_on_the_cpu(tools: Tools, folder: Path) -> None:
    execution = Execution(force_fp16=True)
    output = measure(tools.full, folder, "dw.tflite", execution, profile=True)
    assert any("F16" in row.type for row in output.ops)


def test_the_profile_s_buffer_is_finite(tools: Tools, folder: Path) -> None:
    command = ["--graph=mnv2.tflite", "--enable_op_profiling=true", "--num_runs=2", "--min_secs=0"]
    small = "--max_profiling_buffer_entries=10"
    done = run([str(tools.full), *command, "--warmup_min_secs=0", small], folder)
    output = parse_output(done.texts["stdout"], done.texts["stderr"], done.exit_code)
    assert output.profile_torn
    assert len(output.ops) <= 10


def test_the_result_file(tools: Tools, folder: Path) -> None:
    command = benchmark_command(
        str(tools.full), "dw.tflite", QUICK, Execution(), result_file="result.pb"
    )
    done = run([*command, "--report_peak_memory_footprint=true"], folder)
    output = parse_output(done.texts["stdout"], done.texts["stderr"], done.exit_code)
    file = parse_result_file((folder / "result.pb").read_bytes())
    assert merge(output, file) == output
    assert output.timing is not None and output.init_ms == pytest.approx(file.init_ms, rel=1e-5)
    assert output.memory.peak_mb == pytest.approx(file.peak_mb, rel=1e-5)


def test_a_build_without_the_gpu_runs_on_the_cpu_and_says_so(tools: Tools, folder: Path) -> None:
    output = measure(tools.without_gpu, folder, "dw.tflite", Execution(delegate="gpu"))
    assert output.exit_code == 0 and output.timing is not None
    assert "--use_gpu=true" in output.unconsumed
    result = to_result("dw", output, delegate="gpu")
    assert result.kind == "not_delegated"
    assert "without the GPU delegate" in result.error


def test_an_old_tool_prints_no_percentiles(tools: Tools, folder: Path) -> None:
    output = measure(tools.old, folder, "dw.tflite", Execution())
    assert output.timing is not None and output.timing.mean_us
    assert output.timing.median_us is None


def test_without_its_library_it_is_not_linked(tools: Tools, folder: Path) -> None:
    done = run([str(tools.full), "--graph=dw.tflite"], folder, LITERT_DIR="/nowhere")
    output = parse_output(done.texts["stdout"], done.texts["stderr"], done.exit_code)
    assert done.texts["stdout"] == ""
    assert "misses a library" in output.problem


# ---- On the GPU ----


@pytest.mark.parametrize(
    "execution",
    [
        Execution(delegate="gpu"),
        Execution(delegate="gpu", gpu_fp16=False),
        Execution(delegate="gpu", gpu_backend="gl"),
    ],
)
def test_the_gpu_is_timed(execution: Execution, gpu: GpuProbe, tools: Tools, folder: Path) -> None:
    output = measure(tools.full, folder, "dw.tflite", execution)
    assert output.gpu_api == "OpenGL"
    assert output.delegation_problem() == ""
    result = to_result("dw", output, delegate="gpu")
    assert result.kind == "ok", result.error


def test_the_gpu_has_no_times_of_kernels(gpu: GpuProbe, tools: Tools, folder: Path) -> None:
    execution = Execution(delegate="gpu")
    timed = measure(tools.full, folder, "dw.tflite", execution)
    profiled = measure(tools.full, folder, "dw.tflite", execution, profile=True)
    assert profiled.exit_code == 0 and profiled.profiled
    result = to_result("dw", timed, profiled, delegate="gpu")
    assert result.kind == "ok", result.error
    assert result.ops == ()


def test_there_is_no_opencl(tools: Tools, folder: Path) -> None:
    execution = Execution(delegate="gpu", gpu_backend="cl")
    output = measure(tools.full, folder, "dw.tflite", execution)
    assert output.exit_code == 1
    assert output.kind == "not_delegated"
    assert "OpenCL is not found" in output.problem


def test_what_the_gpu_does_not_take(
    gpu: GpuProbe, tools: Tools, folder: Path, partly_supported: bytes
) -> None:
    (folder / "part.tflite").write_bytes(partly_supported)
    strict = measure(tools.full, folder, "part.tflite", Execution(delegate="gpu"))
    assert strict.exit_code == 1
    assert (strict.kind, strict.timing) == ("not_delegated", None)

    flags = ("--use_gpu=true", "--num_runs=2", "--min_secs=0", "--warmup_min_secs=0")
    done = run([str(tools.full), "--graph=part.tflite", *flags], folder)
    lenient = parse_output(done.texts["stdout"], done.texts["stderr"], done.exit_code)
    assert lenient.exit_code == 0 and lenient.timing is not None
    assert [found.extent for found in lenient.delegations] == ["none"]
    assert "L2_NORMALIZATION" in lenient.delegation_problem()

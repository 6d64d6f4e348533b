"""What a run of ``benchmark_model`` said, as values.

Times are in microseconds as they are printed: whole ones for samples and percentiles, six
significant digits for the mean.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from latlas.profiler.benchmark_model.binary import Tool

Kind = Literal["ok", "failed", "crashed", "timeout", "not_delegated"]
Extent = Literal["complete", "partial", "none"]

_MAX_TEXT = 400


@dataclass(frozen=True, slots=True)
class Timing:
    """The statistics of one pass, warm-up or timed. None where the tool does not print a figure.

    Attributes:
        count: number of runs.
        first_us: the first run.
        last_us: the last run.
        min_us: the fastest run.
        max_us: the slowest run.
        mean_us: arithmetic mean, six significant digits.
        std_us: standard deviation (n), whole microseconds.
        p05_us: 5th percentile.
        median_us: median.
        p95_us: 95th percentile.
    """

    count: int
    first_us: float | None = None
    last_us: float | None = None
    min_us: float | None = None
    max_us: float | None = None
    mean_us: float | None = None
    std_us: float | None = None
    p05_us: float | None = None
    median_us: float | None = None
    p95_us: float | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory in MB (2^20 bytes), its peak so far over that at the tool's start.

    Attributes:
        init_mb: after initialisation.
        overall_mb: at the end.
        peak_mb: the largest that was seen, not a difference; None unless it was watched.
    """

    init_mb: float | None = None
    overall_mb: float | None = None
    peak_mb: float | None = None


@dataclass(frozen=True, slots=True)
class OpRow:
    """One operator of the profiled pass.

    Attributes:
        type: what the runtime calls it, e.g. ``Convolution (NHWC, F32) IGEMM``.
        mean_us: mean over its calls: whole microseconds from a table, fractions from CSV.
        times_called: calls in one run of the model.
        name: the node, as the runtime numbers or names it.
    """

    type: str
    mean_us: float
    times_called: int
    name: str


@dataclass(frozen=True, slots=True)
class Delegation:
    """What the tool says about one delegate.

    Attributes:
        delegate: as the tool calls it, ``GPU`` or ``XNNPACK``.
        extent: how much of the model it runs.
        kernels: number of its partitions in a model that it runs in part.
    """

    delegate: str
    extent: Extent
    kernels: int | None = None


@dataclass(frozen=True, slots=True)
class Replacement:
    """What the runtime says about a delegate that takes operators of one subgraph.

    Attributes:
        delegate: as it calls itself, e.g. ``LITERT_CL``.
        ops: number of operators that it takes.
        of: number of operators that there were.
    """

    delegate: str
    ops: int
    of: int


@dataclass(frozen=True, slots=True)
class Output:
    """What one run of the tool says.

    Attributes:
        exit_code: of the process.
        kind: ``ok``, or the sort of failure that `problem` describes. Whether the model ran on the
            delegate that was asked for is another question: see `delegation_problem`.
        problem: why there is no figure; empty where there is one.
        timing: the timed runs.
        warmup: the untimed runs before them.
        init_ms: loading, compiling and allocating; None where it did not come to that.
        memory: what it took.
        ops: per-operator times in execution order; empty unless profiled.
        profiled: whether operators were profiled, so that `timing` is not to be used.
        profile_torn: whether the runtime dropped some of the operators' times.
        tool: whose the results are: ``litert`` where LiteRT's own summary is there.
        delegations: one for each delegate that was applied explicitly.
        replaced: what the runtime says it put into delegates, on a phone.
        gpu_api: ``OpenCL`` or ``OpenGL``; empty where the GPU was not initialised.
        unsupported_ops: why the GPU's delegate refused operators, e.g.
            ``TRANSPOSE_CONV: Max version supported: 3. Requested version 4.``
        unconsumed: flags that the tool does not know.
        errors: its error messages.
    """

    exit_code: int
    kind: Kind = "ok"
    problem: str = ""
    timing: Timing | None = None
    warmup: Timing | None = None
    init_ms: float | None = None
    memory: Memory = Memory()
    ops: tuple[OpRow, ...] = ()
    profiled: bool = False
    profile_torn: bool = False
    tool: Tool = "tflite"
    delegations: tuple[Delegation, ...] = ()
    replaced: tuple[Replacement, ...] = ()
    gpu_api: str = ""
    unsupported_ops: tuple[str, ...] = ()
    unconsumed: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()

    def delegation_problem(self, tool: Tool = "tflite") -> str:
        """Return why the model did not run wholly on the GPU, or an empty string.

        Of the classic tool only its word counts that its GPU delegate executes the model
        completely: an exit code of 0 does not, since what the delegate refuses runs on the CPU.

        LiteRT's tool says nothing of that. Its exit code counts where the command forbids the CPU,
        as `latlas.profiler.benchmark_model.command.benchmark_command` does, and the binary knows
        all of the flags; and nothing that the runtime says may contradict it.

        Args:
            tool: whose command line was run. What it forbids is not seen in the output.
        """
        if tool == "litert":
            return self._litert_delegation_problem()
        gpu = [found for found in self.delegations if found.delegate == "GPU"]
        if gpu and all(found.extent == "complete" for found in gpu):
            return ""
        if any(flag.startswith("--use_gpu") for flag in self.unconsumed):
            return "this benchmark_model is built without the GPU delegate: it ran on the CPU"
        if any(found.extent == "partial" for found in gpu):
            counts = ", ".join(str(found.kernels) for found in gpu if found.kernels is not None)
            problem = f"the GPU delegate runs the model only in part ({counts or '?'} kernels)"
        elif gpu:
            problem = "the GPU delegate runs nothing of the model"
        else:
            problem = "nothing says that the GPU delegate executed the model"
        refused = "; ".join(self.unsupported_ops)
        return short(f"{problem}: {refused}" if refused else problem)

    def _litert_delegation_problem(self) -> str:
        if self.exit_code or self.unconsumed or self.tool != "litert":
            return "nothing says that LiteRT's accelerator executed the model"
        for found in self.replaced:
            if re.search("[XY]NNPACK", found.delegate, flags=re.IGNORECASE):
                return short(f"{found.delegate} runs {found.ops} operators on the CPU")
            if found.ops != found.of:
                return short(
                    f"{found.delegate} runs the model only in part ({found.ops} of {found.of} "
                    "operators)"
                )
        return ""


def short(text: str) -> str:
    """Return text as it may be shown and stored: one line, printable, not too long."""
    text = text[: 2 * _MAX_TEXT]
    text = "".join(letter if letter.isprintable() else " " for letter in text).strip()
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"

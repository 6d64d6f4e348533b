"""From what ``benchmark_model`` says to a runner's result."""

from __future__ import annotations

import math

from latlas.profiler.benchmark_model.binary import Tool
from latlas.profiler.benchmark_model.output import Kind, Output, Timing
from latlas.profiler.errors import RunnerError
from latlas.profiler.runner import OpTime, Result
from latlas.profiler.statistics import PRINTED_US, Summary
from latlas.profiler.target import Delegate

COARSE_US = 100.0
"""Below this, the whole microseconds that the tool prints are too coarse."""


def to_result(
    job_id: str,
    timed: Output,
    profiled: Output | None = None,
    *,
    delegate: Delegate,
    tool: Tool = "tflite",
) -> Result:
    """Return the result of a job: its times, and those of its operators from a pass of their own.

    The tool gives a distribution instead of samples, and whole microseconds, so that a result
    has a `Result.summary`. It does not say how much of the time the core was the model's.

    Args:
        job_id: the job.
        timed: an unprofiled run.
        profiled: a profiled run of the same model, if operators are wanted.
        delegate: what was asked for; on the GPU, only a model that ran wholly there counts.
        tool: the one that was run, with the command line that
            `latlas.profiler.benchmark_model.command.benchmark_command` gives for it.

    Raises:
        RunnerError: `timed` was profiled, which slows it down, or `profiled` was not.
    """
    if timed.profiled:
        raise RunnerError(f"{job_id}: times of a profiled run are no latencies; run it without")
    if profiled is not None and profiled.kind == "ok" and not profiled.profiled:
        raise RunnerError(f"{job_id}: operators were wanted, but the run was not profiled")
    for output in (timed, profiled):
        if output is None:
            continue
        kind, problem = _problem(output, delegate, tool)
        if problem:
            where = "" if output is timed else "in the profiled run: "
            return Result(job_id, error=where + problem, kind=kind)
    assert timed.timing is not None
    summary = to_summary(timed.timing)
    if isinstance(summary, str):
        return Result(job_id, error=summary, kind="failed")
    rows = () if profiled is None else profiled.ops
    warmup = timed.warmup
    return Result(
        job_id,
        ops=tuple(OpTime(row.type, row.mean_us * row.times_called) for row in rows),
        init_ms=timed.init_ms or 0.0,
        warmup_ms=0.0 if warmup is None else warmup.count * (warmup.mean_us or 0.0) / 1e3,
        cpu_share=math.nan,
        summary=summary,
        # The tool's figure is a difference of getrusage's ru_maxrss, which is a peak.
        peak_memory_mb=timed.memory.overall_mb,
    )


def to_summary(timing: Timing) -> Summary | str:
    """Return the distribution, or what is missing for one."""
    known = (
        timing.median_us,
        timing.p05_us,
        timing.p95_us,
        timing.mean_us,
        timing.std_us,
        timing.min_us,
        timing.max_us,
    )
    if any(value is None for value in known):
        return "this benchmark_model prints no median and percentiles: use a newer one"
    printed, p05, p95, mean, std, low, high = (value or 0.0 for value in known)
    median = printed if printed >= COARSE_US else _refined(printed, mean, low, high)
    if not median > 0:
        return "a run takes less than the microsecond that benchmark_model can tell"
    return Summary(
        n=timing.count,
        median_us=median,
        p05_us=min(p05, median),
        p95_us=max(p95, median),
        mean_us=mean,
        std_us=std,
        iqr_us=None,
        mad_us=None,
        min_us=low,
        max_us=high,
    )


def _refined(median_us: float, mean_us: float, min_us: float, max_us: float) -> float:
    """Return a median to less than the microsecond to which it is printed.

    The mean of many runs is as fine as one wishes, but takes in what disturbed a few of them: it
    decides within the median's own microsecond.
    """
    half = PRINTED_US / 2
    return max(min(max(mean_us, median_us - half), median_us + half, max_us), min_us)


def _problem(output: Output, delegate: Delegate, tool: Tool) -> tuple[Kind, str]:
    refused = output.delegation_problem(tool) if delegate == "gpu" else ""
    ended = output.exit_code == 0
    if refused and (ended and (output.kind == "ok" or output.unconsumed)):
        return "not_delegated", refused
    if output.kind != "ok":
        return output.kind, output.problem
    if output.profile_torn:
        return "failed", "the runtime dropped operators' times: the model has too many of them"
    return "ok", ""

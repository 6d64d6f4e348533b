"""The process that holds the runtime: ``python -m latlas.profiler.litert.worker``.

It reads jobs from its standard input and writes results to its standard output, as
`latlas.profiler.litert.frames`. A
crash or a hang in the runtime or a driver costs this process, not the campaign. It ends when its
input does, so it never outlives its parent by more than a job.

The first message configures it and is answered by what it found; every later one is a job. What
the runtime prints goes to standard error, which the parent has made a file: the worker itself
reads there why a model was refused, and which GPU was chosen.
"""

from __future__ import annotations

import gc
import os
import re
import signal
import time
from array import array
from collections.abc import Callable
from typing import Any, Literal, Protocol

from latlas.profiler.errors import DeviceError, LatlasError, NotDelegatedError, RunnerError
from latlas.profiler.litert import library, memory, native
from latlas.profiler.litert.frames import Channel, Closed
from latlas.profiler.runner import Effort
from latlas.profiler.target import GpuPrecision

_Failure = Literal["failed", "not_delegated", "device"]

_STDERR = 2
_LOG_TAIL = 1 << 16
_ADAPTER = re.compile(r"Selected adapter: (.*?)(?:, arch=|$).*?(?:adapterType=(.*))?$", re.M)
_UNSUPPORTED = re.compile(r"not supported by GPU delegate:\n(.*?)\n\d+ operations will", re.S)
_CLOCK = time.perf_counter_ns

_LEAST_NS = 1
"""Of a run."""

_CALIBRATIONS = 3
"""How often a model is timed whose runs take no longer than calls that run nothing."""


class Worker:
    """Compiles and times models in this process.

    Args:
        config: ``accelerator``, ``threads``, ``cores`` (numbers) and ``precision``.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self._accelerator: library.Accelerator = config["accelerator"]
        self._threads = int(config["threads"])
        self._precision: GpuPrecision = config["precision"]
        self._cores = frozenset(int(core) for core in config["cores"])

    def start(self, probe: bytes) -> dict[str, Any]:
        """Take the cores, load the runtime and, for a GPU, find out which it is.

        `probe` is a small model. Running it once keeps what only the first model costs out of the
        first job.

        Raises:
            DeviceError: the runtime or the GPU cannot be used.
        """
        started = _CLOCK()
        if self._cores:
            os.sched_setaffinity(0, self._cores)
        hello: dict[str, Any] = {"runtime": f"litert {library.version()}", "precision": "fp32"}
        if self._accelerator == "gpu":
            hello |= self._probe_gpu(probe)
        else:
            self._run_once(probe, "fp32")
        return hello | {"init_ms": (_CLOCK() - started) / 1e6}

    def _probe_gpu(self, probe: bytes) -> dict[str, Any]:
        try:
            results = {self._run_once(probe, self._precision), self._run_once(probe, "fp32")}
        except NotDelegatedError as error:
            raise DeviceError(f"the GPU cannot run even the probe: {error}") from error
        except RunnerError as error:
            raise DeviceError(_why_no_gpu(_log())) from error
        found = _ADAPTER.search(_log())
        if found is None:
            raise DeviceError("LiteRT does not say which GPU it chose; its log:\n" + _log()[-2000:])
        # What the runtime calls "default" depends on the GPU: the results tell.
        return {
            "adapter": found[1].strip(),
            "software": "CPU" in (found[2] or "") or "software" in (found[2] or "").lower(),
            "precision": "fp32" if len(results) == 1 else "fp16",
        }

    def _run_once(self, model: bytes, precision: GpuPrecision) -> bytes:
        with native.CompiledModel(model, self._accelerator, precision=precision) as compiled:
            compiled.invoke()
            return b"".join(compiled.outputs())

    def measure(self, job: dict[str, Any], model: bytes) -> tuple[dict[str, Any], bytes]:
        """Run one job; return the answer's header and the samples as 64-bit nanoseconds."""
        try:
            wanted = bool(job["profile"]), bool(job["memory"])
            return self._measure(Effort(**job["effort"]), *wanted, model)
        except NotDelegatedError as error:
            found = _UNSUPPORTED.search(_log())
            reasons = f" ({'; '.join(found[1].splitlines())})" if found else ""
            return _failure("not_delegated", f"{error}{reasons}"), b""
        except RunnerError as error:
            said = _complaints(_log())
            return _failure("failed", f"{error}; LiteRT says: {said}" if said else str(error)), b""

    def _measure(
        self, effort: Effort, profile: bool, remember: bool, model: bytes
    ) -> tuple[dict[str, Any], bytes]:
        before = memory.forget_peak() if remember else None
        started = _CLOCK()
        with self._compile(model) as compiled:
            init_ms = (_CLOCK() - started) / 1e6
            warmup_ms = warm_up(compiled.invoke, effort)
            samples, cost_ns, cpu_share = time_model(compiled, effort)
            peak_mb = None if before is None else memory.growth_mb(before)
        ops: list[tuple[str, float]] = []
        if profile and self._accelerator == "cpu":  # LiteRT cannot profile on WebGPU
            ops = self._profile(model, effort)
        answer = {
            "kind": "ok",
            "init_ms": init_ms,
            "warmup_ms": warmup_ms,
            "timed_ms": (sum(samples) + cost_ns * len(samples)) / 1e6,
            "cpu_share": cpu_share,
            "ops": ops,
            "peak_memory_mb": peak_mb,
        }
        return answer, samples.tobytes()

    def _compile(self, model: bytes, profile: bool = False) -> native.CompiledModel:
        return native.CompiledModel(
            model, self._accelerator, self._threads, profile, self._precision
        )

    def _profile(self, model: bytes, effort: Effort) -> list[tuple[str, float]]:
        """Time the operators in a model compiled for that: a profiler costs time in every run."""
        with self._compile(model, profile=True) as compiled:
            warm_up(compiled.invoke, effort)
            started, runs = _CLOCK(), 0

            def go_on() -> bool:
                nonlocal runs
                runs += 1
                spent = (_CLOCK() - started) / 1e6
                return spent < effort.max_ms and (runs < effort.min_runs or spent < effort.min_ms)

            return [(op.name, op.mean_us) for op in compiled.profile(go_on).ops]


def warm_up(invoke: Callable[[], None], effort: Effort) -> float:
    """Run at least once and for ``effort.warmup_ms``; return the milliseconds spent."""
    started = _CLOCK()
    end = started + int(effort.warmup_ms * 1e6)
    invoke()
    while _CLOCK() < end:
        invoke()
    return (_CLOCK() - started) / 1e6


class Timed(Protocol):
    """What `time_model` needs of a compiled model."""

    def call(self) -> int: ...

    def call_cost_ns(self) -> int: ...

    def refresher(self) -> Callable[[], object]: ...


def time_model(compiled: Timed, effort: Effort) -> tuple[array[int], int, float]:
    """Time the runs of a model, less what is Python's of a call.

    Returns:
        The nanoseconds of each run, those that were taken off each, and the CPU time over the wall
        time of all.

    Raises:
        RunnerError: the machine is too busy for the two to be told apart.
    """
    for _ in range(_CALIBRATIONS):
        cost_ns = compiled.call_cost_ns()
        samples, cpu_share = time_runs(compiled.call, effort, cost_ns, compiled.refresher())
        # A run takes longer than a call that runs nothing, unless another process came between.
        if sorted(samples)[len(samples) // 2] > _LEAST_NS:
            return samples, cost_ns, cpu_share
    raise RunnerError(
        f"a run takes no longer than the {cost_ns / 1e3:.0f} us of a call that runs nothing: this "
        "machine is too busy to measure on; try again when it is not"
    )


def time_runs(
    call: Callable[[], int],
    effort: Effort,
    call_cost_ns: int = 0,
    prepare: Callable[[], object] = lambda: None,
) -> tuple[array[int], float]:
    """Time runs one by one, as many as `effort` wants.

    Args:
        call: runs the model once, and returns LiteRT's status.
        effort: how long.
        call_cost_ns: of a run, what is not the model's.
        prepare: called before each run, untimed.

    Returns:
        The nanoseconds of each run, and the CPU time over the wall time of all.
    """
    clock = _CLOCK
    min_runs, min_ns, max_ns = effort.min_runs, effort.min_ms * 1e6, effort.max_ms * 1e6
    samples = array("q", bytes(8 * max(min_runs, 1024)))
    room, count, total = len(samples), 0, 0
    collecting = gc.isenabled()
    gc.disable()
    try:
        cpu_started, wall_started = time.process_time_ns(), clock()
        while True:
            prepare()
            before = clock()
            status = call()
            elapsed = clock() - before
            if status:
                native.check(status)
            samples[count] = max(elapsed - call_cost_ns, _LEAST_NS)
            count += 1
            total += elapsed
            if (count >= min_runs and total >= min_ns) or total >= max_ns:
                break
            if count == room:
                samples.extend(samples)
                room = len(samples)
        wall, cpu = clock() - wall_started, time.process_time_ns() - cpu_started
    finally:
        if collecting:
            gc.enable()
    return samples[:count], cpu / max(wall, 1)


def _failure(kind: _Failure, error: str) -> dict[str, Any]:
    return {"kind": kind, "error": error}


def _log() -> str:
    """Return the end of what was printed to standard error, where that is a file."""
    try:
        size = os.fstat(_STDERR).st_size
        start = max(0, size - _LOG_TAIL)
        return os.pread(_STDERR, size - start, start).decode(errors="replace")
    except OSError:
        return ""


def _clear_log() -> None:
    """Empty the log, so that it neither grows nor mixes jobs."""
    try:
        os.ftruncate(_STDERR, 0)
    except OSError:
        return  # a terminal, when someone runs the worker by hand


def _complaints(log: str) -> str:
    """Return the lines of LiteRT's log that are errors."""
    lines = [line.removeprefix("ERROR: ") for line in log.splitlines() if line.startswith("ERROR")]
    return "; ".join(lines)[:1000]


def _why_no_gpu(log: str) -> str:
    """Return what to do about a GPU that LiteRT cannot use."""
    advice = (
        "install the GPU's Vulkan driver; to try things out without a GPU, Debian's chromium "
        "package brings a software renderer: set VK_DRIVER_FILES and VK_ICD_FILENAMES to "
        "/usr/lib/chromium/vk_swiftshader_icd.json"
    )
    if "Couldn't load Vulkan" in log:
        return f"no GPU: Vulkan (libvulkan.so.1) is missing: install libvulkan1 and {advice}"
    if "No adapters found" in log or "Found no drivers" in log:
        return f"no GPU: LiteRT finds no Vulkan device: {advice}"
    return f"LiteRT cannot use the GPU: {_complaints(log) or 'it does not say why'}; {advice}"


def serve(channel: Channel) -> None:
    """Answer messages until the parent is gone.

    Raises:
        Closed: the parent is gone.
    """
    config, probe = channel.receive()
    worker = Worker(config)
    try:
        hello = worker.start(probe)
    except (LatlasError, OSError) as error:
        channel.send(_failure("device", str(error)))
        return
    channel.send({"kind": "hello", **hello})
    while True:
        job, model = channel.receive()
        _clear_log()
        channel.send(*worker.measure(job, model))


def main() -> None:
    """Serve on standard input and output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    # The runtime may print: it gets standard error, and no way to disturb the messages.
    channel = Channel(os.dup(0), os.dup(1))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(_STDERR, 1)
    try:
        serve(channel)
    except Closed:
        return


if __name__ == "__main__":
    main()

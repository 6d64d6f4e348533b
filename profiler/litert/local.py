"""Runs models on this machine, on its CPU through XNNPACK or on its GPU through WebGPU."""

from __future__ import annotations

import fcntl
import math
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from latlas.profiler.cores import choose_cores, format_cores
from latlas.profiler.errors import DeviceError, RunnerError, RunnerTimeout
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.litert.frames import Channel, Closed
from latlas.profiler.runner import Job, OpTime, Result
from latlas.profiler.target import INT8_ON_GPU, Delegate, GpuPrecision, Target
from latlas.profiler.temperature import Temperature, zone_temperatures
from latlas.profiler.tflite.writer import to_tflite

_START_S = 120.0
"""Seconds that a worker gets to load the runtime and to initialise a GPU."""
_LOG_LINES = 12
_LOOK_S = 1.0  # from one look at the temperatures to the next


class LocalRunner:
    """A `latlas.profiler.runner.Runner` that measures on this machine, in a worker process.

    A model that kills the runtime or makes it hang costs that job: the worker is started again.

    Args:
        delegate: ``cpu`` or ``gpu``.
        threads: CPU threads.
        cores: CPU cores such as ``0`` or ``4-7``; empty means one for a single thread on the CPU,
            otherwise any.
        timeout_s: seconds that a job may take beyond twice what its effort allows.
        precision: of the GPU's calculations; ``default`` is the runtime's own choice for the
            adapter. What is really used is found out and stated in `target`.
        int8: whether the models are quantised, which the target then says; on the CPU only.

    Example::

        with LocalRunner("cpu") as runner:
            for result in runner.run([Job("conv", model)]):
                print(result.job_id, statistics.median(result.samples_us))
    """

    def __init__(
        self,
        delegate: Delegate = "cpu",
        threads: int = 1,
        cores: str = "",
        timeout_s: float = 60.0,
        precision: GpuPrecision = "default",
        int8: bool = False,
    ) -> None:
        self.delegate = delegate
        self.threads = threads
        self.cores = cores
        self.timeout_s = timeout_s
        self.precision: GpuPrecision = precision
        self.int8 = int8
        self._worker: _Process | None = None
        self._target: Target | None = None
        self._looked_s = -math.inf
        self._temperatures: tuple[Temperature, ...] = ()

    @property
    def target(self) -> Target:
        """What the results are valid for; starts the worker.

        Raises:
            DeviceError: LiteRT or the GPU cannot be used, with what to do about it.
        """
        if self._target is None:
            self._start()
        assert self._target is not None
        return self._target

    @property
    def environment(self) -> Mapping[str, str]:
        """What else may explain the figures: kernel, processor, frequency governor."""
        return machine_environment()

    @property
    def fresh_process(self) -> bool:
        """Not so: one worker runs them all."""
        return False

    @property
    def lists_operators(self) -> bool:
        """Whether per-operator times can be had: not over WebGPU."""
        return self.delegate == "cpu"

    def unwell(self) -> str:
        """Return an empty string: the reference kernel shows how this machine is doing."""
        return ""

    @property
    def init_ms(self) -> float:
        """Milliseconds that loading the runtime and initialising the GPU took, once a worker."""
        return float(self._start().hello["init_ms"])

    @property
    def worker_pid(self) -> int:
        """The process that runs the models; another one after a crash."""
        return self._start().pid

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """Measure jobs in the order given, yielding one result for each as it comes.

        Raises:
            DeviceError: LiteRT or the GPU cannot be used.
        """
        for job in jobs:
            result = self._run(job)
            now = time.monotonic()
            if now - self._looked_s >= _LOOK_S:
                self._looked_s, self._temperatures = now, zone_temperatures()
            yield replace(result, temperatures_c=self._temperatures)

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def __enter__(self) -> Self:
        """Return the runner."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End the worker."""
        self.close()

    def _run(self, job: Job) -> Result:
        worker = self._start()
        effort = job.effort
        passes = 2 if job.profile else 1
        seconds = self.timeout_s + 2 * passes * (effort.warmup_ms + effort.max_ms) / 1000
        deadline = time.monotonic() + seconds
        header = {"effort": asdict(effort), "profile": job.profile, "memory": job.memory}
        try:
            worker.channel.send(header, job.model, deadline)
            answer, samples = worker.channel.receive(deadline)
        except Closed:
            error = f"the runtime's process died: {worker.post_mortem()}"
            self.close()
            return Result(job.id, error=error, kind="crashed")
        except RunnerTimeout:
            self.close()
            return Result(
                job.id, error=f"no answer after {seconds:.1f} s; process killed", kind="timeout"
            )
        except BaseException:  # an interrupt in between leaves the stream out of step
            self.close()
            raise
        return _result(job.id, answer, samples)

    def _start(self) -> _Process:
        if self._worker is not None:
            return self._worker
        if self.int8 and self.delegate == "gpu":
            raise DeviceError(INT8_ON_GPU)
        cores = self._cores()
        config = {
            "accelerator": self.delegate,
            "threads": self.threads,
            "cores": sorted(cores),
            "precision": self.precision,
        }
        worker = _Process(config, _probe_model())
        target = self._describe(worker.hello, format_cores(cores))
        if self._target is not None and target != self._target:
            worker.stop()
            self._target.require_same(target, "the restarted worker")
        self._worker, self._target = worker, target
        return worker

    def _cores(self) -> frozenset[int]:
        if self.threads < 1:
            raise DeviceError(f"threads must be at least 1, not {self.threads}")
        if not self.cores and self.delegate == "gpu":
            return frozenset()
        cores = choose_cores(self.cores, self.threads)
        if cores and not hasattr(os, "sched_setaffinity"):
            return frozenset()
        return cores

    def _describe(self, hello: dict[str, Any], cores: str) -> Target:
        gpu = self.delegate == "gpu"
        return Target(
            device=machine_name(),
            runtime=str(hello["runtime"]),
            delegate=self.delegate,
            backend="webgpu" if gpu else "xnnpack",
            adapter=str(hello.get("adapter", "")),
            software=bool(hello.get("software", False)),
            precision="int8" if self.int8 else str(hello["precision"]),
            threads=self.threads,
            cores=cores,
        )


class _Process:
    """A worker process and the file that takes what its runtime prints."""

    def __init__(self, config: dict[str, Any], probe: bytes) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 — lives as long as the process
        # Appending: the worker empties the file between jobs.
        flags = fcntl.fcntl(self._log, fcntl.F_GETFL)
        fcntl.fcntl(self._log, fcntl.F_SETFL, flags | os.O_APPEND)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "latlas.profiler.litert.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._pipes = (self._process.stdin, self._process.stdout)
        self.channel = Channel(
            self._process.stdout.fileno(), self._process.stdin.fileno(), deadlines=True
        )
        try:
            self.hello = self._greet(config, probe)
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def _greet(self, config: dict[str, Any], probe: bytes) -> dict[str, Any]:
        deadline = time.monotonic() + _START_S
        try:
            self.channel.send(config, probe, deadline)
            hello, _ = self.channel.receive(deadline)
        except Closed:
            raise DeviceError(f"LiteRT's process does not start: {self.post_mortem()}") from None
        except RunnerTimeout:
            raise DeviceError(f"LiteRT's process did not start in {_START_S:.0f} s") from None
        if hello.get("kind") != "hello":
            raise DeviceError(str(hello.get("error", hello)))
        return hello

    def post_mortem(self) -> str:
        """Return how the process died and the last lines that it printed."""
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return "its pipe is closed but it still runs"
        how = f"exit code {code}"
        if code < 0:
            how = f"killed by {signal.Signals(-code).name}"
        lines = self._tail()
        return f"{how}; its last lines:\n{lines}" if lines else how

    def _tail(self) -> str:
        size = os.fstat(self._log.fileno()).st_size
        start = max(0, size - (1 << 14))
        text = os.pread(self._log.fileno(), size - start, start).decode(errors="replace")
        return "\n".join(text.splitlines()[-_LOG_LINES:])

    def stop(self) -> None:
        """Kill the process: it owns nothing that a clean end would save."""
        self._process.kill()
        self._process.wait()
        for pipe in self._pipes:
            pipe.close()
        self._log.close()


def _result(job_id: str, answer: dict[str, Any], payload: bytes) -> Result:
    kind = answer.get("kind")
    if kind in ("failed", "not_delegated"):
        return Result(job_id, error=str(answer["error"]), kind=kind)
    if kind != "ok":
        raise RunnerError(f"the worker's answer makes no sense: {answer!r:.200}")
    samples = array("q", payload)
    return Result(
        job_id,
        samples_us=tuple([ns / 1000 for ns in samples]),
        ops=tuple([OpTime(str(name), float(us)) for name, us in answer["ops"]]),
        init_ms=float(answer["init_ms"]),
        warmup_ms=float(answer["warmup_ms"]),
        timed_ms=float(answer["timed_ms"]),
        cpu_share=float(answer["cpu_share"]),
        peak_memory_mb=None if (peak := answer["peak_memory_mb"]) is None else float(peak),
    )


def _probe_model() -> bytes:
    """Return a small model whose result shows the precision of the calculations."""
    builder = GraphBuilder((1, 8, 8, 8))
    return to_tflite(builder.build(builder.logistic(builder.input)))


def machine_name() -> str:
    """Return the processor's name, e.g. ``AMD EPYC``."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    fields = (line.partition(":") for line in lines)
    names = {key.strip(): value.strip() for key, _, value in fields}
    return names.get("model name") or names.get("Hardware") or platform.processor() or "unknown CPU"


def machine_environment() -> dict[str, str]:
    """Return what this machine tells about itself, without its host name."""
    found = {
        "os": platform.system(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cpu": machine_name(),
    }
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    with suppress(OSError):  # virtual machines have none
        found["governor"] = governor.read_text(errors="replace").strip()
    return found


@dataclass(frozen=True, slots=True)
class GpuProbe:
    """What LiteRT finds when it looks for a GPU.

    Attributes:
        adapter: the GPU as its driver names it, empty if there is none.
        software: whether that is a software renderer.
        precision: of calculations unless told otherwise.
        init_ms: milliseconds that initialising it took.
        problem: why there is none, and what to do about it; empty if there is one.
    """

    adapter: str = ""
    software: bool = False
    precision: str = ""
    init_ms: float = 0.0
    problem: str = ""


def probe_gpu() -> GpuProbe:
    """Look for a GPU that LiteRT can use, by running a tiny model on it in a worker.

    >>> probe = probe_gpu()
    >>> bool(probe.adapter) != bool(probe.problem)
    True
    """
    with LocalRunner("gpu") as runner:
        try:
            target = runner.target
        except DeviceError as error:
            return GpuProbe(problem=str(error))
        return GpuProbe(target.adapter, target.software, target.precision, runner.init_ms)

"""Runs models on a phone with its stock benchmark binary, many at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Self

from latlas.profiler.adb.claim import Claim
from latlas.profiler.adb.conditions import (
    Conditions,
    FixedPerformance,
    restore_quietly,
    usual_conditions,
)
from latlas.profiler.adb.identity import PhoneIdentity
from latlas.profiler.adb.phone import FOLDER, Phone
from latlas.profiler.adb.text import clean
from latlas.profiler.adb.waiting import wait_for_phone
from latlas.profiler.benchmark_model.batch import Batch, JobTimeout
from latlas.profiler.benchmark_model.binary import RunnerBinary
from latlas.profiler.benchmark_model.command import Execution, GpuBackend
from latlas.profiler.benchmark_model.failures import NOT_THERE
from latlas.profiler.benchmark_model.help import can_profile, has_gpu, has_result_file
from latlas.profiler.benchmark_model.installation import Installation, install
from latlas.profiler.benchmark_model.output import Output
from latlas.profiler.benchmark_model.output_parser import parse_output
from latlas.profiler.benchmark_model.result import to_result
from latlas.profiler.benchmark_model.result_file import merge, parse_result_file
from latlas.profiler.benchmark_model.script import CommandOutput
from latlas.profiler.cores import parse_cores
from latlas.profiler.errors import (
    DeviceCommandError,
    DeviceError,
    DeviceLost,
    DeviceTimeout,
    NotDelegatedError,
    RunnerError,
    RunnerTimeout,
)
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.runner import Effort, Job, Result
from latlas.profiler.target import Target
from latlas.profiler.tflite.writer import to_tflite

MAX_JOBS = 50
"""Models of one batch: their commands must fit into one request to the adb server."""
MAX_BYTES = 64 << 20
"""Bytes of the models of one batch: phones have little room."""
BATCH_S = 3.0
"""Seconds that a batch is expected to take, so that what came back is soon in the journal."""

LOOK_S = 10.0
"""Seconds from one look at heat and battery to the next: it costs the phone some work."""

_RESULT = "result.pb"
_LOSSES = 2
"""A model during which the phone goes away so often is not tried again."""
_IN_VAIN = 5
"""A phone that goes away so often in a row, without a single figure in between, is given up."""
_BACKENDS: dict[str, GpuBackend] = {"opencl": "cl", "opengl": "gl"}
_MAX_BEYOND_S = 60.0
_GUESS_S = {"cpu": 0.02, "gpu": 0.5}


class PhoneRunner:
    """A `latlas.profiler.runner.Runner` that measures on a phone, over adb.

    Models go there in batches, and a shell script runs the benchmark binary on one after the other.
    When the phone goes away, the runner waits for it, and goes on with the model that it was at.

    Args:
        serial: what adb calls the phone.
        binary: the benchmark binary, built for the phone's processor.
        execution: how it runs the models.
        cores: CPU cores such as ``4-7``; empty means any.
        int8: whether the models are quantised, which the target then says; on the CPU only.
        fixed_performance: whether Android's fixed performance mode is wanted.
        thermal_limit: the highest Android thermal status that counts as cool; None is the usual.
        wait_s: seconds that a phone which went away is waited for.
        timeout_s: seconds that a model may take beyond twice what its effort allows.
        say: told what people should know, e.g. that the phone is waited for.
        clock: seconds, monotonic.
        sleep: rests for seconds, also for none: it may raise KeyboardInterrupt to end a campaign.

    Attributes:
        phone: the phone.
        spent_s: seconds that the binary has run so far, process starts included, by the phone's
            clock.

    Example::

        with PhoneRunner("0A1B2C3D", find_binary("arm64-v8a"), Execution(), "4-7") as runner:
            for result in runner.run([Job("conv", model)]):
                print(result.job_id, summary_of(result).median_us)
    """

    def __init__(
        self,
        serial: str,
        binary: RunnerBinary,
        execution: Execution,
        cores: str = "",
        *,
        int8: bool = False,
        fixed_performance: bool = False,
        thermal_limit: int | None = None,
        wait_s: float = 120.0,
        timeout_s: float = 60.0,
        say: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.phone = Phone(serial)
        self.binary = binary
        self.execution = execution
        self.cores = cores
        self.int8 = int8
        self.wait_s = wait_s
        self.timeout_s = timeout_s
        self.say = say
        self.clock = clock
        self.sleep = sleep
        self.spent_s = 0.0
        self.conditions: Conditions = usual_conditions(
            self.phone,
            mask=self.mask,
            thermal_limit=thermal_limit,
            fixed_performance=fixed_performance,
        )
        self._claim: Claim | None = None
        self._installation: Installation | None = None
        self._result_file = ""
        self._identity: PhoneIdentity | None = None
        self._unit = ""
        self._target: Target | None = None
        self._lists_operators: bool | None = None
        self._losses: dict[str, int] = {}
        self._looked: tuple[float, str] | None = None
        self._beyond_s = _GUESS_S[execution.delegate]  # process start and initialisation, learned

    @property
    def mask(self) -> str:
        """The affinity mask as Android's taskset wants it; empty for any core."""
        cores = parse_cores(self.cores)
        return f"{sum(1 << core for core in cores):x}" if cores else ""

    @property
    def target(self) -> Target:
        """What the results are valid for; prepares the phone.

        Raises:
            DeviceError: the phone cannot be used.
            RunnerError: the binary cannot be used, or cannot use what was asked for.
        """
        if self._target is None:
            try:
                self._prepare()
                self._target = self._describe()
            except BaseException:
                self.close()
                raise
        return self._target

    @property
    def lists_operators(self) -> bool:
        """Whether the times of operators can be had: a GPU's only through OpenCL."""
        _ = self.target
        return bool(self._lists_operators)

    @property
    def environment(self) -> Mapping[str, str]:
        """What else may explain the figures; ``unit`` tells phones of the same model apart."""
        identity = self._identity or self.phone.identity()
        libraries = {} if self._installation is None else self._installation.libraries
        shown = {f"condition: {name}": text for name, text in self.conditions.show().items()}
        found = {
            "android": identity.android,
            "fingerprint": identity.fingerprint,
            "soc": identity.soc,
            "gpu": identity.gpu,
            "kernel": clean(self.phone.ask("uname", "-r")),
            "unit": self._unit or self.phone.unit(),
            "runner": self.binary.sha256,
            "libraries": ", ".join(f"{name} {sha256}" for name, sha256 in libraries.items()),
        }
        return {name: text for name, text in found.items() if text} | shown

    @property
    def fresh_process(self) -> bool:
        """So it is: a phone's clock may not have risen before a small model is done."""
        return True

    def unwell(self) -> str:
        """Return what is wrong with the phone, looked at every `LOOK_S` seconds at most.

        A phone that went away meanwhile is waited for.

        Raises:
            DeviceError: it did not come back.
        """
        if self._looked and not self._looked[1] and self.clock() - self._looked[0] < LOOK_S:
            return ""
        try:
            found = "; ".join(problem.found for problem in self.conditions.problems())
        except DeviceTimeout as problem:
            found = f"it does not answer: {problem}"  # whoever asks will ask again, not for ever
        except DeviceLost:
            self._lost()
            found = ""
        self._looked = self.clock(), found
        return found

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """Measure jobs in the order given, yielding one result for each as it comes.

        Raises:
            DeviceError: the phone did not come back, or refuses to go on.
        """
        _ = self.target
        iterator = iter(jobs)
        while batch := self._next_batch(iterator):
            self.sleep(0.0)  # where it ends a campaign that is to stop
            yield from self._run_batch(batch)

    def close(self) -> None:
        """Put the phone back as it was."""
        try:
            self._restore()
        finally:
            if self._claim is not None:
                self._claim.release()
                self._claim = None

    def _restore(self) -> None:
        if self._claim is None:
            return
        self._installation = None
        with suppress(DeviceError):
            self.phone.do("sh", "-c", f"rm -rf {FOLDER}/run-*")
        if problem := restore_quietly(self.conditions):
            self.say(
                f"the phone could not be put back as it was, the next start will do: {problem}"
            )

    def __enter__(self) -> Self:
        """Return the runner."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Put the phone back as it was."""
        self.close()

    # The phone

    def _prepare(self) -> None:
        """Make the phone ready; after it went away, once more."""
        identity, unit = self.phone.identity(), self.phone.unit()
        if self._claim is None:
            self._claim = Claim(self.phone.serial, unit)
        before = self._identity
        now = identity.fingerprint, unit
        if before is not None and (before.fingerprint, self._unit) != now:
            raise DeviceError(
                f"it came back as another one: {before.fingerprint}, {self._unit} before, "
                f"{identity.fingerprint}, {unit} now; measure it into another table",
                serial=self.phone.serial,
            )
        self._identity, self._unit = identity, unit
        with suppress(DeviceCommandError):  # rests of a start that was killed
            self.phone.do("sh", "-c", f"rm -rf {FOLDER}/run-*")
        self._installation = install(self.phone, self.binary)
        tool, flags = self._installation.tool, self._installation.flags
        backend = self.execution.gpu_backend
        if tool == "litert" and backend == "cl":
            backend = ""  # this tool cannot be held to OpenCL: what it used is looked at afterwards
        self.execution = replace(self.execution, tool=tool, gpu_backend=backend)
        # The classic tool's text has all that its file has.
        self._result_file = _RESULT if tool == "litert" and has_result_file(flags) else ""
        left = self.conditions.restore_left()
        if left and before is None:
            self.say(f"put back what an interrupted start had left: {', '.join(left)}")
        self.conditions.write()
        for name, problem in self.conditions.refused.items():
            self.say(f"measured without {name}: {problem}")
        if self._target is not None and self._target.clocks != self._clocks():
            raise DeviceError(
                f"it came back without {FixedPerformance.name}, so that its figures would not "
                "compare; give the same command again once it takes it",
                serial=self.phone.serial,
            )

    def _clocks(self) -> str:
        return "fixed" if FixedPerformance.name in self.conditions.written else ""

    def _lost(self) -> None:
        """Wait for the phone; what was installed and set has to be looked at again."""
        self._installation = None
        wait_for_phone(self.phone.serial, self.wait_s, self.say, clock=self.clock, sleep=self.sleep)

    def _describe(self) -> Target:
        """Find out what the results will be valid for, by running a small model."""
        assert self._installation is not None and self._identity is not None
        identity, execution, flags = self._identity, self.execution, self._installation.flags
        gpu = execution.delegate == "gpu"
        if gpu and not has_gpu(flags):
            raise NotDelegatedError(
                f"the benchmark binary {self.binary.path} is built without the GPU delegate: "
                "fetch one with `latlas doctor --fetch-runner`"
            )
        probe = Job("probe", _probe_model(), Effort(min_runs=1, min_ms=0, warmup_ms=0))
        self._lists_operators = can_profile(flags)
        try:
            (outputs,) = self._batch([replace(probe, profile=True)]).outputs()
        except JobTimeout as late:
            raise RunnerTimeout(
                f"phone {self.phone.serial}: not even a small model ends in time: {late}"
            ) from late
        timed = _parse(outputs[0])
        refused = timed.delegation_problem(self.execution.tool) if gpu else ""
        if refused and timed.kind in ("ok", "not_delegated"):
            raise NotDelegatedError(
                f"phone {self.phone.serial}: its GPU cannot be used: {timed.problem or refused}"
            )
        if timed.kind != "ok":
            raise RunnerError(
                f"phone {self.phone.serial}: the benchmark binary {self.binary.path} cannot run "
                f"a small model: {timed.problem}"
            )
        self._lists_operators = len(outputs) > 1 and bool(_parse(outputs[1]).ops)
        backend = timed.gpu_api.lower() if gpu else "xnnpack"
        if gpu and not backend:
            named = {flag: name for name, flag in _BACKENDS.items()}
            backend = named.get(execution.gpu_backend, "unknown")
        if gpu and self._installation.tool == "tflite" and backend in _BACKENDS:
            # Else the tool would fall back from one to the other, model by model.
            self.execution = replace(execution, gpu_backend=_BACKENDS[backend])
        maker, model = identity.manufacturer or "", identity.model or self.phone.serial
        half = execution.gpu_fp16 if gpu else execution.force_fp16
        precision = "int8" if self.int8 else "fp16" if half else "fp32"
        return Target(
            device=f"{maker} {model}".strip(),
            runtime=f"{self._installation.tool} benchmark_model {self.binary.sha256[:12]}",
            delegate=execution.delegate,
            backend=backend,
            adapter=(identity.gpu or "unknown GPU") if gpu else "",
            precision=precision,
            threads=execution.threads,
            cores=self.cores,
            clocks=self._clocks(),
        )

    # Batches

    def _next_batch(self, jobs: Iterator[Job]) -> list[Job]:
        batch: list[Job] = []
        size, expected_s = 0, 0.0
        while len(batch) < MAX_JOBS and size < MAX_BYTES and expected_s < BATCH_S:
            job = next(jobs, None)
            if job is None:
                break
            batch.append(job)
            size += len(job.model)
            expected_s += _asked_s(job) + self._beyond_s
        return batch

    def _run_batch(self, jobs: Sequence[Job]) -> Iterator[Result]:
        """Run jobs, over again from where the phone went away."""
        left = list(jobs)
        in_vain = 0
        while left:
            began = False
            try:
                if self._installation is None:
                    self._prepare()
                batch = self._batch(tuple(left))
                try:
                    for result in self._results(batch, left):
                        in_vain = 0
                        yield result
                finally:
                    began = batch.began
                    self.spent_s += batch.spent_s
            except (DeviceLost, DeviceTimeout) as problem:
                if not left:
                    self._installation = None
                    return
                in_vain += 1
                if in_vain >= _IN_VAIN:
                    raise
                self._lost()
                if began:
                    yield from self._charge(left, problem)

    def _results(self, batch: Batch, left: list[Job]) -> Iterator[Result]:
        """Run a batch until one job ends it; each is taken out of `left` at its result."""
        try:
            for outputs in batch.outputs():
                result = self._result(left[0], outputs)
                self._losses.pop(left.pop(0).id, None)
                yield result
        except JobTimeout as late:
            yield Result(left.pop(0).id, error=str(late), kind="timeout")
        except RunnerError as problem:
            yield Result(left.pop(0).id, error=str(problem), kind="crashed")
        self.sleep(0.0)

    def _charge(self, left: list[Job], problem: DeviceError) -> Iterator[Result]:
        """Give a model up that has taken the phone down twice; `left` loses it."""
        job = left[0]
        self._losses[job.id] = self._losses.get(job.id, 0) + 1
        if self._losses[job.id] >= _LOSSES:
            del self._losses[left.pop(0).id]
            error = f"the phone went away every time that it ran: {problem}"
            yield Result(job.id, error=error, kind="crashed")

    def _batch(self, jobs: Sequence[Job]) -> Batch:
        assert self._installation is not None
        return Batch(
            self.phone,
            self._installation,
            self.execution,
            self.mask,
            bool(self._lists_operators),
            self._result_file,
            self.timeout_s,
            self.say,
            jobs,
        )

    def _result(self, job: Job, outputs: Sequence[CommandOutput]) -> Result:
        beyond_s = sum(output.spent_s or 0.0 for output in outputs) - _asked_s(job)
        # A phone's clock may jump.
        self._beyond_s += 0.1 * (min(max(beyond_s, 0.0), _MAX_BEYOND_S) - self._beyond_s)
        try:
            timed, *profiled = map(_parse, outputs)
            if timed.problem.startswith(NOT_THERE):
                raise DeviceLost(
                    f"its folder {FOLDER} was emptied meanwhile: by another computer?",
                    serial=self.phone.serial,
                    output=timed.problem,
                )
            backend = timed.gpu_api.lower()
            if backend and self._target is not None and backend != self._target.backend:
                error = f"it ran through {backend}, not through {self._target.backend}"
                return Result(job.id, error=error, kind="not_delegated")
            execution = self.execution
            result = to_result(
                job.id, timed, *profiled, delegate=execution.delegate, tool=execution.tool
            )
            # Of the last look at heat and battery, so that it costs the phone nothing.
            return replace(result, temperatures_c=self.phone.temperatures_c)
        except RunnerError as problem:
            return Result(job.id, error=str(problem), kind="failed")


def _parse(output: CommandOutput) -> Output:
    parsed = parse_output(output.stdout, output.stderr, output.exit_code)
    if not output.result_file or parsed.kind != "ok":
        return parsed
    return merge(parsed, parse_result_file(output.result_file))


def _asked_s(job: Job) -> float:
    """Return the seconds inside runs that a job asks for at least."""
    passes = 2 if job.profile else 1
    return passes * (job.effort.warmup_ms + job.effort.min_ms) / 1e3


def _probe_model() -> bytes:
    """Return a small model: an element-wise operator, which every delegate has."""
    builder = GraphBuilder((1, 8, 8, 8))
    return to_tflite(builder.build(builder.logistic(builder.input)))

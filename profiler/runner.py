"""How models are run on a device: the protocol that every runner fits.

A runner takes a batch of jobs, so that a phone does not cost one adb call per kernel, and yields
results as they come. The campaign owns order, references and repeats.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from latlas.profiler.target import Target
from latlas.profiler.temperature import Temperature

if TYPE_CHECKING:
    from latlas.profiler.statistics import Summary


@dataclass(frozen=True, slots=True)
class Effort:
    """How long one job is run: until both minima are reached, or `max_ms` has passed.

    Attributes:
        min_runs: timed runs at least.
        min_ms: milliseconds inside timed runs at least.
        max_ms: stop timing after this many milliseconds, even short of the minima.
        warmup_ms: milliseconds of untimed runs first (at least one run).
    """

    min_runs: int = 20
    min_ms: float = 20.0
    max_ms: float = 2000.0
    warmup_ms: float = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """One model to be measured.

    Attributes:
        id: what the result will be called.
        model: the .tflite file's bytes.
        effort: how long it is run.
        profile: whether per-operator times are wanted, from a pass of their own after the timing.
        memory: whether its peak memory is wanted, which may make its initialisation a bit slower.
    """

    id: str
    model: bytes
    effort: Effort = Effort()
    profile: bool = False
    memory: bool = False


@dataclass(frozen=True, slots=True)
class OpTime:
    """Time of one operator of the runtime inside a model.

    Attributes:
        name: as the runtime calls it, e.g. ``Convolution (NHWC, F32) IGEMM``.
        mean_us: mean over the runs of the profiled pass, over their middle half where a runner
            sees each of them.
    """

    name: str
    mean_us: float


@dataclass(frozen=True, slots=True)
class Result:
    """What running one job gave.

    Attributes:
        job_id: the job.
        samples_us: wall time of every timed run, output reading included.
        ops: per-operator times in execution order, empty where not asked for or not available.
        init_ms: reading, compiling and allocating, apart from the timing.
        warmup_ms: time inside untimed runs.
        timed_ms: time inside the timed runs, with what was taken off the samples as the caller's;
            0 where it is just their sum.
        cpu_share: CPU time over wall time of the timed runs; well below the thread count when
            something else wanted the core. NaN where it is not known.
        error: why there are no samples; empty when there are.
        kind: ``ok``, or what sort of failure `error` describes.
        summary: the distribution, from a tool that does not give the samples; then `samples_us`
            is empty. `latlas.profiler.statistics.summary_of` serves either.
        peak_memory_mb: by how many MB (2^20 bytes) the process' resident memory grew at most, from
            before the model was read to the end of its timed runs; None where it is not known.
            A process of its own, as on a phone, counts the runtime's code too.
        temperatures_c: what the device's sensors said last, in degrees Celsius; none where it has
            none that can be read.
    """

    job_id: str
    samples_us: tuple[float, ...] = ()
    ops: tuple[OpTime, ...] = ()
    init_ms: float = 0.0
    warmup_ms: float = 0.0
    timed_ms: float = 0.0
    cpu_share: float = 1.0
    error: str = ""
    kind: Literal["ok", "failed", "crashed", "timeout", "not_delegated"] = "ok"
    summary: Summary | None = None
    peak_memory_mb: float | None = None
    temperatures_c: tuple[Temperature, ...] = ()


class Runner(Protocol):
    """Runs models on one target."""

    @property
    def target(self) -> Target:
        """What the results are valid for."""
        ...

    @property
    def environment(self) -> Mapping[str, str]:
        """What else may explain the figures, e.g. the kernel's version; part of every table."""
        ...

    @property
    def fresh_process(self) -> bool:
        """Whether every model gets a process of its own, which may end before a clock has risen."""
        ...

    @property
    def lists_operators(self) -> bool:
        """Whether per-operator times can be had."""
        ...

    def unwell(self) -> str:
        """Return why the device should not be measured now, e.g. that it is hot; usually empty.

        Raises:
            DeviceError: the device is gone.
        """
        ...

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """Measure jobs in the order given, yielding one result for each as it comes.

        A job that fails yields a result that says so; it does not stop the others.

        Raises:
            DeviceError: the device is gone.
        """
        ...

    def close(self) -> None:
        """Give everything back."""
        ...

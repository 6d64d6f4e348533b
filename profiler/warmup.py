"""How long a process must run before its figures count.

Where every model gets a process of its own, that process may end before the CPU's or GPU's clock
has risen: a short kernel then looks slow. How long a clock takes to rise differs from device to
device, so it is measured: a small, a medium and a large kernel, each after several warm-ups. The
shortest warm-up whose figures lie within 2% of those after the longest is enough.
"""

from __future__ import annotations

import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from latlas.profiler.errors import NotDelegatedError, RunnerError
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.journal import Fields
from latlas.profiler.reference import reference_graph
from latlas.profiler.runner import Effort, Job, Result, Runner
from latlas.profiler.statistics import MAX_US, PRINTED_US, summary_of

WARMUPS_MS = (1.0, 5.0, 20.0, 50.0, 100.0, 200.0, 500.0)
TOLERANCE = 0.02
ROUNDS = 3
"""How often each kernel is measured after each warm-up, at most."""
ENOUGH_S = 10.0
"""No further round after so many seconds: a GPU takes a second to initialise each model."""

CHECKED = ("medium",)
"""The kernels of a check, which is to cost little."""

_MAX_TIMINGS = 10_000
_ACCIDENTS = ("crashed", "timeout")


def probe_graphs() -> dict[str, Graph]:
    """Return a small, a medium and a large kernel: about 0.3, 10 and 100 million multiply-adds."""
    small = GraphBuilder((1, 28, 28, 40))
    large = GraphBuilder((1, 28, 28, 240))
    return {
        "small": small.build(small.depthwise(small.input, 3)),
        "medium": reference_graph(),
        "large": large.build(large.conv(large.input, 512, 1)),
    }


@dataclass(frozen=True, slots=True)
class WarmupTiming:
    """One kernel after one warm-up.

    Attributes:
        kernel: ``small``, ``medium`` or ``large``.
        warmup_ms: milliseconds of untimed runs before.
        median_us: of the timed runs, the best of the rounds: disturbances only add.
    """

    kernel: str
    warmup_ms: float
    median_us: float


@dataclass(frozen=True, slots=True)
class Warmup:
    """The warm-up that a target was found to need.

    Attributes:
        warmup_ms: milliseconds of untimed runs before the timed ones.
        timings: what that rests on.
        at_s: seconds since the campaign started.
    """

    warmup_ms: float
    timings: tuple[WarmupTiming, ...]
    at_s: float

    def to_json(self) -> dict[str, Any]:
        """Return a plain dictionary."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Warmup:
        """Read what `to_json` wrote.

        Raises:
            TableError: a field is missing, of another type, or impossible.
        """
        get = Fields(data)
        timings = get.items("timings")
        if len(timings) > _MAX_TIMINGS or not all(isinstance(item, dict) for item in timings):
            raise get.fail("timings", f"a list of at most {_MAX_TIMINGS} objects")
        fields = [Fields(item) for item in timings]
        return Warmup(
            get.number("warmup_ms", 0, MAX_US),
            tuple(
                WarmupTiming(
                    each.text("kernel"),
                    each.number("warmup_ms", 0, MAX_US),
                    each.number("median_us", 0, MAX_US),
                )
                for each in fields
            ),
            get.number("at_s", 0, MAX_US),
        )


def choose_warmup(timings: Iterable[WarmupTiming]) -> float:
    """Return the shortest warm-up after which every kernel is as fast as after the longest.

    That is within `TOLERANCE`, or within the microsecond that a tool prints.

    >>> slow = [WarmupTiming("small", 1.0, 90.0), WarmupTiming("small", 50.0, 71.0)]
    >>> choose_warmup([*slow, WarmupTiming("small", 500.0, 70.0)])
    50.0

    Raises:
        ValueError: there are no timings.
    """
    best: dict[float, dict[str, float]] = defaultdict(dict)
    for timing in timings:
        known = best[timing.warmup_ms].get(timing.kernel, float("inf"))
        best[timing.warmup_ms][timing.kernel] = min(known, timing.median_us)
    if not best:
        raise ValueError("a warm-up is chosen from at least one timing")
    longest = best[max(best)]

    def is_enough(found: Mapping[str, float]) -> bool:
        return all(
            kernel in found and found[kernel] <= time_us + max(TOLERANCE * time_us, PRINTED_US)
            for kernel, time_us in longest.items()
        )

    return min(warmup_ms for warmup_ms, found in best.items() if is_enough(found))


def time_warmups(
    runner: Runner,
    write: Callable[[Graph], bytes],
    effort: Effort,
    warmups_ms: Sequence[float] = WARMUPS_MS,
    kernels: Sequence[str] = ("small", "medium", "large"),
    seed: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[WarmupTiming, ...]:
    """Measure kernels after warm-ups, in random order, the best of several rounds.

    A process may die by accident: that counts only where it dies in every round.

    Args:
        runner: of the target.
        write: turns a graph into a .tflite file's bytes.
        effort: of a kernel, as in the campaign; its warm-up is replaced.
        warmups_ms: milliseconds of untimed runs.
        kernels: names out of `probe_graphs`.
        seed: of the order.
        clock: seconds, monotonic.

    Raises:
        RunnerError: a kernel cannot be measured; `NotDelegatedError` where that is why.
    """
    graphs = probe_graphs()
    models = {name: write(graphs[name]) for name in kernels}
    cells = [(name, warmup_ms) for name in kernels for warmup_ms in warmups_ms]
    rng, started = random.Random(seed), clock()
    best: dict[tuple[str, float], float] = {}
    for turn in range(ROUNDS):
        rng.shuffle(cells)
        jobs = [
            Job(
                f"warmup-{turn}-{i}",
                models[name],
                replace(effort, warmup_ms=ms, max_ms=max(effort.max_ms, 2 * ms)),
            )
            for i, (name, ms) in enumerate(cells)
        ]
        results = {result.job_id: result for result in runner.run(jobs)}
        for cell, job in zip(cells, jobs, strict=True):
            result = results.get(job.id, Result(job.id, error="no result", kind="crashed"))
            if result.kind == "ok":
                best[cell] = min(best.get(cell, math.inf), _median_us(cell[0], result))
            elif result.kind not in _ACCIDENTS or (turn == ROUNDS - 1 and cell not in best):
                raise _failure(cell[0], result.error, result.kind)
        if clock() - started > ENOUGH_S and len(best) == len(cells):
            break
    return tuple(WarmupTiming(name, ms, round(us, 3)) for (name, ms), us in sorted(best.items()))


def _median_us(kernel: str, result: Result) -> float:
    try:
        return summary_of(result).median_us
    except ValueError as problem:
        raise _failure(kernel, str(problem)) from None


def _failure(kernel: str, error: str, kind: str = "failed") -> RunnerError:
    known = NotDelegatedError if kind == "not_delegated" else RunnerError
    return known(f"the {kernel} kernel that shows the warm-up cannot be measured: {error}")

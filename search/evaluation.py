"""What is found out about an architecture, step by step: sizes, latencies, accuracy.

An architecture goes from one metric to the next, latencies first, since training takes longest; it
leaves as soon as one fails or, in a screened search, as soon as it breaks a constraint. Who finds
a metric out is a `Pool`'s business: this process, or the machines of a cluster.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from latlas.profiler.errors import (
    CheckpointError,
    DeviceError,
    SearchError,
    TargetMismatchError,
    UsageError,
)
from latlas.search.objectives import Constraint
from latlas.search.protocols import Genes, SearchSpace, Trial

NOT_THE_CANDIDATE = (
    CheckpointError,
    DeviceError,
    TargetMismatchError,
    UsageError,
    MemoryError,
)
"""With one of these the next architecture would fail just the same."""

MAX_CHUNK = 64
QUICK_S = 0.1
"""Calls that take less are made with twice as many architectures the next time."""
SLOW_S = 1.0
"""Calls that take longer are made with half as many, so that little is lost at a kill."""
TURNS = 4
"""Where several work side by side, a call has at least so many architectures for each of them: it
ends when the last is done, while the others wait."""

MAX_ERROR = 500
"""Characters of an error that are kept."""


@dataclass(frozen=True)
class Outcome:
    """What became of asking for one metric of one architecture.

    Attributes:
        value: the metric; NaN where it could not be found out.
        error: why not, or "".
        note: what else is to be known about the value, or "".
        seconds: that it took.
    """

    value: float = math.nan
    error: str = ""
    note: str = ""
    seconds: float = 0.0


class Task(NamedTuple):
    """A metric of an architecture that is to be found out."""

    metric: str
    genes: Genes


Measure = Callable[[Sequence[Genes]], Sequence[Outcome]]
"""Finds one metric out for some architectures, in their order."""

Sizes = Callable[[Genes], Mapping[str, float]]
"""Counts what an architecture has: ``params``, ``madds``."""


class Site(Protocol):
    """A place where one metric can be found out: a predictor, a phone, a process that trains."""

    @property
    def identity(self) -> dict[str, Any]:
        """What its figures depend on, as plain values; a latency's holds its ``target``."""
        ...

    def measure(self, genes: Sequence[Genes]) -> Sequence[Outcome]:
        """Find the metric out for some architectures, in their order.

        Raises:
            LatlasError: one of `NOT_THE_CANDIDATE`.
        """
        ...


class Pool(Protocol):
    """Finds metrics out."""

    def submit(self, tasks: Iterable[Task]) -> None:
        """Ask for metrics."""
        ...

    def finished(self) -> Iterator[tuple[Task, Outcome]]:
        """Yield outcomes as they come, until none is missing; more may be submitted meanwhile.

        Raises:
            LatlasError: nothing can be found out any more, whichever architecture is asked for.
        """
        ...


def failure(problem: BaseException) -> Outcome:
    """Return the outcome of an architecture that something went wrong with."""
    return Outcome(error=f"{type(problem).__name__}: {problem}"[:MAX_ERROR])


def measure_with(function: Callable[[Sequence[Genes]], ArrayLike], metric: str) -> Measure:
    """Return a function of numbers as one of outcomes.

    Where it fails for some architectures together it is called for each, to find out which one it
    fails for: it may be the user's, and raise anything.

    Args:
        function: architectures to numbers, shape (architectures,); NaN where it failed.
        metric: what the numbers are.

    >>> inverse = measure_with(lambda genes: [1 / one[0] for one in genes], "latency_ms")
    >>> [outcome.value or outcome.error for outcome in inverse([(2,), (0,)])]
    [0.5, nan]
    >>> inverse([(0,)])[0].error
    'ZeroDivisionError: division by zero'
    """

    def measure(genes: Sequence[Genes]) -> Sequence[Outcome]:
        began = time.perf_counter()
        try:
            values = np.asarray(function(genes), np.float64)
            if values.shape != (len(genes),):
                raise SearchError(
                    f"{len(genes)} numbers were expected for {metric}, got {values.shape}"
                )
        except NOT_THE_CANDIDATE:
            raise
        except Exception as problem:
            if len(genes) == 1:
                return [replace(failure(problem), seconds=time.perf_counter() - began)]
            return [outcome for one in genes for outcome in measure([one])]
        seconds = (time.perf_counter() - began) / max(len(genes), 1)
        return [Outcome(value, seconds=seconds) for value in values.tolist()]

    return measure


class InProcess:
    """A pool in this process: one metric of some architectures at a time.

    It takes the later metrics first, so that architectures are finished one after the other, and
    as many architectures at a time as take a moment.

    Args:
        measures: by metric, in the order in which architectures go through them.
        side_by_side: by metric, how many architectures it works on at once, where that is more
            than one, as several phones do.
    """

    def __init__(
        self, measures: Mapping[str, Measure], side_by_side: Mapping[str, int] | None = None
    ) -> None:
        self.measures = measures
        self._latest_first = list(measures)[::-1]
        self._waiting: dict[str, deque[Task]] = {metric: deque() for metric in measures}
        beside = side_by_side or {}
        self._least = {
            metric: TURNS * n if (n := beside.get(metric, 1)) > 1 else 1 for metric in measures
        }
        self._chunk = dict(self._least)

    def submit(self, tasks: Iterable[Task]) -> None:
        """Take tasks to be measured in this process."""
        for task in tasks:
            self._waiting[task.metric].append(task)

    def finished(self) -> Iterator[tuple[Task, Outcome]]:
        """Measure what was submitted; yield every task with its outcome."""
        while metric := next((name for name in self._latest_first if self._waiting[name]), ""):
            waiting, chunk = self._waiting[metric], self._chunk[metric]
            tasks = [waiting.popleft() for _ in range(min(chunk, len(waiting)))]
            began = time.perf_counter()
            outcomes = self.measures[metric]([task.genes for task in tasks])
            took_s = time.perf_counter() - began
            if took_s < QUICK_S and len(tasks) == chunk:
                self._chunk[metric] = min(2 * chunk, MAX_CHUNK)
            elif took_s > SLOW_S:
                self._chunk[metric] = max(chunk // 2, self._least[metric])
            yield from zip(tasks, outcomes, strict=True)


class Evaluator:
    """Evaluates architectures: sizes at once, then one metric after the other.

    Args:
        space: where architectures come from.
        pool: finds metrics out.
        metrics: to be found out, in this order; those that take longest last.
        sizes: counts what architectures have.
        constraints: see `screen`.
        screen: whether architectures that break a constraint are left as they are: what comes later
            (training, mostly) is not found out any more.

    Raises:
        SearchError: there is nothing to find out.
    """

    def __init__(
        self,
        space: SearchSpace,
        pool: Pool,
        metrics: Sequence[str],
        sizes: Sizes,
        *,
        constraints: Sequence[Constraint] = (),
        screen: bool = False,
    ) -> None:
        if not metrics:
            raise SearchError("an evaluation needs at least one metric to find out")
        self.space = space
        self.pool = pool
        self.metrics = tuple(metrics)
        self.sizes = sizes
        self.constraints = tuple(constraints)
        self.screen = screen

    def evaluate(self, genes: Iterable[Genes], generation: int = 0) -> Iterator[Trial]:
        """Yield the trials of different architectures as they are finished, in any order.

        Args:
            genes: the architectures.
            generation: of the trials.

        Raises:
            LatlasError: nothing can be evaluated any more, e.g. since the phone is gone.
        """
        begun: dict[Genes, _Candidate] = {}
        for one in genes:
            begun[one] = candidate = _Candidate(one, deque(self.metrics))
            self._count(candidate)
            if self._go_on(candidate):
                yield begun.pop(one).trial(generation)
        for task, outcome in self.pool.finished():
            candidate = begun[task.genes]
            candidate.learn(task.metric, outcome)
            if self._go_on(candidate):
                yield begun.pop(task.genes).trial(generation)

    def _count(self, candidate: _Candidate) -> None:
        try:
            candidate.values.update(self.sizes(candidate.genes))
        except NOT_THE_CANDIDATE:
            raise
        except Exception as problem:  # a space may be the user's
            candidate.error = failure(problem).error

    def _go_on(self, candidate: _Candidate) -> bool:
        """Ask for the next metric of a candidate; return whether there is none to ask for."""
        if candidate.error or not candidate.left:
            return True
        if self.screen and (broken := self._broken(candidate)):
            candidate.notes.append(f"{' and '.join(candidate.left)} left out, since {broken}")
            return True
        self.pool.submit([Task(candidate.left.popleft(), candidate.genes)])
        return False

    def _broken(self, candidate: _Candidate) -> str:
        for limit in self.constraints:
            if limit.metric in candidate.values and limit.violation(candidate.trial(0)):
                at = "at most" if limit.bound == "max" else "at least"
                value = candidate.values[limit.metric]
                return f"{limit.metric} is {value:g}, {at} {limit.limit:g} is wanted"
        return ""


@dataclass
class _Candidate:
    """An architecture on its way, with the metrics that are still to be asked for."""

    genes: Genes
    left: deque[str]
    values: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0

    def learn(self, metric: str, outcome: Outcome) -> None:
        self.values[metric] = outcome.value
        self.seconds += outcome.seconds
        self.error = outcome.error or fault(metric, outcome.value)
        if outcome.note:
            self.notes.append(f"{metric}: {outcome.note}")

    def trial(self, generation: int) -> Trial:
        seconds, note = round(self.seconds, 4), "; ".join(self.notes)
        return Trial(self.genes, dict(self.values), self.error, generation, seconds, note)


def fault(metric: str, value: float) -> str:
    """Return what is wrong with the value of a metric, or "".

    >>> fault("latency_ms@gpu", -1.0), fault("accuracy", 0.5)
    ('latency_ms@gpu is -1.0, not a positive number', '')
    """
    if metric == "accuracy":
        return "" if 0 <= value <= 1 else f"the accuracy is {value}, not a fraction"
    good = math.isfinite(value) and (value > 0 or not metric.startswith("latency_ms"))
    return "" if good else f"{metric} is {value}, not a positive number"

"""What a search wants of an architecture: objectives to optimise, constraints to keep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.errors import SearchError
from latlas.search.pareto import Direction, pareto_front
from latlas.search.protocols import Trial


@dataclass(frozen=True)
class Objective:
    """A metric of a trial to maximise or minimise.

    Attributes:
        metric: its name in `Trial.values`.
        direction: "max" or "min".
        weight: its share in the crowding distance, of any scale.

    Raises:
        SearchError: the direction is another, or the weight negative or not finite.
    """

    metric: str
    direction: Direction
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be optimised."""
        if self.direction not in ("max", "min"):
            raise SearchError(
                f'{self.metric!s:.60} is optimised towards "max" or "min", not '
                f"{self.direction!r:.60}"
            )
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise SearchError(f"the weight of {self.metric!s:.60} is {self.weight}, not a share")


@dataclass(frozen=True)
class Constraint:
    """A limit on a metric of a trial.

    Attributes:
        metric: its name in `Trial.values`.
        bound: "max" where the limit is the largest value allowed, "min" where it is the smallest.
        limit: in the metric's unit, finite.

    >>> Constraint("latency_ms", "max", 75.0).violation(Trial((), {"latency_ms": 90.0}))
    0.2

    Raises:
        SearchError: the bound is another, or the limit is not finite.
    """

    metric: str
    bound: Direction
    limit: float

    def __post_init__(self) -> None:
        """Refuse what cannot be kept."""
        if self.bound not in ("max", "min"):
            raise SearchError(f'a bound is "max" or "min", not {self.bound!r:.60}')
        if not math.isfinite(self.limit):
            raise SearchError(f"the limit of {self.metric!s:.60} is {self.limit}, not a number")

    def violation(self, trial: Trial) -> float:
        """Return by how much a trial breaks it, relative to the limit; 0 where it is kept.

        Infinite where the trial lacks the metric.
        """
        value = trial.value(self.metric)
        if not math.isfinite(value):
            return math.inf
        excess = value - self.limit if self.bound == "max" else self.limit - value
        return max(0.0, excess) / (abs(self.limit) or 1.0)


def violation(trial: Trial, constraints: Sequence[Constraint]) -> float:
    """Return by how much a trial breaks constraints, all together; 0 where it keeps them.

    What breaks one may not have been asked for the rest: what is unknown of it counts nothing. Only
    where nothing known is broken, something unknown is infinite.
    """
    each = [one.violation(trial) for one in constraints]
    known = math.fsum(one for one in each if math.isfinite(one))
    return known if known or math.inf not in each else math.inf


DEFAULT_OBJECTIVES = (
    Objective("accuracy", "max", 2.0),
    Objective("latency_ms", "min", 2.0),
    Objective("params", "max", 1.0),
)
"""MoGA's: parameters are maximised, as a stand-in for what a network can learn."""


def objective_values(
    trials: Sequence[Trial], objectives: Sequence[Objective]
) -> NDArray[np.float64]:
    """Return the values of objectives, shape (trials, objectives); NaN where one is unknown."""
    rows = [[trial.value(one.metric) for one in objectives] for trial in trials]
    return np.array(rows, np.float64).reshape(len(trials), len(objectives))


def is_feasible(trial: Trial, constraints: Sequence[Constraint] = ()) -> bool:
    """Return whether a trial succeeded and keeps all constraints."""
    return not trial.error and not any(one.violation(trial) for one in constraints)


def front_of(
    trials: Sequence[Trial],
    objectives: Sequence[Objective] = DEFAULT_OBJECTIVES,
    constraints: Sequence[Constraint] = (),
) -> list[Trial]:
    """Return the feasible trials that no other dominates, the best in the first objective first."""
    known = [trial for trial in trials if is_feasible(trial, constraints)]
    if not known:
        return []
    values = objective_values(known, objectives)
    directions = [one.direction for one in objectives]
    first = -1.0 if directions[0] == "max" else 1.0
    front = sorted(
        pareto_front(values, directions).tolist(),
        key=lambda i: (first * values[i, 0], known[i].latency_ms),
    )
    return [known[i] for i in front]

import math

import pytest
from trials import trial_with

from latlas.profiler.errors import SearchError
from latlas.search.objectives import (
    Constraint,
    Objective,
    front_of,
    is_feasible,
    objective_values,
    violation,
)
from latlas.search.protocols import Trial
from latlas.search.rewards import AccuracyReward, Score


def test_violation_is_relative_and_one_sided() -> None:
    at_most, at_least = Constraint("params", "max", 4e6), Constraint("params", "min", 4e6)
    one = trial_with((0,), params=5e6)
    assert (at_most.violation(one), at_least.violation(one)) == (0.25, 0.0)
    assert at_most.violation(trial_with((0,))) == math.inf
    assert at_most.violation(Trial((0,), {})) == math.inf
    assert Constraint("accuracy", "max", 0.0).violation(trial_with((0,), 0.5)) == 0.5


def test_what_is_unknown_of_a_trial_does_not_hide_by_how_much_it_breaks_the_rest() -> None:
    limits = [Constraint("params", "max", 4e6), Constraint("latency_ms", "max", 10.0)]
    near, far = (Trial((0,), {"params": params}) for params in (5e6, 40e6))
    assert (violation(near, limits), violation(far, limits)) == (0.25, 9.0)
    assert violation(Trial((0,), {"params": 3e6}), limits) == math.inf
    assert violation(trial_with((0,), params=3e6, latency_ms=15.0), limits) == 0.5
    assert violation(Trial((0,), {}), []) == 0
    score = Score(AccuracyReward(), [*limits, Constraint("accuracy", "min", 0.5)])
    assert score(near) == -1.25 > score(far)


def test_the_front_leaves_out_failures_and_what_breaks_constraints() -> None:
    good, slow, broken = (
        trial_with((0,), 0.8, 10.0, 1.0),
        trial_with((1,), 0.9, 90.0, 1.0),
        trial_with((2,), 0.99, 1.0, 1.0, error="broken"),
    )
    limit = Constraint("latency_ms", "max", 75.0)
    assert front_of([good, slow, broken]) == [slow, good]
    assert front_of([good, slow, broken], constraints=[limit]) == [good]
    assert front_of([broken]) == []
    assert not is_feasible(slow, [limit])


def test_the_front_is_sorted_by_the_first_objective() -> None:
    trials = [trial_with((i,), 0.5 + i / 10, 1.0 + i, 1.0) for i in range(3)]
    fastest = [Objective("latency_ms", "min"), Objective("accuracy", "max")]
    assert front_of(trials, fastest) == trials
    assert front_of(trials) == trials[::-1]


def test_several_targets() -> None:
    trials = [Trial((0,), {"latency_ms": 1.0, "latency_ms@gpu": 3.0})]
    objectives = [Objective("latency_ms", "min"), Objective("latency_ms@gpu", "min")]
    assert objective_values(trials, objectives).tolist() == [[1.0, 3.0]]


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_bad_weights_are_refused(weight: float) -> None:
    with pytest.raises(SearchError, match="weight"):
        Objective("accuracy", "max", weight)


def test_bad_directions_and_limits_are_refused() -> None:
    with pytest.raises(SearchError, match="towards"):
        Objective("accuracy", "up")  # type: ignore[arg-type]
    with pytest.raises(SearchError, match="bound"):
        Constraint("accuracy", "up", 1.0)  # type: ignore[arg-type]
    with pytest.raises(SearchError, match="limit"):
        Constraint("accuracy", "max", math.nan)

import math

import pytest
from trials import trial_with

from latlas.profiler.errors import SearchError
from latlas.search.objectives import Constraint
from latlas.search.rewards import MnasnetReward
from latlas.search.scaling import Point, chosen, gains, scaled_accuracy

WIDTHS = [Point("1", 40.0, 0.8), Point("0.5", 10.0, 0.6), Point("0.7", 20.0, math.nan)]


def test_the_chosen_trial_has_the_best_reward_and_then_the_least_latency() -> None:
    trials = [
        trial_with((0,), 0.8, 100.0),
        trial_with((1,), 0.7, 60.0),
        trial_with((2,), 0.7, 50.0),
        trial_with((3,), error="no"),
    ]
    assert chosen(trials, MnasnetReward.hard(75.0)).genes == (2,)
    assert chosen(trials, lambda trial: trial.accuracy).genes == (0,)
    with pytest.raises(SearchError, match="none of 4"):
        chosen(trials, lambda trial: trial.accuracy, [Constraint("latency_ms", "max", 1.0)])


def test_gains_over_a_scaled_network_are_at_equal_latency_and_never_beyond_its_widths() -> None:
    assert scaled_accuracy(WIDTHS, 10.0) == pytest.approx(0.6)
    assert scaled_accuracy(WIDTHS, 40.0) == pytest.approx(0.8)
    found = gains([Point("a", 20.0, 0.75), Point("b", 9.0, 0.9), Point("c", 41.0, 0.9)], WIDTHS)
    assert found[0] == pytest.approx(0.05)
    assert math.isnan(found[1])
    assert math.isnan(found[2])
    assert math.isnan(scaled_accuracy([], 10.0))

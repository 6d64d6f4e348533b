import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trials import trial_with

from latlas.profiler.errors import SearchError
from latlas.search.objectives import Constraint
from latlas.search.protocols import Trial
from latlas.search.rewards import (
    FAILED,
    AbsoluteReward,
    AccuracyReward,
    MnasnetReward,
    Reward,
    Score,
    identity_of,
    open_reward,
)

SOFT, HARD = (-0.07, -0.07), (0.0, -1.0)


@pytest.mark.parametrize(
    ("accuracy", "latency_ms", "target", "exponents", "reward"),
    [
        (0.75, 75, 75, SOFT, 0.750000),
        (0.75, 150, 75, SOFT, 0.714478),
        (0.75, 37.5, 75, SOFT, 0.787288),
        (0.75, 150, 75, HARD, 0.375000),
        (0.75, 37.5, 75, HARD, 0.750000),
        (0.50, 160, 80, SOFT, 0.476319),
        (0.50, 40, 80, SOFT, 0.524858),
        (0.752, 78, 75, SOFT, 0.749938),
        (0.767, 103, 75, SOFT, 0.750155),
    ],
)
def test_mnasnets_reward(
    accuracy: float,
    latency_ms: float,
    target: float,
    exponents: tuple[float, float],
    reward: float,
) -> None:
    found = MnasnetReward(target, *exponents)(trial_with((), accuracy, latency_ms))
    assert found == pytest.approx(reward, abs=5e-7)
    by_name = open_reward("soft" if exponents == SOFT else "hard", target)
    assert by_name(trial_with((), accuracy, latency_ms)) == found


@pytest.mark.parametrize(("latency_ms", "reward"), [(100, 0.730952), (60, 0.721429)])
def test_tunas_reward(latency_ms: float, reward: float) -> None:
    found = AbsoluteReward(84.0)(trial_with((), 0.75, latency_ms))
    assert found == pytest.approx(reward, abs=5e-7)


@given(st.floats(0.01, 1), st.floats(1e-3, 1e3), st.floats(-2, -0.01))
def test_tunas_mnas_hard_is_mnasnets_with_alpha_0(accuracy: float, ms: float, beta: float) -> None:
    ratio = ms / 75.0
    expected = accuracy * min(ratio**beta, 1)
    found = MnasnetReward.hard(75.0, beta)(trial_with((), accuracy, ms))
    assert found == pytest.approx(expected, rel=1e-12)


def test_any_metric_may_be_kept_to_a_target() -> None:
    trial = Trial((), {"accuracy": 0.75, "latency_ms": 1.0, "latency_ms@gpu": 150.0})
    assert open_reward("hard", 75.0, metric="latency_ms@gpu")(trial) == 0.375


@pytest.mark.parametrize("reward", [MnasnetReward(75.0), AbsoluteReward(5.0)])
@given(accuracy=st.floats(0, 1), latency_ms=st.floats(0.1, 1e3), params=st.floats(1, 1e9))
def test_what_failed_scores_least_and_what_breaks_a_constraint_next(
    reward: Reward, accuracy: float, latency_ms: float, params: float
) -> None:
    score = Score(reward, (Constraint("params", "max", 6e6),))
    kept = score(trial_with((), accuracy, latency_ms, 6e6))
    assert kept > -1
    assert (kept >= 0) == (reward(trial_with((), accuracy, latency_ms)) >= 0)
    broken = score(trial_with((), accuracy, latency_ms, 6e6 + params))
    assert FAILED <= broken <= -1
    assert score(trial_with((), accuracy, latency_ms, error="broken")) == FAILED


def test_rewards_below_zero_keep_their_order() -> None:
    score = Score(AbsoluteReward(5.0))
    found = [score(trial_with((), 0.75, ms)) for ms in (5.0, 40.0, 50.0, 100.0, 1e4)]
    assert found == sorted(found, reverse=True) and len(set(found)) == 5


def test_scores_are_numbers() -> None:
    score = Score(MnasnetReward(75.0))
    assert score(trial_with((), math.nan, 1.0)) == FAILED
    assert score(trial_with((), 0.5, math.nan)) == FAILED
    assert score(trial_with((), 0.5, 0.0)) == FAILED
    # More broken is worse, so that a searcher finds its way back.
    limited = Score(AccuracyReward(), (Constraint("params", "max", 100.0),))
    assert limited(trial_with((), 0.9, 1.0, 150.0)) == -1.5 < limited(trial_with((), 0, 1.0, 120.0))


def test_identities_are_plain() -> None:
    score = Score(MnasnetReward.hard(12.5), (Constraint("params", "max", 6e6),))
    assert json.loads(json.dumps(score.identity)) == {
        "reward": {
            "kind": "mnasnet", "target": 12.5, "alpha": 0.0, "beta": -1.0, "metric": "latency_ms",
        },
        "constraints": [{"metric": "params", "bound": "max", "limit": 6e6}],
    }  # fmt: skip

    def own(trial: Trial) -> float:
        return trial.accuracy

    assert identity_of(own)["kind"].endswith("own")


def test_misuse_is_refused() -> None:
    for target in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(SearchError, match="target"):
            MnasnetReward(target)
        with pytest.raises(SearchError, match="target"):
            AbsoluteReward(target)
    with pytest.raises(SearchError, match=r"beta is 0\.1"):
        AbsoluteReward(84.0, 0.1)
    with pytest.raises(SearchError, match="alpha is nan"):
        MnasnetReward(75.0, math.nan)
    with pytest.raises(SearchError, match="known are accuracy, soft, hard, absolute"):
        open_reward("mild", 75.0)
    with pytest.raises(SearchError, match="needs a target"):
        open_reward("hard")
    with pytest.raises(SearchError, match="no target"):
        open_reward("accuracy", 75.0)
    with pytest.raises(SearchError, match=r"not \['alpha'\]"):
        open_reward("hard", 75.0, alpha=0.1)

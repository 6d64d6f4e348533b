import json
from typing import Any

import numpy as np
import pytest
from trials import trial_with

from latlas.profiler.errors import SearchError
from latlas.search.objectives import Constraint
from latlas.search.ppo import PPO, moving_average
from latlas.search.protocols import Genes, Trial
from latlas.search.rewards import AccuracyReward, Score

CHOICES = (2, 4, 3)
SCORE = Score(AccuracyReward())
FAST: dict[str, Any] = {"batch": 24, "units": 16, "learning_rate": 0.02}


def trial(genes: Genes) -> Trial:
    return trial_with(genes, 0.5 + 0.1 * genes[0] + 0.1 * (genes[1] == 2) + 0.1 * (genes[2] == 0))


def run(searcher: PPO, batches: int) -> list[list[Genes]]:
    found = []
    for _ in range(batches):
        found.append(searcher.ask())
        searcher.tell([trial(genes) for genes in found[-1]])
    return found


@pytest.mark.parametrize("algorithm", ["ppo", "reinforce"])
def test_it_finds_what_is_rewarded(algorithm: Any) -> None:
    batches = run(PPO(CHOICES, SCORE, algorithm=algorithm, **FAST), 40)
    assert batches[0].count((1, 2, 0)) <= 6
    assert batches[-1].count((1, 2, 0)) >= 20
    assert all(type(gene) is int for genes in batches[0] for gene in genes)


def test_the_seed_and_the_tells_decide_everything_to_the_bit() -> None:
    first = run(PPO(CHOICES, SCORE, seed=3, **FAST), 12)
    assert run(PPO(CHOICES, SCORE, seed=4, **FAST), 1) != first[:1]
    resumed = PPO(CHOICES, SCORE, seed=3, **FAST)
    assert run(resumed, 6) == first[:6]
    assert resumed.ask() == resumed.ask() == first[6]
    assert run(resumed, 6) == first[6:]
    again = PPO(CHOICES, SCORE, seed=3, **FAST)
    run(again, 12)
    for ours, theirs in zip(resumed._controller._weights, again._controller._weights, strict=True):
        assert ours.numpy().tobytes() == theirs.numpy().tobytes()


def test_failures_and_broken_constraints_are_avoided() -> None:
    score = Score(AccuracyReward(), (Constraint("latency_ms", "max", 5.0),))
    searcher = PPO(CHOICES, score, **FAST)
    for _ in range(40):
        searcher.tell(
            [
                trial_with(g, error="broken")
                if g[0] == 1
                else trial_with(g, 0.5 + 0.1 * g[1], 1.0 + 2 * g[1])
                for g in searcher.ask()
            ]
        )
    assert sum(genes[:2] == (0, 2) for genes in searcher.ask()) > 20


def test_all_failed_is_survived() -> None:
    searcher = PPO(CHOICES, SCORE, normalise=True, **FAST)
    for _ in range(3):
        searcher.tell([trial_with(genes, error="broken") for genes in searcher.ask()])
    assert np.ptp([sum(genes) for genes in searcher.ask()]) > 0


def test_defaults_are_nasnets() -> None:
    found = PPO(CHOICES, SCORE).identity
    expected = {
        "learning_rate": 3.5e-4, "entropy": 1e-5, "baseline": 0.95, "batch": 20, "units": 100,
        "algorithm": "ppo",
    }  # fmt: skip
    assert {key: found[key] for key in expected} == expected
    assert json.loads(json.dumps(found)) == found


def test_the_baseline_is_of_past_rewards() -> None:
    rewards = np.array([1.0, 0.0, 1.0])
    assert moving_average(0.5, rewards, 0.95) == pytest.approx(
        0.95 * (0.95 * (0.95 * 0.5 + 0.05)) + 0.05
    )
    assert moving_average(0.5, rewards, 0.0) == 1.0


def test_misuse_is_refused() -> None:
    for bad in (
        {"algorithm": "a2c"}, {"batch": 0}, {"epochs": 0}, {"units": 0}, {"learning_rate": 0.0},
        {"entropy": -1.0}, {"baseline": 1.0}, {"clip": 0.0}, {"entropy": float("nan")},
    ):  # fmt: skip
        with pytest.raises(SearchError):
            PPO(CHOICES, SCORE, **bad)
    searcher = PPO(CHOICES, SCORE, **FAST)
    with pytest.raises(SearchError, match="call ask"):
        searcher.tell([])
    with pytest.raises(SearchError, match="order"):
        searcher.tell([trial(genes) for genes in searcher.ask()[::-1]])

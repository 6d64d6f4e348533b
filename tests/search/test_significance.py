import numpy as np
import pytest

from latlas.profiler.errors import SearchError
from latlas.search.significance import (
    binomial_standard_error,
    chance_level,
    is_above_chance,
    ranking_significance,
)


def test_chance() -> None:
    assert chance_level(np.array([0, 1, 2, 2])) == 0.5
    assert binomial_standard_error(0.5, 100) == pytest.approx(0.05)
    assert not is_above_chance(0.13, 360, 0.1)
    assert is_above_chance(0.14, 360, 0.1)


def test_real_differences_are_significant_and_luck_is_not() -> None:
    rng = np.random.default_rng(0)
    differing = rng.random((30, 360)) < np.linspace(0.3, 0.9, 30)[:, None]
    found = ranking_significance(differing)
    assert found.significant
    assert found.tau > 0.7
    assert (found.architectures, found.images) == (30, 180)
    by_luck = [
        ranking_significance(rng.random((30, 360)) < 0.9, seed).significant for seed in range(40)
    ]
    assert sum(by_luck) <= 5


def test_nothing_to_rank() -> None:
    found = ranking_significance(np.ones((5, 10), np.bool_))
    assert (found.tau, found.p_value, found.significant) == (0, 1, False)
    with pytest.raises(SearchError, match="at least 3"):
        ranking_significance(np.ones((2, 10), np.bool_))

"""Fronts chosen by one score are worth what another says."""

from __future__ import annotations

import numpy as np
import pytest
from scripts import benchmark

fronts = benchmark("chosen_fronts")


def test_a_front_is_worth_what_it_reports() -> None:
    searched = np.array([[0.9, 1.0], [0.95, 2.0], [0.8, 3.0]])
    assert fronts.volume(searched, searched[:, 0], (0.5, 4.0)) == pytest.approx(
        (0.4 * 3 + 0.05 * 2) / (0.5 * 4)
    )
    # The second was lucky in the search; the third was on no front and counts for nothing.
    reported = np.array([0.9, 0.7, 1.0])
    assert fronts.volume(searched, reported, (0.5, 4.0)) == pytest.approx(0.4 * 3 / (0.5 * 4))


def test_what_was_not_scored_again_adds_nothing() -> None:
    searched = np.array([[0.9, 1.0], [0.95, 2.0]])
    alone = fronts.volume(searched[:1], searched[:1, 0], (0.5, 4.0))
    assert fronts.volume(searched, np.array([0.9, np.nan]), (0.5, 4.0)) == alone


def test_the_nearly_best_hold_the_front() -> None:
    values = np.random.default_rng(0).random((60, 2))
    front = set(fronts.pareto_front(values, fronts.DIRECTIONS).tolist())
    assert set(fronts.nearly_best(values, 0).tolist()) == front
    assert front < set(fronts.nearly_best(values, 3).tolist())


def test_the_interval_holds_random_searches() -> None:
    rng = np.random.default_rng(1)
    pool = rng.random((150, 2))
    low, high = fronts.interval(pool, pool[:, 0], 50, (0.0, 1.0))
    volumes = []
    for _ in range(200):
        fresh = rng.random((50, 2))
        volumes.append(fronts.volume(fresh, fresh[:, 0], (0.0, 1.0)))
    assert low < np.median(volumes) < high
    assert np.mean([low <= one <= high for one in volumes]) > 0.5

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trials import trial_with

from latlas.profiler.errors import SearchError
from latlas.search.best_means import (
    TOPS,
    common_reference,
    progress_of,
    running_top_means,
    scores_of,
)
from latlas.search.objectives import Constraint, Objective
from latlas.search.protocols import Trial

PLANE = [Objective("accuracy", "max"), Objective("latency_ms", "min")]


def accuracy(trial: Trial) -> float:
    return trial.accuracy


@given(st.lists(st.floats(0, 1) | st.just(float("nan")), max_size=60))
def test_running_means_are_those_of_the_sorted_beginning(scores: list[float]) -> None:
    found = running_top_means(scores)
    for end in range(1, len(scores) + 1):
        best = sorted((s for s in scores[:end] if not np.isnan(s)), reverse=True)
        for column, top in enumerate(TOPS):
            expected = np.mean(best[:top]) if len(best) >= top else np.nan
            np.testing.assert_allclose(found[end - 1, column], expected)


def test_what_fails_or_breaks_a_constraint_has_no_score_but_counts() -> None:
    trials = [
        trial_with((0,), 0.9, 90.0),
        trial_with((1,), 0.8, 40.0),
        trial_with((2,), error="does not converge"),
    ]
    limits = [Constraint("latency_ms", "max", 75.0)]
    np.testing.assert_equal(scores_of(trials, accuracy, limits), [np.nan, 0.8, np.nan])
    reference = common_reference([trials], PLANE, limits)
    progress = progress_of(trials, accuracy, PLANE, reference, limits, tops=(1, 2))
    assert (progress.evaluations, progress.failed) == (3, 2)
    np.testing.assert_equal(progress.top_means[-1], [0.8, np.nan])


def test_a_hypervolume_up_to_a_common_reference() -> None:
    left, right = [trial_with((0,), 0.8, 10.0)], [trial_with((1,), 0.7, 5.0)]
    reference = common_reference([left, right], PLANE)
    np.testing.assert_allclose(reference, (0.69, 10.5))
    volumes = [progress_of(one, accuracy, PLANE, reference).hypervolume for one in (left, right)]
    np.testing.assert_allclose(volumes, [0.11 * 0.5, 0.01 * 5.5])
    with pytest.raises(SearchError, match="nothing succeeded"):
        common_reference([[trial_with((0,), error="no")]], PLANE)
    with pytest.raises(SearchError, match="without evaluations"):
        progress_of([], accuracy, PLANE, reference)

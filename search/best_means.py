"""Searchers at equal evaluations: their best, and the means of their best few.

So NASNet compares reinforcement learning with random search (Zoph et al. 2018, figure 4,
https://arxiv.org/abs/1707.07012): the best architecture so far, and the means of the best 5 and 25,
which tell a lucky find from a searcher that has learned.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.errors import SearchError
from latlas.search.objectives import Constraint, Objective, is_feasible, objective_values
from latlas.search.pareto import beyond, hypervolume
from latlas.search.protocols import Trial

TOPS = (1, 5, 25)
"""Of so many of the best the mean is told; NASNet's."""


@dataclass(frozen=True, eq=False)
class Progress:
    """What a search had come to after each of its evaluations.

    Attributes:
        evaluations: architectures tried, those that failed included.
        failed: of them failed or break a constraint.
        top_means: mean of the best so far, shape (evaluations, tops); NaN while there are fewer.
        hypervolume: of all in the end.
    """

    evaluations: int
    failed: int
    top_means: NDArray[np.float64]
    hypervolume: float


def scores_of(
    trials: Sequence[Trial],
    score: Callable[[Trial], float],
    constraints: Sequence[Constraint] = (),
) -> NDArray[np.float64]:
    """Return what trials are worth, shape (trials,); NaN where one failed or breaks a constraint.

    >>> scores_of([Trial((), {"accuracy": 0.5})], lambda trial: trial.accuracy).tolist()
    [0.5]
    """
    return np.array(
        [score(one) if is_feasible(one, constraints) else np.nan for one in trials], np.float64
    )


def running_top_means(
    scores: Sequence[float] | NDArray[np.float64], tops: Sequence[int] = TOPS
) -> NDArray[np.float64]:
    """Return the means of the best so far, shape (scores, tops).

    Args:
        scores: in the order of the search; NaN stands for a failure.
        tops: sizes of the sets of the best; NaN while there are fewer.

    >>> running_top_means([0.5, 0.7, 0.6], tops=(1, 2)).round(2).tolist()
    [[0.5, nan], [0.7, 0.6], [0.7, 0.65]]
    """
    most = max(tops)
    best: list[float] = []
    found = np.full((len(scores), len(tops)), np.nan)
    for row, score in enumerate(np.asarray(scores, np.float64).tolist()):
        if np.isfinite(score):
            bisect.insort(best, score)
            del best[:-most]
        for column, top in enumerate(tops):
            if len(best) >= top:
                found[row, column] = np.mean(best[-top:])
    return found


def common_reference(
    searches: Sequence[Sequence[Trial]],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint] = (),
) -> tuple[float, ...]:
    """Return the point that all hypervolumes are taken from: just beyond the worst of all trials.

    Raises:
        SearchError: no trial succeeded.
    """
    trials = [one for trials in searches for one in trials if is_feasible(one, constraints)]
    values = objective_values(trials, objectives)
    return beyond(values, [one.direction for one in objectives])


def progress_of(
    trials: Sequence[Trial],
    score: Callable[[Trial], float],
    objectives: Sequence[Objective],
    reference: Sequence[float],
    constraints: Sequence[Constraint] = (),
    tops: Sequence[int] = TOPS,
) -> Progress:
    """Return what a search came to.

    Args:
        trials: in the order of the search.
        score: what the best are the best in.
        objectives: of the hypervolume.
        reference: of the hypervolume; see `common_reference`.
        constraints: what breaks one counts like a failure.
        tops: sizes of the sets of the best.

    Raises:
        SearchError: nothing was tried, or the reference does not fit.
    """
    if not trials:
        raise SearchError("a search without evaluations has nothing to compare")
    scores = scores_of(trials, score, constraints)
    good = [one for one in trials if is_feasible(one, constraints)]
    return Progress(
        len(trials),
        int(np.isnan(scores).sum()),
        running_top_means(scores, tops),
        hypervolume(
            objective_values(good, objectives), [one.direction for one in objectives], reference
        ),
    )

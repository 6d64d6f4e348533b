"""Whether accuracies, and the order that they put architectures in, mean anything."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.errors import SearchError


def binomial_standard_error(accuracy: float, images: int) -> float:
    """Return the standard error of an accuracy on so many images, as a fraction.

    >>> round(binomial_standard_error(0.9, 360), 4)
    0.0158
    """
    return math.sqrt(max(accuracy * (1 - accuracy), 0.0) / images)


def chance_level(labels: NDArray[np.integer]) -> float:
    """Return the accuracy of always answering the most common class.

    Args:
        labels: classes, shape (images,).

    >>> chance_level(np.array([0, 1, 1, 2]))
    0.5
    """
    return float(np.bincount(labels).max() / len(labels))


def is_above_chance(accuracy: float, images: int, chance: float) -> bool:
    """Return whether an accuracy lies more than two standard errors above chance.

    >>> is_above_chance(0.12, 360, 0.10), is_above_chance(0.15, 360, 0.10)
    (False, True)
    """
    return accuracy > chance + 2 * binomial_standard_error(chance, images)


@dataclass(frozen=True)
class Ranking:
    """Agreement of two rankings of the same architectures.

    Attributes:
        tau: Kendall's rank correlation, -1 to 1.
        p_value: probability of a correlation at least this far from 0 by luck.
        architectures: how many were ranked.
        images: how many images are in each half.
    """

    tau: float
    p_value: float
    architectures: int
    images: int

    @property
    def significant(self) -> bool:
        """Whether the ranking reproduces: positive, and luck less likely than one in twenty."""
        return self.tau > 0 and self.p_value < 0.05


def ranking_significance(correct: NDArray[np.bool_], seed: int = 0) -> Ranking:
    """Rank architectures on two disjoint halves of the images, and compare the rankings.

    Where they agree no better than luck, differences between architectures are smaller than the
    noise of the images, and choosing the best of them chooses noise. Agreement is necessary, not
    sufficient: a supernet can repeat itself and still not rank like networks trained alone.

    Args:
        correct: which images each architecture classified correctly, shape (architectures, images).
        seed: of the halves.

    Raises:
        SearchError: fewer than 3 architectures or 2 images.
    """
    from scipy.stats import kendalltau

    if correct.ndim != 2 or correct.shape[0] < 3 or correct.shape[1] < 2:
        raise SearchError(
            f"a ranking needs at least 3 architectures and 2 images, not {correct.shape}"
        )
    order = np.random.default_rng(seed).permutation(correct.shape[1])
    half = correct.shape[1] // 2
    first = correct[:, order[:half]].sum(axis=1)
    second = correct[:, order[half : 2 * half]].sum(axis=1)
    if np.ptp(first) == 0 or np.ptp(second) == 0:  # nothing is ranked, and tau is undefined
        return Ranking(0.0, 1.0, len(correct), half)
    tau, p_value = kendalltau(first, second)
    return Ranking(float(tau), float(p_value), len(correct), half)

"""Strict fairness (Chu et al. 2019, https://arxiv.org/abs/1907.01845): which paths a step trains.

FairNAS' layers all have the same number of choices, and a step trains each once. Where genes differ
in their number of choices n, a step has as many paths as their least common multiple L, and every
choice is in L / n of them: after S steps it was trained exactly S * L / n times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.errors import SearchError

MAX_PATHS_PER_STEP = 60
"""Genes of 2, 3, 4 and 5 choices have this least common multiple."""


def paths_per_step(choices: Sequence[int]) -> int:
    """Return the paths of a strictly fair step: the least common multiple of the choices.

    >>> paths_per_step([4, 2, 2, 3, 3, 3])
    12

    Raises:
        SearchError: they are too many to train on.
    """
    number = math.lcm(*choices)
    if number > MAX_PATHS_PER_STEP:
        raise SearchError(
            f"genes of {sorted(set(choices))} choices need {number} paths for every step that is "
            f"fair to all, and a supernet takes at most {MAX_PATHS_PER_STEP}: give the genes "
            "numbers of choices with a smaller common multiple"
        )
    return number


def fair_paths(choices: Sequence[int], rng: np.random.Generator) -> NDArray[np.int32]:
    """Draw the paths of one step: of every gene, each choice equally often.

    Args:
        choices: number of choices of every gene.
        rng: draws a permutation for each.

    Returns:
        Shape (paths, genes); row i is the i-th path. There are as many paths as the least common
        multiple of the choices.

    >>> paths = fair_paths([4, 2, 3], np.random.default_rng(0))
    >>> [np.bincount(column).tolist() for column in paths.T]
    [[3, 3, 3, 3], [6, 6], [4, 4, 4]]
    """
    number = paths_per_step(choices)
    columns = [rng.permutation(np.arange(number) % count) for count in choices]
    return np.stack(columns, axis=1).astype(np.int32)

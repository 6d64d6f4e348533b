"""What searchers share: the batch that was asked for, and the trials that belong to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.errors import SearchError
from latlas.search.protocols import Genes, Trial

MAX_DRAWS = 100
"""A searcher that finds nothing new in so many draws takes the space as exhausted."""


def require_choices(choices: Sequence[int]) -> tuple[int, ...]:
    """Return the number of choices of every gene as plain integers.

    Raises:
        SearchError: there is no gene, or one without a choice.
    """
    found = tuple(int(number) for number in choices)
    if not found or min(found) < 1:
        raise SearchError(f"every gene has at least one choice, not {found}")
    return found


def require_asked(asked: Sequence[Genes] | None, trials: Sequence[Trial]) -> None:
    """Raise `SearchError` unless the trials are those that were asked for, in their order."""
    if not asked or [tuple(trial.genes) for trial in trials] != list(asked):
        raise SearchError(
            f"tell takes the {len(asked or ())} architectures that ask returned, in their "
            f"order, not {len(trials)} others: call ask, evaluate all of it, then tell"
        )


def as_tuples(genes: NDArray[np.integer]) -> list[Genes]:
    """Return chromosomes of shape (chromosomes, genes) as tuples."""
    return [tuple(one) for one in genes.tolist()]

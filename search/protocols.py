"""What a search is made of, and what a user may plug in: space, oracle, searcher, trial."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.graph import Graph

Genes = tuple[int, ...]
"""An architecture as a space writes it: gene ``i`` is an integer in ``range(choices[i])``."""


class SearchSpace(Protocol):
    """A set of architectures."""

    @property
    def choices(self) -> Sequence[int]:
        """Number of choices of every gene."""
        ...

    def decode(self, genes: Sequence[int]) -> Graph:
        """Return the network of a chromosome.

        Raises:
            SearchError: the genes are not of this space.
        """
        ...


class AccuracyOracle(Protocol):
    """Says how accurate architectures are."""

    @property
    def standard_error(self) -> float:
        """Standard error of one accuracy (a fraction); 0 where accuracies are exact."""
        ...

    def evaluate(self, genes: Sequence[Genes]) -> NDArray[np.float64]:
        """Return the accuracy of every architecture as a fraction, shape (architectures,).

        NaN stands for an architecture that could not be trained or evaluated. An oracle may tell
        why, in a mapping ``errors`` from genes to reasons.
        """
        ...


@dataclass(frozen=True)
class Trial:
    """One architecture that was tried. What was tried and failed has an `error`.

    Attributes:
        genes: the architecture.
        values: what is known of it: ``accuracy`` (fraction of images classified correctly),
            ``latency_ms`` (of the first target), ``latency_ms@NAME`` (of every further one),
            ``params`` (learned numbers), ``madds``; NaN where it could not be found out.
        error: why it failed, or "".
        generation: in which batch it was asked for, counted from 0.
        seconds: what finding this out took, on whichever machines.
        note: what else is to be known, e.g. that a latency stayed noisy; nothing is wrong with it.
    """

    genes: Genes
    values: Mapping[str, float]
    error: str = ""
    generation: int = 0
    seconds: float = 0.0
    note: str = ""

    def value(self, metric: str) -> float:
        """Return the value of a metric, NaN where it is unknown."""
        return self.values.get(metric, math.nan)

    @property
    def accuracy(self) -> float:
        """Fraction of images classified correctly."""
        return self.value("accuracy")

    @property
    def latency_ms(self) -> float:
        """Latency in milliseconds, of the first target."""
        return self.value("latency_ms")

    @property
    def params(self) -> float:
        """Learned numbers of the network."""
        return self.value("params")


class Searcher(Protocol):
    """Proposes architectures and learns from what became of them.

    It keeps no files: told the same trials in the same batches, a new searcher with the same seed
    asks for the same architectures, which is how a study resumes.
    """

    def ask(self) -> list[Genes]:
        """Return the next batch; the same one until `tell` was called."""
        ...

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learn the results of the batch that was asked for, in its order.

        Raises:
            SearchError: these are not the architectures that were asked for.
        """
        ...

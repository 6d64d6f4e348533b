"""A predictor compiled for a search space: one array per gene, so that a generation is a gather.

It holds for spaces in which every gene chooses its kernels by itself (``moga``, ``fairnas``), which
compiling checks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from latlas.predictor.calibration import Calibration
from latlas.predictor.predictor import LatencyPredictor
from latlas.profiler.errors import SearchError
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Graph
from latlas.profiler.kernel import Kernel, split
from latlas.profiler.quantise import for_precision

CHECKS = 8
"""Random chromosomes on which the sum over genes must equal the network itself."""


class GeneSpace(Protocol):
    """A space whose chromosomes are tuples of small integers."""

    @property
    def choices(self) -> Sequence[int]:
        """Number of choices of every gene."""
        ...

    def decode(self, genes: Sequence[int]) -> Graph:
        """Return the network of a chromosome."""
        ...


class GeneLatency:
    """Latency of chromosomes by table look-up.

    Args:
        base_us: sum of kernels of the chromosome of zeros, and their number.
        tables: per gene, what each choice adds to both, shape (choices, 2).
        calibration: from the sum to the whole network.
    """

    def __init__(
        self,
        base_us: NDArray[np.float64],
        tables: Sequence[NDArray[np.float64]],
        calibration: Calibration,
    ) -> None:
        self._base = base_us
        self._flat = np.concatenate(tables)
        self._choices = np.array([len(table) for table in tables])
        self._offsets = np.cumsum(self._choices) - self._choices
        self._calibration = calibration

    def latency_ms(
        self, genes: Sequence[Sequence[int]] | NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """Return latencies in milliseconds, shape (chromosomes,).

        Args:
            genes: chromosomes, shape (chromosomes, genes).

        Raises:
            SearchError: a gene has no such choice.
        """
        chosen = np.asarray(genes)
        if chosen.ndim != 2 or chosen.shape[1] != len(self._choices):
            raise SearchError(
                f"chromosomes of {len(self._choices)} genes are wanted, not an array of shape "
                f"{chosen.shape}"
            )
        if (chosen < 0).any() or (chosen >= self._choices).any():
            raise SearchError(f"a gene is outside the choices {self._choices.tolist()}")
        index = chosen + self._offsets
        total = self._flat[index].sum(axis=1) + self._base
        return self._calibration.apply(total[:, 0], total[:, 1]) / 1e3


def compile_genes(space: GeneSpace, predictor: LatencyPredictor, *, seed: int = 0) -> GeneLatency:
    """Compile a predictor for a space.

    Raises:
        SearchError: in this space, the kernels of one gene depend on another gene.
        UnknownKernelError: nothing is known about a kernel of the space.
    """
    rules = rules_for(predictor.target.delegate)

    def kernels_of(genes: Sequence[int]) -> Counter[Kernel]:
        graph = for_precision(space.decode(genes), predictor.target.precision)
        return Counter(split(graph, rules))

    zeros = [0] * len(space.choices)
    base = kernels_of(zeros)
    changes: list[list[Counter[Kernel]]] = []
    for position, choices in enumerate(space.choices):
        column = []
        for choice in range(choices):
            genes = [*zeros[:position], choice, *zeros[position + 1 :]]
            change = kernels_of(genes)
            change.subtract(base)
            column.append(change)
        changes.append(column)

    rng = np.random.default_rng(seed)
    for _ in range(CHECKS):
        genes = [int(rng.integers(choices)) for choices in space.choices]
        total = Counter(base)
        for column, gene in zip(changes, genes, strict=True):
            total.update(column[gene])
        if +total != kernels_of(genes):
            raise SearchError(
                f"the kernels of {type(space).__name__} are not a sum over its genes: "
                "predict its graphs instead"
            )

    kernels = list(
        dict.fromkeys(
            [*base, *(kernel for column in changes for change in column for kernel in change)]
        )
    )
    latency_us, source = predictor.kernels_us(kernels)
    predictor.require_known(kernels, source)
    known = dict(zip(kernels, latency_us.tolist(), strict=True))

    def weigh(counts: Counter[Kernel]) -> list[float]:
        total_us = sum(count * known[kernel] for kernel, count in counts.items())
        return [total_us, float(counts.total())]

    tables = [np.array([weigh(change) for change in column]) for column in changes]
    return GeneLatency(np.array(weigh(base)), tables, predictor.calibration)

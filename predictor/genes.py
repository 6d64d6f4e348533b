"""A predictor compiled for a search space: arrays keyed by small tuples of genes.

A space says which genes decide which part of its networks. What a part costs is worked out once for
every tuple of their values; a generation of chromosomes is then one gather for each part. Spaces
that say nothing are compiled gene by gene, where each of their genes chooses its kernels by itself;
compiling checks it. What cannot be compiled is predicted as graphs.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from latlas.predictor.calibration import Calibration
from latlas.predictor.predictor import LatencyPredictor
from latlas.predictor.residency import COLUMNS, NO_SAVING, Residency, footprints_mb
from latlas.profiler.errors import SearchError
from latlas.profiler.graph import Graph
from latlas.profiler.kernel import Kernel, split
from latlas.profiler.ops import Dequantize, Op, Quantize
from latlas.profiler.quantise import for_precision

CHECKS = 8
"""Random chromosomes on which the sum over parts must equal the network itself."""

MAX_TUPLES = 200_000
"""A space with more tuples of genes is not compiled: it would take minutes and much memory."""

BATCH = 256
"""Networks predicted at once where a space is not compiled, which bounds the memory."""

Groups = Sequence[Sequence[int]]
"""For every part of a network, the positions of the genes that decide it."""


class GeneSpace(Protocol):
    """A space whose chromosomes are tuples of small integers."""

    @property
    def choices(self) -> Sequence[int]:
        """Number of choices of every gene."""
        ...

    def decode(self, genes: Sequence[int]) -> Graph:
        """Return the network of a chromosome."""
        ...


@runtime_checkable
class BlockSpace(GeneSpace, Protocol):
    """A space whose networks are chains of blocks, each of which a few genes decide.

    >>> from latlas.search.spaces import MogaSpace, NasnetSpace
    >>> isinstance(MogaSpace(), BlockSpace), isinstance(NasnetSpace(), BlockSpace)
    (True, False)
    """

    @property
    def groups(self) -> Groups:
        """For every block, the positions of the genes that decide it; a gene may decide several."""
        ...

    def block(self, index: int, values: Sequence[int]) -> Graph:
        """Return a block, given the values of the genes that decide it, as a network of its own."""
        ...


class ChromosomeLatency(Protocol):
    """Says how long the networks of chromosomes take."""

    def latency_ms(
        self, genes: Sequence[Sequence[int]] | NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """Return latencies in milliseconds, shape (chromosomes,).

        Args:
            genes: chromosomes, shape (chromosomes, genes).

        Raises:
            SearchError: a gene has no such choice.
        """
        ...


class GeneLatency:
    """Latency of chromosomes by table look-up.

    Args:
        choices: number of choices of every gene.
        groups: for every part, the genes that decide it.
        tables: for every part, the sum of its kernels in microseconds, their traffic, which begins
            with their number, and the most that one of them reads and writes in MB, shape
            (tuples, 7), of which those in MB are needed where something is saved; tuples of values
            in the order of `itertools.product`.
        calibration: from the sum to the whole network.
        residency: what networks save that stay in the cache.
    """

    def __init__(
        self,
        choices: Sequence[int],
        groups: Groups,
        tables: Sequence[NDArray[np.float64]],
        calibration: Calibration,
        residency: Residency = NO_SAVING,
    ) -> None:
        self._choices = list(choices)
        self._groups = [tuple(group) for group in groups]
        self._tables = tables
        self._calibration = calibration
        self._residency = residency

    def latency_ms(
        self, genes: Sequence[Sequence[int]] | NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """Return latencies in milliseconds, shape (chromosomes,).

        Args:
            genes: chromosomes, shape (chromosomes, genes).

        Raises:
            SearchError: a gene has no such choice.
        """
        chosen = as_genes(genes, self._choices)
        columns = 1 + (len(COLUMNS) if self._residency.saves else 1)
        total, largest_mb = np.zeros((len(chosen), columns)), np.zeros(len(chosen))
        for group, table in zip(self._groups, self._tables, strict=True):
            index = np.zeros(len(chosen), np.intp)
            for position in group:
                index = index * self._choices[position] + chosen[:, position]
            found = table.take(index, axis=0)
            total += found[:, :columns]
            if self._residency.saves:
                np.maximum(largest_mb, found[:, -1], out=largest_mb)
        sums_us, traffic = total[:, 0], total[:, 1:]
        if self._residency.saves:
            footprint_mb = footprints_mb(traffic, largest_mb)
            sums_us = self._residency.within_us(sums_us, traffic, footprint_mb)
        return self._calibration.apply(sums_us, total[:, 1]) / 1e3


class GraphLatency:
    """Latency of chromosomes through their graphs, for spaces that cannot be compiled.

    Args:
        space: decodes chromosomes.
        predictor: predicts their networks.
    """

    def __init__(self, space: GeneSpace, predictor: LatencyPredictor) -> None:
        self.space = space
        self.predictor = predictor

    def latency_ms(
        self, genes: Sequence[Sequence[int]] | NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """Return latencies in milliseconds, shape (chromosomes,).

        Args:
            genes: chromosomes, shape (chromosomes, genes).

        Raises:
            SearchError: a gene has no such choice.
            UnknownKernelError: nothing is known about a kernel.
        """
        chosen = as_genes(genes, self.space.choices).tolist()
        found: list[float] = []
        for start in range(0, len(chosen), BATCH):
            graphs = [self.space.decode(each) for each in chosen[start : start + BATCH]]
            found += [prediction.latency_ms for prediction in self.predictor.predict(graphs)]
        return np.array(found, np.float64)


def gene_latency(space: GeneSpace, predictor: LatencyPredictor) -> ChromosomeLatency:
    """Return the latency of a space's chromosomes: compiled where it can be, else through graphs.

    Raises:
        UnknownKernelError: nothing is known about a kernel of the space.
    """
    try:
        return compile_genes(space, predictor)
    except SearchError:
        return GraphLatency(space, predictor)


def compile_genes(space: GeneSpace, predictor: LatencyPredictor, *, seed: int = 0) -> GeneLatency:
    """Compile a predictor for a space.

    Raises:
        SearchError: the kernels of the space's networks are not a sum over its groups of genes
            (without groups, over its genes), there are too many tuples of genes, or it has no
            blocks and the predictor tells what the cache saves.
        UnknownKernelError: nothing is known about a kernel of the space.
    """
    rules = predictor.rules

    def kernels_of(graph: Graph) -> Counter[Kernel]:
        return Counter(split(for_precision(graph, predictor.target.precision), rules))

    parts: _Parts
    if isinstance(space, BlockSpace):
        parts = _BlockParts(space, kernels_of)
    elif predictor.residency.saves:
        # Changes of a network do not tell which of its maps is the largest.
        raise SearchError(
            f"{type(space).__name__} has no blocks, and what the cache saves depends on the whole "
            "network: predict its graphs instead"
        )
    else:
        parts = _GeneParts(space, kernels_of)
    tuples = sum(math.prod(space.choices[position] for position in group) for group in parts.groups)
    if tuples > MAX_TUPLES:
        raise SearchError(
            f"{type(space).__name__} has {tuples:,} tuples of genes, more than {MAX_TUPLES:,}: "
            "predict its graphs instead"
        )
    _require_sum(space, parts, kernels_of, seed)
    known: dict[Kernel, _Row] = {}
    tables = [
        _table(parts, index, [space.choices[position] for position in group], predictor, known)
        for index, group in enumerate(parts.groups)
    ]
    return GeneLatency(
        space.choices, parts.groups, tables, predictor.calibration, predictor.residency
    )


def as_genes(
    genes: Sequence[Sequence[int]] | NDArray[np.integer], choices: Sequence[int]
) -> NDArray[np.intp]:
    """Return chromosomes as an array, shape (chromosomes, genes).

    Raises:
        SearchError: they are not of a space with these choices.
    """
    chosen = np.asarray(genes)
    if chosen.ndim != 2 or chosen.shape[1] != len(choices) or chosen.dtype.kind not in "iu":
        raise SearchError(
            f"chromosomes of {len(choices)} integers are wanted, not an array of shape "
            f"{chosen.shape} and type {chosen.dtype}"
        )
    if (chosen < 0).any() or (chosen >= np.asarray(choices)).any():
        raise SearchError(f"a gene is outside the choices {list(choices)}")
    return chosen.astype(np.intp, copy=False)


_Row = tuple[float, ...]


class _Parts(Protocol):
    """The parts whose kernels make a network's."""

    groups: Groups

    def kernels(self, index: int, values: Sequence[int]) -> Counter[Kernel]:
        """Return the kernels of a part, or how they change the first part's."""
        ...


class _BlockParts:
    """The blocks of a network; quantised, only its two ends convert from and to float32."""

    def __init__(self, space: BlockSpace, kernels_of: Callable[[Graph], Counter[Kernel]]) -> None:
        self.groups: Groups = space.groups
        self.space = space
        self.kernels_of = kernels_of

    def kernels(self, index: int, values: Sequence[int]) -> Counter[Kernel]:
        inner: list[type[Op]] = []
        if index > 0:
            inner.append(Quantize)
        if index < len(self.groups) - 1:
            inner.append(Dequantize)
        found = self.kernels_of(self.space.block(index, values))
        for kernel in [kernel for kernel in found if type(kernel.op) in inner]:
            if isinstance(kernel.op, Dequantize) or kernel.dtype == "float32":
                del found[kernel]
        return found


class _GeneParts:
    """The network of zeros, and for every gene how its choices change that network's kernels."""

    def __init__(self, space: GeneSpace, kernels_of: Callable[[Graph], Counter[Kernel]]) -> None:
        self.groups: Groups = [(), *((position,) for position in range(len(space.choices)))]
        self.space = space
        self.kernels_of = kernels_of
        self.zeros = [0] * len(space.choices)
        self.base = kernels_of(space.decode(self.zeros))

    def kernels(self, index: int, values: Sequence[int]) -> Counter[Kernel]:
        if index == 0:
            return self.base
        genes = [*self.zeros[: index - 1], *values, *self.zeros[index:]]
        change = self.kernels_of(self.space.decode(genes))
        change.subtract(self.base)
        return change


def _require_sum(
    space: GeneSpace, parts: _Parts, kernels_of: Callable[[Graph], Counter[Kernel]], seed: int
) -> None:
    """Raise `SearchError` unless the parts of random networks have the kernels of the whole."""
    rng = np.random.default_rng(seed)
    for _ in range(CHECKS):
        genes = [int(rng.integers(choices)) for choices in space.choices]
        total: Counter[Kernel] = Counter()
        for index, group in enumerate(parts.groups):
            total.update(parts.kernels(index, [genes[position] for position in group]))
        # Not `+total`: counts below zero are no part of any network either.
        if total != kernels_of(space.decode(genes)):
            raise SearchError(
                f"the kernels of {type(space).__name__} are not a sum over its genes: "
                "predict its graphs instead"
            )


def _table(
    parts: _Parts,
    index: int,
    choices: Sequence[int],
    predictor: LatencyPredictor,
    known: dict[Kernel, _Row],
) -> NDArray[np.float64]:
    """Return the table of a part, as `GeneLatency` takes it.

    Where a part says how genes change a network, the most that one kernel reads and writes is that
    of the kernels which come in.
    """
    values = itertools.product(*map(range, choices))
    counts = [parts.kernels(index, each) for each in values]
    new = [k for k in dict.fromkeys(itertools.chain(*counts)) if k not in known]
    found = predictor.estimate(new)
    predictor.require_known(new, found.source)
    rows = np.column_stack([found.latency_us, found.traffic])
    known.update(zip(new, map(tuple, rows.tolist()), strict=True))
    table = np.zeros((len(counts), 2 + len(COLUMNS)))
    for row, each in zip(table, counts, strict=True):
        for kernel, count in each.items():
            row[:-1] += count * np.array(known[kernel])
            row[-1] = max(row[-1], known[kernel][-1] * (count > 0))
    return table

"""What is slower or faster in one table than in another, beyond the noise of both.

Each measurement that both tables have gives the logarithm of its two medians' ratio. Its noise has
three parts: that of the medians, from their samples' spread; that from one run of a process to the
next, from how the reference kernel's medians spread over each campaign; and what these two do not
see (where memory lies, what the caches hold). The last shows in how the ratios themselves scatter
around their middle: most of what is measured does not change between two tables, or all of it by
the same factor. Its tails are heavy: of two tables of one machine, a kernel in a hundred differs by
a tenth and more. Ratios are therefore held against Student's distribution of few degrees of
freedom.

Which changes are reported is decided by the procedure of Benjamini and Hochberg (1995),
"Controlling the false discovery rate", https://www.jstor.org/stable/2346101: of those reported, at
most one in twenty is expected to be noise, however many kernels are compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.measurement import Measurement
from latlas.profiler.rows import kernel_type
from latlas.profiler.statistics import MAD_TO_SIGMA, MEDIAN_ERROR
from latlas.profiler.table import Table

FALSE_DISCOVERIES = 0.05
"""Share of the reported changes that is expected to be noise."""

TAIL_FREEDOM = 4.0
"""Degrees of freedom of the distribution of one measurement's noise."""

RESOLUTION_US = 0.05
"""Smaller differences are the clock's."""

SCATTER_FROM = 10
"""So many ratios tell how they scatter."""

COMPARED = ("network", "block", "kernel")
"""Units that are compared."""


@dataclass(frozen=True, slots=True)
class Change:
    """How one measured graph differs between two tables.

    Attributes:
        unit: ``network``, ``block`` or ``kernel``.
        name: the network's name, or the kernel or block as text.
        type: the kernel's type; empty for others.
        before_us, after_us: the medians, in microseconds.
        noise: standard deviation of the ratio's logarithm that noise alone gives.
        significant: whether it is beyond the noise.
    """

    unit: str
    name: str
    type: str
    before_us: float
    after_us: float
    noise: float
    significant: bool

    @property
    def change(self) -> float:
        """By which share the second table is slower; negative where it is faster."""
        return self.after_us / self.before_us - 1


@dataclass(frozen=True, slots=True)
class GroupChange:
    """How the networks, the blocks, or the kernels of one type differ between two tables.

    Attributes:
        unit: what they are.
        type: the kernels' type; empty for others.
        count: how many both tables have.
        change: by which share the second table is slower, the geometric mean.
        slower, faster: how many of them are so beyond the noise.
        significant: whether the group's own change is.
    """

    unit: str
    type: str
    count: int
    change: float
    slower: int
    faster: int
    significant: bool


@dataclass(frozen=True)
class Comparison:
    """What differs between two tables.

    Attributes:
        targets: the fields of the target that differ, with both values.
        changes: every graph that both tables have a figure of.
        groups: the same by unit and kernel type.
        broken: by id, what has a figure in the first table and none in the second, and why not.
        mended: ids of what has a figure in the second table alone, though both tried it.
        only_before, only_after: how many graphs only one of the tables has.
        reference: by which share the reference kernel is slower; None where one has no level.
        reference_noise: standard error of that share.
        relative: whether every change is relative to that of the reference kernel.
    """

    targets: tuple[str, ...]
    changes: tuple[Change, ...]
    groups: tuple[GroupChange, ...]
    broken: Mapping[str, str]
    mended: tuple[str, ...]
    only_before: int
    only_after: int
    reference: float | None
    reference_noise: float
    relative: bool

    def slower(self, above: float = 0.0) -> list[Change]:
        """Return what is slower beyond the noise and by more than a share, the worst first."""
        found = [each for each in self.changes if each.significant and each.change > above]
        return sorted(found, key=lambda each: -each.change)

    def faster(self) -> list[Change]:
        """Return what is faster beyond the noise, the fastest first."""
        found = [each for each in self.changes if each.significant and each.change < 0]
        return sorted(found, key=lambda each: each.change)


def compare(before: Table, after: Table, *, relative: bool = False) -> Comparison:
    """Compare two tables, whatever their targets.

    Args:
        before, after: the tables.
        relative: divide every figure by the reference kernel's level in its table, so that what
            the whole device is slower by is left out.

    Raises:
        TableError: a measurement of a kernel is none.
    """
    old, new = _by_id(before), _by_id(after)
    both = [
        (old[name], new[name]) for name in old if name in new and old[name].graph == new[name].graph
    ]
    figures = [pair for pair in both if pair[0].summary and pair[1].summary]
    levels = _levels(before), _levels(after)
    known = all(len(each) for each in levels)
    shift = float(np.median(levels[1]) - np.median(levels[0])) if known else 0.0
    changes = _changes(figures, levels, shift if relative else 0.0)
    return Comparison(
        targets=tuple(before.target.differences(after.target)),
        changes=tuple(changes),
        groups=tuple(_groups(changes)),
        broken={m.id: f"{n.verdict}: {n.reason}" for m, n in both if m.summary and not n.summary},
        mended=tuple(n.id for m, n in both if n.summary and not m.summary),
        only_before=len(old) - len(both),
        only_after=len(new) - len(both),
        reference=math.expm1(shift) if known else None,
        reference_noise=math.hypot(*map(_median_error, levels)) if known else 0.0,
        relative=relative,
    )


def _by_id(table: Table) -> dict[str, Measurement]:
    return {m.id: m for m in table.measurements if m.unit in COMPARED}


def _levels(table: Table) -> NDArray[np.float64]:
    """Return the logarithms of the reference kernel's medians."""
    return np.log([m.summary.median_us for m in table.references if m.summary is not None])


def _spread(values: NDArray[np.float64]) -> float:
    """Return a standard deviation that is blind to outliers; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    return float(MAD_TO_SIGMA * np.median(np.abs(values - np.median(values))))


def _median_error(values: NDArray[np.float64]) -> float:
    return MEDIAN_ERROR * _spread(values) / math.sqrt(len(values))


def _own_noise(measurement: Measurement) -> float:
    """Return the relative standard error of a measurement's median."""
    summary = measurement.summary
    assert summary is not None
    error = MEDIAN_ERROR * summary.robust_cv / math.sqrt(summary.n)
    return math.hypot(error, RESOLUTION_US / summary.median_us)


def _changes(
    pairs: Sequence[tuple[Measurement, Measurement]],
    levels: tuple[NDArray[np.float64], NDArray[np.float64]],
    shift: float,
) -> list[Change]:
    between = math.hypot(*map(_spread, levels))
    scale = math.exp(-shift)
    old = [m.summary.median_us for m, _ in pairs if m.summary is not None]
    new = [scale * n.summary.median_us for _, n in pairs if n.summary is not None]
    noise = np.array([math.hypot(_own_noise(m), _own_noise(n), between) for m, n in pairs])
    ratios = np.log(np.array(new) / np.array(old))
    units = np.array([m.unit for m, _ in pairs])
    for unit in COMPARED:
        noise[units == unit] = _with_scatter(ratios[units == unit], noise[units == unit])
    significant = beyond_noise(ratios, noise)
    return [
        Change(
            m.unit,
            m.name if m.unit == "network" else m.graph,
            kernel_type(m),
            old[i],
            new[i],
            float(noise[i]),
            bool(significant[i]),
        )
        for i, (m, _) in enumerate(pairs)
    ]


def _with_scatter(ratios: NDArray[np.float64], noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the noise of ratios, no less than they scatter around their middle."""
    if len(ratios) < SCATTER_FROM:
        return noise
    return np.asarray(
        np.hypot(noise, max(0.0, _spread(ratios) ** 2 - np.median(noise) ** 2) ** 0.5)
    )


def beyond_noise(
    ratios: NDArray[np.float64],
    noise: NDArray[np.float64],
    freedom: NDArray[np.float64] | float = TAIL_FREEDOM,
    false_discoveries: float = FALSE_DISCOVERIES,
) -> NDArray[np.bool_]:
    """Return which logarithms of ratios are beyond their noise, by Benjamini and Hochberg.

    >>> beyond_noise(np.array([0.0, 0.01, 0.2]), np.array([0.01, 0.01, 0.01])).tolist()
    [False, False, True]

    Args:
        ratios: logarithms of ratios, shape (n,).
        noise: their standard deviations without a change, shape (n,); 0 where nothing is known.
        freedom: degrees of freedom of the noise, shape (n,) or one for all.
        false_discoveries: share of those returned that may be noise.

    Returns:
        Truth values, shape (n,).
    """
    from scipy.special import stdtr

    size = len(ratios)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(ratios == 0, 0.0, np.abs(ratios) / noise)
    p = 2 * stdtr(freedom, -z)
    order = np.argsort(p, kind="stable")
    good = np.flatnonzero(p[order] <= false_discoveries * np.arange(1, size + 1) / max(size, 1))
    found = np.zeros(size, bool)
    if len(good):
        found[order[: good[-1] + 1]] = True
    return found


def _groups(changes: Sequence[Change]) -> list[GroupChange]:
    members: dict[tuple[str, str], list[Change]] = {}
    for unit in COMPARED:
        for each in changes:
            if each.unit == unit:
                members.setdefault((unit, each.type), []).append(each)
    logs = [np.array([math.log1p(c.change) for c in each]) for each in members.values()]
    means = np.array([each.mean() for each in logs])
    # A group scatters as its members do, and no less than the noise of one.
    errors = [
        max(each.std(ddof=1) if len(each) > 1 else 0.0, float(np.median([c.noise for c in group])))
        / math.sqrt(len(each))
        for each, group in zip(logs, members.values(), strict=True)
    ]
    freedom = np.array([max(len(each) - 1.0, TAIL_FREEDOM / 2) for each in logs])
    significant = beyond_noise(means, np.array(errors), freedom)
    return [
        GroupChange(
            unit,
            kind,
            len(each),
            math.expm1(means[i]),
            sum(c.significant and c.change > 0 for c in each),
            sum(c.significant and c.change < 0 for c in each),
            bool(significant[i]),
        )
        for i, ((unit, kind), each) in enumerate(members.items())
    ]

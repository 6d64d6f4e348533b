"""Which kernels to measure when there are too many: spread out, and where the latency is.

Kernels are sorted into strata, type by type and decade of work by decade. The next kernel comes
from the stratum that is furthest behind its share; there it is the one that differs most from all
that were taken before (greedy maximin, Johnson, Moore and Ylvisaker 1990). So the first n kernels
of an order are a design of n, whatever n is, and no kernel comes twice.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.kernel import Kernel
from latlas.profiler.ops import Shape

FEWEST = 5
"""A type is measured so often before any stratum gets its share: less cannot be learned from."""


NEARLY = 0.9
"""Kernels that differ so much as the one that differs most, by share, are as good: the seed
decides."""


def designed_kernels(
    weights: Mapping[Kernel, float], count: int, *, seed: int = 0, known: Collection[Kernel] = ()
) -> list[Kernel]:
    """Return `count` kernels that stand for all, or all where they are not more.

    Args:
        weights: of every kernel, e.g. how much of networks' latency it is; at least 0.
        count: how many are wanted.
        seed: decides between kernels that are equally good.
        known: kernels that were measured already: none is returned, and what is returned
            differs from them.

    >>> kernels = [Kernel.from_text(f"1x1x1x{n} | softmax @0 | @1") for n in (10, 11, 1000)]
    >>> [kernel.inputs for kernel in designed_kernels(dict.fromkeys(kernels, 1.0), 2, seed=1)]
    [((1, 1, 1, 10),), ((1, 1, 1, 1000),)]
    """
    order = design_order(weights, seed=seed, known=known)
    return [kernel for kernel, _ in zip(order, range(count), strict=False)]


def design_order(
    weights: Mapping[Kernel, float], *, seed: int = 0, known: Collection[Kernel] = ()
) -> Iterator[Kernel]:
    """Yield all kernels but the known ones, every prefix a design; as `designed_kernels`."""
    rng = np.random.default_rng(seed)
    pool = [kernel for kernel in weights if kernel not in known]
    types = _types(pool, weights, known)
    taken: dict[tuple[str, int], int] = defaultdict(int)
    shares = {
        (kind, decade): share for kind, each in types.items() for decade, share in each.shares()
    }
    total = sum(shares.values()) or 1.0
    for done in range(len(pool)):
        scarce = [kind for kind, each in types.items() if each.left and each.taken < FEWEST]
        if scarce:
            kind = min(scarce, key=lambda name: (types[name].taken, -types[name].weight, name))
            decade = types[kind].next_decade(taken)
        else:
            behind = {
                stratum: share * (done + 1) / total - taken[stratum]
                for stratum, share in shares.items()
                if types[stratum[0]].strata[stratum[1]]
            }
            kind, decade = max(behind, key=lambda stratum: (behind[stratum], stratum))
        taken[kind, decade] += 1
        yield types[kind].take(decade, rng)


@dataclass
class _Type:
    """Kernels of one type, and how far each is from those that were taken."""

    kind: str
    kernels: Sequence[Kernel]
    weights: NDArray[np.float64]
    points: NDArray[np.float64]  # shape (kernels, coordinates)
    distance: NDArray[np.float64]  # to the nearest that was taken
    total_weight: float
    total_kernels: int
    strata: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    taken: int = 0

    @property
    def weight(self) -> float:
        return float(self.weights.sum())

    @property
    def left(self) -> bool:
        return self.taken < len(self.kernels)

    def shares(self) -> Iterator[tuple[int, float]]:
        """Yield the share of every decade: half by weight, half by the number of kernels."""
        for decade, members in self.strata.items():
            weight = float(self.weights[members].sum()) / (self.total_weight or 1.0)
            yield decade, weight + len(members) / self.total_kernels

    def next_decade(self, taken: Mapping[tuple[str, int], int]) -> int:
        """Return the decade with the fewest taken, the heaviest of these."""
        return min(
            (decade for decade, members in self.strata.items() if members),
            key=lambda d: (taken.get((self.kind, d), 0), -self.weights[self.strata[d]].sum(), d),
        )

    def take(self, decade: int, rng: np.random.Generator) -> Kernel:
        """Return one of the kernels of a decade that differ most from all taken, and take it."""
        members = self.strata[decade]
        merit = self.distance[members]
        if np.isinf(merit).all():  # nothing to differ from: the heaviest
            merit = self.weights[members]
        good = np.flatnonzero(merit >= NEARLY * merit.max())
        best = members.pop(int(good[rng.integers(len(good))]))
        self.taken += 1
        self.distance = np.minimum(self.distance, _distance(self.points, self.points[best]))
        return self.kernels[best]


def _types(
    pool: Sequence[Kernel],
    weights: Mapping[Kernel, float],
    known: Collection[Kernel],
) -> dict[str, _Type]:
    total = float(sum(weights[kernel] for kernel in pool))
    by_type: dict[str, list[Kernel]] = defaultdict(list)
    for kernel in pool:
        by_type[kernel.type].append(kernel)
    types = {}
    for kind, kernels in by_type.items():
        points = np.array([point(kernel) for kernel in kernels])
        heavy = np.array([weights[kernel] for kernel in kernels])
        distance = np.full(len(kernels), np.inf)
        for other in known:
            if other.type == kind:
                distance = np.minimum(distance, _distance(points, np.array(point(other))))
        each = _Type(kind, kernels, heavy, points, distance, total, len(pool))
        for index, place in enumerate(points):
            each.strata[math.floor(place[0] / math.log(10))].append(index)
        types[kind] = each
    return types


def _distance(points: NDArray[np.float64], place: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(np.square(points - place).sum(axis=1)))


def point(kernel: Kernel) -> tuple[float, ...]:
    """Return the place of a kernel among others of its type; one unit is about a factor of e."""
    op = kernel.op
    inputs = _op_inputs(kernel)
    output = op.infer(inputs) or (1,)
    read = inputs[0] if inputs and inputs[0] else (1,)
    window = getattr(op, "kernel", (1, 1))
    stride = getattr(op, "stride", (1, 1))
    return (
        math.log(work(kernel)),
        math.log(read[-1]),
        math.log(output[-1]),
        math.log(math.prod(output) / output[-1]),
        2 * math.log(window[0]),
        2 * math.log(window[1]),
        2 * math.log(max(stride)),
        math.log(getattr(op, "groups", 1)),
        2 * math.log(max(getattr(op, "dilation", (1, 1)))),
        float(len(kernel.nodes)),
        float(len(kernel.inputs)),
        float(getattr(op, "activation", "none") != "none"),
        float(read != output),
        # Vectors and tiles leave remainders, which cost as much as whole ones.
        0.5 * float(output[-1] % 4 != 0),
        0.5 * float(output[-1] % 16 != 0),
    )


def work(kernel: Kernel) -> float:
    """Return the multiply-adds of a kernel, or the elements that it touches where these are more.

    >>> work(Kernel.from_text("1x8x8x4 | conv2d filters=8 kernel=1x1 @0 | @1"))
    2048.0
    """
    return float(max(_madds(kernel), _touched(kernel)))


def rough_us(kernel: Kernel) -> float:
    """Return about what a kernel takes on a middling core: good enough to weigh kernels with."""
    return 2.0 + _madds(kernel) / 8e3 + _touched(kernel) / 2e3


def _madds(kernel: Kernel) -> int:
    return kernel.op.madds(_op_inputs(kernel))


def _touched(kernel: Kernel) -> int:
    """Return the elements of inputs and output."""
    output = kernel.op.infer(_op_inputs(kernel))
    return sum(map(math.prod, kernel.inputs)) + math.prod(output)


def _op_inputs(kernel: Kernel) -> tuple[Shape, ...]:
    return tuple([kernel.inputs[value] for value in kernel.nodes[0].inputs])

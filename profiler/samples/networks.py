"""Networks that teach a table about any network: random ones of every family.

On a target that lists operators, one profiled network shows what a hundred kernels cost in context,
so that sixty of them say more than thousands of kernels measured alone, in less time. Depth, width
and resolution are drawn log-uniformly over what real networks have. So are multiply-adds, but with
more small networks than large ones: they take no time, and only they stay in a cache. Network
number i of a seed is always the same, so that more of them extend a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from latlas.profiler.count import count as count_graph
from latlas.profiler.errors import UsageError
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.ops import Binary
from latlas.profiler.samples.cells import cells
from latlas.profiler.samples.decoder import decoder
from latlas.profiler.samples.dense import dense
from latlas.profiler.samples.inception import inception
from latlas.profiler.samples.mobile import extreme, inverted, separable, shuffled
from latlas.profiler.samples.plain import fire, plain
from latlas.profiler.samples.residual import basic, bottleneck, grouped, preactivated
from latlas.profiler.samples.sketch import Sketch
from latlas.profiler.samples.tokens import hybrid, transformer

Draw = Callable[[Sketch, int], int]
"""Appends the body of a network behind its stem, and returns its last map."""


@dataclass(frozen=True, slots=True)
class Family:
    """Networks of one kind.

    Attributes:
        draw: appends the body of one.
        madds: the fewest and the most multiply-adds that such networks have; narrower ones would
            hold kernels that no real network has.
        stem: whether a strided convolution or two come first.
        head: whether a classifier follows.
    """

    draw: Draw
    madds: tuple[float, float]
    stem: bool = True
    head: bool = True


_LIGHT, _HEAVY = (6e6, 8e8), (6e7, 2.5e9)

FAMILIES: dict[str, Family] = {
    "inverted": Family(inverted, _LIGHT),
    "bottleneck": Family(bottleneck, _HEAVY),
    "cells": Family(cells, _LIGHT),
    "dense": Family(dense, _HEAVY),
    "inception": Family(inception, _HEAVY),
    "separable": Family(separable, _LIGHT),
    "basic": Family(basic, _HEAVY),
    "extreme": Family(extreme, _HEAVY),
    "plain": Family(plain, _HEAVY),
    "grouped": Family(grouped, _HEAVY),
    "preactivated": Family(preactivated, _HEAVY),
    "fire": Family(fire, _LIGHT),
    "shuffled": Family(shuffled, _LIGHT),
    "decoder": Family(decoder, _LIGHT, head=False),
    "transformer": Family(transformer, _HEAVY, stem=False, head=False),
    "hybrid": Family(hybrid, _LIGHT),
}
"""What is drawn, by name."""

MAX_WEIGHTS = 30_000_000
"""Numbers that a network stores at most: a phone has to be sent them."""

MAX_NODES = 300
"""Operators of a network at most."""

MIN_OPERATORS, MAX_OPERATORS = 35, 130
"""About how many operators a network has."""

SMALL = 1.5
"""Exponent of a network's place, 0 to 1, between the fewest and the most multiply-adds."""

TRIALS = 6
"""Widths that are tried to meet the multiply-adds that were drawn."""

TOLERANCE = 1.4
"""A network may have so many times the multiply-adds that were drawn, or the inverse."""

ATTEMPTS = 50
"""Structures that are tried for one network."""

_RESOLUTIONS = (96, 128, 160, 192, 224, 240, 256, 288, 299, 320, 331)
_DIVISORS = (32, 16, 8, 8, 8, 4, 2, 1)
_ACTIVATIONS = ("relu", "relu", "relu", "relu6", "relu6", "hard_swish", "swish")
SYMMETRIC = 0.3
"""Share of int8 products whose right operand has the zero point 0; a converter finds fewer, but
they are to be learned."""

_GOLDEN = (math.sqrt(5) - 1) / 2


def designed_networks(
    count: int, seed: int = 0, families: Sequence[str] = tuple(FAMILIES), *, int8: bool = False
) -> dict[str, Graph]:
    """Return random networks in the inference form, by name; no two are alike.

    Args:
        count: how many; the families take turns.
        seed: of everything.
        families: names in `FAMILIES`.
        int8: whether they will be quantised: a share `SYMMETRIC` of products is then marked so.

    >>> list(designed_networks(2, seed=4))
    ['general-4-000-inverted', 'general-4-001-bottleneck']

    Raises:
        UsageError: a family is not known.
    """
    unknown = [name for name in families if name not in FAMILIES]
    if unknown or not families:
        raise UsageError(f"no family {unknown!r} of networks; known are {', '.join(FAMILIES)}")
    networks: dict[str, Graph] = {}
    seen: set[str] = set()
    for index in range(count):
        family = families[index % len(families)]
        graph = _network(family, seed, index, seen, SYMMETRIC if int8 else 0.0)
        seen.add(graph.to_text())
        networks[f"general-{seed}-{index:03d}-{family}"] = graph
    return networks


def _network(family: str, seed: int, index: int, seen: set[str], symmetric: float) -> Graph:
    """Return one network, near the multiply-adds that are its turn."""
    start = np.random.default_rng((seed, 0)).random()
    place = (start + index * _GOLDEN) % 1.0  # evenly spread, however many networks follow
    low, high = FAMILIES[family].madds
    target = low * (high / low) ** place**SMALL
    best: tuple[float, Graph] | None = None
    for attempt in range(ATTEMPTS):
        found = _meeting(family, (seed, index, attempt), target, symmetric)
        if found is None or found[1].to_text() in seen:
            continue
        if best is None or found[0] < best[0]:
            best = found
        if best[0] <= math.log(TOLERANCE):
            break
    assert best is not None, f"{family} never gives a network of the right size"
    return best[1]


def _meeting(
    family: str, seed: tuple[int, ...], target: float, symmetric: float
) -> tuple[float, Graph] | None:
    """Return a structure in the width that meets the target best, and how far it is off (in ln)."""
    low, high = FAMILIES[family].madds
    scale = 1.0
    best: tuple[float, Graph] | None = None
    for _ in range(TRIALS):
        graph = _draw(FAMILIES[family], np.random.default_rng(seed), scale, symmetric)
        size = count_graph(graph)
        madds = size.madds + size.se_madds
        if low <= madds <= high and size.params <= MAX_WEIGHTS and len(graph.nodes) <= MAX_NODES:
            distance = abs(math.log(madds / target))
            if best is None or distance < best[0]:
                best = distance, graph
        # Multiply-adds go with the square of the widths, those of depthwise convolutions do not.
        step = min(max((target / madds) ** 0.5, 0.4), 2.5)
        if abs(step - 1) < 0.05:
            break
        scale *= step
    return best


def _draw(family: Family, rng: np.random.Generator, scale: float, symmetric: float) -> Graph:
    b = GraphBuilder((1, *_resolution(rng), 3))
    s = Sketch(b, rng, scale, 8, "relu", 0, symmetric)
    s.divisor, s.act = s.pick(_DIVISORS), s.pick(_ACTIVATIONS)
    s.operators = s.between(MIN_OPERATORS, MAX_OPERATORS)
    x = family.draw(s, _stem(s, b.input) if family.stem else b.input)
    return fold(b.build(_head(s, x) if family.head else x))


def _resolution(rng: np.random.Generator) -> tuple[int, int]:
    place = rng.random()
    if place < 0.3:
        return 224, 224
    if place < 0.75:
        size = int(rng.choice(_RESOLUTIONS))
        return size, size
    rows = int(rng.integers(96, 332))
    if place < 0.9:
        return rows, rows
    return rows, int(np.clip(round(rows * rng.uniform(0.5, 2)), 96, 331))


def _stem(s: Sketch, x: int) -> int:
    if s.chance(0.15):  # pixels are normalised inside the network, by channel or all alike
        x = s.b.apply(Binary("mul", value=1 / 255), x)
        if s.chance(0.5):
            x = s.b.apply(Binary("sub", constant=(3,)), x)
        else:
            x = s.b.apply(Binary("add", value=-1.0), x)
    padding = s.pick(("same", "same", "same", "valid"))
    kind = s.pick(("small", "small", "large", "large", "deep", "patch"))
    width = s.round(s.between(12, 64) * min(max(s.scale, 0.4), 1.5))
    if kind == "large":
        x = s.conv(x, width, s.pick((5, 7, 7)), stride=2, padding=padding)
        return s.pool(x, 3, 2, "max", padding)
    if kind == "patch" and s.map_size(x) >= 160:
        return s.conv(x, width, 4, stride=4, padding="valid")
    x = s.conv(x, width, 3, stride=2, padding=padding)
    if kind == "deep":
        x = s.conv(x, s.round(width * s.pick((1, 2))), 3, padding=padding)
        if s.chance(0.5):
            x = s.pool(x, 3, 2, "max", padding)
    return x


def _head(s: Sketch, x: int) -> int:
    classes = s.between(10, 1500) if s.chance(0.6) else 1000
    kind = s.pick(("mean", "mean", "wide", "features", "flat"))
    if kind == "wide":
        x = s.conv(x, s.round(s.channels(x) * s.pick((1.5, 2, 4))), 1)
    if kind == "flat":
        batch, height, columns, channels = s.b.shape(x)
        flat = height * columns * channels
        x = s.b.reshape(x, (batch, flat))
        units = min(s.between(64, 4096), max(16, MAX_WEIGHTS // 3 // flat))
        x = s.b.relu(s.b.fully_connected(x, units))
    else:
        x = s.b.mean(x, keepdims=kind == "features")
    if kind == "features":
        x = s.conv(x, s.between(64, 2048), 1)
        x = s.b.reshape(x, (1, s.channels(x)))
    x = s.b.fully_connected(x, classes)
    return s.b.softmax(x) if s.chance(0.6) else x

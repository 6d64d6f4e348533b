from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.kernel import Kernel
from latlas.profiler.sampler import FEWEST, design_order, designed_kernels, rough_us, work
from latlas.profiler.vocabulary import vocabulary_kernels

VOCABULARY = vocabulary_kernels()


def pointwise(channels: int, filters: int, size: int = 14) -> Kernel:
    b = GraphBuilder((1, size, size, channels))
    graph = b.build(b.conv(0, filters, 1))
    return Kernel(graph.inputs, graph.nodes)


@given(
    count=st.integers(0, 40),
    seed=st.integers(0, 100),
    members=st.sets(st.integers(0, len(VOCABULARY) - 1), max_size=60),
)
@settings(max_examples=30, deadline=None)
def test_a_design_has_no_repeats_and_its_prefixes_are_designs(
    count: int, seed: int, members: set[int]
) -> None:
    weights = {VOCABULARY[i]: float(i % 7) for i in sorted(members)}
    order = list(design_order(weights, seed=seed))
    assert len(order) == len(weights) and set(order) == set(weights)
    assert designed_kernels(weights, count, seed=seed) == order[:count]


def test_every_type_comes_before_any_gets_many() -> None:
    weights = {kernel: rough_us(kernel) for kernel in VOCABULARY}
    types = Counter(kernel.type for kernel in VOCABULARY)
    chosen = designed_kernels(weights, FEWEST * len(types))
    found = Counter(kernel.type for kernel in chosen)
    assert all(found[kind] == min(FEWEST, n) for kind, n in types.items() if n <= FEWEST)
    assert all(found[kind] >= FEWEST for kind, n in types.items() if n >= FEWEST)


def test_types_get_their_share_of_the_latency() -> None:
    kernels = [k for k in VOCABULARY if k.type in ("conv2d", "add")]
    heavy = {kernel: 99.0 if kernel.type == "conv2d" else 0.01 for kernel in kernels}
    light = {kernel: 0.01 if kernel.type == "conv2d" else 99.0 for kernel in kernels}
    counts = [
        Counter(kernel.type for kernel in designed_kernels(weights, 16))
        for weights in (heavy, light)
    ]
    assert counts[0]["conv2d"] > counts[1]["conv2d"] >= FEWEST


def test_a_design_covers_the_range_better_than_chance() -> None:
    rng = np.random.default_rng(0)
    draws = np.exp(rng.uniform(np.log(8), np.log(1024), (400, 2))).astype(int)
    weights = {pointwise(int(c), int(f)): 1.0 for c, f in draws}
    pool = list(weights)

    def hole(chosen: list[Kernel]) -> float:
        """Return how far a kernel may be from the nearest that was chosen, at worst."""
        places = [np.log([k.inputs[0][3], k.op.infer(k.inputs)[3]]) for k in chosen]
        worst = 0.0
        for kernel in pool:
            place = np.log([kernel.inputs[0][3], kernel.op.infer(kernel.inputs)[3]])
            worst = max(worst, min(float(np.abs(place - p).max()) for p in places))
        return worst

    random = [pool[i] for i in rng.choice(len(pool), 30, replace=False)]
    assert hole(designed_kernels(weights, 30)) < hole(random)


def test_known_kernels_are_kept_away_from() -> None:
    known = pointwise(64, 64)
    near, far = pointwise(64, 66), pointwise(64, 74)
    weights = {known: 1.0, near: 50.0, far: 1.0}
    assert 10**5 < work(near) < work(far) < 10**6
    assert designed_kernels(weights, 1)[0] == near
    assert designed_kernels(weights, 1, known=[known])[0] == far
    assert known not in designed_kernels(weights, 9, known=[known])


def test_work_is_multiply_adds_or_elements() -> None:
    assert work(pointwise(8, 4, 2)) == 2 * 2 * 8 * 4
    assert work(Kernel.from_text("1x1x1x10 | softmax @0 | @1")) == 20
    assert rough_us(pointwise(512, 512)) > rough_us(pointwise(8, 8)) > 2


@pytest.mark.parametrize("count", [0, 10**6])
def test_nothing_and_everything(count: int) -> None:
    weights = dict.fromkeys(VOCABULARY[:20], 0.0)
    assert len(designed_kernels(weights, count)) == min(count, 20)
    assert designed_kernels({}, count) == []

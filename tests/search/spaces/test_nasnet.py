from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latlas.profiler.count import count
from latlas.profiler.errors import SearchError
from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.kernel import split
from latlas.profiler.ops import Concat, DepthwiseConv2D, Mean, Op, Reduce
from latlas.profiler.tflite.reader import read_tflite
from latlas.profiler.tflite.writer import to_tflite
from latlas.search.spaces import NasnetSpace, open_space, parse_settings, restore_space
from latlas.search.spaces.cell import OPERATORS, Combination
from latlas.search.spaces.nasnet import NASNET_A, STACKINGS

SMALL = NasnetSpace(resolution=33, cells=1, filters=12, classes=5, stem_reductions=1)
GENES = st.tuples(*(st.integers(0, count - 1) for count in SMALL.choices))


def test_its_size() -> None:
    assert len(OPERATORS) == 13
    assert len(SMALL.choices) == 50
    assert SMALL.size == pytest.approx(5.23e36, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("nasnet_a_mobile", (5_289_978, 563_638_816)),
        ("nasnet_a_large", (88_753_150, 23_783_414_658)),
        ("nasnet_a_cifar", (3_346_538, 544_333_312)),
    ],
)
def test_published_networks(name: str, exact: tuple[int, int]) -> None:
    space = STACKINGS[name]
    found = count(space.decode(space.encode(*NASNET_A)))
    assert (found.params, found.madds) == exact


@settings(max_examples=30, deadline=None)
@given(genes=GENES)
def test_every_chromosome_is_a_network(genes: tuple[int, ...]) -> None:
    graph = SMALL.decode(genes)
    assert graph.shapes[-1] == (1, 5)
    assert count(fold(graph)).madds == count(graph).madds


def test_genes_and_cells() -> None:
    cell = tuple(Combination(0, state + 1, OPERATORS[state], "max_5x5") for state in range(5))
    genes = SMALL.encode(cell, cell)
    assert genes[:10] == (0, 1, 0, 6, 0, 0, 2, 1, 6, 0)
    with pytest.raises(SearchError, match="nasnet is 50 integers"):
        SMALL.encode(cell[:4], cell)
    with pytest.raises(SearchError, match="nasnet is 50 integers"):
        SMALL.decode((2,) * 50)  # the first state has two inputs to read, 0 and 1
    with pytest.raises(SearchError, match="not a cell"):
        SMALL.encode((cell[0]._replace(left_operator="conv_9x9"), *cell[1:]), cell)


@pytest.mark.parametrize("kind", ["b", "c"])
def test_spaces_of_nasnet_b_and_c(kind: Literal["b", "c"]) -> None:
    space = replace(SMALL, kind=kind)
    inputs, states = (4, 4) if kind == "b" else (2, 5)
    cell = math.prod((inputs + b) ** 2 for b in range(states)) * (13**2 * 4) ** states
    assert space.size == cell**2
    for genes in space.sample(4, seed=0):
        graph = fold(space.decode(genes))
        assert read_tflite(to_tflite(graph)) == graph
        for delegate in ("cpu", "gpu"):
            kernels = split(graph, rules_for(delegate))
            assert sum(count(kernel.graph).madds for kernel in kernels) == count(graph).madds


def test_every_state_of_nasnet_b_goes_to_the_next_cell() -> None:
    space = replace(SMALL, kind="b", stem_reductions=0)
    # A cell whose new state i comes from input i alone: the four paths never meet but at the end.
    cell = tuple(Combination(i, i, "separable_3x3", "identity", "add") for i in range(4))
    graph = space.decode(space.encode(cell, cell))
    found = [node.op for node in graph.nodes if isinstance(node.op, DepthwiseConv2D)]
    assert len(found) == 5 * 4 * 2
    assert sum(op.stride == (2, 2) for op in found) == 2 * 4
    joined = [node for node in graph.nodes if isinstance(node.op, Concat)]
    assert [len(node.inputs) for node in joined] == [4]
    # What reads the first input only leaves the other three paths out, but for the last cell's.
    alone = tuple(Combination(0, 0, "separable_3x3", "identity", "add") for _ in range(4))
    graph = space.decode(space.encode(alone, alone))
    found = [node.op for node in graph.nodes if isinstance(node.op, DepthwiseConv2D)]
    assert len(found) == 4 * 2 + 4 * 2


@pytest.mark.parametrize(
    ("combine", "mean"),
    [("add_layer_norm", Reduce("mean", (1, 2, 3))), ("add_instance_norm", Mean())],
)
def test_normalised_additions(combine: str, mean: Op) -> None:
    space = replace(SMALL, kind="c")
    plain = tuple(Combination(0, 1, "separable_3x3", "identity", "add") for _ in range(5))
    normalised = tuple(one._replace(combine=combine) for one in plain)
    graph = space.decode(space.encode(normalised, plain))
    # Mean and variance of 5 states in 3 normal cells; the classifier takes a mean, too.
    found = [node.op for node in graph.nodes].count(mean)
    assert found == 2 * 5 * 3 + (combine == "add_instance_norm")
    more = count(graph).params - count(space.decode(space.encode(plain, plain))).params
    assert more == 5 * 2 * (12 + 24 + 48)
    with pytest.raises(SearchError, match="nasnet is 50 integers"):
        SMALL.encode(normalised, plain)


@given(seed=st.integers(0, 10_000), kind=st.sampled_from(["a", "b", "c"]))
def test_mutations_are_of_three_kinds(seed: int, kind: Literal["a", "b", "c"]) -> None:
    space = replace(SMALL, kind=kind)
    rng = np.random.default_rng(seed)
    (genes,) = space.sample(1, seed)
    changed = Counter[int]()
    for _ in range(120):
        other = space.mutate(genes, rng)
        space.require(other)
        (place,) = [i for i, (a, b) in enumerate(zip(genes, other, strict=True)) if a != b]
        changed[place % 5] += 1
    assert changed[0] + changed[1] > 1
    assert changed[2] + changed[3] > 1
    assert changed[4] > 1


def test_width_multiplies_filters() -> None:
    wide = replace(SMALL, width=2.0)
    genes = SMALL.sample(1, seed=0)[0]
    assert wide.decode(genes) == replace(SMALL, filters=24, stem_filters=64).decode(genes)
    assert replace(SMALL, width=0.1).scaled(12) == 8
    assert replace(SMALL, width=1.5).scaled(44) == 64


@pytest.mark.parametrize(
    ("name", "resolution", "classes", "texts"),
    [
        ("nasnet_a_mobile", 224, 1000, "N=4 F=44 kept=authors"),
        (
            *("nasnet_a_large", 331, 1000),
            "N=6 F=168 stem_filters=96 skip_reduction=yes kept=authors",
        ),
        ("nasnet_a_cifar", 32, 10, "N=6 F=32 stem_filters=96 stem_reductions=0 kept=1/3"),
    ],
)
def test_settings_of_the_authors_networks(
    name: str, resolution: int, classes: int, texts: str
) -> None:
    chosen = parse_settings([texts])
    space = open_space("nasnet", resolution=resolution, classes=classes, settings=chosen)
    assert space == STACKINGS[name]
    assert restore_space(space.identity) == space

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latlas.profiler.count import count
from latlas.profiler.errors import UsageError
from latlas.profiler.fold import is_folded
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Graph
from latlas.profiler.kernel import split
from latlas.profiler.ops import BatchMatmul, Binary, Conv2D, DepthwiseConv2D
from latlas.profiler.samples.networks import (
    FAMILIES,
    MAX_NODES,
    MAX_WEIGHTS,
    SYMMETRIC,
    designed_networks,
)
from latlas.profiler.tflite.reader import read_tflite
from latlas.profiler.tflite.writer import to_tflite


@pytest.fixture(scope="module")
def networks() -> dict[str, Graph]:
    return designed_networks(2 * len(FAMILIES), seed=1)


def family_of(name: str) -> str:
    return name.rpartition("-")[2]


def test_networks_have_the_sizes_of_their_families(networks: dict[str, Graph]) -> None:
    assert Counter(map(family_of, networks)) == dict.fromkeys(FAMILIES, 2)
    for name, graph in networks.items():
        size = count(graph)
        low, high = FAMILIES[family_of(name)].madds
        assert low <= size.madds + size.se_madds <= high
        assert size.params <= MAX_WEIGHTS
        assert len(graph.nodes) <= MAX_NODES
        assert is_folded(graph)


def test_multiply_adds_are_spread_evenly() -> None:
    low, high = FAMILIES["separable"].madds
    graphs = designed_networks(8, seed=2, families=("separable",)).values()
    sizes = sorted(count(graph).madds for graph in graphs)
    assert sizes[1] < (low * high) ** 0.5 < sizes[-2]
    assert sizes[-1] > 10 * sizes[0]


def test_more_networks_extend_fewer(networks: dict[str, Graph]) -> None:
    fewer = designed_networks(5, seed=1)
    assert list(networks)[:5] == list(fewer)
    assert all(networks[name] == graph for name, graph in fewer.items())
    texts = {graph.to_text() for graph in networks.values()}
    assert len(texts) == len(networks)


def test_seeds_differ() -> None:
    (one,), (other,) = (designed_networks(1, seed=seed).values() for seed in (1, 2))
    assert one != other


def test_some_products_of_int8_have_a_symmetric_right_operand() -> None:
    shares = []
    for int8 in (False, True):
        graphs = designed_networks(8, seed=1, families=("transformer", "hybrid"), int8=int8)
        ops = [node.op for graph in graphs.values() for node in graph.nodes]
        shares.append(np.mean([op.symmetric for op in ops if isinstance(op, BatchMatmul)]))
    assert shares[0] == 0
    assert SYMMETRIC / 2 < shares[1] < 2 * SYMMETRIC


def test_pixels_are_normalised_in_either_way() -> None:
    graphs = designed_networks(60, seed=0, families=("separable", "basic")).values()
    second = [graph.nodes[1].op for graph in graphs]
    assert Binary("sub", constant=(3,)) in second
    assert Binary("add", value=-1.0) in second


def test_networks_hold_a_variety_of_kernels(networks: dict[str, Graph]) -> None:
    kernels = {kernel for g in networks.values() for kernel in split(g, rules_for("cpu"))}
    kinds = Counter(kernel.type for kernel in kernels)
    assert len(kernels) > 25 * len(networks)
    assert {"add", "mul", "concat", "fully_connected", "mean", "average_pool", "max_pool"} < {
        *kinds
    }
    convolutions = [kernel.op for kernel in kernels if isinstance(kernel.op, Conv2D)]
    assert {op.kernel for op in convolutions} > {(1, 1), (3, 3), (1, 7), (7, 1)}
    assert any(op.groups > 1 for op in convolutions)
    assert any(op.dilation != (1, 1) for op in convolutions)
    assert any(op.filters % 8 for op in convolutions)
    depthwise = [kernel.op for kernel in kernels if isinstance(kernel.op, DepthwiseConv2D)]
    assert {op.kernel for op in depthwise} >= {(3, 3), (5, 5), (7, 7)}


@pytest.mark.parametrize("family", FAMILIES)
def test_files_read_back(family: str) -> None:
    ((_, graph),) = designed_networks(1, seed=3, families=(family,)).items()
    again = read_tflite(to_tflite(graph))
    assert split(again, rules_for("cpu")) == split(graph, rules_for("cpu"))


@given(seed=st.integers(0, 10**6), family=st.sampled_from(sorted(FAMILIES)))
@settings(max_examples=25, deadline=None)
def test_any_seed_gives_a_network(seed: int, family: str) -> None:
    (graph,) = designed_networks(1, seed, (family,)).values()
    assert FAMILIES[family].madds[0] <= count(graph).madds + count(graph).se_madds


@pytest.mark.parametrize("families", [(), ("vgg",)])
def test_unknown_families_are_refused(families: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="known are inverted"):
        designed_networks(1, families=families)

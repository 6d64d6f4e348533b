"""Rules that were found out by measuring."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import graphs

from latlas.profiler.errors import GraphError
from latlas.profiler.fold import fold
from latlas.profiler.fusion import GpuDelegateRules, XnnpackRules, rules_for, rules_named
from latlas.profiler.fusion.detected import MOVERS, DetectedRules
from latlas.profiler.fusion.probes import TYPES
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.kernel import Kernel, op_type, split
from latlas.profiler.ops import Constant
from latlas.profiler.quantise import quantise
from latlas.search import zoo

CLIPS = frozenset(product(("conv2d", "depthwise_conv2d", "fully_connected"), ("relu", "relu6")))
FREE = frozenset((kind, "reshape") for kind in TYPES)
PADS = frozenset({("pad", "conv2d"), ("pad", "depthwise_conv2d")})
LIKE_XNNPACK = DetectedRules(CLIPS | FREE | PADS)

ELEMENTWISE = ("add", "mul", "sub", "relu", "relu6", "hard_swish", "logistic", "tanh")
LIKE_GPU = DetectedRules(frozenset(product(TYPES, ELEMENTWISE)) | CLIPS | PADS, second_input=True)


@pytest.mark.parametrize("name", zoo.names())
def test_networks_are_split_as_by_rules_that_are_known(name: str) -> None:
    graph = fold(zoo.build(name, 64))
    # what XNNPACK does not take changes its order
    assert LIKE_XNNPACK.groups(graph) == sorted(XnnpackRules().groups(graph))
    for kernel in split(graph, LIKE_XNNPACK):
        assert LIKE_XNNPACK.operators(kernel) == XnnpackRules().operators(kernel), kernel.text


def test_elementwise_operators_merge_as_on_a_gpu() -> None:
    b = GraphBuilder((1, 8, 8, 4))
    x = b.hard_swish(b.conv(0, 4, 1))
    y = b.logistic(b.depthwise(x, 3))
    z = b.add(x, y)
    graph = b.build(b.mul(z, b.conv(z, 4, 1)))
    assert LIKE_GPU.groups(graph) == GpuDelegateRules().groups(graph)
    assert LIKE_GPU.groups(graph) == [(0, 1), (2, 3, 4), (5, 6)]


def test_a_value_with_two_readers() -> None:
    b = GraphBuilder((1, 8, 8, 4))
    x = b.conv(0, 4, 1)
    graph = b.build(b.activation(x, "tanh"), b.mean(x))
    pairs = frozenset({("conv2d", "tanh")})
    assert DetectedRules(pairs).groups(graph) == [(0,), (1,), (2,)]
    assert DetectedRules(pairs, several_readers=True).groups(graph) == [(0, 1), (2,)]


def test_a_value_that_is_an_output() -> None:
    b = GraphBuilder((1, 8, 8, 4))
    x = b.conv(0, 4, 1)
    graph = b.build(b.hard_swish(x), x)
    assert DetectedRules(frozenset({("conv2d", "hard_swish")})).groups(graph) == [(0,), (1,)]


@pytest.mark.parametrize(("first", "second_input", "groups"), [
    (True, False, [(0, 1)]),
    (False, False, [(0,), (1,)]),
    (False, True, [(0, 1)]),
])  # fmt: skip
def test_the_place_among_the_inputs(
    first: bool, second_input: bool, groups: list[tuple[int, ...]]
) -> None:
    b = GraphBuilder((1, 8, 8, 4), (1, 8, 8, 4))
    x = b.conv(0, 4, 1)
    graph = b.build(b.add(x, 1) if first else b.add(1, x))
    rules = DetectedRules(frozenset({("conv2d", "add")}), second_input=second_input)
    assert rules.groups(graph) == groups


def test_what_is_not_ready_is_not_merged_with() -> None:
    b = GraphBuilder((1, 8, 8, 4))
    x = b.conv(0, 4, 1)
    graph = b.build(b.add(x, b.conv(0, 4, 1)))
    rules = DetectedRules(frozenset({("conv2d", "add")}))
    assert rules.groups(graph) == [(0,), (1,), (2,)]


def test_chains() -> None:
    b = GraphBuilder((1, 8, 8, 4))
    graph = b.build(b.logistic(b.hard_swish(b.conv(0, 4, 1))))
    pairs = frozenset({("conv2d", "hard_swish"), ("hard_swish", "logistic")})
    assert DetectedRules(pairs).groups(graph) == [(0, 1, 2)]
    assert DetectedRules(pairs, chains=False).groups(graph) == [(0, 1), (2,)]


def test_a_fused_activation_is_the_end_of_its_operator() -> None:
    b = GraphBuilder((1, 8, 8, 4))
    graph = fold(b.build(b.hard_swish(b.relu6(b.conv(0, 4, 1)))))
    assert DetectedRules(frozenset({("relu6", "hard_swish")})).groups(graph) == [(0, 1)]
    assert DetectedRules(frozenset({("conv2d", "hard_swish")})).groups(graph) == [(0,), (1,)]
    not_three = DetectedRules(frozenset({("relu6", "hard_swish")}), chains=False)
    assert not_three.groups(graph) == [(0,), (1,)]


def test_operators_of_a_kernel() -> None:
    b = GraphBuilder((1, 8, 8, 4))
    x = b.conv(b.pad(0, (2, 2, 2, 2)), 4, 3, padding="valid")
    (kernel,) = split(fold(b.build(b.relu6(x))), DetectedRules(frozenset()))
    assert DetectedRules(frozenset()).operators(kernel) == 3
    assert DetectedRules(frozenset({("conv2d", "relu6")})).operators(kernel) == 2
    assert DetectedRules(frozenset({("pad", "conv2d"), ("conv2d", "relu6")})).operators(kernel) == 1


def test_what_only_moves_data_is_no_kernel_where_it_merges() -> None:
    b = GraphBuilder((1, 4, 4, 4))
    x = b.max_pool(b.pad(b.reshape(b.conv(0, 4, 1), (1, 2, 8, 4)), (1, 1, 1, 1)), 2)
    graph = b.build(x)
    assert DetectedRules(frozenset()).groups(graph) == [(0,), (1,), (2,), (3,)]
    behind = DetectedRules(frozenset({("conv2d", "reshape")}))
    assert behind.groups(graph) == [(0,), (2,), (3,)]
    before = DetectedRules(frozenset({("pad", "max_pool")}))
    assert before.groups(graph) == [(0,), (1,), (3,)]


pairs = st.frozensets(st.tuples(st.sampled_from(TYPES), st.sampled_from(TYPES)), max_size=30)


@given(pairs, st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_a_version_says_all(
    fused: frozenset[tuple[str, str]], readers: bool, second: bool, broadcast: bool, chains: bool
) -> None:
    rules = DetectedRules(fused, readers, second, broadcast, chains)
    assert DetectedRules.from_version(rules.version) == rules
    assert rules_named(rules.version, "gpu") == rules
    assert DetectedRules(fused, readers, second, broadcast, not chains).version != rules.version


@given(st.text(alphabet="dects-0a>,; chain", max_size=40))
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(GraphError, match="not a version"):
        DetectedRules.from_version("detected-" + text)


@given(pairs, st.sampled_from(["mobilenet_v2", "mobilenet_v3_small"]))
def test_every_kernel_can_be_measured(fused: frozenset[tuple[str, str]], name: str) -> None:
    rules = DetectedRules(fused, several_readers=True, second_input=True)
    known = zoo.names()
    graph = fold(zoo.build(name if name in known else known[0], 32))
    groups = rules.groups(graph)
    positions = [position for group in groups for position in group]
    assert len(set(positions)) == len(positions)
    for kernel in split(graph, rules):
        assert kernel.graph.outputs
        assert rules.operators(kernel) >= 1


def test_what_is_stored_in_the_model_is_no_kernel() -> None:
    b = GraphBuilder((1, 8, 8, 4))
    x = b.add(b.apply(Constant((1, 8, 8, 4))), b.conv(0, 4, 1))
    graph = b.build(b.concat([b.apply(Constant((1, 8, 8, 2))), b.hard_swish(x)], axis=3))
    assert DetectedRules(frozenset()).groups(graph) == [(1,), (2,), (4,), (5,)]
    # It is ready before anything runs, and takes no input's place.
    pairs = frozenset({("conv2d", "add"), ("add", "hard_swish"), ("constant", "add")})
    rules = DetectedRules(pairs)
    assert rules.groups(graph) == [(1, 2, 4), (5,)]
    assert [kernel.type for kernel in split(graph, rules)] == ["conv2d", "concat"]


def test_int8_has_other_rules() -> None:
    b = GraphBuilder((1, 8, 8, 4))
    graph = quantise(b.build(b.conv(0, 4, 1)))
    with pytest.raises(GraphError, match="int8"):
        DetectedRules(CLIPS).groups(graph)


def test_rules_by_name() -> None:
    assert rules_named("xnnpack-1", "cpu").version == rules_for("cpu").version
    assert rules_named("gpu-delegate-1", "gpu", "Adreno (TM) 640").version == "gpu-delegate-1"
    for version, delegate in (("xnnpack-1", "gpu"), ("xnnpack-0", "cpu"), ("", "cpu")):
        with pytest.raises(GraphError, match=f"no fusion rules '{version}'"):
            rules_named(version, delegate)


def test_the_longest_rules_that_a_file_can_hold_are_read_back() -> None:
    types = ["t" * 56 + f"{number:04d}" for number in range(4000)]
    rules = DetectedRules(frozenset(pairwise(types)))
    assert DetectedRules.from_version(rules.version) == rules


@given(graphs(), pairs, st.booleans(), st.booleans())
@settings(max_examples=40)
def test_every_operator_is_in_one_kernel_at_most(
    graph: Graph, fused: frozenset[tuple[str, str]], readers: bool, chains: bool
) -> None:
    folded = fold(graph)
    rules = DetectedRules(fused, readers, second_input=True, broadcast=True, chains=chains)
    groups = rules.groups(folded)
    positions = [position for group in groups for position in group]
    assert len(set(positions)) == len(positions)
    missing = set(range(len(folded.nodes))) - set(positions)
    assert {op_type(folded.nodes[position].op) for position in missing} <= MOVERS | {"constant"}
    for kernel in split(folded, rules):
        assert Kernel.from_text(kernel.text) == kernel

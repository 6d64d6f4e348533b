"""The merge rules of TFLite's GPU delegate, by hand-made examples."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from components import require

from latlas.profiler.benchmark_model.output_parser import parse_output
from latlas.profiler.fold import fold
from latlas.profiler.fusion.gpu import GpuDelegateRules
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.kernel import split
from latlas.profiler.ops import Binary, Constant, Prelu
from latlas.search import zoo

RULES = GpuDelegateRules()
LOG = (
    Path(__file__).parents[3].parent
    / "shared/benchmark_model_logs/gpu_mnv2_pocl_op_profiling_csv_file.txt"
)
MAP = (1, 8, 8, 4)


def groups(graph: Graph) -> list[tuple[int, ...]]:
    found = RULES.groups(graph)
    assert sorted(node for group in found for node in group) == list(range(len(graph.nodes)))
    return found


def test_elementwise_chains_merge_into_their_producer() -> None:
    b = GraphBuilder(MAP)
    x = b.hard_swish(b.conv(0, 4, 3))
    x = b.apply(Binary("mul", value=2.0), b.apply(Binary("add", constant=(4,)), x))
    assert groups(b.build(b.conv(x, 4, 1))) == [(0, 1, 2, 3), (4,)]


def test_what_is_not_elementwise_does_not_merge() -> None:
    b = GraphBuilder(MAP)
    x = b.softmax(b.mean(b.max_pool(b.conv(0, 4, 3), 2)))
    assert groups(b.build(x)) == [(0,), (1,), (2,), (3,)]


def test_an_output_does_not_merge() -> None:
    b = GraphBuilder(MAP)
    x = b.conv(0, 4, 3)
    assert groups(b.build(b.hard_swish(x), x)) == [(0,), (1,)]


def test_a_value_with_two_consumers_does_not_merge() -> None:
    b = GraphBuilder(MAP)
    x = b.conv(0, 4, 3)
    assert groups(b.build(b.hard_swish(x), b.logistic(x))) == [(0,), (1,), (2,)]


def test_a_value_read_twice_by_one_node_does_not_merge() -> None:
    b = GraphBuilder(MAP)
    x = b.conv(0, 4, 3)
    assert groups(b.build(b.mul(x, x))) == [(0,), (1,)]


@pytest.mark.parametrize("swapped", [False, True])
def test_a_residual_merges_into_the_later_branch(swapped: bool) -> None:
    """ADD and MUL of equal shapes read what was written last first, however they are spelled."""
    b = GraphBuilder(MAP)
    x = b.conv(0, 4, 3)
    y = b.conv(b.conv(x, 4, 3), 4, 3)
    graph = b.build(b.add(y, x) if swapped else b.add(x, y))
    assert groups(graph) == [(0,), (1,), (2, 3)]


def test_two_branches_merge_into_the_later_one() -> None:
    b = GraphBuilder(MAP)
    x, y = b.conv(0, 4, 3), b.conv(0, 4, 1)
    assert groups(b.build(b.add(x, y))) == [(0,), (1, 2)]


def test_a_gate_of_another_shape_must_be_ready_first() -> None:
    """MUL with broadcast reads the map first, and the gate is not ready when the map is made."""
    b = GraphBuilder(MAP)
    x = b.depthwise(0, 3)
    gate = b.logistic(b.conv(b.mean(x), 4, 1))
    assert groups(b.build(b.mul(x, gate))) == [(0,), (1,), (2, 3), (4,)]


def test_a_gate_that_is_ready_lets_the_map_merge() -> None:
    b = GraphBuilder(MAP, (1, 1, 1, 4))
    x = b.depthwise(0, 3)
    assert groups(b.build(b.mul(x, 1))) == [(0, 1)]
    b = GraphBuilder(MAP, (1, 1, 1, 4))
    assert groups(b.build(b.mul(1, b.depthwise(0, 3)))) == [(0,), (1,)]


def test_a_stored_tensor_is_no_kernel_and_always_ready() -> None:
    b = GraphBuilder(MAP)
    x = b.conv(0, 4, 3)
    y = b.apply(Prelu((4,)), b.add(x, b.apply(Constant(MAP))))
    assert RULES.groups(b.build(y)) == [(0, 2, 3)]


def test_attention_is_one_kernel_for_each_operator() -> None:
    b = GraphBuilder((1, 7, 2, 16))
    q = b.transpose(0, (0, 2, 1, 3))
    scores = b.apply(Binary("mul", value=0.25), b.matmul(q, q, adj_y=True))
    assert groups(b.build(b.matmul(b.softmax(scores), q))) == [(0,), (1, 2), (3,), (4,)]


def test_a_chain_keeps_its_other_inputs() -> None:
    b = GraphBuilder(MAP)
    x = b.conv(0, 4, 3)
    y = b.hard_swish(b.add(0, b.conv(x, 4, 3)))
    _, kernel = split(b.build(y), RULES)
    assert kernel.inputs == (MAP, MAP)
    assert [node.op.name for node in kernel.nodes] == ["conv2d", "binary", "activation"]
    assert [node.inputs for node in kernel.nodes] == [(0,), (1, 2), (3,)]
    assert RULES.operators(kernel) == 1


@pytest.mark.parametrize("name", zoo.names())
def test_every_node_of_a_network_is_in_one_kernel(name: str) -> None:
    graph = fold(zoo.build(name, 64))
    groups(graph)
    kernels = split(graph, RULES)
    assert sum(len(kernel.nodes) for kernel in kernels) == len(graph.nodes)
    written = {math.prod(kernel.graph.shapes[-1]) for kernel in kernels}
    assert {math.prod(graph.shapes[value]) for value in graph.outputs} <= written


@pytest.mark.parametrize(
    ("adapter", "size", "read", "written", "kernels"),
    [
        ("Mali-G78", 24, 64, 64, 3),
        ("Mali-G78", 20, 64, 64, 1),  # 25 tiles of 4x4
        ("Mali-G78", 24, 60, 64, 1),
        ("PowerVR GE8320", 24, 64, 64, 3),
        ("Xclipse 940", 24, 64, 32, 3),
        ("Adreno (TM) 640", 48, 128, 128, 3),
        ("Adreno (TM) 640", 40, 128, 128, 1),  # 100 tiles
        ("Adreno (TM) 740", 40, 128, 128, 3),
        ("Adreno (TM) 740", 40, 124, 128, 1),
    ],
)
def test_large_convolutions_are_three_kernels(
    adapter: str, size: int, read: int, written: int, kernels: int
) -> None:
    rules = GpuDelegateRules(adapter)
    for stride, spread, kernel, expected in (
        (1, 1, 3, kernels),
        (2, 1, 3, 1),
        (1, 2, 3, 1),
        (1, 1, 5, 1),
    ):
        b = GraphBuilder((1, size, size, read))
        x = b.conv(0, written, kernel, stride=stride, dilation=spread)
        (found,) = split(b.build(x), rules)
        assert rules.operators(found) == expected


def test_a_real_profile_lists_what_the_rules_say() -> None:
    """On OpenCL the classic tool has a row for each kernel of MobileNetV2, named by its parts."""
    require("a log of benchmark_model", LOG.exists(), "put the logs into ../shared")
    text = LOG.read_text()
    rows = parse_output(*text.split("===== file g.csv =====\n", 1)[::-1]).ops
    graph = fold(zoo.build("mobilenet_v2"))
    kernels = split(graph, RULES)
    listed = [row.type for row in rows if not row.type.startswith("softmax")]
    assert len(listed) == sum(RULES.operators(kernel) for kernel in kernels)
    names = {"conv2d": "convolution_2d", "depthwise_conv2d": "depthwise_convolution"}
    for kernel, row in zip(kernels, listed, strict=True):
        assert row.startswith(names.get(kernel.type, kernel.type))
        assert ("-> add" in row) == any(isinstance(node.op, Binary) for node in kernel.nodes)

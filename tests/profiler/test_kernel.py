from __future__ import annotations

import math

import pytest
from hypothesis import given
from random_graphs import graphs

from latlas.profiler.errors import GraphError
from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Graph, GraphBuilder
from latlas.profiler.kernel import Kernel, split
from latlas.profiler.ops import Binary, Conv2D
from latlas.profiler.target import Delegate
from latlas.profiler.tflite.writer import to_tflite

MAP = (1, 8, 8, 4)
SMALL = (1, 1, 1, 4)


def last(graph: Graph) -> Kernel:
    return split(graph, rules_for("cpu"))[-1]


def test_a_pointwise_convolution_of_a_1x1_map_is_a_fully_connected_layer() -> None:
    b = GraphBuilder(SMALL)
    conv = last(b.build(b.conv(0, 6, 1, activation="relu")))
    assert conv.text == "1x4 | fully_connected units=6 activation=relu @0 | @1"
    b = GraphBuilder((1, 2, 2, 1))
    assert last(b.build(b.fully_connected(0, 6))).inputs == ((1, 4),)


@pytest.mark.parametrize(
    "op",
    [
        Conv2D(4, (3, 3), padding=(1, 1, 1, 1)),
        Conv2D(4, (1, 1), padding=(1, 0, 0, 0)),
        Conv2D(4, (1, 1), groups=2),
    ],
)
def test_other_convolutions_of_a_1x1_map_stay(op: Conv2D) -> None:
    b = GraphBuilder(SMALL)
    assert last(b.build(b.apply(op, 0))).op == op


def test_the_larger_operand_comes_first_where_order_does_not_matter() -> None:
    b = GraphBuilder(SMALL, MAP)
    assert last(b.build(b.mul(0, 1))) == last(b.build(b.mul(1, 0)))
    assert last(b.build(b.mul(0, 1))).inputs == (MAP, SMALL)
    one, other = (last(b.build(b.apply(Binary("sub"), *order))) for order in ((0, 1), (1, 0)))
    assert one != other


def test_the_number_behind_a_constant_does_not_matter() -> None:
    b = GraphBuilder(MAP)
    one, other = (b.build(b.apply(Binary("mul", value=value), 0)) for value in (2.0, 1 / 6))
    assert last(b.build(b.apply(Binary("mul", constant=(4,)), 0))) != last(one)
    kernels = {split(graph, rules_for("gpu"))[-1] for graph in (one, other)}
    assert len(kernels) == 1


def test_names_and_flat_maps_do_not_matter() -> None:
    b = GraphBuilder(MAP)
    mean = last(b.build(b.mean(0, keepdims=False)))
    assert mean == last(b.build(b.mean(0)))
    flat, round_ = GraphBuilder((1, 10)), GraphBuilder((1, 1, 1, 10))
    for append in ("relu", "softmax", "hard_swish"):
        kernels = {last(b.build(getattr(b, append)(0))) for b in (flat, round_)}
        assert len(kernels) == 1
    b = GraphBuilder(MAP)
    x = b.apply(Conv2D(4, (1, 1)), 0, name="a")
    twice = split(b.build(b.apply(Conv2D(4, (1, 1)), x, name="b")), rules_for("cpu"))
    assert twice[0] == twice[1]


def test_types() -> None:
    b = GraphBuilder(MAP, MAP)
    graph = b.build(b.relu(b.average_pool(b.add(b.conv(0, 4, 1), 1), 3)))
    assert [k.type for k in split(graph, rules_for("cpu"))] == [
        "conv2d",
        "add",
        "average_pool",
        "relu",
    ]


def test_the_training_form_is_refused() -> None:
    b = GraphBuilder(MAP)
    with pytest.raises(GraphError, match="fold"):
        split(b.build(b.batch_norm(0)), rules_for("cpu"))


@pytest.mark.parametrize("delegate", ["cpu", "gpu"])
@given(graph=graphs(most=10))
def test_kernels_of_any_network(delegate: Delegate, graph: Graph) -> None:
    """Every kernel can be written, named, and gives as many elements as its nodes gave."""
    folded = fold(graph)
    rules = rules_for(delegate)
    first = len(folded.inputs)
    for group, kernel in zip(rules.groups(folded), split(folded, rules), strict=True):
        assert len(group) == len(kernel.nodes)
        assert Kernel.from_text(kernel.text) == kernel
        shapes = kernel.graph.shapes
        assert math.prod(shapes[-1]) == math.prod(folded.shapes[first + group[-1]])
        assert fold(kernel.graph) == kernel.graph or len(group) > 1
        assert to_tflite(kernel.graph)

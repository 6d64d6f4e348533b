from __future__ import annotations

import math

import pytest
from hypothesis import given
from random_graphs import graphs

from latlas.profiler.errors import GraphError
from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.kernel import Kernel, split
from latlas.profiler.ops import (
    Activation,
    BatchMatmul,
    Binary,
    Broadcast,
    Concat,
    Conv2D,
    FullyConnected,
    Gather,
    Op,
    Reduce,
    Shape,
    Slice,
    Softmax,
    Transpose,
)
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
    x = b.average_pool(b.add(b.conv(0, 4, 1), 1), 3)
    graph = b.build(b.relu(b.apply(Reduce("max", (1,)), x)))
    assert [k.type for k in split(graph, rules_for("cpu"))] == [
        "conv2d",
        "add",
        "average_pool",
        "reduce_max",
        "relu",
    ]


FORMS: list[tuple[Op, tuple[Shape, ...], str]] = [
    (Transpose((0, 2, 1, 3)), ((1, 17, 2, 16),), "17x2x16 | transpose perm=1x0x2"),
    (Transpose((1, 0, 2)), ((17, 2, 16),), "17x2x16 | transpose perm=1x0x2"),
    (Transpose((0, 3, 1, 2)), ((1, 7, 7, 16),), "49x16 | transpose perm=1x0"),
    (Transpose((0, 2, 1)), ((1, 5, 1),), "5 | transpose perm=0"),
    (Reduce("mean", (1,), False), ((1, 196, 64),), "1x196x1x64 | mean"),
    (Reduce("mean", (2,)), ((1, 196, 64),), "196x64 | reduce kind=mean axes=1"),
    (Reduce("mean", (3,)), ((1, 14, 14, 64),), "196x64 | reduce kind=mean axes=1"),
    (Reduce("sum", (1, 2)), ((1, 1, 1, 8),), "8x1 | reduce kind=sum axes=1"),
    (FullyConnected(8, keepdims=True), ((1, 4, 17, 32),), "68x32 | fully_connected units=8"),
    (Softmax(), ((1, 2, 5, 17, 17),), "1x1x170x17 | softmax"),
    (Activation("gelu"), ((1, 17, 32),), "1x1x17x32 | activation kind=gelu"),
    (Activation("leaky_relu", 0.3), ((8,),), "1x1x1x8 | activation kind=leaky_relu"),
    (Concat(1), ((1, 1, 32), (1, 16, 32)), "1x1x1x32,1x1x16x32 | concat axis=2"),
    (Slice((0, 3, 0), (1, 1, 32)), ((1, 17, 32),), "1x1x17x32 | slice begin=0x0x0x0 size=1x1x1x32"),
    (Binary("add", constant=(17, 32)), ((1, 17, 32),), "1x1x1x544 | binary kind=add constant=544"),
    (
        Binary("mul"),
        ((1, 17, 1), (1, 17, 32)),
        "1x1x17x32,1x1x17x1 | binary kind=mul",
    ),
    (
        Binary("sub"),
        ((1, 4, 16, 4, 16), (1, 4, 16, 1, 1)),
        "1x1x64x64,1x1x64x1 | binary kind=sub",
    ),
    (
        BatchMatmul(),
        ((1, 2, 3, 17, 16), (1, 2, 3, 16, 17)),
        "6x17x16,6x16x17 | batch_matmul",
    ),
    (BatchMatmul(constant=(1, 16, 9)), ((1, 17, 16),), "1x17x16 | batch_matmul constant=16x9"),
    (Broadcast((1, 17, 32)), ((1, 1, 32),), "1x32 | broadcast shape=17x32"),
    (Gather(2, 3), ((1, 4, 5, 6),), "4x5x6 | gather axis=1 count=3"),
]


@pytest.mark.parametrize(("op", "inputs", "text"), FORMS, ids=lambda part: str(part)[:40])
def test_equal_work_has_one_spelling(op: Op, inputs: tuple[Shape, ...], text: str) -> None:
    b = GraphBuilder(*inputs)
    kernel = last(b.build(b.apply(op, *range(len(inputs)))))
    assert kernel.text.rpartition(" | ")[0].rpartition(" @")[0] == text
    assert last(kernel.graph) == kernel


def test_a_value_times_itself_is_a_square() -> None:
    b = GraphBuilder(MAP)
    assert last(b.build(b.mul(0, 0))) == last(b.build(b.activation(0, "square")))


def test_a_transposed_right_operand_is_read_as_it_is() -> None:
    b = GraphBuilder((2, 17, 16), (2, 17, 16))
    turned = split(b.build(b.matmul(0, b.transpose(1, (0, 2, 1)))), rules_for("cpu"))
    b = GraphBuilder((2, 17, 16), (2, 17, 16))
    assert turned == split(b.build(b.matmul(0, 1, adj_y=True)), rules_for("cpu"))


def test_the_training_form_is_refused() -> None:
    b = GraphBuilder(MAP)
    with pytest.raises(GraphError, match="fold"):
        split(b.build(b.batch_norm(0)), rules_for("cpu"))


@pytest.mark.parametrize(
    "text",
    [
        "2x1,1x1x2x1 | binary kind=add @0,1 | @2",
        "1x1x2x3,2x3 | binary kind=mul @0,1 | @2",
        "2x3 | binary kind=add constant=2x3 @0 | @1",
        "2x3,1x3 | binary kind=sub @0,1 | @2",
    ],
)
def test_broadcasting_between_ranks_survives_the_spelling(text: str) -> None:
    graph = Graph.from_text(text)
    (kernel,) = split(graph, rules_for("cpu"))
    assert math.prod(kernel.graph.shapes[-1]) == math.prod(graph.shapes[-1])


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


@pytest.mark.parametrize(
    "text",
    [
        "1x4 | @0",
        "1x4 | constant shape=1x4 @ | @1",
        "1x4 | softmax @0 | softmax @1 | @1",
    ],
)
def test_what_is_no_kernel_is_refused(text: str) -> None:
    with pytest.raises(GraphError, match="not a kernel"):
        Kernel.from_text(text)
    with pytest.raises(GraphError, match="not a kernel"):
        Kernel.of(Graph.from_text(text))


@given(graph=graphs(most=10))
def test_a_shape_that_is_known_is_the_one_that_the_first_node_infers(graph: Graph) -> None:
    for kernel in split(fold(graph), rules_for("cpu")):
        first = kernel.nodes[0]
        inferred = first.op.infer(tuple([kernel.inputs[value] for value in first.inputs]))
        assert kernel.first_shape in (None, inferred)
        assert Kernel.from_text(kernel.text) == kernel


def test_the_shape_of_a_convolution_is_known() -> None:
    b = GraphBuilder(MAP)
    assert last(b.build(b.conv(b.input, 8, 3, stride=2))).first_shape == (1, 4, 4, 8)

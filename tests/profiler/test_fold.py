from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from random_graphs import graphs

from latlas.profiler.errors import GraphError
from latlas.profiler.fold import fold, is_folded, require_folded
from latlas.profiler.graph import Array, Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.ops import Activation, BatchNorm, Binary, Conv2D, FullyConnected, Pad, Resize
from latlas.profiler.random_weights import random_weights
from latlas.profiler.tflite.writer import to_tflite
from latlas.search import zoo

Evaluate = Callable[..., list[Array]]


def names(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes]


def check(graph: Graph, evaluate: Evaluate, numbers: Callable[[Graph], list[Array]]) -> Graph:
    """Fold a graph with random weights; its results must not change."""
    graph = graph.with_weights(random_weights(graph))
    folded = fold(graph)
    inputs = numbers(graph)
    expected, found = evaluate(graph, *inputs), evaluate(folded, *inputs)
    for want, got in zip(expected, found, strict=True):
        assert got.shape == want.shape
        scale = max(1.0, float(np.abs(want).max()))
        np.testing.assert_allclose(got / scale, want / scale, atol=2e-5)
    assert folded.weights is not None
    assert set(folded.weights) == set(folded.weight_shapes())
    return folded


@settings(max_examples=150)
@given(graph=graphs(most=10))
def test_folding_changes_no_result(
    graph: Graph, evaluate: Evaluate, numbers: Callable[[Graph], list[Array]]
) -> None:
    assume(not any(isinstance(node.op, Resize) for node in graph.nodes))
    results = evaluate(graph.with_weights(random_weights(graph)), *numbers(graph))
    assume(all(np.isfinite(result).all() for result in results))
    folded = check(graph, evaluate, numbers)
    assert is_folded(folded)
    assert fold(folded) == folded
    assert len(folded.outputs) == len(graph.outputs)


@given(graph=graphs(most=10))
def test_folding_with_and_without_weights_gives_the_same_structure(graph: Graph) -> None:
    assert fold(graph) == fold(graph.with_weights(random_weights(graph)))


@given(graph=graphs(most=10))
def test_the_shapes_are_those_that_the_nodes_infer(graph: Graph) -> None:
    folded = fold(graph)
    anew = Graph(folded.inputs, folded.nodes, folded.outputs, input_types=folded.input_types)
    assert folded.shapes == anew.shapes


@settings(max_examples=30)
@given(graph=graphs(most=6))
def test_the_runtime_computes_what_the_training_form_says(
    graph: Graph,
    evaluate: Evaluate,
    interpret: Evaluate,
    numbers: Callable[[Graph], list[Array]],
) -> None:
    assume(not any(isinstance(node.op, Resize) for node in graph.nodes))
    assume(all(value >= len(graph.inputs) for value in graph.outputs))
    graph = graph.with_weights(random_weights(graph))
    inputs = numbers(graph)
    expected = evaluate(graph, *inputs)
    assume(all(np.isfinite(want).all() for want in expected))
    found = interpret(to_tflite(fold(graph)), *inputs)
    for want, got in zip(expected, found, strict=True):
        scale = max(1.0, float(np.abs(want).max()))
        np.testing.assert_allclose(got.reshape(want.shape) / scale, want / scale, atol=1e-4)


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v3_small", "mnasnet_a1"])
def test_folding_a_network(
    name: str, evaluate: Evaluate, numbers: Callable[[Graph], list[Array]]
) -> None:
    graph = zoo.build(name, 32, classes=10)
    folded = check(graph, evaluate, numbers)
    assert not any(isinstance(node.op, BatchNorm) for node in folded.nodes)
    assert fold(folded) == folded


@pytest.mark.parametrize("bias", [False, True])
def test_batch_norm_goes_into_every_linear_layer(
    bias: bool, evaluate: Evaluate, numbers: Callable[[Graph], list[Array]]
) -> None:
    b = GraphBuilder((1, 5, 5, 4))
    x = b.relu6(b.batch_norm(b.conv(0, 8, 3, groups=2, bias=bias)))
    x = b.relu(b.batch_norm(b.depthwise(x, 3, multiplier=2, bias=bias), epsilon=0.1))
    x = b.batch_norm(b.batch_norm(b.fully_connected(x, 6, bias=bias)))
    folded = check(b.build(x), evaluate, numbers)
    assert names(folded) == ["conv2d", "depthwise_conv2d", "fully_connected"]
    assert [node.op.activation for node in folded.nodes] == ["relu6", "relu", "none"]
    assert all(node.op.bias for node in folded.nodes)


def test_batch_norm_elsewhere_is_a_multiplication_and_an_addition(
    evaluate: Evaluate, numbers: Callable[[Graph], list[Array]]
) -> None:
    b = GraphBuilder((1, 4, 4, 4))
    x = b.relu(b.conv(0, 4, 3))
    x = b.relu6(b.batch_norm(x))  # behind an activation
    folded = check(b.build(x, b.batch_norm(0)), evaluate, numbers)
    assert names(folded) == ["conv2d", "binary", "binary", "binary", "binary"]
    assert folded.nodes[2].op == Binary("add", "relu6", constant=(4,))


def test_a_convolution_with_two_readers_keeps_its_result(
    evaluate: Evaluate, numbers: Callable[[Graph], list[Array]]
) -> None:
    b = GraphBuilder((1, 4, 4, 4))
    x = b.conv(0, 4, 3)
    y = b.add(b.relu(x), b.batch_norm(x))
    folded = check(b.build(b.mul(y, b.hard_sigmoid(x))), evaluate, numbers)
    assert folded.nodes[0].op == Conv2D(4, (3, 3), padding=(1, 1, 1, 1))
    assert Activation("relu") in [node.op for node in folded.nodes]


@pytest.mark.parametrize("append", ["relu", "relu6", "batch_norm", "hard_sigmoid"])
def test_an_output_is_not_swallowed(
    append: str, evaluate: Evaluate, numbers: Callable[[Graph], list[Array]]
) -> None:
    b = GraphBuilder((1, 4, 4, 4))
    x = b.conv(0, 4, 3)
    graph = b.build(getattr(b, append)(x), x)
    folded = check(graph, evaluate, numbers)
    assert folded.nodes[folded.outputs[1] - 1].op == Conv2D(4, (3, 3), padding=(1, 1, 1, 1))


def test_a_padding_that_is_an_output_stays(
    evaluate: Evaluate, numbers: Callable[[Graph], list[Array]]
) -> None:
    b = GraphBuilder((1, 4, 4, 4))
    x = b.pad(0, (1, 1, 1, 1))
    folded = check(b.build(b.conv(x, 4, 3, padding="valid"), x), evaluate, numbers)
    assert names(folded) == ["pad", "conv2d"]


@pytest.mark.parametrize("depthwise", [False, True])
def test_paddings_go_into_the_convolution_behind_them(
    depthwise: bool, evaluate: Evaluate, numbers: Callable[[Graph], list[Array]]
) -> None:
    b = GraphBuilder((1, 5, 5, 4))
    x = b.pad(b.pad(0, (1, 0, 2, 0)), (0, 1, 0, 3))
    x = b.depthwise(x, 3) if depthwise else b.conv(x, 4, 3)
    folded = check(b.build(x), evaluate, numbers)
    assert [node.op.padding for node in folded.nodes] == [(2, 2, 3, 4)]
    assert fold(folded) == folded


def test_a_padding_with_two_readers_stays(
    evaluate: Evaluate, numbers: Callable[[Graph], list[Array]]
) -> None:
    b = GraphBuilder((1, 4, 4, 4))
    x = b.pad(0, (1, 1, 1, 1))
    y = b.conv(x, 4, 3, padding="valid")
    folded = check(b.build(b.add(y, b.max_pool(x, 3, padding="valid"))), evaluate, numbers)
    assert names(folded) == ["pad", "conv2d", "pool", "binary"]
    assert folded.nodes[1].op.padding == (0, 0, 0, 0)


def test_a_padding_before_anything_else_stays(
    evaluate: Evaluate, numbers: Callable[[Graph], list[Array]]
) -> None:
    b = GraphBuilder((1, 4, 4, 4))
    x = b.fully_connected(b.pad(b.max_pool(b.pad(0, (1, 1, 1, 1)), 3), (1, 0, 0, 0)), 3)
    folded = check(b.build(x), evaluate, numbers)
    assert [type(node.op) for node in folded.nodes if isinstance(node.op, Pad)] == [Pad, Pad]


def test_hard_sigmoid_behind_a_convolution_uses_its_bias(
    evaluate: Evaluate, numbers: Callable[[Graph], list[Array]]
) -> None:
    b = GraphBuilder((1, 4, 4, 4))
    folded = check(b.build(b.hard_sigmoid(b.conv(0, 4, 1, bias=False))), evaluate, numbers)
    assert [node.op for node in folded.nodes] == [
        Conv2D(4, (1, 1), activation="relu6"),
        Binary("mul", value=1 / 6),
    ]


def test_hard_sigmoid_elsewhere_adds_three(
    evaluate: Evaluate, numbers: Callable[[Graph], list[Array]]
) -> None:
    b = GraphBuilder((1, 4, 4, 4))
    folded = check(b.build(b.hard_sigmoid(b.relu(b.conv(0, 4, 1)))), evaluate, numbers)
    assert [node.op for node in folded.nodes] == [
        Conv2D(4, (1, 1), activation="relu"),
        Binary("add", "relu6", value=3.0),
        Binary("mul", value=1 / 6),
    ]


def test_dropout_and_drop_path_go() -> None:
    b = GraphBuilder((1, 4, 4, 4))
    x = b.add(0, b.conv(0, 4, 1), drop_path=0.2)
    folded = fold(b.build(b.fully_connected(x, 3, dropout=0.5)))
    assert all(node.dropout == node.drop_path == 0 for node in folded.nodes)
    assert folded.nodes[-1].op == FullyConnected(3)


def test_inputs_may_be_outputs() -> None:
    b = GraphBuilder((1, 4, 4, 4))
    x = b.relu(b.conv(0, 4, 1))
    assert fold(b.build(x, 0)).outputs == (1, 0)


def test_weights_of_the_original_are_untouched() -> None:
    b = GraphBuilder((1, 4, 4, 4))
    graph = b.build(b.hard_sigmoid(b.batch_norm(b.conv(0, 4, 1))))
    weights = random_weights(graph)
    before = {key: value.copy() for key, value in weights.items()}
    fold(graph.with_weights(weights))
    assert all((before[key] == weights[key]).all() for key in before)


def test_what_takes_the_inference_form_says_so() -> None:
    b = GraphBuilder((1, 4, 4, 4))
    with pytest.raises(GraphError, match=r"the writer .* call fold\(graph\) first"):
        require_folded(b.build(b.batch_norm(0)), "the writer")

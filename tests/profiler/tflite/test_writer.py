from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from single_operators import MAP, OPS, TENSOR_OPS, single

from latlas.profiler.errors import GraphError
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.ops import (
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Op,
    Pool,
    Resize,
)
from latlas.profiler.random_weights import random_weights
from latlas.profiler.tflite.reader import read_tflite
from latlas.profiler.tflite.writer import to_tflite


@pytest.mark.parametrize(
    ("op", "inputs"), [*OPS, *TENSOR_OPS], ids=lambda part: getattr(part, "name", "")
)
def test_every_operator_runs_and_comes_back(
    op: Op,
    inputs: tuple[tuple[int, ...], ...],
    interpret: Callable[..., list[np.ndarray]],
    evaluate: Callable[..., list[np.ndarray]],
    numbers: Callable[[Graph], list[np.ndarray]],
) -> None:
    graph = single(op, inputs)
    graph = graph.with_weights(random_weights(graph, 1))
    data = to_tflite(graph)

    again = fold(read_tflite(data))
    assert again.to_text() == graph.to_text()
    assert graph.weights is not None and again.weights is not None
    assert len(graph.weights) == len(again.weights)
    for mine, read in zip(graph.weight_shapes(), again.weight_shapes(), strict=True):
        np.testing.assert_array_equal(again.weights[read], graph.weights[mine])

    xs = numbers(graph)
    if getattr(op, "kind", "") in ("log", "rsqrt", "sqrt", "pow"):
        xs = [np.abs(x) + np.float32(0.1) for x in xs]
    (result,) = interpret(data, *xs)
    assert result.shape == graph.shapes[-1]
    if not isinstance(op, Resize):
        np.testing.assert_allclose(result, evaluate(graph, *xs)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("keyword", ["conv", "depthwise", "fully_connected"])
def test_a_missing_bias_is_written_as_zero(
    keyword: str,
    interpret: Callable[..., list[np.ndarray]],
    evaluate: Callable[..., list[np.ndarray]],
    numbers: Callable[[Graph], list[np.ndarray]],
) -> None:
    op = {
        "conv": Conv2D(3, (1, 1), bias=False),
        "depthwise": DepthwiseConv2D((3, 3), bias=False),
        "fully_connected": FullyConnected(3, bias=False),
    }[keyword]
    graph = single(op, (MAP,))
    graph = graph.with_weights(random_weights(graph))
    data = to_tflite(graph)
    again = read_tflite(data)
    assert again.nodes[0].op == replace(op, bias=True)
    assert again.weights is not None
    assert not again.weights[f"{again.nodes[0].name}/bias"].any()
    xs = numbers(graph)
    np.testing.assert_allclose(interpret(data, *xs)[0], evaluate(graph, *xs)[0], atol=1e-4)


def test_folding_keeps_what_the_training_form_computes(
    interpret: Callable[..., list[np.ndarray]],
    evaluate: Callable[..., list[np.ndarray]],
    numbers: Callable[[Graph], list[np.ndarray]],
) -> None:
    b = GraphBuilder((1, 12, 12, 3))
    x = b.hard_swish(b.batch_norm(b.conv(b.input, 8, 3, stride=2, bias=False)))
    y = b.relu6(b.batch_norm(b.depthwise(x, 3, bias=False, multiplier=2)))
    gate = b.relu(b.conv(b.mean(y), 4, 1))
    gate = b.hard_sigmoid(b.conv(gate, 16, 1))
    y = b.batch_norm(b.conv(b.mul(y, gate), 8, 1, bias=True))
    x = b.relu(b.batch_norm(b.add(x, y, drop_path=0.1)))
    x = b.hard_sigmoid(b.average_pool(x, 3))
    x = b.fully_connected(b.mean(x, keepdims=False), 5, dropout=0.2)
    graph = b.build(b.softmax(x))
    graph = graph.with_weights(random_weights(graph, 3))
    xs = numbers(graph)
    expected = evaluate(graph, *xs)[0]
    folded = fold(graph)
    np.testing.assert_allclose(evaluate(folded, *xs)[0], expected, atol=1e-5)
    data = to_tflite(folded)
    np.testing.assert_allclose(interpret(data, *xs)[0], expected, atol=1e-5)
    assert fold(read_tflite(data)).to_text() == folded.to_text()


def test_several_inputs_and_outputs_keep_their_order(
    interpret: Callable[..., list[np.ndarray]],
) -> None:
    b = GraphBuilder((1, 2, 2, 1), (1, 3))
    graph = b.build(b.relu(1), b.relu(0))
    first, second = interpret(
        to_tflite(graph), np.ones((1, 2, 2, 1), np.float32), np.ones((1, 3), np.float32)
    )
    assert (first.shape, second.shape) == ((1, 3), (1, 2, 2, 1))


def test_the_file_runs_compiled_and_has_a_signature() -> None:
    from ai_edge_litert.compiled_model import CompiledModel

    b = GraphBuilder((1, 8, 8, 3))
    model = CompiledModel.from_buffer(to_tflite(b.build(b.relu6(b.conv(b.input, 4, 3)))))
    assert list(model.get_signature_list()) == ["serving_default"]
    inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)
    inputs[0].write(np.ones((1, 8, 8, 3), np.float32))
    model.run_by_index(0, inputs, outputs)
    assert outputs[0].read(256, np.float32).shape == (256,)


def test_random_weights_are_reproducible() -> None:
    b = GraphBuilder((1, 8, 8, 3))
    graph = b.build(b.conv(b.input, 4, 3))
    assert to_tflite(graph) == to_tflite(graph, 0) != to_tflite(graph, 1)


def test_weights_are_aligned_in_the_file() -> None:
    b = GraphBuilder((1, 8, 8, 3))
    weights = read_tflite(to_tflite(b.build(b.conv(b.conv(b.input, 5, 3), 7, 3)))).weights
    assert weights is not None
    offsets = {array.ctypes.data % 16 for array in weights.values()}
    assert len(offsets) == 1  # the same place within 16 bytes, wherever the file itself lies


def test_refusals_say_what_to_do() -> None:
    b = GraphBuilder((1, 8, 8, 3))
    training = b.build(b.batch_norm(b.conv(b.input, 4, 3)))
    with pytest.raises(GraphError, match="call fold"):
        to_tflite(training)

    pool = single(Pool("max", (3, 3), (2, 2), (1, 1, 1, 1)), (MAP,))
    with pytest.raises(GraphError, match="neither: put a pad before it"):
        to_tflite(pool)

    conv = single(Conv2D(4, (1, 1)), (MAP,))
    with pytest.raises(GraphError, match=r"conv2d_0/kernel' is missing.*\(4, 1, 1, 4\)"):
        to_tflite(conv.with_weights({}))
    wrong = {"conv2d_0/kernel": np.zeros((4, 4), np.float32)}
    with pytest.raises(GraphError, match=r"has the shape \(4, 4\)"):
        to_tflite(conv.with_weights(wrong))

    huge = single(FullyConnected(1 << 16), ((1, 1 << 14),))
    with pytest.raises(GraphError, match="2048 MiB"):
        to_tflite(huge.with_weights({}))
    with pytest.raises(GraphError, match="2048 MiB"):  # before any memory is asked for
        to_tflite(single(FullyConnected((1 << 31) - 1), ((1, 1),)))

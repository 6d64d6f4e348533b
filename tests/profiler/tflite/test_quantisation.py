"""int8 files: what they compute, what they come back as, and what is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from random_graphs import graphs
from single_operators import OPS, single

from latlas.profiler.errors import GraphError, ModelFileError, UnsupportedOpError
from latlas.profiler.fold import fold
from latlas.profiler.graph import Array, Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.ops import (
    BatchMatmul,
    Binary,
    Concat,
    DepthwiseConv2D,
    Op,
    Resize,
    Softmax,
)
from latlas.profiler.quantise import quantise
from latlas.profiler.random_weights import random_weights
from latlas.profiler.tflite.quantisation import (
    Scale,
    quantise_bias,
    quantise_channels,
    quantise_constant,
    scales,
    shared_scales,
)
from latlas.profiler.tflite.reader import read_tflite
from latlas.profiler.tflite.schema import Type
from latlas.profiler.tflite.writer import to_tflite

MAP = (1, 8, 8, 4)


def real(values: Array, scale: Scale | None) -> Array:
    assert scale is not None
    return (values.astype(np.float32) - scale.zero_point) * np.float32(scale.scale)


def as_written(graph: Graph, last: Scale) -> Graph:
    """Return the same with weights that int8 holds exactly, as far as a file of it does."""
    assert graph.weights is not None
    weights = {}
    for key, values in graph.weights.items():
        kind = key.rpartition("/")[2]
        if kind == "kernel":
            axis = -1 if isinstance(graph.nodes[0].op, DepthwiseConv2D) else 0
            whole, sizes = quantise_channels(values, axis % values.ndim)
            shape = [1] * values.ndim
            shape[axis] = -1
            values = whole.astype(np.float32) * sizes.reshape(shape)
        elif kind == "constant":
            values = real(*quantise_constant(values, last.scale / 256))
        weights[key] = values
    return graph.with_weights(weights)


@pytest.mark.parametrize(("op", "inputs"), list(OPS), ids=lambda part: getattr(part, "name", ""))
def test_every_operator_computes_what_it_says(
    op: Op,
    inputs: tuple[tuple[int, ...], ...],
    interpret: Callable[..., list[Array]],
    evaluate: Callable[..., list[Array]],
) -> None:
    graph = single(op, inputs)
    graph = quantise(graph.with_weights(random_weights(graph, 1)), int8_ends=True)
    data = to_tflite(graph)
    again = read_tflite(data)
    # A scalar is read with the accuracy of int8; of kernels it is no part anyway.
    assert again.input_types == graph.input_types
    assert [node.op.name for node in fold(again).nodes] == [node.op.name for node in graph.nodes]
    assert again.weights is None
    if getattr(op, "value", None) is None:
        assert fold(again).to_text() == graph.to_text()

    rng = np.random.default_rng(2)
    xs = [rng.integers(-128, 128, shape, np.int8) for shape in graph.inputs]
    (result,) = interpret(data, *xs)
    found = scales(graph)
    last = found[-1]
    assert last is not None
    assert result.shape == graph.shapes[-1]
    if isinstance(op, Resize):
        return
    reals = [real(x, scale) for x, scale in zip(xs, found, strict=False)]
    expected = np.clip(evaluate(as_written(graph, last), *reals)[0], last.low, last.high)
    # Half a step from rounding, and as much again inside the operator.
    assert np.abs(real(result, last) - expected).max() <= 1.1 * last.scale


@settings(max_examples=40)
@given(graph=graphs(tensors=False))
def test_random_networks_run_and_come_back(
    interpret: Callable[..., list[Array]], graph: Graph
) -> None:
    graph = quantise(graph)
    assert quantise(graph) == graph
    assert Graph.from_text(graph.to_text()) == graph
    data = to_tflite(graph)
    again = fold(read_tflite(data))
    assert again.types == graph.types
    assert again.shapes == graph.shapes
    for result in interpret(data, *(np.ones(shape, np.float32) for shape in graph.inputs)):
        assert np.isfinite(result).all()


@given(graph=graphs(tensors=False))
def test_scales_obey_the_specification(graph: Graph) -> None:
    graph = quantise(graph)
    found = scales(graph)
    same = shared_scales(graph)
    for value, scale in enumerate(found):
        assert (scale is not None) == (graph.types[value] == "int8")
        assert found[same[value]] == scale
        assert scale is None or scale.low <= 0 <= scale.high


def test_the_right_operand_of_a_symmetric_product_has_the_zero_point_0() -> None:
    b = GraphBuilder((1, 4, 8), (1, 8, 4), types=["int8", "int8"])
    turned = b.transpose(1, (0, 2, 1))
    graph = b.build(b.apply(BatchMatmul(adj_y=True, symmetric=True), 0, turned))
    left, right, moved, product = scales(graph)
    assert right is not None and right == moved and right.zero_point == 0
    assert left is not None and product is not None
    assert left.zero_point and product.zero_point
    b = GraphBuilder((1, 4, 8), (1, 8, 4), types=["int8", "int8"])
    graph = b.build(b.apply(BatchMatmul(symmetric=True), 0, b.apply(Softmax(), 1)))
    with pytest.raises(GraphError, match="symmetric product"):
        scales(graph)


def test_prescribed_scales_that_differ_cannot_be_joined() -> None:
    b = GraphBuilder(MAP, types=["int8"])
    graph = b.build(b.concat([b.logistic(0), b.activation(0, "tanh")]))
    with pytest.raises(GraphError, match="put a quantize between"):
        to_tflite(graph)
    b = GraphBuilder(MAP)
    x = b.reshape(b.logistic(0), (1, 256))
    floats = b.build(b.apply(Concat(), x, b.reshape(b.activation(0, "tanh"), (1, 256))))
    names = [node.op.name for node in quantise(floats).nodes]
    assert names.count("quantize") == 3  # at the input, and before both
    to_tflite(quantise(floats))


def test_the_ends_may_be_either() -> None:
    b = GraphBuilder(MAP, MAP)
    graph = b.build(b.add(0, 1), b.relu(1))
    usual, int8 = quantise(graph), quantise(graph, int8_ends=True)
    assert (usual.types[0], usual.types[usual.outputs[0]]) == ("float32", "float32")
    assert (int8.types[0], int8.types[int8.outputs[0]]) == ("int8", "int8")
    for each in (usual, int8):
        again = read_tflite(to_tflite(each))
        assert fold(again) == each


def test_integers() -> None:
    assert quantise_bias(np.array([1.0, -1e30]), np.array([0.5, 0.5])).tolist() == [2, -(2**31)]
    whole, scale = quantise_constant(np.array(-3.0, np.float32), 0.0)
    assert (whole.tolist(), scale) == (-128, Scale(3 / 255, 127))
    with pytest.raises(GraphError, match="not finite"):
        quantise_constant(np.array(np.inf), 0.0)


def test_weights_of_another_type_than_the_activations_are_refused() -> None:
    from ai_edge_litert import schema_py_generated as schema

    b = GraphBuilder(MAP)
    data = to_tflite(b.build(b.conv(0, 4, 1)))
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    kernel = model.subgraphs[0].tensors[model.subgraphs[0].operators[0].inputs[1]]
    kernel.type = Type.INT8
    model.buffers[kernel.buffer].data = np.zeros(16, np.uint8)
    with pytest.raises(UnsupportedOpError, match=r"dynamic range quantisation.*representative"):
        read_tflite(packed(model))


def packed(model: object) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")  # type: ignore[attr-defined]
    return bytes(builder.Output())


def test_a_number_without_its_scale_is_refused() -> None:
    from ai_edge_litert import schema_py_generated as schema

    b = GraphBuilder(MAP, types=["int8"])
    data = to_tflite(b.build(b.apply(Binary("mul", value=0.3), 0)))
    assert fold(read_tflite(data)).nodes[0].op.value == pytest.approx(0.3, rel=1e-3)  # type: ignore[attr-defined]
    for change in ("scale", "zero"):
        model = schema.ModelT.InitFromPackedBuf(data, 0)
        constant = model.subgraphs[0].tensors[model.subgraphs[0].operators[0].inputs[1]]
        if change == "scale":
            constant.quantization = None
        else:
            constant.quantization.zeroPoint = [1000]
        with pytest.raises(ModelFileError, match=r"one scale|zero point 1000"):
            read_tflite(packed(model))


def test_types_must_fit_operators() -> None:
    b = GraphBuilder(MAP, types=["int8"])
    x = b.dequantize(0)
    data = to_tflite(b.build(b.relu(x)))
    assert read_tflite(data).types == ("int8", "float32", "float32")
    # The tensor that the RELU writes becomes int8, while what it reads is float32.
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(data, 0)
    model.subgraphs[0].tensors[model.subgraphs[0].operators[1].outputs[0]].type = Type.INT8
    with pytest.raises(ModelFileError, match="gives float32"):
        read_tflite(packed(model))


def test_a_truncated_scale_is_damage() -> None:
    b = GraphBuilder(MAP, types=["int8"])
    data = to_tflite(b.build(b.relu(0)))
    for at in range(8, len(data) - 4, 4):
        broken = data[:at] + struct.pack("<I", 0x7FFFFFF0) + data[at + 4 :]
        try:
            read_tflite(broken)
        except (ModelFileError, UnsupportedOpError):
            continue

from __future__ import annotations

import numpy as np
import pytest

from latlas.profiler.errors import GraphError
from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.kernel import Kernel, split
from latlas.profiler.quantise import for_precision, quantise, quantise_kernel
from latlas.profiler.random_weights import random_weights
from latlas.profiler.vocabulary import vocabulary_kernels
from latlas.profiler.workload import workload


def network() -> Graph:
    b = GraphBuilder((1, 16, 16, 3))
    x = b.relu6(b.batch_norm(b.conv(0, 8, 3, stride=2, bias=False)))
    return b.build(b.softmax(b.fully_connected(b.mean(x), 10)))


def test_the_int8_form_is_the_folded_network_between_conversions() -> None:
    graph = quantise(network())
    assert [node.op for node in graph.nodes[1:-1]] == [node.op for node in fold(network()).nodes]
    assert (graph.nodes[0].op.name, graph.nodes[-1].op.name) == ("quantize", "dequantize")
    assert graph.types[0] == graph.types[-1] == "float32"
    assert set(graph.types[1:-1]) == {"int8"}
    assert not graph.is_float
    assert quantise(graph) == graph


def test_weights_stay_real_numbers() -> None:
    graph = network()
    graph = graph.with_weights(random_weights(graph))
    mine, folded = quantise(graph).weights, fold(graph).weights
    assert mine is not None and folded is not None
    assert mine.keys() == folded.keys()
    for key, values in folded.items():
        np.testing.assert_array_equal(mine[key], values)


def test_kernels_of_int8_are_types_of_their_own() -> None:
    kernels = split(quantise(network()), rules_for("cpu"))
    assert [kernel.type for kernel in kernels] == [
        "quantize",
        "conv2d:int8",
        "mean:int8",
        "fully_connected:int8",
        "softmax:int8",
        "dequantize:int8",
    ]
    assert [kernel.dtype for kernel in kernels] == ["float32", *["int8"] * 5]
    for kernel in kernels:
        assert Kernel.from_text(kernel.text) == kernel
        assert kernel.graph.to_text() == kernel.text
    assert len({kernel.text for kernel in kernels}) == len(kernels)


def test_a_kernel_of_float32_keeps_its_text() -> None:
    kernel = Kernel.from_text("1x8x8x4 | conv2d filters=8 kernel=1x1 @0 | @1")
    assert kernel.input_types == ()
    assert quantise_kernel(kernel).text == "1x8x8x4:int8 | conv2d filters=8 kernel=1x1 @0 | @1"
    assert quantise_kernel(quantise_kernel(kernel)) == quantise_kernel(kernel)


@pytest.mark.parametrize(
    "text",
    [
        "1x8:int9 | softmax @0 | @1",
        "1x8: | softmax @0 | @1",
        "1x8:float32 | softmax @0 | @1",
        "1x8 | dequantize @0 | @1",
        "1x8:int8,1x8 | binary kind=add @0,1 | @2",
    ],
)
def test_texts_of_impossible_types_are_refused(text: str) -> None:
    with pytest.raises(GraphError):
        Graph.from_text(text)


def test_input_types_must_fit() -> None:
    graph = network()
    for types in (("int8", "int8"), ("float32",)):
        with pytest.raises(GraphError, match="input_types"):
            Graph(graph.inputs, graph.nodes, graph.outputs, input_types=types)  # type: ignore[arg-type]


def test_a_network_runs_in_the_precision_of_the_target() -> None:
    assert for_precision(network(), "fp32") == for_precision(network(), "fp16") == fold(network())
    assert for_precision(network(), "int8") == quantise(network())
    with pytest.raises(GraphError, match="--precision int8"):
        for_precision(quantise(network()), "fp32")


def test_a_gpu_takes_no_int8() -> None:
    with pytest.raises(GraphError, match="CPU only"):
        split(quantise(network()), rules_for("gpu"))


def test_the_workload_of_a_target_of_int8() -> None:
    work = workload({"net": network()}, "cpu", precision="int8")
    assert not any(job.graph.is_float for job in work.jobs)
    names = {job.name for job in work.jobs if job.unit == "kernel"}
    assert {"conv2d:int8", "lookup:int8", "quantize", "quantize:int8"} <= names
    floats = workload({"net": network()}, "cpu")
    assert all(job.graph.is_float for job in floats.jobs)
    with pytest.raises(GraphError, match="--precision int8"):
        workload({"net": quantise(network())}, "cpu")


def test_the_vocabulary_of_int8_has_every_kernel_of_the_usual_one_that_runs_in_it() -> None:
    usual, int8 = vocabulary_kernels(), vocabulary_kernels(precision="int8")
    missing = {quantise_kernel(kernel) for kernel in usual} - set(int8)
    assert {kernel.type for kernel in missing} == {
        "square:int8",
        "sqrt:int8",
        "rsqrt:int8",
        "pow:int8",
        "select:int8",
    }
    assert len(int8) > len(usual)

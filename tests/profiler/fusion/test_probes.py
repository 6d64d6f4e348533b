"""The models of a detection: what is in them, and that nothing merges on the way to the file."""

from __future__ import annotations

from itertools import product

import pytest

from latlas.profiler.fusion.probes import TYPES, alone, ending, joined, reader, writer
from latlas.profiler.graph import Graph
from latlas.profiler.kernel import op_type
from latlas.profiler.tflite.reader import load_tflite
from latlas.profiler.tflite.writer import to_tflite

ELEMENTS = 1 << 13
PAIRS = [
    (first, second)
    for first, second in product(TYPES, TYPES)
    if reader(second, writer(first, ELEMENTS).output) is not None
]


def types(graph: Graph) -> list[str]:
    return [op_type(node.op) for node in graph.nodes]


def test_there_is_a_sample_of_every_usual_type() -> None:
    usual = "conv2d depthwise_conv2d fully_connected average_pool max_pool mean concat add mul pad"
    usual += " relu relu6 hard_swish logistic tanh reshape resize softmax"
    assert set(usual.split()) <= set(TYPES)
    assert len(PAIRS) > 300


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_follows_and_is_followed(kind: str) -> None:
    sample = writer(kind, ELEMENTS)
    assert sample.type == kind
    size = 1
    for length in sample.output:
        size *= length
    assert ELEMENTS / 2 <= size <= 2 * ELEMENTS
    assert any(first == kind for first, _ in PAIRS)
    assert any(second == kind for _, second in PAIRS)


def test_operators_stand_apart_in_the_file() -> None:
    for first, second in PAIRS:
        sample = writer(first, ELEMENTS)
        follower = reader(second, sample.output)
        assert follower is not None
        graph = joined(sample, follower)
        assert types(graph) == [first, second, "slice"]
        assert graph.nodes[1].inputs[0] == len(graph.inputs)
        assert to_tflite(graph)


def test_an_activation_is_an_operator_of_its_own(tmp_path) -> None:  # type: ignore[no-untyped-def]
    conv = writer("conv2d", ELEMENTS)
    relu6 = reader("relu6", conv.output)
    assert relu6 is not None
    path = tmp_path / "model.tflite"
    path.write_bytes(to_tflite(joined(conv, relu6)))
    assert types(load_tflite(path)) == ["conv2d", "relu6", "slice"]


def test_corners_are_cut_before_the_value_is_read_on() -> None:
    conv = writer("conv2d", ELEMENTS)
    relu6 = reader("relu6", conv.output)
    assert relu6 is not None
    exposed = joined(conv, relu6, exposed=True)
    assert types(exposed) == ["conv2d", "slice", "relu6", "slice"]
    assert len(exposed.outputs) == 2
    assert types(alone(conv, cuts=2)) == ["conv2d", "slice", "slice"]


def test_second_input_and_chain() -> None:
    conv = writer("conv2d", ELEMENTS)
    add = reader("add", conv.output)
    relu = reader("relu", conv.output)
    assert add is not None and relu is not None
    graph = joined(conv, add, position=1)
    assert graph.nodes[1].inputs == (1, 2)
    assert joined(conv, add).nodes[1].inputs == (2, 1)
    chain = joined(conv, relu, add, position=1)
    assert types(chain) == ["conv2d", "relu", "add", "slice"]
    assert chain.nodes[1].inputs == (2,)


def test_all_inputs_are_cut() -> None:
    add = writer("add", ELEMENTS)
    assert types(ending(*add.inputs)) == ["slice", "slice"]
    assert ending(*add.inputs).inputs == add.inputs


def test_what_cannot_follow() -> None:
    assert reader("conv2d", (1, 64)) is None
    assert reader("fully_connected", (1, 8, 8, 4)) is None

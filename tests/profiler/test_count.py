from __future__ import annotations

import time

import pytest

from latlas.profiler.count import count, squeeze_excite_nodes
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph, Node
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.ops import Binary, Mean, Softmax
from latlas.profiler.random_weights import random_weights
from latlas.profiler.tflite.reader import read_tflite
from latlas.profiler.tflite.writer import to_tflite
from latlas.search import zoo
from latlas.search.blocks import squeeze_excite


def test_a_network_by_hand() -> None:
    b = GraphBuilder((1, 8, 8, 3))
    x = b.batch_norm(b.conv(0, 4, 3, stride=2, bias=False))
    x = b.batch_norm(b.depthwise(x, 3, bias=False))
    graph = b.build(b.fully_connected(b.mean(b.add(x, x)), 10))
    found = count(graph)
    assert found.params == (4 * 27 + 2 * 4) + (4 * 9 + 2 * 4) + (4 * 10 + 10)
    assert found.madds == 4 * 4 * 4 * 27 + 4 * 4 * 4 * 9 + 40
    assert (found.se_madds, found.training_form) == (0, True)
    folded = count(fold(graph))
    assert (folded.madds, folded.training_form) == (found.madds, False)
    assert folded.params == found.params - 4 - 4  # a bias instead of gamma and beta


@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("gate", ["hard_sigmoid", "logistic"])
@pytest.mark.parametrize("swapped", [False, True])
def test_squeeze_and_excitation_is_found(size: int, gate: str, swapped: bool) -> None:
    b = GraphBuilder((1, size, size, 8))
    x = b.hard_swish(b.conv(0, 8, 1))
    y = b.activation(b.conv(b.relu(b.conv(b.mean(x), 2, 1)), 8, 1), gate)
    graph = b.build(b.conv(b.mul(y, x) if swapped else b.mul(x, y), 8, 1))
    for form in (graph, fold(graph)):
        assert count(form).se_madds == 2 * 8 * 2
        assert count(form).madds == 2 * size * size * 64


def test_fully_connected_squeeze_and_excitation_is_found() -> None:
    b = GraphBuilder((1, 5, 5, 8))
    y = b.fully_connected(b.relu(b.fully_connected(b.mean(0, keepdims=False), 2)), 8)
    graph = b.build(b.mul(0, b.reshape(b.logistic(y), (1, 1, 1, 8))))
    assert count(graph).se_madds == 32
    assert count(graph).madds == 0


def test_two_in_a_row_are_both_found() -> None:
    b = GraphBuilder((1, 5, 5, 8))
    x = squeeze_excite(b, 0, 2, act="relu", gate="logistic")
    x = squeeze_excite(b, x, 4, act="relu", gate="logistic")
    assert count(b.build(x)).se_madds == 2 * 8 * 2 + 2 * 8 * 4


def test_look_alikes_are_not_counted() -> None:
    b = GraphBuilder((1, 5, 5, 8))
    other = b.conv(0, 8, 1)
    of_another_map = b.mul(0, b.logistic(b.conv(b.mean(other), 8, 1)))
    gate_without_mean = b.mul(other, b.logistic(b.conv(other, 8, 1)))
    added = b.add(0, b.conv(b.mean(0), 8, 1))
    graph = b.build(of_another_map, gate_without_mean, added)
    assert squeeze_excite_nodes(graph) == frozenset()
    head = GraphBuilder((1, 5, 5, 8))
    assert count(head.build(head.fully_connected(head.mean(0), 3))).se_madds == 0


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "mnasnet_a1", "moga_a", "mobilenet_v2"])
@pytest.mark.parametrize("resolution", [16, 64])
def test_a_network_read_from_a_file_counts_the_same(name: str, resolution: int) -> None:
    """At 16 the last maps are 1x1, where a mean and a convolution hardly do anything."""
    graph = zoo.build(name, resolution)
    folded = fold(graph.with_weights(random_weights(graph)))
    read = fold(read_tflite(to_tflite(folded)))
    assert count(read) == count(folded)
    assert count(read).madds == count(graph).madds
    assert count(read).se_madds == count(graph).se_madds


def test_a_hostile_network_is_counted_in_time_that_grows_with_it() -> None:
    """Very many products are of the same gate, at the end of a very long path."""
    length = 20_000
    nodes = [Node(Mean(), (0,)), *(Node(Softmax(), (1 + i,)) for i in range(length))]
    nodes += [Node(Binary("mul"), (0, len(nodes)))] * length
    graph = Graph(((1, 1, 1, 1),), tuple(nodes), (len(nodes),))
    started = time.process_time()
    assert squeeze_excite_nodes(graph) == frozenset(range(1, length + 1))
    assert time.process_time() - started < 5

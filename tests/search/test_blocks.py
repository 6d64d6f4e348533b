from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latlas.profiler.count import count
from latlas.profiler.fold import fold
from latlas.profiler.graph_builder import GraphBuilder
from latlas.search.blocks import (
    classifier,
    conv_bn,
    mbconv,
    round_channels,
    separable,
    squeeze_excite,
)

MAP = (1, 8, 8, 16)


@pytest.mark.parametrize(
    ("channels", "rounded"),
    [(1, 8), (8, 8), (11, 16), (12, 16), (19, 24), (32 * 0.35, 16), (96 * 0.35, 32), (1280, 1280)],
)
def test_round_channels(channels: float, rounded: int) -> None:
    assert round_channels(channels) == rounded


@given(st.floats(1, 5000), st.sampled_from([4, 8, 16]))
def test_rounding_loses_at_most_a_tenth(channels: float, divisor: int) -> None:
    rounded = round_channels(channels, divisor)
    assert rounded % divisor == 0
    assert rounded >= 0.9 * channels
    assert rounded <= max(divisor, channels + divisor)


@pytest.mark.parametrize(
    ("filters", "stride", "residual"), [(16, 1, True), (16, 2, False), (24, 1, False)]
)
def test_an_inverted_bottleneck(filters: int, stride: int, residual: bool) -> None:
    b = GraphBuilder(MAP)
    graph = b.build(mbconv(b, 0, filters, 5, expanded=96, stride=stride, drop_path=0.1))
    assert graph.shapes[-1] == (1, 8 // stride, 8 // stride, filters)
    assert [node.drop_path for node in graph.nodes if node.drop_path] == [0.1] * residual
    ops = [node.op.name for node in fold(graph).nodes]
    assert ops == ["conv2d", "depthwise_conv2d", "conv2d"] + ["binary"] * residual
    found = count(graph)
    out = (8 // stride) ** 2
    assert found.madds == 64 * 16 * 96 + out * 96 * 25 + out * 96 * filters
    assert found.params == 16 * 96 + 25 * 96 + 96 * filters + 2 * (96 + 96 + filters)


def test_the_last_convolution_of_a_bottleneck_is_linear() -> None:
    b = GraphBuilder(MAP)
    graph = fold(b.build(mbconv(b, 0, 24, 3, expanded=96)))
    assert [node.op.activation for node in graph.nodes] == ["relu6", "relu6", "none"]


def test_squeeze_and_excitation_has_biases_and_a_gate() -> None:
    b = GraphBuilder(MAP)
    graph = b.build(squeeze_excite(b, 0, 4, act="relu", gate="logistic"))
    found = count(graph)
    assert (found.params, found.se_madds) == (16 * 4 + 4 + 4 * 16 + 16, 2 * 16 * 4)
    assert graph.shapes[-1] == MAP


def test_a_separable_convolution() -> None:
    b = GraphBuilder(MAP)
    graph = b.build(separable(b, 0, 16, 3, act="relu", residual=True, se_channels=4))
    assert count(graph).madds == 64 * 9 * 16 + 64 * 16 * 16
    assert count(graph).se_madds == 128
    assert [node.op.name for node in graph.nodes][-1] == "binary"
    b = GraphBuilder(MAP)
    v1 = fold(b.build(separable(b, 0, 32, 3, stride=2, act="relu6", pointwise_act="relu6")))
    assert [node.op.activation for node in v1.nodes] == ["relu6", "relu6"]


def test_ends() -> None:
    b = GraphBuilder(MAP)
    graph = b.build(classifier(b, b.mean(conv_bn(b, 0, 8, 1, act="relu")), 5, dropout=0.3))
    assert graph.nodes[-1].dropout == 0.3
    assert graph.shapes[-1] == (1, 5)

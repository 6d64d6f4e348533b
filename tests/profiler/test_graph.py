from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_graphs import every_op, graphs

from latlas.profiler.errors import GraphError
from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Graph, Node
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.kernel import Kernel, split
from latlas.profiler.op_text import to_text
from latlas.profiler.ops import Softmax
from latlas.profiler.random_weights import random_weights
from latlas.search import zoo

ALPHABET = "0123456789x@|,=. -abcdefghiklmnoprstuvz_٣\n"
TEXT = zoo.build("mobilenet_v3_small", 32).to_text()
PIECES = (TEXT, *(f"1x4x4x4 | {to_text(op)} @0 | @1" for op in every_op()))


@given(graphs())
def test_text_round_trip(graph: Graph) -> None:
    read = Graph.from_text(graph.to_text())
    assert read == graph
    assert read.shapes == graph.shapes


@pytest.mark.parametrize("name", zoo.names())
def test_text_round_trip_of_the_zoo(name: str) -> None:
    graph = zoo.build(name, 32)
    assert Graph.from_text(graph.to_text()) == graph
    folded = fold(graph)
    assert Graph.from_text(folded.to_text()) == folded


def read_or_refuse(text: str) -> None:
    """Whatever the text: a graph that can be written, or a `GraphError`."""
    for read in (Graph.from_text, Kernel.from_text):
        try:
            found = read(text)
        except GraphError as problem:
            assert len(str(problem)) < 5000
            continue
        graph = found if isinstance(found, Graph) else found.graph
        assert Graph.from_text(graph.to_text()) == graph
        with suppress(GraphError):
            split(fold(graph), rules_for("gpu"))


@given(st.text(max_size=200) | st.text(ALPHABET, max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    read_or_refuse(text)


@given(
    st.sampled_from(PIECES),
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 4), st.text(ALPHABET, max_size=6)),
        min_size=1,
        max_size=4,
    ),
)
def test_mutated_text_is_read_or_refused(text: str, edits: list[tuple[float, int, str]]) -> None:
    for place, removed, added in edits:
        at = int(place * len(text))
        text = text[:at] + added + text[at + removed :]
    read_or_refuse(text)


@pytest.mark.parametrize("number", ["0", "-1", "nan", "2147483647", "9" * 10])
@pytest.mark.parametrize("text", PIECES[1:], ids=lambda text: text.split()[2])
def test_extreme_numbers_are_read_or_refused(text: str, number: str) -> None:
    words = text.split(" ")
    for index, word in enumerate(words):
        key = word.partition("=")[0]
        for value in (number, f"{number}x{number}", "x".join([number] * 4)):
            read_or_refuse(" ".join([*words[:index], f"{key}={value}", *words[index + 1 :]]))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [
        "9" * 100_000,
        f"{'9' * 100_000}x1 | softmax @0 | @1",
        f"{'x'.join(['999999999'] * 20_000)} | softmax @0 | @1",
        f"1x1 | softmax @{'9' * 100_000} | @1",
        f"1x1 | softmax dropout=0.{'9' * 100_000} @0 | @1",
        f"1x1 | softmax @0 | @{'9' * 100_000}",
        "1x1 | " + " | ".join(f"concat @{i},{i}" for i in range(2000)) + " | @2000",
        "1x1" + " | " * 100_000,
    ],
    ids=lambda text: text[:30],
)
def test_long_text_is_refused(text: str) -> None:
    with pytest.raises(GraphError) as caught:
        Graph.from_text(text)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1x1",
        " | @0",
        "1x1 | @1",
        "1x1 | softmax @1 | @1",
        "1x1 | softmax | @1",
        "1x1 | softmax @ | @1",
        "1x1 | softmax @-1 | @1",
        "1x1 | @0 | @1",
        "1x1 | dropout=0.5 @0 | @1",
        "1x1 | softmax dropout=nan @0 | @1",
        "1x1 | softmax dropout=0.1 dropout=0.2 @0 | @1",
        "1x1 | softmax dropout=1 @0 | @1",
        "1x1 | softmax drop_path=-0.1 @0 | @1",
        "0x1 | softmax @0 | @1",
        "65536x65536 | softmax @0 | @1",
        "1x1|softmax @0|@1",
    ],
)
def test_malformed_text_is_refused(text: str) -> None:
    with pytest.raises(GraphError):
        Graph.from_text(text)


def test_a_value_must_be_there_before_it_is_read() -> None:
    with pytest.raises(GraphError, match="not there"):
        Graph(((1, 4),), (Node(Softmax(), (1,)),), (1,))
    with pytest.raises(GraphError, match="outputs"):
        Graph(((1, 4),), (), ())


def test_a_kernel_is_a_graph_that_ends_in_its_last_node() -> None:
    with pytest.raises(GraphError, match="not a kernel"):
        Kernel.from_text("1x4 | softmax @0 | softmax @1 | @1")
    with pytest.raises(GraphError, match="not a kernel"):
        Kernel.from_text("1x4 | @0")


def test_a_tiny_graph_may_not_ask_for_gigantic_weights() -> None:
    text = "1x1x1x1 | conv2d filters=1 kernel=1000000x1000000 padding=999999x0x999999x0 @0 | @1"
    with pytest.raises(GraphError, match="impossible shape"):
        random_weights(Graph.from_text(text))


@given(graphs(), st.integers(0, 3))
def test_random_weights_fit_and_are_reproducible(graph: Graph, seed: int) -> None:
    weights = random_weights(graph, seed)
    assert {key: value.shape for key, value in weights.items()} == graph.weight_shapes()
    again = random_weights(graph, seed)
    for key, value in weights.items():
        assert value.dtype == np.float32
        assert np.isfinite(value).all()
        assert (value == again[key]).all()


def test_builder_paddings() -> None:
    b = GraphBuilder((1, 8, 8, 3))
    assert b.shape(b.conv(0, 4, 3)) == (1, 8, 8, 4)
    assert b.shape(b.conv(0, 4, 3, padding="valid")) == (1, 6, 6, 4)
    assert b.shape(b.conv(0, 4, 3, padding=(1, 0, 0, 1))) == (1, 7, 7, 4)
    assert b.shape(b.conv(0, 4, (1, 3), stride=(1, 2), padding="valid")) == (1, 8, 3, 4)
    with pytest.raises(GraphError, match="four integers"):
        b.conv(0, 4, 3, padding="SAME")
    with pytest.raises(GraphError):
        b.activation(0, "swish")
    assert b.activation(0, "none") == 0


def test_consumers_and_output_reads() -> None:
    b = GraphBuilder((1, 4))
    x = b.relu(0)
    graph = b.build(b.add(x, x), x)
    assert graph.consumers == ((0,), (1, 1), ())

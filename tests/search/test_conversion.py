import os

import numpy as np
import pytest

from latlas.profiler.errors import SearchError
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.quantise import quantise
from latlas.profiler.random_weights import random_weights
from latlas.profiler.tflite.reader import read_tflite
from latlas.profiler.tflite.writer import to_tflite
from latlas.search.conversion import Converter, File, accuracy_of

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="module")
def graph() -> Graph:
    b = GraphBuilder((1, 8, 8, 3))
    x = b.relu6(b.batch_norm(b.conv(b.input, 16, 3, stride=2)))
    x = b.relu6(b.batch_norm(b.depthwise(x, 3)))
    x = b.fully_connected(b.mean(x), 5)
    graph = b.build(x)
    return graph.with_weights(random_weights(graph, seed=1))


@pytest.fixture(scope="module")
def converter(graph: Graph) -> Converter:
    return Converter(graph)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32) for _ in range(20)]


def test_float_and_fp16_compute_what_the_direct_writer_writes(
    graph: Graph, converter: Converter, images: list[np.ndarray]
) -> None:
    mine = File(to_tflite(fold(graph))).run(images[0])[0]
    for form, tolerance in (("float", 1e-4), ("fp16", 1e-2)):
        data = converter.convert(form)
        assert read_tflite(data).to_text() == fold(graph).to_text()
        theirs = File(data).run(images[0])[0]
        np.testing.assert_allclose(theirs.ravel(), mine.ravel(), atol=tolerance * abs(mine).max())


def test_int8_has_the_operators_of_the_int8_form_and_nearly_its_values(
    graph: Graph, converter: Converter, images: list[np.ndarray]
) -> None:
    data = converter.convert("int8", images)
    found = read_tflite(data)
    assert [node.op.name for node in found.nodes] == [n.op.name for n in quantise(graph).nodes]
    exact = File(converter.convert("float"))
    file = File(data)
    left = np.array([file.run(image)[0].ravel() for image in images])
    right = np.array([exact.run(image)[0].ravel() for image in images])
    assert np.corrcoef(left.ravel(), right.ravel())[0, 1] > 0.99
    with pytest.raises(SearchError, match="takes images"):
        converter.convert("int8")


def test_the_accuracy_of_a_file(converter: Converter, images: list[np.ndarray]) -> None:
    data = converter.convert("float")
    file = File(data)
    labels = np.array([file.run(image)[0].argmax() for image in images], np.int32)
    together = np.concatenate(images)
    assert accuracy_of(data, [(together, labels)]) == 1.0
    labels[:5] = (labels[:5] + 1) % 5
    assert accuracy_of(data, [(together[:3], labels[:3]), (together[3:], labels[3:])]) == 0.75
    with pytest.raises(SearchError, match="no images"):
        accuracy_of(data, [])


def test_a_network_without_weights_is_not_converted(graph: Graph) -> None:
    with pytest.raises(SearchError, match="train it first"):
        Converter(Graph.from_text(graph.to_text()))

from __future__ import annotations

import numpy as np
import pytest

from latlas.profiler.count import count
from latlas.profiler.errors import SearchError
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.ops import Conv2D, DepthwiseConv2D
from latlas.profiler.tflite.reader import read_tflite
from latlas.profiler.tflite.writer import to_tflite
from latlas.search import zoo
from latlas.search.detection import Grid, features, grids, ssdlite
from latlas.search.spaces import FairnasSpace, MnasnetSpace, MogaSpace, NasnetSpace

SIDES = (20, 10, 5, 3, 2, 1)


@pytest.mark.parametrize(
    ("name", "classes", "params", "madds"),
    [
        # Sandler et al. print 4.3M and 0.8B, which are those of 80 classes.
        ("mobilenet_v1_ssdlite_320", 80, 5.1e6, 1.3e9),
        ("mobilenet_v2_ssdlite_320", 80, 4.3e6, 0.8e9),
        # Howard et al. print these, which are those of 90 labels.
        ("mobilenet_v3_large_ssdlite_320", 90, 4.97e6, 0.62e9),
        ("mnasnet_a1_ssdlite_320", 90, 4.88e6, 0.84e9),
    ],
)
def test_detectors_are_as_large_as_published(
    name: str, classes: int, params: float, madds: float
) -> None:
    found = count(zoo.build(name, classes=classes))
    assert found.params == pytest.approx(params, rel=0.01)
    assert found.madds == pytest.approx(madds, rel=0.015)


def test_the_detector_on_mobilenet_v2() -> None:
    detector = zoo.build("mobilenet_v2_ssdlite_320", classes=90)
    assert [(grid.height, grid.width) for grid in grids(detector)] == [(s, s) for s in SIDES]
    assert [grid.anchors for grid in grids(detector)] == [3, 6, 6, 6, 6, 6]
    assert [detector.shapes[value] for value in detector.outputs] == [(1, 2034, 4), (1, 2034, 91)]
    classifier = zoo.build("mobilenet_v2", 320)
    kept = features(classifier)[1]
    assert detector.nodes[:kept] == classifier.nodes[:kept]
    kernels = [
        (type(node.op), node.op.kernel)
        for node in detector.nodes[kept:]
        if isinstance(node.op, Conv2D | DepthwiseConv2D)
    ]
    assert set(kernels) == {(Conv2D, (1, 1)), (DepthwiseConv2D, (3, 3))}
    # 1 separable convolution a head, 2 heads a map; 3 convolutions an extra layer
    assert len(kernels) == 2 * 2 * 6 + 3 * 4


@pytest.mark.parametrize("name", [name for name in zoo.names() if name not in zoo.DETECTORS])
def test_every_classifier_has_features(name: str) -> None:
    graph = zoo.build(name, 160, 10)
    at_16, last = (graph.shapes[value] for value in features(graph))
    stride = 8 if name == "nasnet_a_cifar" else 1  # it reduces twice in all
    assert at_16[1:3] == (10 * stride,) * 2
    assert last[1:3] == (5 * stride,) * 2


@pytest.mark.parametrize(
    "space", [FairnasSpace(160), MnasnetSpace(160), MogaSpace(160), NasnetSpace(160)]
)
def test_any_architecture_of_a_space_carries_a_detector(
    space: FairnasSpace | MnasnetSpace | MogaSpace | NasnetSpace,
) -> None:
    for genes in space.sample(10, seed=3):
        detector = ssdlite(space.decode(genes), 3)
        assert [(grid.height, grid.anchors) for grid in grids(detector)] == [
            *((10, 3), (5, 6), (3, 6), (2, 6), (1, 6), (1, 6))
        ]
        assert len({node.name for node in detector.nodes}) == len(detector.nodes)


@pytest.mark.parametrize("name", ["mobilenet_v2_0.35_ssdlite_96", "mnasnet_a1_0.35_ssdlite_96"])
def test_detectors_are_written_and_read(name: str) -> None:
    graph = fold(zoo.build(name, classes=4))
    read = read_tflite(to_tflite(graph))
    assert fold(read) == graph
    assert grids(read) == grids(graph)


def test_other_anchors_and_layers() -> None:
    classifier = zoo.build("mobilenet_v2_0.35_96")
    detector = ssdlite(classifier, 2, extra_filters=(32,), anchors=(3, 3, 6))
    assert grids(detector) == (Grid(6, 6, 3), Grid(3, 3, 3), Grid(2, 2, 6))
    assert detector.shapes[detector.outputs[1]] == (1, 36 * 3 + 9 * 3 + 4 * 6, 3)
    with pytest.raises(SearchError, match="3 feature maps need as many numbers of anchors, not 6"):
        ssdlite(classifier, 2, extra_filters=(32,))


def test_networks_without_features() -> None:
    b = GraphBuilder((1, 8, 8, 3))
    with pytest.raises(SearchError, match="has none"):
        features(b.build(b.conv(0, 4, 3, stride=2)))
    b = GraphBuilder((1, 8, 8, 3))
    with pytest.raises(SearchError, match="are 8x8 like all before them"):
        features(b.build(b.mean(b.conv(0, 4, 3))))


def _single(side: int) -> Graph:
    b = GraphBuilder((1, side, side, 3))
    return b.build(b.fully_connected(b.mean(b.conv(b.conv(0, 4, 3, stride=2), 8, 3)), 5))


@pytest.mark.parametrize("side", [2, 3, 16, 33])
def test_features_of_a_plain_network(side: int) -> None:
    graph = _single(side)
    assert features(graph) == (0, 2)
    offsets = ssdlite(graph, 1, extra_filters=(), anchors=(3, 6))
    half = -(-side // 2)
    assert offsets.shapes[offsets.outputs[0]] == (1, 3 * side**2 + 6 * half**2, 4)
    assert np.prod(offsets.shapes[offsets.outputs[1]]) == 2 * (3 * side**2 + 6 * half**2)

"""SSDLite object detectors (Sandler et al. 2018, https://arxiv.org/abs/1801.04381) on classifiers.

The first head reads the expansion in the last block at an output stride of 16: the tensor that the
stride to 32 reads. The second reads the last layer before the pooling. Four more read extra layers,
each of half the height and width. Every convolution of 3x3 is a separable one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from latlas.profiler.errors import SearchError
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.ops import Mean
from latlas.search.blocks import conv_bn, depthwise_bn

EXTRA_FILTERS = (512, 256, 256, 128)
"""Filters of the extra layers in MobileNetV2's detector."""

ANCHORS = (3, 6, 6, 6, 6, 6)
"""Anchors of a pixel in every feature map: fewer in the first, which has the most pixels."""


class Grid(NamedTuple):
    """Height and width of a feature map, and its anchors in every pixel."""

    height: int
    width: int
    anchors: int


def features(graph: Graph) -> tuple[int, int]:
    """Return the values of a classifier that a detector reads: at output stride 16, and the last.

    It takes any network whose last maps go through a global average pooling.

    >>> from latlas.search import zoo
    >>> graph = zoo.build("mobilenet_v2", 320)
    >>> [graph.shapes[value] for value in features(graph)]
    [(1, 20, 20, 576), (1, 10, 10, 1280)]

    Raises:
        SearchError: there is no such pooling, or nothing before it strides.
    """
    pooled = [node.inputs[0] for node in graph.nodes if isinstance(node.op, Mean)]
    if not pooled:
        raise SearchError(
            "a detector needs a classifier that ends in a global average pooling, and this network "
            "has none"
        )
    last = pooled[-1]
    grid = graph.shapes[last][1:3]
    before = [
        node.inputs[0]
        for node, shape in zip(graph.nodes, graph.shapes[len(graph.inputs) :], strict=True)
        if len(shape) == 4
        and shape[1:3] == grid
        and graph.shapes[node.inputs[0]][1:3] > grid
        and not isinstance(node.op, Mean)
    ]
    if not before:
        raise SearchError(
            f"the last maps of this network are {grid[0]}x{grid[1]} like all before them: build it "
            "for a larger input, 320x320 as published"
        )
    return max(before), last


def ssdlite(
    classifier: Graph,
    classes: int = 90,
    *,
    extra_filters: Sequence[int] = EXTRA_FILTERS,
    anchors: Sequence[int] = ANCHORS,
    act: str = "relu6",
) -> Graph:
    """Return a detector on a classifier without its last layers.

    Args:
        classifier: in the training form, at the detector's resolution; see `features`.
        classes: number of classes; the background is one more, the first.
        extra_filters: filters of the extra layers.
        anchors: of a pixel in every feature map: `features`, then the extra layers.
        act: activation of the extra layers and heads.

    Returns:
        A network of two outputs: offsets of boxes (1, anchors of all maps, 4), to be decoded by
        `latlas.search.boxes.decode`, and logits (1, anchors of all maps, classes + 1).

    >>> from latlas.search import zoo
    >>> detector = ssdlite(zoo.build("mobilenet_v2", 320))
    >>> [detector.shapes[value] for value in detector.outputs]
    [(1, 2034, 4), (1, 2034, 91)]

    Raises:
        SearchError: the classifier has no such maps, or the numbers of anchors do not fit.
    """
    maps = features(classifier)
    if len(anchors) != len(maps) + len(extra_filters):
        raise SearchError(
            f"{len(maps) + len(extra_filters)} feature maps need as many numbers of anchors, not "
            f"{len(anchors)}"
        )
    b = GraphBuilder(*classifier.inputs)
    for node in classifier.nodes[: maps[1] + 1 - len(classifier.inputs)]:
        rates = {"dropout": node.dropout, "drop_path": node.drop_path}
        b.apply(node.op, *node.inputs, name=node.name, **rates)
    values = list(maps)
    for filters in extra_filters:
        values.append(_extra(b, values[-1], filters, act))
    boxes = [_predict(b, x, 4 * count, 4, act) for x, count in zip(values, anchors, strict=True)]
    scores = [
        _predict(b, x, (classes + 1) * count, classes + 1, act)
        for x, count in zip(values, anchors, strict=True)
    ]
    return b.build(b.concat(boxes, axis=1), b.concat(scores, axis=1))


def grids(detector: Graph) -> tuple[Grid, ...]:
    """Return the feature maps of a detector, in the order of its anchors.

    >>> from latlas.search import zoo
    >>> grids(zoo.build("mobilenet_v2_ssdlite_320"))[0]
    Grid(height=20, width=20, anchors=3)
    """
    first = len(detector.inputs)
    joined = detector.nodes[detector.outputs[0] - first]
    found = []
    for value in joined.inputs:
        _, height, width, channels = detector.input_shapes(detector.nodes[value - first])[0]
        found.append(Grid(height, width, channels // 4))
    return tuple(found)


def _extra(b: GraphBuilder, x: int, filters: int, act: str) -> int:
    x = conv_bn(b, x, filters // 2, 1, act=act)
    x = depthwise_bn(b, x, 3, stride=2, act=act)
    return conv_bn(b, x, filters, 1, act=act)


def _predict(b: GraphBuilder, x: int, filters: int, numbers: int, act: str) -> int:
    """Append a head; its result is (1, anchors of the map, numbers)."""
    x = b.conv(depthwise_bn(b, x, 3, act=act), filters, 1)
    _, height, width, _ = b.shape(x)
    return b.reshape(x, (1, height * width * filters // numbers, numbers))

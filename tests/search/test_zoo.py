from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from components import require

from latlas.profiler.count import Count, count, squeeze_excite_nodes
from latlas.profiler.errors import SearchError, UsageError
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph
from latlas.profiler.ops import Activation, Binary, Conv2D, DepthwiseConv2D
from latlas.search import zoo
from latlas.search.chain import Chain
from latlas.search.published import PUBLISHED, RESOLUTIONS

LAYER_TABLES = Path(__file__).parents[2].parent / "shared" / "specs" / "archs.json"

NASNET = {
    "nasnet_a_mobile": "nasnet_a_mobile_4@1056",
    "nasnet_a_large": "nasnet_a_large_6@4032",
    "nasnet_a_cifar": "nasnet_a_cifar_6@768",
}
ACTIVATIONS = {"relu": "RE", "relu6": "R6", "hard_swish": "HS"}
TABLED = [
    name
    for name in zoo.names()
    if name not in zoo.DETECTORS and "minimalistic" not in name and "last1280" not in name
]

# Counted by hand from the authors' layers: parameters with as many classes, multiply-adds.
SCALED = {
    "mobilenet_v1_0.75_224": (1001, 2_586_329, 325.40),
    "mobilenet_v1_0.5_224": (1001, 1_332_105, 149.50),
    "mobilenet_v1_0.25_224": (1001, 470_329, 41.03),
    "mobilenet_v2_1.4_224": (1001, 6_110_569, 582.20),
    "mobilenet_v2_1.3_224": (1001, 5_388_457, 509.38),
    "mobilenet_v2_0.75_224": (1001, 2_637_705, 209.07),
    "mobilenet_v2_0.5_224": (1001, 1_969_961, 97.13),
    "mobilenet_v2_0.35_224": (1001, 1_678_409, 59.29),
    "mobilenet_v3_large_0.75_224": (1000, 3_993_528, 153.66),
    "mobilenet_v3_large_minimalistic": (1000, 3_924_288, 209.14),
    "mobilenet_v3_small_0.75_224": (1000, 2_041_872, 43.12),
    "mobilenet_v3_small_last1280": (1000, 2_946_568, 56.46),
    "mobilenet_v3_small_last1280_0.75_224": (1000, 2_408_720, 43.49),
    "mobilenet_v3_small_minimalistic": (1000, 2_044_736, 52.29),
    "mnasnet_a1_1.4_160": (1000, 6_105_992, 299.51),
    "mnasnet_a1_0.75_192": (1000, 2_912_278, 164.40),
    "mnasnet_a1_0.5_128": (1000, 2_082_006, 34.53),
    "mnasnet_a1_0.35_96": (1000, 1_747_018, 12.37),
}


def layer_tables() -> dict[str, Any]:
    require("archs.json", LAYER_TABLES.exists(), f"put the layer tables at {LAYER_TABLES}")
    tables: dict[str, Any] = json.loads(LAYER_TABLES.read_text())
    return tables


def blocks(graph: Graph) -> list[dict[str, object]]:
    """Return the blocks around every depthwise convolution, as the layer tables describe them."""
    first = len(graph.inputs)
    nodes = graph.nodes
    inside = squeeze_excite_nodes(graph)
    depthwise = [i for i, node in enumerate(nodes) if isinstance(node.op, DepthwiseConv2D)]
    found = []
    pointwise = -1
    for position, end in pairwise([*depthwise, len(nodes)]):
        op = nodes[position].op
        assert isinstance(op, DepthwiseConv2D)
        # It reads the expansion (a convolution, its norm and activation) or the block's input.
        start = nodes[position].inputs[0]
        expansion = start - first - 2
        before = nodes[expansion].op
        if isinstance(before, Conv2D) and before.kernel == (1, 1) and expansion != pointwise:
            start = nodes[expansion].inputs[0]
        later = range(position, end)
        squeezed = [i for i in later if i in inside and isinstance(nodes[i].op, Conv2D)]
        pointwise = next(i for i in later if isinstance(nodes[i].op, Conv2D) and i not in inside)
        activation = nodes[position + 2].op
        assert isinstance(activation, Activation)
        projected = first + pointwise + 1
        found.append(
            {
                "cin": graph.shapes[start][3],
                "expanded": graph.shapes[first + position][3],
                "cout": graph.shapes[projected][3],
                "kernel": op.kernel[0],
                "stride": op.stride[0],
                "se_channels": graph.shapes[first + squeezed[0]][3] if squeezed else 0,
                "act": ACTIVATIONS[activation.kind],
                "residual": any(
                    nodes[reader].op == Binary("add") and start in nodes[reader].inputs
                    for reader in graph.consumers[projected]
                ),
            }
        )
    return found


@pytest.mark.parametrize("name", TABLED)
def test_networks_are_those_of_the_layer_tables(name: str) -> None:
    expected = layer_tables().get(NASNET.get(name, name))
    assert expected is not None, f"{name} is not in the layer tables"
    graph = zoo.build(name)
    wanted = Count(expected["params"], expected["madds"], expected["se_madds"], True)
    assert count(graph) == wanted
    if name not in NASNET:
        side = expected["resolution"]
        assert graph.inputs[0] == (1, side, side, 3)
        # The tables of some leave out the first block, which is no choice of their spaces.
        assert blocks(graph)[-len(expected["blocks"]) :] == expected["blocks"]


@pytest.mark.parametrize("name", SCALED)
def test_other_widths_and_resolutions(name: str) -> None:
    classes, params, madds = SCALED[name]
    found = count(zoo.build(name, classes=classes))
    assert found.params == params
    assert found.madds == pytest.approx(madds * 1e6, rel=5e-4)


@pytest.mark.parametrize("name", [name for name in zoo.names(variants=True) if zoo.published(name)])
def test_what_is_published_is_what_we_count(name: str) -> None:
    """Figures are rounded, and some were counted without batch norm or with a class more."""
    figures = zoo.published(name)[0]
    found = count(zoo.build(name))
    if figures.params is not None:
        assert found.params == pytest.approx(figures.params, rel=0.05)
    if figures.madds is not None:
        off = 0.05 if name in zoo.DETECTORS or name.startswith("mnasnet_a1_") else 0.015
        assert found.madds + found.se_madds == pytest.approx(figures.madds, rel=off)


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("width", [1.4, 1.0, 0.75, 0.5, 0.35])
def test_the_grid_of_mnasnet_a1(width: float, resolution: int) -> None:
    """Its authors' multiply-adds are up to 2.7% above ours.

    They are what one more addition for every output of a 1x1 convolution gives.
    """
    name = f"mnasnet_a1_{width}_{resolution}"
    (figures,) = zoo.published(name)
    assert figures.madds is not None
    graph = zoo.build(name)
    found = count(graph)
    madds = found.madds + found.se_madds
    assert madds == pytest.approx(figures.madds, rel=0.015 if width > 0.75 else 0.027)
    additions = sum(
        math.prod(shape)
        for node, shape in zip(graph.nodes, graph.shapes[1:], strict=True)
        if isinstance(node.op, Conv2D) and node.op.kernel == (1, 1)
    )
    assert madds + additions == pytest.approx(figures.madds, rel=0.006)


@pytest.mark.parametrize("name", [name for name in zoo.names() if name not in zoo.DETECTORS])
def test_resolution_and_classes(name: str) -> None:
    graph = zoo.build(name, 32, classes=7)
    assert graph.inputs == ((1, 32, 32, 3),)
    assert [graph.shapes[value] for value in graph.outputs] == [(1, 7)]
    thousand = count(zoo.build(name, 32, classes=1000))
    features = graph.input_shapes(graph.nodes[-1])[0][-1]
    assert thousand.params - count(graph).params == 993 * (features + 1)
    assert len({node.name for node in graph.nodes}) == len(graph.nodes)
    assert zoo.source(name)


def test_names() -> None:
    assert set(zoo.names()) < set(zoo.names(variants=True))
    assert len(set(zoo.names(variants=True))) == len(zoo.names(variants=True))
    assert set(PUBLISHED) <= set(zoo.names(variants=True))
    assert zoo.names(variants=True)[: len(zoo.names())] == zoo.names()
    for name in zoo.names():
        assert name in PUBLISHED or not zoo.published(name)
    assert zoo.build("mobilenet_v2_1.0_224") == zoo.build("mobilenet_v2")
    assert zoo.build("moga_a_0.5_64").inputs[0][1] == 64
    assert zoo.build("mnasnet_d1_320").inputs[0][1] == 320
    assert zoo.build("mnasnet_d1_320_1.0_64").inputs[0][1] == 64
    assert zoo.build("nasnet_a_mobile_1.0_64") == zoo.build("nasnet_a_mobile", 64)
    detector = zoo.build("mobilenet_v2_0.5_ssdlite_160", classes=3)
    assert [detector.shapes[value] for value in detector.outputs] == [(1, 540, 4), (1, 540, 4)]
    assert zoo.classes_of("nasnet_a_cifar") == 10


def test_the_convolutions_of_mobilenet_v2() -> None:
    """Table 2 of Sandler et al. 2018: strides and channels of its 7 stages."""
    graph = fold(zoo.build("mobilenet_v2"))
    stages = [shape for shape in graph.shapes if len(shape) == 4]
    for expected in [
        *((1, 112, 112, 16), (1, 56, 56, 24), (1, 28, 28, 32), (1, 14, 14, 64)),
        *((1, 14, 14, 96), (1, 7, 7, 160), (1, 7, 7, 320), (1, 7, 7, 1280)),
    ]:
        assert expected in stages


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mobilenet", r"no network 'mobilenet'.*mobilenet_v2"),
        ("mobilenet_v2_224", "lacks a width: write mobilenet_v2_1.0_224"),
        ("mobilenet_v2_0.0_224", "impossible width or resolution"),
        ("mobilenet_v2_99.0_224", "impossible width or resolution"),
        ("mobilenet_v2_1.0_0", "impossible width or resolution"),
        ("mobilenet_v2_1.0_99999", "no network"),
        ("mobilenet_v2_1.4", "no network"),
        ("mobilenet_v2_ssdlite", "no network"),
        ("mobilenet_v2_ssdlite_320_ssdlite_320", "no network"),
        ("nasnet_a_mobile_0.5_224", "has no widths"),
        ("", "no network"),
    ],
)
def test_no_such_network(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        zoo.build(name)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("ir_k3_q5_c8_e6", "cannot read 'q5'"),
        ("mb_k3_c8", "unknown block 'mb'"),
        ("ir_k3_c8_e6_selu", "cannot read 'selu'"),
        ("ir_k3_e6", "has no filters"),
        ("ds_c8", "has no kernel"),
    ],
)
def test_misspelt_blocks_are_refused(block: str, message: str) -> None:
    with pytest.raises(SearchError, match=message):
        Chain(8, block, 0, "nowhere").build(8, 2)

from __future__ import annotations

import json
from pathlib import Path

import pytest
from components import require

from latlas.profiler.count import Count, count
from latlas.profiler.errors import SearchError, UsageError
from latlas.profiler.fold import fold
from latlas.profiler.graph import GraphBuilder
from latlas.search import zoo

LAYER_TABLES = Path(__file__).parents[2].parent / "shared" / "specs" / "archs.json"

# Parameters in millions and multiply-adds in millions as the authors print them; then our count,
# which is exact. The published figures are rounded, and some were counted by other conventions.
PUBLISHED = {
    "mobilenet_v1": ((4.2, 569), (4_231_976, 568_740_352, 0)),
    "mobilenet_v2": ((3.4, 300), (3_504_872, 300_774_272, 0)),
    "mobilenet_v3_large": ((5.4, 219), (5_483_032, 215_082_560, 1_507_200)),
    "mnasnet_a1": ((3.9, 312), (3_887_038, 311_325_344, 253_728)),
    "mnasnet_b1": ((4.4, 315), (4_383_312, 314_415_872, 0)),
    "fairnas_a": ((4.6, 388), (4_651_352, 388_122_848, 0)),
    "fairnas_b": ((4.5, 345), (4_506_272, 345_297_632, 0)),
    "fairnas_c": ((4.4, 321), (4_397_864, 321_024_992, 0)),
    "proxylessnas_mobile": ((4.0, 320), (4_080_512, 320_427_584, 0)),
    "moga_a": ((5.1, 304), (5_159_802, 303_026_976, 1_015_200)),
    "moga_b": ((5.5, 248), (5_506_236, 247_228_128, 1_406_592)),
    "moga_c": ((5.4, 221), (5_488_200, 219_601_536, 1_488_384)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_networks_are_the_published_ones(name: str) -> None:
    (params, madds), exact = PUBLISHED[name]
    found = count(zoo.build(name))
    assert (found.params, found.madds, found.se_madds) == exact
    assert found.params == pytest.approx(params * 1e6, rel=0.032)
    assert found.madds + found.se_madds == pytest.approx(madds * 1e6, rel=0.015)


@pytest.mark.parametrize("name", zoo.names())
def test_networks_are_those_of_the_layer_tables(name: str) -> None:
    require("archs.json", LAYER_TABLES.exists(), f"put the layer tables at {LAYER_TABLES}")
    expected = json.loads(LAYER_TABLES.read_text()).get(name)
    assert expected is not None, f"{name} is not in the layer tables"
    graph = zoo.build(name)
    assert graph.inputs[0] == (1, expected["resolution"], expected["resolution"], 3)
    wanted = Count(expected["params"], expected["madds"], expected["se_madds"], True)
    assert count(graph) == wanted


@pytest.mark.parametrize("name", zoo.names())
def test_resolution_and_classes(name: str) -> None:
    graph = zoo.build(name, 32, classes=7)
    assert graph.inputs == ((1, 32, 32, 3),)
    assert [graph.shapes[value] for value in graph.outputs] == [(1, 7)]
    thousand = count(zoo.build(name, 32))
    features = graph.input_shapes(graph.nodes[-1])[0][-1]
    assert thousand.params - count(graph).params == 993 * (features + 1)
    assert len({node.name for node in graph.nodes}) == len(graph.nodes)
    assert zoo.source(name)


def test_the_convolutions_of_mobilenet_v2() -> None:
    """Table 2 of Sandler et al. 2018: strides and channels of its 7 stages."""
    graph = fold(zoo.build("mobilenet_v2"))
    stages = [shape for shape in graph.shapes if len(shape) == 4]
    for expected in [
        *((1, 112, 112, 16), (1, 56, 56, 24), (1, 28, 28, 32), (1, 14, 14, 64)),
        *((1, 14, 14, 96), (1, 7, 7, 160), (1, 7, 7, 320), (1, 7, 7, 1280)),
    ]:
        assert expected in stages


def test_no_such_network() -> None:
    with pytest.raises(UsageError, match=r"no network 'mobilenet'.*mobilenet_v2"):
        zoo.build("mobilenet")


@pytest.mark.parametrize("block", ["ir_k3_q5_c8_e6", "mb_k3_c8", "ir_k3_c8_e6_selu"])
def test_misspelt_blocks_are_refused(block: str) -> None:
    recipe = zoo.Recipe(8, block, 0, "nowhere")
    with pytest.raises(SearchError, match=block.partition("_")[0]):
        zoo._append_block(GraphBuilder((1, 8, 8, 8)), 0, block, recipe)

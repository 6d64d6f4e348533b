import pytest

from latlas.profiler.fold import fold
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.tflite.reader import read_tflite
from latlas.profiler.tflite.writer import to_tflite
from latlas.report.architecture_drawing import MAX_LAYERS, architecture_drawing, layers_of
from latlas.search.spaces import open_space


@pytest.mark.parametrize("name", ["moga_a", "moga_b", "moga_c"])
def test_mogas_networks_are_drawn_as_published(name: str) -> None:
    space = open_space("moga")
    genes = space.references[name]
    layers = [each for each in layers_of(space.decode(genes)) if each.name.startswith("MB")]
    found = [(round(each.expansion), each.kernel, int(" SE" in each.name)) for each in layers]
    assert tuple(found) == space.describe(genes)  # type: ignore[attr-defined]
    assert sum(each.stride == 2 for each in layers) == 4
    assert layers[-1].shape == "7×7×160"


def test_a_file_is_drawn_like_the_network_it_was_written_from() -> None:
    graph = open_space("moga", resolution=64, classes=10).decode((11, 0, 3) * 4 + (5, 7))
    assert layers_of(read_tflite(to_tflite(fold(graph)))) == layers_of(graph)


def test_every_space_can_be_drawn() -> None:
    for name in ("fairnas", "mnasnet", "nasnet"):
        space = open_space(name, resolution=64)
        for genes in space.sample(2, seed=1):
            assert architecture_drawing(space.decode(genes), "t").layers


def test_plain_layers() -> None:
    b = GraphBuilder((1, 16, 16, 3))
    x = b.max_pool(b.relu(b.conv(b.input, 8, 5, stride=2)), 2, stride=2)
    x = b.depthwise(x, 3)
    x = b.fully_connected(b.reshape(b.mean(x), (1, 8)), 4)
    names = [(each.name, each.stride) for each in layers_of(b.build(x))]
    assert names == [
        ("Conv 5×5", 2),
        ("Max pool 2×2", 2),
        ("DW 3×3", 1),
        ("Global average", 1),
        ("FC 4", 1),
    ]


def test_a_deep_network_is_cut() -> None:
    b = GraphBuilder((1, 4, 4, 2))
    x = b.input
    for _ in range(MAX_LAYERS + 5):
        x = b.relu(b.conv(x, 2, 3))
    drawing = architecture_drawing(b.build(x), "t")
    assert len(drawing.layers) == MAX_LAYERS
    assert drawing.note == f"The first {MAX_LAYERS} of {MAX_LAYERS + 5} layers."


def test_a_network_of_no_layers() -> None:
    b = GraphBuilder((1, 4, 4, 2))
    assert not architecture_drawing(b.build(b.relu(b.input)), "t").layers

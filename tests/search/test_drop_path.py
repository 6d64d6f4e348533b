from dataclasses import replace

import pytest

from latlas.profiler.errors import SearchError
from latlas.profiler.graph_builder import GraphBuilder
from latlas.search import zoo
from latlas.search.drop_path import keep_probability, with_drop_path
from latlas.search.spaces.nasnet import NASNET_A, STACKINGS


@pytest.mark.parametrize(
    ("cell", "keeps"), [(0, (1, 0.99, 0.98)), (9, (1, 0.90, 0.80)), (19, (1, 0.80, 0.60))]
)
def test_scheduled_drop_path(cell: int, keeps: tuple[float, ...]) -> None:
    found = [keep_probability(cell, 20, step, 100, 0.6) for step in (0, 50, 100)]
    assert found == pytest.approx(keeps)
    assert keep_probability(cell, 20, 500, 100, 0.6) == pytest.approx(keeps[-1])


def test_residuals_are_dropped_more_with_depth() -> None:
    graph = zoo.build("mobilenet_v2", 64, 10)
    marked = with_drop_path(graph, 0.2)
    rates = [node.drop_path for node in marked.nodes if node.drop_path]
    assert rates == pytest.approx([0.02 * i for i in range(1, 11)])  # it has ten residuals
    assert all(node.op.name == "binary" for node in marked.nodes if node.drop_path)
    again = with_drop_path(marked, 0.1)
    assert [n.drop_path for n in again.nodes if n.drop_path] == pytest.approx(
        [rate / 2 for rate in rates]
    )
    assert with_drop_path(graph, 0) is graph


def test_nasnets_operators_are_dropped_by_cell() -> None:
    space = replace(STACKINGS["nasnet_a_cifar"], filters=8)
    graph = with_drop_path(space.decode(space.encode(*NASNET_A)), 1 - 0.6)
    found = [node.drop_path for node in graph.nodes if node.drop_path]
    keeps = [1 - keep_probability(cell, 20, 100, 100, 0.6) for cell in range(20)]
    assert sorted(set(found)) == pytest.approx(keeps)
    # Ten operators less the identities, three in a normal cell and one in a reduction, less one of
    # two equal poolings; in the first cell these project to its filters, each by itself.
    assert [found.count(rate) for rate in sorted(set(found))[:8]] == [8, 7, 7, 7, 7, 7, 8, 7]
    assert len(found) == 8 + 17 * 7 + 2 * 8
    still = with_drop_path(graph, 0.0)
    assert not any(node.drop_path for node in still.nodes)


def test_without_residuals_there_is_nothing_to_drop() -> None:
    b = GraphBuilder((1, 8, 8, 3))
    with pytest.raises(SearchError, match="no"):
        with_drop_path(b.build(b.add(b.conv(0, 4, 1), b.conv(0, 4, 1))), 0.2)

from dataclasses import replace

import pytest

from latlas.profiler.errors import SearchError
from latlas.profiler.graph_builder import GraphBuilder
from latlas.search import zoo
from latlas.search.drop_path import with_drop_path
from latlas.search.spaces.nasnet import NASNET_A, STACKINGS


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
    # At the end of training 0.98 are kept in the first cell, 0.8 in the tenth, 0.6 in the last.
    assert sorted(set(found)) == pytest.approx([0.02 * (cell + 1) for cell in range(20)])
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

from __future__ import annotations

import itertools

import numpy as np
import pytest

from latlas.predictor.architectures import EDGES, features, live_edges
from latlas.profiler.errors import PredictorError


def on_a_path(cell: tuple[int, ...], edge: int) -> bool:
    """Try every path from node 0 to node 3."""
    for middle in ((), (1,), (2,), (1, 2)):
        nodes = (0, *middle, 3)
        path = [EDGES.index(pair) for pair in itertools.pairwise(nodes)]
        if edge in path and all(cell[each] for each in path):
            return True
    return False


def test_live_edges_are_those_on_a_path() -> None:
    cells = list(itertools.product((0, 3), repeat=6))
    live = live_edges(np.array(cells))
    for row, cell in zip(live, cells, strict=True):
        assert row.tolist() == [on_a_path(cell, edge) for edge in range(6)]


def test_features_of_a_full_cell() -> None:
    found = features(np.array([[3, 3, 3, 3, 3, 3]]))
    assert found["live"].tolist() == [[0, 0, 6, 0]]
    assert found["structure"].tolist() == [[3, 3, 3, 3, 3]]


@pytest.mark.parametrize("cells", [np.zeros((2, 5), int), np.full((1, 6), 5)])
def test_what_is_no_cell_is_refused(cells: np.ndarray) -> None:
    with pytest.raises(PredictorError, match="cells"):
        live_edges(cells)

"""What a cell of NAS-Bench-201 makes a device do.

Dong and Yang 2020, https://arxiv.org/abs/2001.00326. A cell has four nodes; its six edges, in the
order 0-1, 0-2, 1-2, 0-3, 1-3, 2-3, are operators: 0 none, 1 skip, 2 convolution 1x1, 3 convolution
3x3, 4 average pooling. An edge that no path from the input to the output takes is dead: converters
drop it, so that counting only live operators is what tells latencies.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.errors import PredictorError

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
OPERATORS = 5
_NODES = 4
_PATHS = ((0.0, 0.0, 1.0, 1.0, 0.3), (0.0, 0.0, 0.0, 1.0, 0.0), (0.0, 1.0, 1.0, 1.0, 1.0))
"""Weights of the operators by which the longest path is measured."""


def live_edges(cells: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return which edges lie on a path from the input to the output, shape (cells, 6).

    >>> live_edges(np.array([[3, 0, 0, 1, 0, 3]])).tolist()  # node 1 leads nowhere, 2 has no input
    [[False, False, False, True, False, False]]
    """
    if cells.ndim != 2 or cells.shape[1] != len(EDGES):
        raise PredictorError(f"cells: got an array of shape {cells.shape}, expected (cells, 6)")
    if cells.size and not 0 <= cells.min() <= cells.max() < OPERATORS:
        raise PredictorError(f"cells: operators are 0 to 4, got {cells.min()} to {cells.max()}")
    there = cells != 0
    reached = np.zeros((len(cells), _NODES), bool)
    useful = reached.copy()
    reached[:, 0] = useful[:, -1] = True
    for edge, (start, end) in enumerate(EDGES):  # ordered by their ends
        reached[:, end] |= reached[:, start] & there[:, edge]
    for edge, (start, end) in sorted(enumerate(EDGES), key=lambda item: -item[1][0]):
        useful[:, start] |= useful[:, end] & there[:, edge]
    starts, ends = np.transpose(EDGES)
    return np.asarray(there & reached[:, starts] & useful[:, ends])


def features(cells: NDArray[np.intp]) -> dict[str, NDArray[np.float64]]:
    """Return groups of features of cells, the most telling first, each (cells, columns).

    ``live``: numbers of live operators. ``counts``: of all, since some runtimes run dead ones.
    ``structure``: longest paths, additions, live nodes. ``live edges`` and ``edges``: which
    operator stands where.

    >>> features(np.array([[3, 0, 0, 1, 0, 3]]))["live"]  # skip, 1x1, 3x3, pooling
    array([[1., 0., 0., 0.]])
    """
    live = live_edges(cells)
    one = (cells[:, :, None] == np.arange(1, OPERATORS)).astype(np.float64)
    alive = one * live[:, :, None]
    return {
        "live": alive.sum(axis=1),
        "counts": one.sum(axis=1),
        "structure": _structure(cells, live),
        "live edges": alive.reshape(len(cells), -1),
        "edges": one.reshape(len(cells), -1),
    }


def _structure(cells: NDArray[np.intp], live: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return longest paths by each weighting, additions and live nodes, shape (cells, 5)."""
    columns = []
    for weights in _PATHS:
        length = np.full((len(cells), _NODES), -np.inf)
        length[:, 0] = 0.0
        for edge, (start, end) in enumerate(EDGES):
            by_edge = length[:, start] + np.array(weights)[cells[:, edge]]
            length[:, end] = np.maximum(length[:, end], np.where(live[:, edge], by_edge, -np.inf))
        columns.append(np.maximum(length[:, -1], 0.0))
    ends = np.array([end for _, end in EDGES])
    inputs = np.stack([live[:, ends == node].sum(axis=1) for node in range(1, _NODES)], axis=1)
    columns += [np.maximum(inputs - 1, 0).sum(axis=1), (inputs > 0).sum(axis=1)]
    return np.stack(columns, axis=1).astype(np.float64)

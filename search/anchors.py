"""Anchors of SSD (Liu et al. 2016, https://arxiv.org/abs/1512.02325): boxes to be adjusted.

Boxes are (top, left, bottom, right) as fractions of the image; anchors reach beyond its border.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.errors import SearchError
from latlas.search.detection import Grid

Boxes = NDArray[np.float32]
"""Boxes, shape (count, 4): top, left, bottom, right as fractions of the image."""

ASPECT_RATIOS = (1.0, 2.0, 1 / 2, 3.0, 1 / 3)
"""Width over height."""


def scales(maps: int, low: float = 0.2, high: float = 0.95) -> tuple[float, ...]:
    """Return the side of square anchors in every feature map, as a fraction of the image.

    >>> scales(6)
    (0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
    """
    return tuple(round(scale, 6) for scale in np.linspace(low, high, maps).tolist())


def ssd_anchors(grids: Sequence[Grid], low: float = 0.2, high: float = 0.95) -> Boxes:
    """Return the anchors of feature maps, in the order of a detector's outputs.

    Args:
        grids: the feature maps; 3 anchors a pixel are the reduced set of the first map (a square of
            half the scale, and the ratios 2 and 1/2), 6 are all of `ASPECT_RATIOS` and a square
            between this map's scale and the next.
        low: scale of the first map.
        high: scale of the last map.

    Returns:
        Boxes by map, row, column, anchor.

    >>> ssd_anchors([Grid(2, 2, 3), Grid(1, 1, 6)]).shape
    (18, 4)

    Raises:
        SearchError: a map has another number of anchors.
    """
    sides = (*scales(len(grids), low, high), 1.0)
    parts = [
        _tile(grid, _shapes(index, grid.anchors, sides[index], sides[index + 1]))
        for index, grid in enumerate(grids)
    ]
    return np.concatenate(parts).astype(np.float32)


def _shapes(index: int, count: int, side: float, following: float) -> list[tuple[float, float]]:
    """Return the scale and aspect ratio of the anchors of a pixel."""
    if count == 3:
        return [(side / 2, 1.0), (side, 2.0), (side, 1 / 2)]
    if count == len(ASPECT_RATIOS) + 1:
        between = math.sqrt(side * following)
        return [*((side, ratio) for ratio in ASPECT_RATIOS), (between, 1.0)]
    raise SearchError(f"feature map {index} has {count} anchors a pixel; expected 3 or 6")


def _tile(grid: Grid, shapes: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    sides, ratios = np.asarray(shapes).T
    half = np.stack([sides / np.sqrt(ratios), sides * np.sqrt(ratios)], axis=1) / 2
    centers = np.stack(
        np.meshgrid(
            (np.arange(grid.height) + 0.5) / grid.height,
            (np.arange(grid.width) + 0.5) / grid.width,
            indexing="ij",
        ),
        axis=-1,
    ).reshape(-1, 1, 2)
    return np.concatenate([centers - half, centers + half], axis=2).reshape(-1, 4)

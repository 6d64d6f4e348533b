"""Boxes of objects: how they are coded against anchors, and how much they overlap.

The code is that of Faster R-CNN (Ren et al. 2015, https://arxiv.org/abs/1506.01497): how far the
center lies from the anchor's, in heights and widths of the anchor, and the logarithm of how much
larger the box is, each times a scale that brings it near unit variance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latlas.search.anchors import Boxes

Offsets = NDArray[np.float32]
"""Coded boxes, shape (..., count, 4): vertical and horizontal shift, growth in height and width."""

SCALES = np.array([10, 10, 5, 5], np.float32)
_SMALLEST = np.float32(1e-8)
_GROWTH = 10.0
"""Logarithm of the largest growth that is decoded; an untrained network may say anything."""


def encode(boxes: Boxes, anchors: Boxes) -> Offsets:
    """Return boxes as offsets from anchors, one for one.

    Args:
        boxes: shape (..., count, 4).
        anchors: shape (count, 4).
    """
    middle, size = _centered(boxes)
    anchor, extent = _centered(anchors)
    shift, growth = (middle - anchor) / extent, np.log(size / extent)
    offsets: Offsets = np.concatenate([shift, growth], axis=-1) * SCALES
    return offsets


def decode(offsets: Offsets, anchors: Boxes) -> Boxes:
    """Return the boxes that offsets from anchors stand for, one for one.

    Args:
        offsets: shape (..., count, 4).
        anchors: shape (count, 4).

    >>> anchors = np.array([[0.0, 0.0, 0.5, 0.5]], np.float32)
    >>> decode(np.array([[0.0, 5.0, 0.0, 0.0]], np.float32), anchors).tolist()
    [[0.0, 0.25, 0.5, 0.75]]
    """
    shift, growth = np.split(offsets / SCALES, 2, axis=-1)
    anchor, extent = _centered(anchors)
    middle = shift * extent + anchor
    half = np.exp(np.minimum(growth, _GROWTH)) * extent / 2
    boxes: Boxes = np.concatenate([middle - half, middle + half], axis=-1)
    return boxes


def overlaps(left: Boxes, right: Boxes) -> NDArray[np.float32]:
    """Return intersection over union of every pair of boxes, shape (left, right).

    >>> box = np.array([[0, 0, 1, 1]], np.float32)
    >>> overlaps(box, np.array([[0, 0, 1, 0.5], [2, 2, 3, 3]], np.float32)).tolist()
    [[0.5, 0.0]]
    """
    low = np.maximum(left[:, None, :2], right[None, :, :2])
    high = np.minimum(left[:, None, 2:], right[None, :, 2:])
    shared: NDArray[np.float32] = np.prod(np.maximum(high - low, 0), axis=2)
    union = _area(left)[:, None] + _area(right)[None] - shared
    ratio: NDArray[np.float32] = shared / np.maximum(union, _SMALLEST)
    return ratio


def match(boxes: Boxes, anchors: Boxes, threshold: float = 0.5) -> NDArray[np.int64]:
    """Return for every anchor the box that it is to find, or -1 for the background.

    An anchor finds the box that it overlaps most if by at least `threshold`; every box is found by
    the anchor that overlaps it most, however little. Of boxes with the same best anchor, that with
    the largest overlap has it, and the others have the best of those left (SSD, section 2.2).
    """
    if not len(boxes):
        return np.full(len(anchors), -1, np.int64)
    shared = overlaps(boxes, anchors)
    found = np.where(shared.max(axis=0) >= threshold, shared.argmax(axis=0), -1)
    left = shared.copy()
    for _ in range(min(left.shape)):
        box, anchor = np.unravel_index(left.argmax(), left.shape)
        found[anchor] = box
        left[box], left[:, anchor] = -1, -1
    return found


def suppress(
    boxes: Boxes, scores: NDArray[np.float32], *, threshold: float = 0.6, most: int = 100
) -> NDArray[np.int64]:
    """Return the boxes to keep, best first: none overlaps a better one by more than `threshold`.

    Args:
        boxes: of one class.
        scores: how sure each is, shape (count,).
        threshold: of intersection over union.
        most: how many are kept at most.
    """
    kept: list[int] = []
    left = np.argsort(-scores, kind="stable")
    while len(left) and len(kept) < most:
        best, left = left[0], left[1:]
        kept.append(int(best))
        left = left[overlaps(boxes[[best]], boxes[left])[0] <= threshold]
    return np.asarray(kept, np.int64)


def _centered(boxes: Boxes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    low, high = boxes[..., :2], boxes[..., 2:]
    middle: NDArray[np.float32] = np.float32(0.5) * (low + high)
    size: NDArray[np.float32] = np.maximum(high - low, _SMALLEST)
    return middle, size


def _area(boxes: Boxes) -> NDArray[np.float32]:
    area: NDArray[np.float32] = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    return area

"""COCO's AP: mean average precision of a detector over classes and overlaps (Lin et al. 2014).

A detection is right if it overlaps an object of its class, which no surer detection has found, by
at least a threshold. AP is the mean of the precision at 101 recalls, of the thresholds 0.50, 0.55 …
0.95, and of the classes that have objects. Crowds and sizes of objects are not told apart here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from latlas.search.anchors import Boxes
from latlas.search.boxes import overlaps

THRESHOLDS = tuple(np.arange(50, 100, 5) / 100)
_RECALLS = np.linspace(0, 1, 101)


class Objects(NamedTuple):
    """What is on an image.

    Attributes:
        boxes: shape (objects, 4).
        labels: classes, shape (objects,).
    """

    boxes: Boxes
    labels: NDArray[np.int32]


class Detections(NamedTuple):
    """What a detector finds on an image.

    Attributes:
        boxes: shape (detections, 4).
        labels: classes, shape (detections,).
        scores: how sure it is, shape (detections,).
    """

    boxes: Boxes
    labels: NDArray[np.int32]
    scores: NDArray[np.float32]


def average_precision(
    truth: Sequence[Objects],
    found: Sequence[Detections],
    thresholds: Sequence[float] = THRESHOLDS,
) -> float:
    """Return AP@[.5:.95], from 0 to 1; NaN where there is no object at all.

    Args:
        truth: of every image.
        found: of every image, in the same order.
        thresholds: of the overlap.

    >>> box, label = np.array([[0, 0, 1, 1]], np.float32), np.array([1], np.int32)
    >>> average_precision([Objects(box, label)], [Detections(box, label, np.ones(1, np.float32))])
    1.0
    """
    classes = {label for one in truth for label in one.labels.tolist()}
    values = [
        _class_precision(truth, found, label, threshold)
        for label in sorted(classes)
        for threshold in thresholds
    ]
    return float(np.mean(values)) if values else float("nan")


def _class_precision(
    truth: Sequence[Objects], found: Sequence[Detections], label: int, threshold: float
) -> float:
    scores: list[NDArray[np.float32]] = []
    right: list[NDArray[np.bool_]] = []
    count = 0
    for objects, detections in zip(truth, found, strict=True):
        own = detections.labels == label
        order = np.argsort(-detections.scores[own], kind="stable")
        boxes = objects.boxes[objects.labels == label]
        count += len(boxes)
        scores.append(detections.scores[own][order])
        right.append(_right(overlaps(detections.boxes[own][order], boxes), threshold))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return precision_of(np.concatenate(right)[order], count)


def _right(shared: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    """Return which detections are right, the surest first.

    Args:
        shared: overlap of every detection with every object.
        threshold: least overlap.
    """
    free = np.ones(shared.shape[1], np.bool_)
    right = np.zeros(len(shared), np.bool_)
    for detection, row in enumerate(shared):
        left = np.where(free, row, -1.0)
        if len(left) and left.max() >= threshold:
            right[detection] = True
            free[left.argmax()] = False
    return right


def precision_of(right: NDArray[np.bool_], count: int) -> float:
    """Return the mean precision at 101 recalls.

    Args:
        right: whether each detection is right, the surest first.
        count: number of objects.

    >>> round(precision_of(np.array([True, False, True]), 2), 4)
    0.835
    """
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    # The best precision that can be had at this recall or a higher one.
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(hits / count, _RECALLS - 1e-12)
    return float(np.append(precision, 0.0)[np.minimum(places, len(right))].mean())

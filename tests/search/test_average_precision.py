import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latlas.search.average_precision import (
    Detections,
    Objects,
    average_precision,
    precision_of,
)

UNIT = np.array([[0, 0, 1, 1]], np.float32)


def objects(boxes: object, labels: object) -> Objects:
    return Objects(np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int32))


def detections(boxes: object, labels: object, scores: object) -> Detections:
    return Detections(*objects(boxes, labels), np.array(scores, np.float32))


def test_the_overlap_decides_at_how_many_thresholds_a_detection_is_right() -> None:
    truth = [objects([[0, 0, 1, 1]], [1])]
    # An overlap of 0.72: right at 0.5, 0.55, 0.6, 0.65 and 0.7.
    found = [detections([[0, 0, 1, 0.72]], [1], [0.9])]
    assert average_precision(truth, found) == pytest.approx(0.5)
    assert average_precision(truth, [detections([[0, 0, 1, 1]], [2], [0.9])]) == 0
    assert average_precision(truth, [detections([], [], [])]) == 0
    assert np.isnan(average_precision([objects([], [])], found))


def test_every_object_is_found_once_and_surer_detections_come_first() -> None:
    truth = [objects([[0, 0, 0.4, 0.4], [0.5, 0.5, 1, 1]], [1, 1]), objects([], [])]
    boxes = [[0, 0, 0.4, 0.4], [0, 0, 0.4, 0.4], [0.5, 0.5, 1, 1]]
    twice = [detections(boxes, [1, 1, 1], [0.9, 0.8, 0.7]), detections([], [], [])]
    assert average_precision(truth, twice) == pytest.approx((51 + 50 * 2 / 3) / 101)
    # A wrong one on another image counts for all images.
    wrong = [
        detections([boxes[0], boxes[2]], [1, 1], [0.9, 0.7]),
        detections([[0, 0, 1, 1]], [1], [0.8]),
    ]
    assert average_precision(truth, wrong) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_classes_count_alike() -> None:
    truth = [objects([[0, 0, 1, 1], [0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], [1, 2, 2])]
    found = [detections([[0, 0, 1, 1]], [1], [0.5])]
    assert average_precision(truth, found) == pytest.approx(0.5)


@given(st.lists(st.booleans(), max_size=30), st.integers(0, 5))
def test_precision_lies_between_the_recall_reached_and_nothing(
    right: list[bool], missed: int
) -> None:
    count = sum(right) + missed
    if count:
        value = precision_of(np.array(right, np.bool_), count)
        assert 0 <= value <= sum(right) / count + 1 / 101
        if all(right):
            assert value == pytest.approx(np.floor(100 * sum(right) / count + 1e-9) / 101, abs=0.01)

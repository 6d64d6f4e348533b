from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from latlas.search.anchors import Boxes, ssd_anchors
from latlas.search.boxes import decode, encode, match, overlaps, suppress
from latlas.search.detection import Grid

ANCHORS = ssd_anchors([Grid(4, 4, 3), Grid(2, 2, 6)])


def boxes(count: int, seed: int) -> Boxes:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.8, (count, 2))
    return np.concatenate([low, low + rng.uniform(0.05, 0.2, (count, 2))], 1).astype(np.float32)


@given(st.integers(0, 1000))
def test_decoding_turns_coding_round(seed: int) -> None:
    some = boxes(len(ANCHORS), seed)
    again = decode(encode(some, ANCHORS), ANCHORS)
    np.testing.assert_allclose(again, some, atol=1e-5)
    batch = np.stack([some, some[::-1]])
    np.testing.assert_allclose(decode(encode(batch, ANCHORS), ANCHORS), batch, atol=1e-5)


def test_the_code_of_a_box() -> None:
    anchor = np.array([[0.2, 0.2, 0.4, 0.6]], np.float32)
    np.testing.assert_allclose(encode(anchor, anchor), 0, atol=1e-6)
    lower = anchor + np.array([[0.1, 0.0, 0.1, 0.0]], np.float32)
    np.testing.assert_allclose(encode(lower, anchor), [[5, 0, 0, 0]], atol=1e-5)
    twice = np.array([[0.2, 0.0, 0.4, 0.8]], np.float32)
    np.testing.assert_allclose(encode(twice, anchor), [[0, 0, 0, 5 * np.log(2)]], atol=1e-5)


def test_anything_is_decoded_and_flat_boxes_are_coded() -> None:
    wild = np.full((1, 4), 1e4, np.float32)
    assert np.isfinite(decode(wild, ANCHORS[:1])).all()
    flat = np.array([[0.5, 0.5, 0.5, 0.5]], np.float32)
    assert np.isfinite(encode(flat, ANCHORS[:1])).all()


@given(st.integers(0, 1000))
def test_overlaps(seed: int) -> None:
    left, right = boxes(5, seed), boxes(4, seed + 1)
    shared = overlaps(left, right)
    assert shared.shape == (5, 4)
    assert ((shared >= 0) & (shared <= 1 + 1e-6)).all()
    np.testing.assert_allclose(shared, overlaps(right, left).T)
    np.testing.assert_allclose(np.diag(overlaps(left, left)), 1, rtol=1e-5)


@given(st.integers(0, 1000), st.integers(0, 5))
def test_every_box_is_found(seed: int, count: int) -> None:
    some = boxes(count, seed)
    found = match(some, ANCHORS)
    assert found.shape == (len(ANCHORS),)
    assert set(found) <= {-1, *range(count)}
    if count:
        shared = overlaps(some, ANCHORS)
        assert set(found[found >= 0]) == set(range(count))
        best = shared.argmax(axis=1)
        if len(set(best)) == count:
            assert found[best].tolist() == list(range(count))
            firm = (shared.max(axis=0) >= 0.5) & ~np.isin(np.arange(len(ANCHORS)), best)
            assert (found[firm] == shared.argmax(axis=0)[firm]).all()


def test_boxes_with_the_same_best_anchor_are_all_found() -> None:
    anchors = np.array([[0, 0, 1, 1], [0, 0, 0.6, 0.6], [2, 2, 3, 3]], np.float32)
    some = np.array([[0, 0, 1, 0.9], [0, 0, 0.9, 0.9]], np.float32)
    assert match(some, anchors).tolist() == [0, 1, -1]


def test_suppression_keeps_the_best_of_each_place() -> None:
    some = np.array(
        [[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.45], [0.5, 0.5, 1, 1], [0.5, 0, 1, 0.5]], np.float32
    )
    scores = np.array([0.5, 0.9, 0.1, 0.7], np.float32)
    assert suppress(some, scores).tolist() == [1, 3, 2]
    assert suppress(some, scores, most=1).tolist() == [1]
    assert suppress(some, scores, threshold=0.95).tolist() == [1, 3, 0, 2]
    assert suppress(some[:0], scores[:0]).tolist() == []

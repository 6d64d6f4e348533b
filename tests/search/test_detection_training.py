import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latlas.profiler.errors import SearchError
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.search.anchors import ssd_anchors
from latlas.search.boxes import decode, encode
from latlas.search.coco import Picture, Pictures
from latlas.search.detection import grids, ssdlite
from latlas.search.recipe import Augmentation, DropPathRate, LearningRate, Optimizer, Recipe
from latlas.search.training_state import save_state

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SIZE = 64
RECIPE = Recipe(
    epochs=8,
    batch_size=8,
    batch_norm_momentum=0.9,
    optimizer=Optimizer("sgd", clip_norm=10.0),
    learning_rate=LearningRate(0.05, per=0, schedule="constant"),
    augmentation=Augmentation(flip=True),
)


def classifier() -> Graph:
    b = GraphBuilder((1, SIZE, SIZE, 3))
    x = b.input
    for filters in (8, 8, 16, 16, 24):
        x = b.relu6(b.batch_norm(b.conv(x, filters, 3, stride=2, bias=False)))
    return b.build(b.fully_connected(b.mean(x), 4))


@pytest.fixture(scope="module")
def detector() -> Graph:
    return ssdlite(classifier(), 2, extra_filters=(16,), anchors=(3, 6, 6))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """Red and green squares on black, one on each image."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    found = []
    for number in range(16):
        top, left = rng.integers(0, SIZE // 2, 2)
        side = int(rng.integers(SIZE // 4, SIZE // 2))
        label = number % 2 + 1
        image = np.zeros((SIZE, SIZE, 3), np.uint8)
        image[top : top + side, left : left + side, label - 1] = 255
        path = folder / f"{number}.png"
        path.write_bytes(tf.io.encode_png(image).numpy())
        box = np.array([[top, left, top + side, left + side]], np.float32) / SIZE
        found.append(Picture(path, SIZE, SIZE, box, np.array([label], np.int32)))
    return Pictures("squares", ("red", "green"), tuple(found), 0)


def test_targets_decode_to_the_objects_again(detector: Graph) -> None:
    from latlas.search.detection_training import targets_of

    anchors = ssd_anchors(grids(detector))
    boxes = np.array([[0.1, 0.1, 0.5, 0.6], [0.4, 0.4, 0.9, 0.9]], np.float32)
    targets = targets_of(boxes, np.array([2, 1], np.int32), anchors)
    for label, box in ((2, boxes[0]), (1, boxes[1])):
        some = targets.labels == label
        assert some.any()
        found = decode(targets.offsets[some], anchors[some])
        np.testing.assert_allclose(found, np.tile(box, (some.sum(), 1)), atol=1e-5)
    nothing = targets_of(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), anchors)
    assert not nothing.labels.any()
    assert not nothing.offsets.any()


def test_the_loss_by_hand() -> None:
    from latlas.search.detection_training import detection_loss

    logits = np.zeros((1, 10, 3), np.float32)
    logits[0, 1:4, 1] = 2.0  # the three hardest of the background
    labels = np.zeros((1, 10), np.int32)
    labels[0, 0] = 2
    offsets, truth = np.zeros((1, 10, 4), np.float32), np.zeros((1, 10, 4), np.float32)
    offsets[0, 0] = [0.5, 2.0, 0.0, 0.0]
    offsets[0, 5] = 100.0  # of the background: no loss
    expected = (0.5 * 0.25 + 1.5) + np.log(3) + 3 * np.log(2 + np.exp(2.0))
    found = float(detection_loss(offsets, logits, truth, labels))
    assert found == pytest.approx(expected, rel=1e-5)


def test_hard_negatives_are_never_positive_and_three_for_each() -> None:
    from latlas.search.detection_training import hard_negatives

    rng = np.random.default_rng(0)
    positive = rng.random((5, 40)) < 0.1
    positive[0] = False
    counted = hard_negatives(rng.random((5, 40)).astype(np.float32), positive).numpy()
    assert not (counted & positive).any()
    found = np.maximum(positive.sum(1), 1)
    np.testing.assert_array_equal(counted.sum(1), np.minimum(3 * found, 40 - positive.sum(1)))


def test_noise_is_what_the_recipe_says(detector: Graph, pictures: Pictures) -> None:
    from latlas.search.detection_training import _Training

    def dropping(graph: Graph, rate: float) -> int:
        recipe = replace(RECIPE, drop_path=DropPathRate(rate))
        layers = _Training(graph, pictures, recipe, 0, None).model.layers
        return sum(layer.name.startswith("drop_path") for layer in layers)

    first, *others = detector.nodes
    marked = replace(detector, nodes=(replace(first, drop_path=0.4), *others))  # as NASNet's cells
    assert (dropping(marked, 0.2), dropping(marked, 0.0)) == (1, 0)
    with pytest.raises(SearchError, match="needs residual connections"):
        dropping(detector, 0.2)


def test_the_loss_falls_squares_are_found_and_an_interrupted_training_goes_on(
    detector: Graph, pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from latlas.search import detection_training
    from latlas.search.detection_training import evaluate, starting_weights, train_detector

    start = starting_weights(detector, None, seed=1)
    result = train_detector(detector, pictures, RECIPE, weights=start)
    assert not result.error
    assert result.losses[-1] < 0.7 * result.losses[0]
    value = evaluate(detector, result.weights, pictures)
    assert 0 <= value <= 1
    assert value >= evaluate(detector, start, pictures)

    def interrupted(path: Path, identity: str, losses: list[float], state: Any) -> None:
        save_state(path, identity, losses, state)
        if len(losses) == 5:
            raise KeyboardInterrupt

    checkpoint = tmp_path / "checkpoint.npz"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(detection_training, "save_state", interrupted)
        train_detector(detector, pictures, RECIPE, weights=start, checkpoint=checkpoint)
    resumed = train_detector(detector, pictures, RECIPE, weights=start, checkpoint=checkpoint)
    assert resumed.losses == pytest.approx(result.losses, rel=1e-3)
    with pytest.raises(SearchError, match="another training"):
        train_detector(detector, pictures, RECIPE, seed=2, checkpoint=checkpoint)
    checkpoint.write_bytes(b"PK")
    with pytest.raises(SearchError, match="start anew"):
        train_detector(detector, pictures, RECIPE, checkpoint=checkpoint)


def test_detections_are_the_surest_of_each_class() -> None:
    from latlas.search.detection_training import detections_of

    anchors = np.array([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.52], [0.5, 0.5, 1, 1]], np.float32)
    logits = np.array([[0, 5, 0], [0, 4, 0], [9, 0, 5]], np.float32)
    found = detections_of(encode(anchors, anchors), logits, anchors)
    assert found.labels[0] == 1
    np.testing.assert_allclose(found.boxes[0], anchors[0], atol=1e-6)
    assert (np.diff(found.scores) <= 0).all()
    assert found.labels.tolist().count(1) == 1  # the other overlaps it
    none = detections_of(
        encode(anchors, anchors), np.array([[99.0, 0, 0]] * 3, np.float32), anchors
    )
    assert none.boxes.shape == (0, 4)


def test_a_classifiers_weights_are_taken_where_they_fit(detector: Graph) -> None:
    from latlas.search.detection_training import starting_weights
    from latlas.search.keras_view import initial_weights

    trained = initial_weights(classifier(), seed=5)
    found = starting_weights(detector, trained)
    taken = [name for name in trained if name in found and found[name] is trained[name]]
    assert len(taken) >= 5 * 5
    assert set(found) == set(initial_weights(detector))


def test_what_does_not_fit_is_refused(detector: Graph, pictures: Pictures, tmp_path: Path) -> None:
    from latlas.search.detection_training import read_picture, train_detector

    with pytest.raises(SearchError, match="2 classes does not fit pictures of 1"):
        train_detector(detector, replace(pictures, classes=("red",)), RECIPE)
    with pytest.raises(SearchError, match="no crop"):
        train_detector(
            detector, pictures, replace(RECIPE, augmentation=Augmentation(crop="resized"))
        )
    picture = pictures.pictures[0]
    with pytest.raises(SearchError, match="annotation says"):
        read_picture(replace(picture, width=SIZE + 1), SIZE)
    broken = tmp_path / "broken.png"
    broken.write_bytes(picture.path.read_bytes()[:40])
    with pytest.raises(SearchError, match="cannot read"):
        read_picture(replace(picture, path=broken), SIZE)
    with pytest.raises(SearchError, match="cannot read"):
        read_picture(replace(picture, path=tmp_path / "absent.png"), SIZE)

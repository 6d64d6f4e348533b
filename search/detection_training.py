"""Training of SSDLite detectors (Liu et al. 2016, https://arxiv.org/abs/1512.02325).

Every anchor is to say which object it finds, if any, and where that lies. Most find none: of these
only the three hardest for each one that finds something count (hard negative mining).
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from latlas.profiler.errors import SearchError
from latlas.profiler.graph import Graph, Weights
from latlas.search.anchors import Boxes, ssd_anchors
from latlas.search.average_precision import Detections, Objects, average_precision
from latlas.search.boxes import decode, encode, match, suppress
from latlas.search.coco import MAX_IMAGE_BYTES, Picture, Pictures, require_size
from latlas.search.conversion import File
from latlas.search.detection import grids
from latlas.search.keras_view import initial_weights, to_keras, weights_of
from latlas.search.optimizer import descend, optimizer_of
from latlas.search.recalibration import recalibrate
from latlas.search.recipe import Recipe
from latlas.search.training import TrainingResult, with_noise
from latlas.search.training_state import load_state, save_state

NEGATIVES = 3
"""Anchors of the background that count, for each one that finds an object."""

LEAST_SCORE = 0.01
"""Detections that are less sure are none."""

_SCORING_BATCH = 16


@dataclass(frozen=True, eq=False)
class Targets:
    """What the anchors are to say about an image.

    Attributes:
        offsets: shape (anchors, 4); 0 where an anchor finds nothing.
        labels: classes, shape (anchors,); 0 is the background.
    """

    offsets: NDArray[np.float32]
    labels: NDArray[np.int32]


def targets_of(boxes: Boxes, labels: NDArray[np.int32], anchors: Boxes) -> Targets:
    """Return what the anchors are to say about objects.

    Args:
        boxes: of the objects, shape (objects, 4).
        labels: their classes from 1, shape (objects,).
        anchors: shape (anchors, 4).
    """
    found = match(boxes, anchors)
    some = found >= 0
    offsets = np.zeros((len(anchors), 4), np.float32)
    classes = np.zeros(len(anchors), np.int32)
    if some.any():
        offsets[some] = encode(boxes[found[some]], anchors[some])
        classes[some] = labels[found[some]]
    return Targets(offsets, classes)


def detection_loss(
    offsets: tf.Tensor, logits: tf.Tensor, true_offsets: tf.Tensor, labels: tf.Tensor
) -> tf.Tensor:
    """Return SSD's loss: smooth L1 of boxes and cross entropy, over the anchors that find one.

    Args:
        offsets: that were predicted, shape (images, anchors, 4).
        logits: shape (images, anchors, classes + 1).
        true_offsets: like `offsets`.
        labels: shape (images, anchors); 0 is the background.
    """
    positive = labels > 0
    apart = tf.abs(offsets - true_offsets)
    smooth = tf.where(apart < 1, 0.5 * apart**2, apart - 0.5)
    boxes = tf.reduce_sum(tf.where(positive, tf.reduce_sum(smooth, -1), 0.0))
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    counted = tf.logical_or(positive, hard_negatives(entropy, positive))
    classes = tf.reduce_sum(tf.where(counted, entropy, 0.0))
    found = tf.reduce_sum(tf.cast(positive, tf.float32))
    return (boxes + classes) / tf.maximum(found, 1.0)


def hard_negatives(entropy: tf.Tensor, positive: tf.Tensor) -> tf.Tensor:
    """Return which anchors of the background count: the hardest of every image.

    On an image without objects as many count as on one with a single object found once.

    Args:
        entropy: loss of every anchor, shape (images, anchors).
        positive: whether it finds an object.
    """
    losses = tf.where(positive, -math.inf, entropy)
    places = tf.argsort(tf.argsort(losses, axis=1, direction="DESCENDING"), axis=1)
    found = tf.reduce_sum(tf.cast(positive, tf.int32), axis=1, keepdims=True)
    return tf.logical_and(places < NEGATIVES * tf.maximum(found, 1), tf.logical_not(positive))


def read_picture(picture: Picture, size: int) -> NDArray[np.float32]:
    """Return an image in [-1, 1], shape (size, size, 3), whatever its proportions.

    Raises:
        SearchError: the file is missing, damaged, or not the annotated image.
    """
    try:
        with picture.path.open("rb") as file:
            data = file.read(MAX_IMAGE_BYTES + 1)
        if len(data) > MAX_IMAGE_BYTES:
            raise SearchError(f"{picture.path} is longer than {MAX_IMAGE_BYTES >> 20} MiB")
        require_size(data, picture)
        image = tf.io.decode_image(data, channels=3, expand_animations=False)
    except (OSError, tf.errors.OpError) as problem:
        raise SearchError(f"cannot read {picture.path}: {str(problem)[:200]}") from problem
    resized = tf.image.resize(image, (size, size), antialias=True)
    scaled: NDArray[np.float32] = resized.numpy() / np.float32(127.5) - 1
    return scaled


def starting_weights(detector: Graph, trained: Weights | None, seed: int = 0) -> Weights:
    """Return what a detector's training begins with: a classifier's weights where it has them.

    Args:
        detector: made of the classifier by `latlas.search.detection.ssdlite`.
        trained: weights of the classifier, or None.
        seed: of all others.
    """
    found = dict(initial_weights(detector, seed))
    for name, array in (trained or {}).items():
        if name in found and found[name].shape == array.shape:
            found[name] = array
    return found


def train_detector(
    detector: Graph,
    data: Pictures,
    recipe: Recipe,
    *,
    seed: int = 0,
    weights: Weights | None = None,
    checkpoint: Path | None = None,
    progress: bool = False,
) -> TrainingResult:
    """Train a detector.

    Args:
        detector: of `latlas.search.detection.ssdlite`, for the classes of the images.
        data: what it is trained on.
        recipe: how; of augmentation it may have flips alone.
        seed: of order, flips, noise, and the weights where none are given.
        weights: what training begins with.
        checkpoint: a file that keeps the state after every epoch; where it is there, training goes
            on from it.
        progress: whether to show it on stderr.

    Returns:
        Weights and mean losses of the epochs; the accuracy is NaN: see `evaluate`.

    Raises:
        SearchError: the detector does not fit the images, an image cannot be read, the recipe asks
            for what boxes do not survive, or the checkpoint is of another training.
    """
    _check(detector, data, recipe)
    training = _Training(detector, data, recipe, seed, weights)
    losses: list[float] = []
    if checkpoint and checkpoint.exists():
        losses = load_state(checkpoint, training.identity, training.state)[: recipe.epochs]
    for epoch in tqdm(
        range(len(losses), recipe.epochs),
        desc="training",
        unit="epoch",
        file=sys.stderr,
        disable=not progress,
    ):
        loss = training.epoch(epoch)
        if not math.isfinite(loss):
            error = f"the loss became {loss} in epoch {epoch + 1}: lower the learning rate"
            return TrainingResult(math.nan, len(data.pictures), {}, tuple(losses), error)
        losses.append(loss)
        if checkpoint:
            save_state(checkpoint, training.identity, losses, training.state)
    training.settle()
    found = weights_of(training.model, detector)
    return TrainingResult(math.nan, len(data.pictures), found, tuple(losses))


def _check(detector: Graph, data: Pictures, recipe: Recipe) -> None:
    _, size, other, channels = detector.inputs[0]
    logits = detector.shapes[detector.outputs[1]]
    if size != other or channels != 3 or logits[-1] != len(data.classes) + 1:
        raise SearchError(
            f"a detector of {detector.inputs[0]} with {logits[-1] - 1} classes does not fit "
            f"pictures of {len(data.classes)} classes in three colours"
        )
    augmentation = recipe.augmentation
    if augmentation.crop != "none" or augmentation.cutout or recipe.ema or recipe.label_smoothing:
        raise SearchError(
            "a detector's recipe has no crop, cutout, ema or label_smoothing: take ssdlite_coco, "
            "or a recipe without them"
        )


class _Training:
    """The state of one training."""

    def __init__(
        self, detector: Graph, data: Pictures, recipe: Recipe, seed: int, weights: Weights | None
    ) -> None:
        self.data, self.recipe, self.seed = data, recipe, seed
        detector = with_noise(detector, recipe)
        self.identity = json.dumps(
            {
                "detector": hashlib.sha256(detector.to_text().encode()).hexdigest(),
                "data": data.name,
                "recipe": recipe.identity,
                "seed": seed,
            },
            sort_keys=True,
        )
        self.size = detector.inputs[0][1]
        self.anchors = ssd_anchors(grids(detector))
        self.model = to_keras(
            detector,
            weights=weights,
            batch_norm_momentum=recipe.batch_norm_momentum,
            seed=seed,
        )
        self.variables = self.model.trainable_variables
        self.optimizer = optimizer_of(recipe)
        self.optimizer.build(self.variables)
        self.batch_size = min(recipe.batch_size, len(data.pictures))
        self.steps = len(data.pictures) // self.batch_size
        shape, anchors = [None, self.size, self.size, 3], len(self.anchors)
        self.step = tf.function(
            self._step,
            input_signature=[
                tf.TensorSpec(shape, tf.float32),
                tf.TensorSpec([None, anchors, 4], tf.float32),
                tf.TensorSpec([None, anchors], tf.int32),
                tf.TensorSpec([], tf.float32),
            ],
        )

    @property
    def state(self) -> dict[str, Any]:
        """All variables that training changes, by name."""
        groups = {"model": self.model.variables, "optimizer": self.optimizer.variables}
        return {f"{name}{i}": one for name, group in groups.items() for i, one in enumerate(group)}

    def epoch(self, epoch: int) -> float:
        """Train one epoch; return its mean loss, or the first that is not finite."""
        rng = np.random.default_rng([self.seed, 5, epoch])
        order = rng.permutation(len(self.data.pictures))
        losses = []
        for number in range(self.steps):
            chosen = order[number * self.batch_size : (number + 1) * self.batch_size]
            step = epoch * self.steps + number
            self.model.clock.step.assign(step)
            self.model.clock.drop_path.assign(self.recipe.drop_path_share(step, self.steps))
            rate = self.recipe.rate(step, self.steps)
            loss = float(self.step(*self.batch(chosen.tolist(), rng), rate))
            if not math.isfinite(loss):
                return loss
            losses.append(loss)
        return float(np.mean(losses))

    def batch(self, chosen: Sequence[int], rng: np.random.Generator) -> list[Any]:
        """Return images and what the anchors are to say about them."""
        images, offsets, labels = [], [], []
        for index in chosen:
            picture = self.data.pictures[index]
            image, boxes = read_picture(picture, self.size), picture.boxes
            if self.recipe.augmentation.flip and rng.random() < 0.5:
                image, boxes = image[:, ::-1], flipped(boxes)
            targets = targets_of(boxes, picture.labels, self.anchors)
            images.append(image)
            offsets.append(targets.offsets)
            labels.append(targets.labels)
        return [np.stack(images), np.stack(offsets), np.stack(labels)]

    def _step(
        self, images: tf.Tensor, offsets: tf.Tensor, labels: tf.Tensor, rate: tf.Tensor
    ) -> tf.Tensor:
        with tf.GradientTape() as tape:
            found, logits = self.model(images, training=True)
            loss = detection_loss(found, logits, offsets, labels)
        gradients = tape.gradient(loss, [one.value for one in self.variables])
        descend(self.optimizer, self.recipe, self.variables, gradients, rate)
        return loss

    def settle(self) -> None:
        """Take batch norm's statistics anew, as the mean over training images."""
        pictures = self.data.pictures[: self.recipe.recalibration_images]
        batches = (
            np.stack([read_picture(one, self.size) for one in pictures[first:][:_SCORING_BATCH]])
            for first in range(0, len(pictures), _SCORING_BATCH)
        )
        recalibrate(self.model, batches, self.recipe.batch_norm_momentum)


def flipped(boxes: Boxes) -> Boxes:
    """Return boxes of the mirrored image.

    >>> flipped(np.array([[0.0, 0.25, 0.5, 0.5]], np.float32)).tolist()
    [[0.0, 0.5, 0.5, 0.75]]
    """
    mirrored: Boxes = np.stack(
        [boxes[:, 0], 1 - boxes[:, 3], boxes[:, 2], 1 - boxes[:, 1]], axis=1
    ).astype(np.float32)
    return mirrored


def detections_of(
    offsets: NDArray[np.float32],
    logits: NDArray[np.float32],
    anchors: Boxes,
    *,
    least: float = LEAST_SCORE,
    most: int = 100,
) -> Detections:
    """Return what a detector finds on one image, the surest first.

    Args:
        offsets: shape (anchors, 4).
        logits: shape (anchors, classes + 1).
        anchors: shape (anchors, 4).
        least: detections with a lower score are none.
        most: how many are kept at most.
    """
    grown = np.exp(logits - logits.max(axis=-1, keepdims=True))
    scores = grown / grown.sum(axis=-1, keepdims=True)
    boxes = np.clip(decode(offsets, anchors), 0, 1)
    kept = [np.zeros(0, np.int64)]
    labels = [np.zeros(0, np.int32)]
    for label in range(1, scores.shape[1]):
        good = np.flatnonzero(scores[:, label] >= least)
        own = good[suppress(boxes[good], scores[good, label], most=most)]
        kept.append(own)
        labels.append(np.full(len(own), label, np.int32))
    index, classes = np.concatenate(kept), np.concatenate(labels)
    sure = scores[index, classes].astype(np.float32)
    order = np.argsort(-sure, kind="stable")[:most]
    return Detections(boxes[index][order], classes[order], sure[order])


def evaluate(detector: Graph, weights: Weights, data: Pictures) -> float:
    """Return a trained detector's AP@[.5:.95] on images.

    Raises:
        SearchError: an image cannot be read.
    """
    model = to_keras(detector, weights=weights)
    call = tf.function(lambda images: model(images, training=False), reduce_retracing=True)
    return _precision(detector, data, lambda images: [one.numpy() for one in call(images)])


def evaluate_file(detector: Graph, file: bytes, data: Pictures) -> float:
    """Return AP@[.5:.95] of a .tflite file that a detector was converted to.

    Args:
        detector: the network.
        file: whose outputs are in its order.
        data: images.

    Raises:
        SearchError: an image cannot be read, or the file is another network's.
    """
    opened = File(file)
    shapes = [detector.shapes[value][1:] for value in detector.outputs]

    def call(images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        found = [opened.run(image[None]) for image in images]
        outputs = [np.concatenate(values) for values in zip(*found, strict=True)]
        if [one.shape[1:] for one in outputs] != shapes:
            raise SearchError(
                f"a file's outputs are {[one.shape for one in outputs]}, those of the detector "
                f"{shapes} for each image"
            )
        return outputs

    return _precision(detector, data, call)


def _precision(
    detector: Graph,
    data: Pictures,
    call: Callable[[NDArray[np.float32]], Sequence[NDArray[np.float32]]],
) -> float:
    anchors = ssd_anchors(grids(detector))
    found = [
        detections_of(offsets, logits, anchors)
        for images in _batches(data, detector.inputs[0][1])
        for offsets, logits in zip(*call(images), strict=True)
    ]
    return average_precision([Objects(one.boxes, one.labels) for one in data.pictures], found)


def _batches(data: Pictures, size: int) -> Iterator[NDArray[np.float32]]:
    for first in range(0, len(data.pictures), _SCORING_BATCH):
        some = data.pictures[first : first + _SCORING_BATCH]
        yield np.stack([read_picture(one, size) for one in some])

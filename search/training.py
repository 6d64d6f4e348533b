"""Training a network alone, by a recipe, and scoring it: the accuracy oracle ``train``."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from latlas.profiler.errors import LatlasError, SearchError
from latlas.profiler.graph import Graph, Weights
from latlas.search.drop_path import with_drop_path
from latlas.search.evaluation import NOT_THE_CANDIDATE
from latlas.search.exporting import label_for
from latlas.search.image_data import ImageData, Part
from latlas.search.keras_view import to_keras, weights_of
from latlas.search.optimizer import descend, optimizer_of
from latlas.search.protocols import Genes
from latlas.search.quiet import quiet_tensorflow
from latlas.search.recalibration import recalibrate
from latlas.search.recipe import Recipe
from latlas.search.significance import binomial_standard_error
from latlas.search.training_state import load_state, save_state

_SCORING_BATCH = 128


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What became of a training.

    Attributes:
        accuracy: fraction of the images scored that are classified correctly; NaN if it failed.
        images: how many these are.
        weights: in the layout of the graph, with batch norm's statistics as they were scored.
        losses: mean loss of every epoch.
        error: why it failed, or "".
    """

    accuracy: float
    images: int
    weights: Weights
    losses: tuple[float, ...]
    error: str = ""


def train(
    graph: Graph,
    data: ImageData,
    recipe: Recipe,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    part: Part = "search",
    progress: bool = False,
) -> TrainingResult:
    """Train a network from the beginning and score it.

    Args:
        graph: the training form; its weights, if any, are what training begins with.
        data: images of the size and classes of the network.
        recipe: how.
        seed: of weights, order, augmentation and noise.
        checkpoint: a file that keeps the state after every epoch; where it is there, training goes
            on from it, and ends as if it had never stopped.
        part: the images to score on.
        progress: whether to show it on stderr.

    Raises:
        SearchError: the network does not fit the images, or an image cannot be read. A loss that
            is not finite is no error, but a failed result.
        CheckpointError: the checkpoint is of another training, damaged, or cannot be written.
    """
    _check(graph, data)
    training = _Training(graph, data, recipe, seed)
    if checkpoint and checkpoint.exists():
        known = load_state(checkpoint, training.identity, training.state)
        training.losses = known[: recipe.epochs]
    bar = tqdm(
        total=recipe.epochs,
        initial=len(training.losses),
        desc="training",
        unit="epoch",
        file=sys.stderr,
        disable=not progress,
    )
    with bar:
        while len(training.losses) < recipe.epochs:
            loss = training.epoch(len(training.losses))
            if not math.isfinite(loss):
                error = (
                    f"the loss became {loss} in epoch {len(training.losses) + 1}: lower the "
                    f"recipe's learning rate ({recipe.learning_rate.value})"
                )
                return TrainingResult(math.nan, data.count(part), {}, tuple(training.losses), error)
            training.losses.append(loss)
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update()
            if checkpoint:
                save_state(checkpoint, training.identity, training.losses, training.state)
    training.settle()
    accuracy = training.accuracy(part)
    weights = weights_of(training.model, graph)
    return TrainingResult(accuracy, data.count(part), weights, tuple(training.losses))


def _check(graph: Graph, data: ImageData) -> None:
    got, classes = graph.inputs[0][1:], graph.shapes[graph.outputs[0]][1:]
    if got != data.shape or math.prod(classes) != data.classes or len(graph.inputs) > 1:
        raise SearchError(
            f"images of {data.shape} in {data.classes} classes do not fit a network that takes "
            f"{got} and returns {classes}"
        )


def with_noise(graph: Graph, recipe: Recipe) -> Graph:
    """Return a network with the drop path and dropout of a recipe.

    Raises:
        SearchError: drop path is wanted, and the network has no residual connections.
    """
    graph = with_drop_path(graph, recipe.drop_path.rate)
    if recipe.dropout is None:
        return graph
    nodes = [
        replace(node, dropout=recipe.dropout) if node.dropout else node for node in graph.nodes
    ]
    return replace(graph, nodes=tuple(nodes))


class _Training:
    """The state of one training."""

    def __init__(self, graph: Graph, data: ImageData, recipe: Recipe, seed: int) -> None:
        self.data, self.recipe, self.seed = data, recipe, seed
        self.losses: list[float] = []
        noisy = with_noise(graph, recipe)
        self.identity = json.dumps(
            {
                "graph": hashlib.sha256(noisy.to_text().encode()).hexdigest(),
                "data": data.name,
                "recipe": recipe.identity,
                "seed": seed,
            },
            sort_keys=True,
        )
        self.model = to_keras(noisy, batch_norm_momentum=recipe.batch_norm_momentum, seed=seed)
        self.variables = self.model.trainable_variables
        self.optimizer = optimizer_of(recipe)
        self.optimizer.build(self.variables)
        self.averages = [tf.Variable(one.value) for one in self.variables] if recipe.ema else []
        self.batch_size = min(recipe.batch_size, data.count("train"))
        self.steps = data.count("train") // self.batch_size
        images = tf.TensorSpec([None, *data.shape], tf.float32)
        labels = tf.TensorSpec([None], tf.int32)
        self.step = tf.function(
            self._step, input_signature=[images, labels, tf.TensorSpec([], tf.float32)]
        )
        self.classify = tf.function(self._classify, input_signature=[images])

    def epoch(self, epoch: int) -> float:
        """Train one epoch; return its mean loss, or the first that is not finite."""
        clock, losses = self.model.clock, []
        batches = self.data.training_batches(
            self.batch_size, self.recipe.augmentation, self.seed, epoch
        )
        for number, (images, labels) in enumerate(batches, epoch * self.steps):
            clock.step.assign(number)
            clock.drop_path.assign(self.recipe.drop_path_share(number, self.steps))
            loss = float(self.step(images, labels, self.recipe.rate(number, self.steps)))
            if not math.isfinite(loss):
                return loss
            losses.append(loss)
        return float(np.mean(losses))

    def _step(self, images: tf.Tensor, labels: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = tf.reshape(self.model(images, training=True), [-1, self.data.classes])
            targets = tf.one_hot(labels, self.data.classes)
            smooth = self.recipe.label_smoothing
            targets = targets * (1 - smooth) + smooth / self.data.classes
            losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, [one.value for one in self.variables])
        descend(self.optimizer, self.recipe, self.variables, gradients, rate)
        if self.averages:
            # A moving average of few steps would be that of the first: let it begin quickly.
            done = tf.cast(self.optimizer.iterations.value, tf.float32)
            decay = tf.minimum(self.recipe.ema, (1 + done) / (10 + done))
            for average, one in zip(self.averages, self.variables, strict=True):
                average.assign(decay * average + (1 - decay) * one.value)
        return loss

    def _classify(self, images: tf.Tensor) -> tf.Tensor:
        logits = self.model(images, training=False)
        return tf.argmax(tf.reshape(logits, [-1, self.data.classes]), -1, tf.int32)

    def settle(self) -> None:
        """Make the model what is scored: averaged weights, batch norm's statistics anew."""
        for average, one in zip(
            self.averages, self.variables if self.averages else (), strict=True
        ):
            one.assign(average)
        if not self.recipe.recalibration_images:
            return
        batches = self.data.batches("train", _SCORING_BATCH, self.recipe.recalibration_images)
        images = (images for images, _ in batches)
        recalibrate(self.model, images, self.recipe.batch_norm_momentum)

    def accuracy(self, part: Part) -> float:
        """Return the fraction of a part's images that is classified correctly."""
        correct = [
            int((self.classify(images).numpy() == labels).sum())
            for images, labels in self.data.batches(part, _SCORING_BATCH)
        ]
        return sum(correct) / self.data.count(part)

    @property
    def state(self) -> dict[str, Any]:
        """All variables that training changes, by name."""
        groups = {
            "model": self.model.variables,
            "optimizer": self.optimizer.variables,
            "average": self.averages,
        }
        return {f"{name}/{i}": one for name, group in groups.items() for i, one in enumerate(group)}


class _IdentifiedSpace(Protocol):
    """A space that tells what makes it."""

    @property
    def identity(self) -> dict[str, Any]: ...

    def decode(self, genes: Sequence[int]) -> Graph: ...


class TrainOracle:
    """Accuracies of architectures, each trained alone.

    Args:
        space: what decodes them.
        data: their images.
        recipe: how they are trained.
        seed: of every training.
        folds: 0: one training, scored on the images for the search; otherwise the images for
            training and search together are dealt into so many stratified folds, each architecture
            is trained once without each, and its accuracy is the mean of those on the folds.
        repeats: how often they are dealt.
        folder: where the trainings of an architecture are kept until it is finished: killed, an
            oracle in the same folder goes on from the last epoch, and comes to the same accuracy.

    Attributes:
        errors: why architectures failed, by genes.
    """

    def __init__(
        self,
        space: _IdentifiedSpace,
        data: ImageData,
        recipe: Recipe,
        *,
        seed: int = 0,
        folds: int = 0,
        repeats: int = 1,
        folder: Path | None = None,
    ) -> None:
        images = data.count("train") + data.count("search")
        if not (folds == 0 or 2 <= folds <= images) or repeats < 1:
            raise SearchError(
                f"folds are 0 or 2 to {images}, as many as there are images for training and "
                f"search, and repeats at least 1, not {folds} and {repeats}"
            )
        self.space = space
        self.data = data
        self.recipe = recipe
        self.seed = seed
        self.folds = folds
        self.repeats = repeats
        self.folder = folder
        self.errors: dict[Genes, str] = {}
        self._known: dict[Genes, float] = {}

    @property
    def identity(self) -> dict[str, Any]:
        """What the accuracies depend on, as plain values."""
        return {
            "kind": "train",
            "space": self.space.identity,
            "data": self.data.name,
            "recipe": self.recipe.identity,
            "seed": self.seed,
            "folds": self.folds,
            "repeats": self.repeats,
        }

    @property
    def standard_error(self) -> float:
        """Binomial standard error at the median accuracy so far, at 0.5 before the first."""
        known = [accuracy for accuracy in self._known.values() if math.isfinite(accuracy)]
        images = self.data.count("search")
        if self.folds:  # repeats score the same images again
            images += self.data.count("train")
        return binomial_standard_error(float(np.median(known)) if known else 0.5, images)

    def evaluate(self, genes: Sequence[Genes]) -> NDArray[np.float64]:
        """Return accuracies as fractions, shape (genes,); NaN where training failed.

        Raises:
            CheckpointError: a training's state cannot be read or written.
        """
        for one in genes:
            if one not in self._known:
                self._known[one] = self._accuracy(one)
        return np.array([self._known[one] for one in genes], dtype=np.float64)

    def test(self, genes: Sequence[Genes]) -> NDArray[np.float64]:
        """Return accuracies on the images of the final test; each is trained again for it."""
        return np.array(
            [self._trained([(self.data, self.seed)], one, "test") for one in genes], np.float64
        )

    def _accuracy(self, genes: Genes) -> float:
        runs = [(self.data, self.seed)]
        if self.folds:
            runs = [
                (self.data.fold(self.folds, fold, self.seed + repeat), self.seed + repeat)
                for repeat in range(self.repeats)
                for fold in range(self.folds)
            ]
        return self._trained(runs, genes, "search")

    def _trained(self, runs: Sequence[tuple[ImageData, int]], genes: Genes, part: Part) -> float:
        """Return the mean accuracy of a training for each of some images and seeds."""
        folder = None
        if self.folder is not None:
            label = label_for({**self.identity, "genes": list(genes), "part": part})
            folder = self.folder / label
        accuracies = []
        for number, (data, seed) in enumerate(runs):
            result = self._alone(genes, data, seed, part, folder and folder / f"{number}.npz")
            accuracies.append(result.accuracy)
            if result.error:
                self.errors[genes] = result.error
                break
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)  # what is left costs space, nothing else
        return float(np.mean(accuracies))

    def _alone(
        self, genes: Genes, data: ImageData, seed: int, part: Part, checkpoint: Path | None
    ) -> TrainingResult:
        try:
            graph = self.space.decode(genes)
            with quiet_tensorflow():
                return train(graph, data, self.recipe, seed=seed, checkpoint=checkpoint, part=part)
        except NOT_THE_CANDIDATE:
            raise
        except (LatlasError, tf.errors.OpError) as problem:
            return TrainingResult(math.nan, 0, {}, (), str(problem)[:300] or "training failed")
        finally:
            keras.backend.clear_session()  # Keras keeps every model's layers otherwise

"""A weight-sharing supernet, trained with FairNAS' strict fairness (Chu et al. 2019).

One step: gradients start at zero; every gene draws a random permutation of its choices; path i
takes the i-th choice of each, and is run forward and backward, its gradients added up; then one
update changes all weights. After S steps every choice of every gene was trained exactly S times.
Where genes differ in their number of choices, a step has as many paths as their least common
multiple L, and every permutation is of L / n copies of the n choices: after S steps each choice of
the gene was trained exactly S * L / n times.

What an evaluation scores is the network that ``space.decode(genes)`` describes, with the weights
that `Supernet.weights` gives. Training leaves out its dropout: minutes are too few to overfit.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from latlas.profiler.errors import SearchError
from latlas.profiler.graph import Weights
from latlas.search.data import Dataset, Split
from latlas.search.protocols import Genes
from latlas.search.significance import Ranking, binomial_standard_error, ranking_significance
from latlas.search.spaces.genes import require_genes
from latlas.search.spaces.shared import SupernetSpace, require_supernet_space
from latlas.search.supernet_checkpoint import Checkpoint
from latlas.search.supernet_config import SupernetConfig
from latlas.search.supernet_fairness import fair_paths, paths_per_step
from latlas.search.supernet_layers import FloatArray, Network, cut_patches
from latlas.search.supernet_slots import slots_of
from latlas.search.supernet_weights import initial_parameters, path_weights

PATHS_PER_EVALUATION = 4
"""More at once is not faster, and takes more memory."""


def cosine_rate(step: int, steps: int, peak: float, warmup_steps: int) -> float:
    """Return the learning rate of a step: a linear rise, under half a cosine down to 0."""
    rise = min(1.0, (step + 1) / max(warmup_steps, 1))
    return peak * rise * 0.5 * (1 + math.cos(math.pi * step / steps))


class Supernet:
    """All networks of a space in one.

    Args:
        space: its resolution, width, channels and classes are those of the images.
        config: how it is trained.

    Attributes:
        uses: how often each choice was trained, shape (genes, most choices of a gene).
        losses_: mean loss of every epoch that was trained.

    Raises:
        SearchError: the space describes no layers, or its resolution is too large.
    """

    def __init__(self, space: SupernetSpace, config: SupernetConfig | None = None) -> None:
        self.space = require_supernet_space(space)
        self.config = config or SupernetConfig()
        self.slots = slots_of(space)
        self.paths_per_step = paths_per_step(space.choices)
        self.uses = np.zeros((len(space.choices), max(space.choices)), np.int64)
        self.losses_: list[float] = []
        start = self._start()
        self.parameters = {name: tf.Variable(values) for name, values in start.items()}
        self.gradients = {name: tf.Variable(np.zeros_like(v)) for name, v in start.items()}
        self._velocity = {name: tf.Variable(np.zeros_like(v)) for name, v in start.items()}
        self._network = Network(self.slots, self.parameters)
        self._calibration: FloatArray | None = None
        genes = tf.TensorSpec([None, len(space.choices)], tf.int32)
        pixels = (-(-space.resolution // 2)) ** 2
        patches = tf.TensorSpec([None, 9 * space.channels, None, pixels], tf.float32)
        labels = tf.TensorSpec([None, None], tf.int32)
        # Signatures without sizes: each is traced once, whatever the paths and batches.
        self.accumulate = tf.function(
            self._accumulate, input_signature=[genes, patches, labels], autograph=False
        )
        self.update = tf.function(
            self._update, input_signature=[tf.TensorSpec([], tf.float32)], autograph=False
        )
        self._predict = tf.function(
            self._predictions,
            input_signature=[genes, patches, tf.TensorSpec([], tf.int32)],
            autograph=False,
        )

    def restart(self, config: SupernetConfig) -> None:
        """Forget all training: become what a new supernet would be, without its preparations.

        Raises:
            SearchError: the configuration differs in what is part of the prepared graphs.
        """
        prepared = (self.config.momentum, self.config.clip_norm)
        if (config.momentum, config.clip_norm) != prepared:
            raise SearchError("momentum and clip_norm stay as they are: make another supernet")
        self.config = config
        self.uses = np.zeros_like(self.uses)
        self.losses_ = []
        self._calibration = None
        for name, values in self._start().items():
            self.parameters[name].assign(values)
            for variables in (self.gradients, self._velocity):
                variables[name].assign(np.zeros_like(values))

    def fit(
        self,
        dataset: Dataset,
        checkpoint_dir: Path | None = None,
        *,
        only: Genes | None = None,
        progress: bool = True,
    ) -> Supernet:
        """Train on the training images.

        Args:
            dataset: its images are of the space's size.
            checkpoint_dir: a folder in which the state is kept after every epoch; where it holds
                one, training goes on from there.
            only: an architecture to train alone, as if it shared no weights: what it is worth by
                itself. Only this one can be scored afterwards.
            progress: whether to show it on stderr.

        Raises:
            SearchError: the images do not fit, the loss is not finite, or a checkpoint cannot be
                written, read, or is of another supernet.
        """
        self._check(dataset)
        if only is not None:
            self._check_genes(only)
        chosen = np.random.default_rng([self.config.seed, 1]).permutation(len(dataset.train))
        calibration = np.sort(chosen[: self.config.calibration_images])
        self._calibration = cut_patches(dataset.train.images[calibration])
        identity = json.dumps(self.identity(dataset) | {"only": only}, sort_keys=True)
        path = checkpoint_dir and checkpoint_dir / "supernet.npz"
        if path and path.exists():
            self._resume(path, identity)
        patches = cut_patches(dataset.train.images)
        steps = len(dataset.train) // self._batch(dataset)
        with tqdm(
            total=self.config.epochs * steps,
            initial=len(self.losses_) * steps,
            desc="supernet",
            unit="step",
            file=sys.stderr,
            disable=not progress,
        ) as bar:
            for _ in range(len(self.losses_), self.config.epochs):
                self.losses_.append(self._epoch(dataset, patches, only, bar))
                if path:
                    self._state().save(path, identity)
        return self

    def _batch(self, dataset: Dataset) -> int:
        return min(self.config.batch_size, len(dataset.train))

    def _epoch(self, dataset: Dataset, patches: FloatArray, only: Genes | None, bar: Any) -> float:
        """Train for one epoch and return its mean loss."""
        config, images, batch = self.config, len(dataset.train), self._batch(dataset)
        steps, before = images // batch, len(self.losses_) * (images // batch)
        # Drawn anew for every epoch, so that a resumed run draws what it would have drawn.
        rng = np.random.default_rng([config.seed, 2, len(self.losses_)])
        number = 1 if config.same_batch or only is not None else self.paths_per_step
        orders = np.stack([rng.permutation(images) for _ in range(number)])
        total = 0.0
        for step in range(steps):
            index = orders[:, step * batch : (step + 1) * batch]
            rate = cosine_rate(
                before + step, config.epochs * steps, config.learning_rate, config.warmup_steps
            )
            paths = fair_paths(self.space.choices, rng)
            if only is not None:
                paths = np.array([only], np.int32)
            shown = patches[:, index].transpose(1, 0, 2, 3)
            loss = self.train_step(paths, shown, dataset.train.labels[index], rate)
            if not math.isfinite(loss):
                raise SearchError(
                    f"the supernet's loss became {loss} in epoch {len(self.losses_) + 1}: "
                    f"lower its learning rate ({config.learning_rate})"
                )
            total += loss
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update()
        return total / steps

    def train_step(
        self,
        paths: NDArray[np.int32],
        patches: FloatArray,
        labels: NDArray[np.int32],
        learning_rate: float,
    ) -> float:
        """Do one step, strictly fair if the paths are, and return the mean loss of its paths.

        Args:
            paths: from `fair_paths`, shape (paths, genes).
            patches: shape (1 or paths, 9 * channels, images, pixels): one batch for all paths, or
                one each.
            labels: shape (1 or paths, images).
            learning_rate: of the update.
        """
        loss, together = 0.0, self.config.paths_per_call
        for first in range(0, len(paths), together):
            part = slice(first, first + together) if len(patches) > 1 else slice(None)
            loss += float(
                self.accumulate(paths[first : first + together], patches[part], labels[part])
            )
        self.update(learning_rate)
        for gene, column in enumerate(paths.T):
            np.add.at(self.uses[gene], column, 1)
        return loss / len(paths)

    def correct(self, genes: Sequence[Genes], split: Split) -> NDArray[np.bool_]:
        """Return which images each architecture classifies correctly, shape (genes, images).

        Batch norm is calibrated for every architecture: a few training images run along, and all
        statistics are theirs. The averages of training mix all paths and fit none of them.

        Raises:
            SearchError: the supernet was not trained, or genes are not of its space.
        """
        if self._calibration is None:
            raise SearchError("this supernet is not trained: call fit first")
        for one in genes:
            self._check_genes(one)
        images = np.concatenate([self._calibration, cut_patches(split.images)], axis=1)[None]
        seen = self._calibration.shape[1]
        found = [
            self._predict(
                np.array(genes[first : first + PATHS_PER_EVALUATION], np.int32), images, seen
            ).numpy()
            for first in range(0, len(genes), PATHS_PER_EVALUATION)
        ]
        if not found:
            return np.zeros((0, len(split)), np.bool_)
        return np.asarray(np.concatenate(found) == split.labels)

    def weights(self, genes: Genes) -> Weights:
        """Return the weights of an architecture, for ``space.decode(genes).with_weights``.

        Raises:
            SearchError: the supernet was not trained, or the genes are not of its space.
        """
        if self._calibration is None:
            raise SearchError("this supernet is not trained: call fit first")
        self._check_genes(genes)
        statistics: dict[str, Any] = {}
        self._network.logits(
            tf.constant([genes], tf.int32), self._calibration[None], statistics=statistics
        )
        # Banks that the path does not use are not run.
        moments = {
            name: (mean[0].numpy(), variance[0].numpy())
            for name, (mean, variance) in statistics.items()
        }
        arrays = {name: value.numpy() for name, value in self.parameters.items()}
        wanted = self.space.decode(genes).weight_shapes()
        values = path_weights(self.space, self.slots, arrays, moments, genes)
        found = dict(zip(wanted, values, strict=True))
        for name, shape in wanted.items():
            if found[name].shape != shape:
                raise SearchError(f"{name} is {found[name].shape}, the space decodes to {shape}")
        return found

    def identity(self, dataset: Dataset) -> dict[str, Any]:
        """Return what its accuracies depend on, as plain values."""
        return {
            "kind": "supernet",
            "space": {
                "name": self.space.name,
                "resolution": self.space.resolution,
                "layers_sha256": self.slots.digest,
            },
            "config": asdict(self.config),
            "dataset": dataset.name,
        }

    def _accumulate(self, genes: tf.Tensor, patches: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Add the gradients of some paths to `gradients`; return the sum of their losses."""
        names = list(self.parameters)
        with tf.GradientTape() as tape:
            logits = self._network.logits(genes, patches)
            labels = tf.broadcast_to(labels, tf.shape(logits)[:2])
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_sum(tf.reduce_mean(losses, axis=1))
        found = tape.gradient(
            loss,
            [self.parameters[name] for name in names],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        for name, gradient in zip(names, found, strict=True):
            self.gradients[name].assign_add(tf.convert_to_tensor(gradient))
        return loss

    def _update(self, learning_rate: tf.Tensor) -> None:
        """Change the weights by the gradients added up, and set those to zero."""
        scale = tf.constant(1.0)
        if self.config.clip_norm:
            size = tf.linalg.global_norm(list(self.gradients.values()))
            scale = tf.minimum(1.0, self.config.clip_norm / (size + 1e-12))
        for name, value in self.parameters.items():
            gradient, velocity = self.gradients[name], self._velocity[name]
            velocity.assign(self.config.momentum * velocity + scale * gradient)
            value.assign_sub(learning_rate * velocity)
            gradient.assign(tf.zeros_like(gradient))

    def _predictions(self, genes: tf.Tensor, patches: tf.Tensor, seen: tf.Tensor) -> tf.Tensor:
        return tf.argmax(self._network.logits(genes, patches, seen)[:, seen:], -1)

    def _check(self, dataset: Dataset) -> None:
        space = self.space
        wanted = (space.resolution, space.resolution, space.channels)
        got = dataset.train.images.shape[1:]
        if got != wanted or dataset.classes != space.classes:
            raise SearchError(
                f"images of {got} in {dataset.classes} classes do not fit a space of {wanted} in "
                f"{space.classes} classes"
            )

    def _check_genes(self, genes: Genes) -> None:
        require_genes(self.space.name, self.space.choices, genes)

    def _start(self) -> dict[str, FloatArray]:
        return initial_parameters(self.slots, self.config.residual_gamma, self.config.seed)

    def _state(self) -> Checkpoint:
        return Checkpoint(
            {name: value.numpy() for name, value in self.parameters.items()},
            {name: value.numpy() for name, value in self._velocity.items()},
            self.uses,
            self.losses_,
        )

    def _resume(self, path: Path, identity: str) -> None:
        state = Checkpoint.load(path, identity, self._state())
        for found, variables in (
            (state.parameters, self.parameters),
            (state.velocity, self._velocity),
        ):
            for name, variable in variables.items():
                variable.assign(found[name])
        self.uses, self.losses_ = state.uses, state.losses


class SupernetOracle:
    """Accuracies from a trained supernet, on the images for the search.

    Args:
        supernet: trained.
        dataset: what it was trained on.
    """

    def __init__(self, supernet: Supernet, dataset: Dataset) -> None:
        self.supernet = supernet
        self.dataset = dataset
        self._known: dict[Genes, float] = {}

    @property
    def identity(self) -> dict[str, Any]:
        """What the accuracies depend on, for the study's settings."""
        return self.supernet.identity(self.dataset)

    @property
    def standard_error(self) -> float:
        """Binomial standard error at the median accuracy so far, at 0.5 before the first."""
        middle = float(np.median(list(self._known.values()))) if self._known else 0.5
        return binomial_standard_error(middle, len(self.dataset.search))

    def evaluate(self, genes: Sequence[Genes]) -> NDArray[np.float64]:
        """Return accuracies as fractions, shape (genes,); each architecture is scored once."""
        new = [one for one in dict.fromkeys(genes) if one not in self._known]
        if new:
            scores = self.supernet.correct(new, self.dataset.search).mean(axis=1)
            self._known.update(zip(new, scores.tolist(), strict=True))
        return np.array([self._known[one] for one in genes], dtype=np.float64)

    def ranking(self, architectures: int = 30, seed: int = 0) -> Ranking:
        """Ask whether the supernet's order of random architectures reproduces.

        See `latlas.search.significance.ranking_significance`.
        """
        choices = self.supernet.space.choices
        drawn = np.random.default_rng(seed).integers(choices, size=(architectures, len(choices)))
        genes = [tuple(one) for one in drawn.tolist()]
        return ranking_significance(self.supernet.correct(genes, self.dataset.search), seed)

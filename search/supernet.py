"""A weight-sharing MoGA supernet, trained with FairNAS' strict fairness (Chu et al. 2019).

One step: gradients start at zero; every layer draws a random permutation of its choices; path i
takes the i-th choice of each, and is run forward and backward, its gradients added up; then one
update changes all weights. After S steps every choice of every layer was trained exactly S times.

What an evaluation scores is the network that ``space.decode(genes)`` describes, with the weights
that `Supernet.weights` gives. Training leaves out its dropout: minutes are too few to overfit.
"""

from __future__ import annotations

import json
import math
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from latlas.profiler.errors import SearchError
from latlas.profiler.files import write_atomically
from latlas.profiler.graph import Weights
from latlas.search.data import Dataset, Split
from latlas.search.protocols import Genes
from latlas.search.significance import Ranking, binomial_standard_error, ranking_significance
from latlas.search.spaces.moga import CHOICES, LAYERS, MogaSpace
from latlas.search.supernet_layers import (
    FloatArray,
    Network,
    cut_patches,
    initial_parameters,
    path_weights,
    shapes_of,
)

PATHS_PER_EVALUATION = 4
"""More at once is not faster, and takes more memory."""


@dataclass(frozen=True)
class SupernetConfig:
    """How a supernet is trained. The defaults are for digits in about a minute on two cores.

    Attributes:
        epochs: passes over the training images (MoGA, unverified: 150, on ImageNet).
        batch_size: images of one path.
        learning_rate: at the start of the cosine (MoGA, unverified: 0.045).
        momentum: of SGD.
        warmup_steps: steps in which the learning rate grows to its value.
        clip_norm: largest norm of the summed gradients of a step; 0 is no limit.
        same_batch: whether the paths of a step share one batch or have one each. FairNAS' caption
            can be read either way; shared is faster, since the stem runs once.
        paths_per_call: how many paths run side by side; divides the 12 paths of a step. Results are
            the same for all, fewer take less memory.
        residual_gamma: what scales branches beside a residual at the start.
        calibration_images: training images, drawn once, that batch norm takes its statistics from
            when an architecture is evaluated.
        seed: of weights, paths and batches.
    """

    epochs: int = 6
    batch_size: int = 48
    learning_rate: float = 0.06
    momentum: float = 0.9
    warmup_steps: int = 10
    clip_norm: float = 5.0
    same_batch: bool = True
    paths_per_call: int = 12
    residual_gamma: float = 0.2
    calibration_images: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        if min(self.epochs, self.batch_size, self.calibration_images) < 1:
            raise SearchError("epochs, batch_size and calibration_images are at least 1")
        if self.paths_per_call < 1 or len(CHOICES) % self.paths_per_call:
            raise SearchError(
                f"paths_per_call divides {len(CHOICES)}; {self.paths_per_call} does not"
            )


def fair_paths(rng: np.random.Generator) -> NDArray[np.int32]:
    """Draw the paths of one step: in every layer, each choice once.

    Returns:
        Shape (choices, layers); row i is the i-th path.

    >>> bool((np.sort(fair_paths(np.random.default_rng(0)), axis=0).T == np.arange(12)).all())
    True
    """
    columns = [rng.permutation(len(CHOICES)) for _ in LAYERS]
    return np.stack(columns, axis=1).astype(np.int32)


def cosine_rate(step: int, steps: int, peak: float, warmup_steps: int) -> float:
    """Return the learning rate of a step: a linear rise, under half a cosine down to 0."""
    rise = min(1.0, (step + 1) / max(warmup_steps, 1))
    return peak * rise * 0.5 * (1 + math.cos(math.pi * step / steps))


class Supernet:
    """All networks of a MoGA space in one.

    Args:
        space: its resolution, width, channels and classes are those of the images.
        config: how it is trained.

    Attributes:
        uses: how often each choice was trained, shape (layers, choices).
        losses_: mean loss of every epoch that was trained.

    Raises:
        SearchError: the space's resolution is too large.
    """

    def __init__(self, space: MogaSpace, config: SupernetConfig | None = None) -> None:
        self.space = space
        self.config = config or SupernetConfig()
        self.shapes = shapes_of(space)
        self.uses = np.zeros((len(LAYERS), len(CHOICES)), np.int64)
        self.losses_: list[float] = []
        start = initial_parameters(
            self.shapes,
            space.channels,
            space.classes,
            self.config.residual_gamma,
            self.config.seed,
        )
        self.parameters = {name: tf.Variable(values) for name, values in start.items()}
        self.gradients = {name: tf.Variable(np.zeros_like(v)) for name, v in start.items()}
        self._velocity = {name: tf.Variable(np.zeros_like(v)) for name, v in start.items()}
        self._network = Network(self.shapes, self.parameters)
        self._calibration: FloatArray | None = None
        genes = tf.TensorSpec([None, len(LAYERS)], tf.int32)
        pixels = (-(-space.resolution // 2)) ** 2
        patches = tf.TensorSpec([None, 9 * space.channels, None, pixels], tf.float32)
        labels = tf.TensorSpec([None, None], tf.int32)
        # Signatures without sizes: each is traced once, whatever the paths and batches.
        self.accumulate = tf.function(self._accumulate, input_signature=[genes, patches, labels])
        self.update = tf.function(self._update, input_signature=[tf.TensorSpec([], tf.float32)])
        self._predict = tf.function(
            self._predictions, input_signature=[genes, patches, tf.TensorSpec([], tf.int32)]
        )

    def fit(
        self, dataset: Dataset, checkpoint_dir: Path | None = None, *, progress: bool = True
    ) -> Supernet:
        """Train on the training images.

        Args:
            dataset: its images are of the space's size.
            checkpoint_dir: a folder in which the state is kept after every epoch; where it holds
                one, training goes on from there.
            progress: whether to show it on stderr.

        Raises:
            SearchError: the images do not fit, the loss is not finite, or a checkpoint cannot be
                written, read, or is of another supernet.
        """
        self._check(dataset)
        chosen = np.random.default_rng([self.config.seed, 1]).permutation(len(dataset.train))
        calibration = np.sort(chosen[: self.config.calibration_images])
        self._calibration = cut_patches(dataset.train.images[calibration])
        identity = json.dumps(self.identity(dataset), sort_keys=True)
        path = checkpoint_dir and checkpoint_dir / "supernet.npz"
        if path and path.exists():
            self._load(path, identity)
        patches = cut_patches(dataset.train.images)
        batch = min(self.config.batch_size, len(dataset.train))
        steps = len(dataset.train) // batch
        with tqdm(
            total=self.config.epochs * steps,
            initial=len(self.losses_) * steps,
            desc="supernet",
            unit="step",
            file=sys.stderr,
            disable=not progress,
        ) as bar:
            for epoch in range(len(self.losses_), self.config.epochs):
                # Drawn anew for every epoch, so that a resumed run draws what it would have drawn.
                rng = np.random.default_rng([self.config.seed, 2, epoch])
                orders = np.stack(
                    [
                        rng.permutation(len(dataset.train))
                        for _ in range(1 if self.config.same_batch else len(CHOICES))
                    ]
                )
                total = 0.0
                for step in range(steps):
                    index = orders[:, step * batch : (step + 1) * batch]
                    rate = cosine_rate(
                        epoch * steps + step,
                        self.config.epochs * steps,
                        self.config.learning_rate,
                        self.config.warmup_steps,
                    )
                    images = patches[:, index].transpose(1, 0, 2, 3)
                    loss = self.train_step(rng, images, dataset.train.labels[index], rate)
                    if not math.isfinite(loss):
                        raise SearchError(
                            f"the supernet's loss became {loss} in epoch {epoch + 1}: "
                            f"lower its learning rate ({self.config.learning_rate})"
                        )
                    total += loss
                    bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                    bar.update()
                self.losses_.append(total / steps)
                if path:
                    self._save(path, identity)
        return self

    def train_step(
        self,
        rng: np.random.Generator,
        patches: FloatArray,
        labels: NDArray[np.int32],
        learning_rate: float,
    ) -> float:
        """Do one strictly fair step and return the mean loss of its paths.

        Args:
            rng: draws the paths.
            patches: shape (1 or choices, 9 * channels, images, pixels): one batch for all paths, or
                one each.
            labels: shape (1 or choices, images).
            learning_rate: of the update.
        """
        paths = fair_paths(rng)
        loss, together = 0.0, self.config.paths_per_call
        for first in range(0, len(paths), together):
            part = slice(first, first + together) if len(patches) > 1 else slice(None)
            loss += float(
                self.accumulate(paths[first : first + together], patches[part], labels[part])
            )
        self.update(learning_rate)
        for layer, column in enumerate(paths.T):
            np.add.at(self.uses[layer], column, 1)
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
        statistics: list[Any] = []
        self._network.logits(
            tf.constant([genes], tf.int32), self._calibration[None], statistics=statistics
        )
        moments = [(mean[0].numpy(), variance[0].numpy()) for mean, variance in statistics]
        arrays = {name: value.numpy() for name, value in self.parameters.items()}
        wanted = self.space.decode(genes).weight_shapes()
        found = dict(zip(wanted, path_weights(self.shapes, arrays, moments, genes), strict=True))
        for name, shape in wanted.items():
            if found[name].shape != shape:
                raise SearchError(f"{name} is {found[name].shape}, the space decodes to {shape}")
        return found

    def identity(self, dataset: Dataset) -> dict[str, Any]:
        """Return what its accuracies depend on, as plain values."""
        return {
            "kind": "supernet",
            "space": asdict(self.space),
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
        found = tape.gradient(loss, [self.parameters[name] for name in names])
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
        if len(genes) != len(LAYERS) or any(not 0 <= gene < len(CHOICES) for gene in genes):
            raise SearchError(f"a chromosome of MoGA is 14 integers in 0…11, not {tuple(genes)}")

    def _save(self, path: Path, identity: str) -> None:
        arrays = {f"parameter/{name}": value.numpy() for name, value in self.parameters.items()}
        arrays |= {f"velocity/{name}": value.numpy() for name, value in self._velocity.items()}
        with write_atomically(path, SearchError) as file:
            np.savez(
                file,
                identity=np.array(identity),
                losses=np.array(self.losses_),
                uses=self.uses,
                **arrays,
            )

    def _load(self, path: Path, identity: str) -> None:
        try:
            # Opened here, since numpy leaves a file open that turns out not to be one of its own.
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            if str(arrays["identity"]) != identity:
                raise SearchError(
                    f"{path} is the checkpoint of another supernet ({arrays['identity']}), not of "
                    f"{identity}: use another folder"
                )
            for kind, variables in (("parameter", self.parameters), ("velocity", self._velocity)):
                for name, variable in variables.items():
                    variable.assign(arrays[f"{kind}/{name}"])
            uses, losses = arrays["uses"], arrays["losses"]
            if uses.shape != self.uses.shape or losses.ndim != 1:
                raise ValueError("its counts have the wrong shape")
            self.uses, self.losses_ = uses.astype(np.int64), losses.tolist()
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as problem:
            raise SearchError(
                f"{path} is not a supernet's checkpoint ({problem}): delete it to start anew"
            ) from problem


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
        rng = np.random.default_rng(seed)
        drawn = rng.integers(len(CHOICES), size=(architectures, len(LAYERS)))
        genes = [tuple(one) for one in drawn.tolist()]
        return ranking_significance(self.supernet.correct(genes, self.dataset.search), seed)

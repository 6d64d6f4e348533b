"""Images for training, search and final test, kept apart, as batches that tf.data streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from latlas.profiler.errors import SearchError, UsageError
from latlas.search.augment import augmented, fitted
from latlas.search.data import Dataset, Split, digits
from latlas.search.image_source import (
    ArraySource,
    ImageSource,
    Index,
    cifar10_source,
    folder_source,
    imagenet_source,
    tfrecord_source,
)
from latlas.search.recipe import Augmentation

Part = Literal["train", "search", "test"]

MAX_SEARCH_IMAGES = 50_000
"""More would not make a search surer."""

_STATISTICS_IMAGES = 1000
_SHUFFLED = 4096
_MAX_ARRAY_BYTES = 2 << 30


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images and which of them are for what.

    Attributes:
        name: what they are, their size and seed: results on two data sets do not mix.
        source: where they come from.
        size: height and width.
        parts: numbers of the images for training, search and final test.
        mean, deviation: of every channel of the training images: what they are normalised by.
    """

    name: str
    source: ImageSource
    size: int
    parts: Mapping[Part, Index]
    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.source.classes

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self.size, self.size, self.source.channels

    def count(self, part: Part) -> int:
        """Return the number of images of a part."""
        return len(self.parts[part])

    def batches(
        self, part: Part, batch_size: int, limit: int | None = None
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int32]]]:
        """Yield the images of a part, normalised, and their classes; at most `limit` of them.

        These are spread over the part: folders list one class after the other.

        Raises:
            SearchError: an image cannot be read.
        """
        index = self.parts[part]
        if limit is not None and limit < len(index):
            index = index[np.arange(limit) * len(index) // limit]
        stream = self.source.read(index)
        stream = stream.map(lambda image, label: (self._normal(fitted(image, self.size)), label))
        yield from self._iterate(stream, batch_size, drop=False)

    def training_batches(
        self, batch_size: int, augmentation: Augmentation, seed: int, epoch: int
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int32]]]:
        """Yield the training images in random order, augmented, in whole batches.

        Seed and epoch decide on all that is drawn.

        Raises:
            SearchError: an image cannot be read.
        """
        key = np.random.default_rng([seed, 3, epoch]).integers(1 << 30, size=2).tolist()
        index = self.parts["train"]
        if self.source.ordered:
            index = np.random.default_rng([seed, 2, epoch]).permutation(index)
        stream = self.source.read(index)
        if not self.source.ordered:
            stream = stream.shuffle(_SHUFFLED, seed=key[0])

        def prepare(
            number: tf.Tensor, example: tuple[tf.Tensor, tf.Tensor]
        ) -> tuple[tf.Tensor, tf.Tensor]:
            draw = tf.stack([tf.cast(key[1], tf.int64), number])
            image = augmented(example[0], self.size, augmentation, draw, self._normal)
            return image, example[1]

        batch_size = min(batch_size, len(index))
        yield from self._iterate(stream.enumerate().map(prepare), batch_size, drop=True)

    def fold(self, folds: int, fold: int, seed: int) -> ImageData:
        """Return the same images with one stratified fold of those for training as the search's.

        The images of the final test stay apart.
        """
        together = np.sort(np.concatenate([self.parts["train"], self.parts["search"]]))
        chosen = _dealt(self.source.labels[together], seed) % folds == fold
        parts: dict[Part, Index] = {
            "train": together[~chosen],
            "search": together[chosen],
            "test": self.parts["test"],
        }
        return replace(self, name=f"{self.name}-fold{fold}of{folds}seed{seed}", parts=parts)

    def arrays(self) -> Dataset:
        """Return all images in memory, as what trains a supernet takes them.

        Raises:
            SearchError: they would take more than 2 GiB, or one cannot be read.
        """
        total = sum(map(len, self.parts.values())) * int(np.prod(self.shape)) * 4
        if total > _MAX_ARRAY_BYTES:
            raise SearchError(
                f"{self.name} takes {total >> 20} MiB in memory; at most "
                f"{_MAX_ARRAY_BYTES >> 20} are held: choose a lower resolution"
            )
        splits = []
        for part in ("train", "search", "test"):
            batches = list(self.batches(part, 256))
            splits.append(Split(*map(np.concatenate, zip(*batches, strict=True))))
        train, search, test = splits
        return Dataset(self.name, train, search, test, classes=self.classes)

    def _normal(self, image: tf.Tensor) -> tf.Tensor:
        return (tf.cast(image, tf.float32) - self.mean) / self.deviation

    def _iterate(
        self, stream: tf.data.Dataset, batch_size: int, *, drop: bool
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int32]]]:
        batches = stream.batch(batch_size, drop_remainder=drop).prefetch(2)
        options = tf.data.Options()
        options.deterministic = True
        try:
            yield from batches.with_options(options).as_numpy_iterator()
        except tf.errors.OpError as problem:
            raise SearchError(
                f"an image of {self.name} cannot be read: {str(problem)[:200]}"
            ) from problem


def in_memory(dataset: Dataset) -> ImageData:
    """Return images that are in memory and normalised already.

    >>> from latlas.search.data import digits
    >>> data = in_memory(digits(8))
    >>> data.shape, data.count("search")
    ((8, 8, 1), 360)
    """
    splits = dataset.train, dataset.search, dataset.test
    ends = np.cumsum([0, *map(len, splits)])
    parts: list[Index] = [np.arange(a, b) for a, b in pairwise(ends)]
    images = np.concatenate([split.images for split in splits])
    labels = np.concatenate([split.labels for split in splits])
    source = ArraySource(dataset.name, images, labels, dataset.classes, int(ends[2]))
    channels = images.shape[-1]
    return ImageData(
        dataset.name,
        source,
        images.shape[1],
        {"train": parts[0], "search": parts[1], "test": parts[2]},
        np.zeros(channels, np.float32),
        np.ones(channels, np.float32),
    )


def open_images(spec: str, size: int, seed: int = 0) -> ImageData:
    """Return the images that a spec names, split and normalised.

    Where the data has a part for the final test (CIFAR-10, ImageNet, a second pattern), a tenth of
    the others is for the search, at most 50,000 images; elsewhere three fifths are for training,
    and one each for search and test. Splits are stratified by class.

    Args:
        spec: ``digits``, ``images:FOLDER``, ``cifar10:FOLDER``, ``imagenet:FOLDER`` or
            ``tfrecord:PATTERN``.
        size: height and width.
        seed: of the split.

    Raises:
        UsageError: the spec names nothing known.
        SearchError: the images cannot be read.
    """
    kind, _, where = spec.partition(":")
    if kind == "digits" and not where:
        return in_memory(digits(size, seed))
    sources: dict[str, Callable[[str], ImageSource]] = {
        "images": folder_source,
        "cifar10": cifar10_source,
        "imagenet": imagenet_source,
        "tfrecord": tfrecord_source,
    }
    if kind not in sources or not where:
        known = ", ".join(["digits", *(f"{name}:PATH" for name in sources)])
        raise UsageError(f"no data {spec!r}; expected one of {known}")
    source = sources[kind](where)
    name = f"{source.name}-{size}-seed{seed}"
    channels = source.channels
    blank = np.zeros(channels, np.float32), np.ones(channels, np.float32)
    data = ImageData(name, source, size, split_images(source, seed), *blank)
    return _normalised(data, seed)


def split_images(source: ImageSource, seed: int) -> dict[Part, Index]:
    """Return the numbers of the images for training, search and final test.

    Raises:
        SearchError: a part would be empty.
    """
    end = len(source.labels) if source.tests_from is None else source.tests_from
    dealt = _dealt(source.labels[:end], seed)
    if source.tests_from is None:
        choice = dealt % 5
        search, test = np.flatnonzero(choice == 3), np.flatnonzero(choice == 4)
        train = np.flatnonzero(choice < 3)
    else:
        choice = dealt % max(10, -(-end // MAX_SEARCH_IMAGES))
        search, train = np.flatnonzero(choice == 9), np.flatnonzero(choice != 9)
        test = np.arange(end, len(source.labels))
    parts: dict[Part, Index] = {"train": train, "search": search, "test": test}
    for part, index in parts.items():
        if not len(index):
            raise SearchError(
                f"{source.name} has {len(source.labels)} images: too few to have some for {part}"
            )
    return parts


def _dealt(labels: NDArray[np.int32], seed: int) -> Index:
    """Return every image's place in a random order in which equal classes lie side by side."""
    order = np.lexsort((np.random.default_rng(seed).random(len(labels)), labels))
    places = np.empty(len(labels), np.int64)
    places[order] = np.arange(len(labels))
    return places


def _normalised(data: ImageData, seed: int) -> ImageData:
    rng = np.random.default_rng([seed, 4])
    train = data.parts["train"]
    some = np.sort(rng.permutation(train)[:_STATISTICS_IMAGES])
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    sample = replace(data, parts={**data.parts, "train": some})
    for images, _ in sample.batches("train", 64):
        wide = images.astype(np.float64)
        count += wide[..., 0].size
        total = total + wide.sum(axis=(0, 1, 2))
        squares = squares + (wide**2).sum(axis=(0, 1, 2))
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 1e-6))
    return replace(data, mean=mean.astype(np.float32), deviation=deviation.astype(np.float32))

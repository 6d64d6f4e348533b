"""Where images come from: arrays, folders, CIFAR-10's files, TFRecords. Read as a stream."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from latlas.profiler.errors import SearchError

Index = NDArray[np.int64]

_SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".bmp", ".gif"})
_CIFAR_BYTES = 1 + 32 * 32 * 3
_FEATURES = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/class/label": tf.io.FixedLenFeature([], tf.int64),
}


class ImageSource(Protocol):
    """Images and their classes, numbered.

    Attributes:
        name: what they are.
        labels: class of every image, int32 in ``range(classes)``.
        classes: number of classes.
        channels: of the images.
        tests_from: the first image of the final test, where the data has a part for it; those
            before are for training and search. None: it has none.
        ordered: whether `read` keeps the order that it is asked for.
    """

    name: str
    labels: NDArray[np.int32]
    classes: int
    channels: int
    tests_from: int | None
    ordered: bool

    def read(self, index: Index) -> tf.data.Dataset:
        """Return images (height, width, channels) of any size, and their classes."""
        ...


class ArraySource:
    """Images in memory, shape (images, height, width, channels)."""

    ordered = True

    def __init__(
        self,
        name: str,
        images: NDArray[np.generic],
        labels: NDArray[np.int32],
        classes: int,
        tests_from: int | None = None,
    ) -> None:
        self.name = name
        self.images = images
        self.labels = labels
        self.classes = classes
        self.channels = int(images.shape[-1])
        self.tests_from = tests_from

    def read(self, index: Index) -> tf.data.Dataset:
        """Return images as they are, and their classes."""
        images, labels = self._tensors
        numbers = tf.data.Dataset.from_tensor_slices(index)
        return numbers.map(lambda number: (images[number], labels[number]))

    @cached_property
    def _tensors(self) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.constant(self.images), tf.constant(self.labels)


class FileSource:
    """Images in files, one each."""

    ordered = True
    channels = 3

    def __init__(
        self,
        name: str,
        paths: Sequence[str],
        labels: Sequence[int],
        classes: int,
        tests_from: int | None = None,
    ) -> None:
        self.name = name
        self.paths = np.array(paths)
        self.labels = np.array(labels, np.int32)
        self.classes = classes
        self.tests_from = tests_from

    def read(self, index: Index) -> tf.data.Dataset:
        """Return images of three channels, and their classes."""
        files = tf.data.Dataset.from_tensor_slices((self.paths[index], self.labels[index]))
        return files.map(lambda path, label: (_decoded(tf.io.read_file(path)), label))


class TfrecordSource:
    """``tf.train.Example`` records with ``image/encoded`` and ``image/class/label``.

    Classes are numbered anew from 0, in the order of the labels. The files are read through once
    for them, and in every epoch.
    """

    ordered = False
    channels = 3

    def __init__(self, name: str, files: Sequence[str], test_files: Sequence[str] = ()) -> None:
        self.name = name
        self.files = list(files)
        self.test_files = list(test_files)
        found = [self._labels(part) for part in (self.files, self.test_files)]
        values, labels = np.unique(np.concatenate(found), return_inverse=True)
        self.labels = labels.astype(np.int32)
        self.classes = len(values)
        self.tests_from = len(found[0]) if test_files else None
        self._values = tf.constant(values, tf.int64)

    def read(self, index: Index) -> tf.data.Dataset:
        """Return images of three channels, and their classes, in the order of the files."""
        wanted = np.zeros(len(self.labels), np.bool_)
        wanted[index] = True
        mask = tf.constant(wanted)

        def parse(_: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            example = tf.io.parse_single_example(record, _FEATURES)
            label = tf.searchsorted(self._values, example["image/class/label"][None])[0]
            return _decoded(example["image/encoded"]), label

        records = tf.data.TFRecordDataset(self.files + self.test_files).enumerate()
        return records.filter(lambda i, _: mask[i]).map(parse)

    def _labels(self, files: Sequence[str]) -> NDArray[np.int64]:
        wanted = {"image/class/label": _FEATURES["image/class/label"]}
        records = tf.data.TFRecordDataset(list(files)).batch(4096)
        found = [np.zeros(0, np.int64)]
        try:
            for batch in records:
                found.append(tf.io.parse_example(batch, wanted)["image/class/label"].numpy())
        except tf.errors.OpError as problem:
            raise SearchError(
                f"{self.name} is not made of tf.train.Example records with image/encoded and "
                f"image/class/label: {str(problem)[:200]}"
            ) from problem
        return np.concatenate(found)


def _decoded(data: tf.Tensor) -> tf.Tensor:
    image = tf.io.decode_image(data, channels=3, expand_animations=False)
    image.set_shape([None, None, 3])
    return image


def folder_source(folder: str) -> FileSource:
    """Return the images of a folder that has one folder for each class.

    Raises:
        SearchError: there are not at least two classes with images.
    """
    paths, labels, classes = _listed(Path(folder), None)
    return FileSource(f"images:{folder}", paths, labels, len(classes))


def imagenet_source(folder: str) -> FileSource:
    """Return the images of ``train/CLASS`` and, as the final test, of ``val/CLASS``.

    Raises:
        SearchError: a part is missing, or has other classes.
    """
    paths, labels, classes = _listed(Path(folder) / "train", None)
    more, theirs, _ = _listed(Path(folder) / "val", classes)
    return FileSource(f"imagenet:{folder}", paths + more, labels + theirs, len(classes), len(paths))


def _listed(folder: Path, classes: list[str] | None) -> tuple[list[str], list[int], list[str]]:
    """Return files, their classes' numbers, and the classes' names."""
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
        if classes is not None and not set(names) <= set(classes):
            extra = sorted(set(names) - set(classes))
            raise SearchError(f"{folder} has the class {extra[0]!r}, which training has not")
        paths: list[str] = []
        labels: list[int] = []
        for name in names:
            files = sorted(
                str(path) for path in (folder / name).iterdir() if path.suffix.lower() in _SUFFIXES
            )
            paths += files
            labels += [(classes or names).index(name)] * len(files)
    except OSError as problem:
        raise SearchError(f"cannot read the images of {folder}: {problem.strerror}") from problem
    if len(set(labels)) < 2:
        raise SearchError(
            f"{folder} has images of {len(set(labels))} classes; expected one folder for each of "
            "at least two classes, with files of JPEG, PNG, BMP or GIF in it"
        )
    return paths, labels, classes or names


def cifar10_source(folder: str) -> ArraySource:
    """Return CIFAR-10 from the files of its binary version; ``test_batch.bin`` is the final test.

    Raises:
        SearchError: a file is missing or damaged, or the folder has the version for Python.
    """
    root = Path(folder)
    if (root / "cifar-10-batches-bin").is_dir():
        root = root / "cifar-10-batches-bin"
    parts = []
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        path = root / f"{name}.bin"
        if not path.exists() and (root / name).exists():
            raise SearchError(
                f"{root} has CIFAR-10's version for Python, whose files are pickles, and those can "
                "run any code: download the binary version (cifar-10-binary.tar.gz)"
            )
        try:
            size = path.stat().st_size
            if size % _CIFAR_BYTES or not 0 < size <= 50_000 * _CIFAR_BYTES:
                raise SearchError(
                    f"{path} has {size} bytes; expected records of {_CIFAR_BYTES}: download it anew"
                )
            parts.append(np.fromfile(path, np.uint8).reshape(-1, _CIFAR_BYTES))
        except OSError as problem:
            raise SearchError(f"cannot read {path}: {problem.strerror}") from problem
    rows = np.concatenate(parts)
    labels = rows[:, 0].astype(np.int32)
    if labels.max() > 9:
        raise SearchError(f"{root} has a label of {labels.max()}; CIFAR-10 has 0 to 9")
    images = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return ArraySource("cifar10", images, labels, 10, len(rows) - len(parts[-1]))


def tfrecord_source(pattern: str) -> TfrecordSource:
    """Return the records of files, ``PATTERN`` or ``TRAINING,TEST``, each with * and ?.

    Raises:
        SearchError: no file matches, or one is not of such records.
    """
    patterns = pattern.split(",")
    if len(patterns) > 2:
        raise SearchError(f"tfrecord: takes one pattern or two, not {len(patterns)}")
    found = [sorted(glob.glob(one)) for one in patterns]  # noqa: PTH207 a pattern may be absolute
    for one, files in zip(patterns, found, strict=True):
        if not files:
            raise SearchError(f"no file matches {one!r}")
    return TfrecordSource(f"tfrecord:{pattern}", *found)

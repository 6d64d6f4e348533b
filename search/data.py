"""Small image data sets to search on, split once and for all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.errors import SearchError


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their classes.

    Attributes:
        images: float32, shape (images, height, width, channels).
        labels: int32 in ``range(classes)``, shape (images,).
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three sets of images that are kept apart.

    Attributes:
        name: what it is, its size and its seed: results on two data sets do not mix.
        train: weights are fitted on these.
        search: architectures are compared on these.
        test: the result of a search is reported on these, once.
        classes: number of classes.
    """

    name: str
    train: Split
    search: Split
    test: Split
    classes: int


def digits(size: int = 32, seed: int = 0) -> Dataset:
    """Return scikit-learn's 1,797 handwritten digits (UCI, 1998), which come with the package.

    The 8x8 images are enlarged bilinearly and scaled to zero mean and unit variance over the
    training images. Three fifths are for training, one fifth each for search and test, stratified.

    Args:
        size: height and width in pixels.
        seed: of the split.

    Raises:
        SearchError: images smaller than 8x8 were asked for.

    >>> data = digits()
    >>> data.train.images.shape, len(data.search), len(data.test)
    ((1077, 32, 32, 1), 360, 360)
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    if size < 8:
        raise SearchError(f"digits are 8x8 images: {size} pixels is too small")
    raw = load_digits()
    resize = _bilinear(8, size)
    images = np.einsum("yi,nij,xj->nyx", resize, raw.images, resize)[..., None]
    labels = raw.target.astype(np.int32)
    train, rest = train_test_split(
        np.arange(len(labels)), test_size=720, random_state=seed, stratify=labels
    )
    search, test = train_test_split(rest, test_size=360, random_state=seed, stratify=labels[rest])
    mean, deviation = images[train].mean(), images[train].std()
    images = ((images - mean) / deviation).astype(np.float32)
    parts = [Split(images[index], labels[index]) for index in map(np.sort, (train, search, test))]
    return Dataset(f"digits-{size}-seed{seed}", parts[0], parts[1], parts[2], classes=10)


def _bilinear(source: int, target: int) -> NDArray[np.float64]:
    """Return the matrix of a bilinear resizing with half-pixel centres, shape (target, source)."""
    centres = (np.arange(target) + 0.5) * source / target - 0.5
    return np.stack([np.interp(centres, np.arange(source), row) for row in np.eye(source)], axis=1)

"""Every kind of images, read from files that the tests write."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
import tensorflow as tf
from pictures import picture, write_cifar10, write_folder, write_imagenet

from latlas.profiler.errors import SearchError, UsageError
from latlas.profiler.graph import Array
from latlas.search.augment import augmented, fitted
from latlas.search.data import digits
from latlas.search.image_data import ImageData, in_memory, open_images
from latlas.search.recipe import Augmentation


def write_records(path: Path, count: int = 10, classes: int = 3) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(count):
            for label in range(classes):
                image = tf.io.encode_png(picture(label, number)).numpy()
                feature = {
                    "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
                    "image/class/label": tf.train.Feature(
                        int64_list=tf.train.Int64List(value=[label + 1])
                    ),
                }
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                writer.write(example.SerializeToString())


def check(data: ImageData, counts: tuple[int, int, int]) -> None:
    """Parts are apart and stratified, batches are normalised, and brightness tells the class."""
    assert tuple(data.count(part) for part in ("train", "search", "test")) == counts
    index = [set(data.parts[part].tolist()) for part in ("train", "search", "test")]
    assert len(set.union(*index)) == sum(counts)
    images, labels = map(np.concatenate, zip(*data.batches("train", 7), strict=True))
    assert images.shape == (counts[0], *data.shape)
    assert abs(images.mean()) < 0.1
    assert images.std() == pytest.approx(1, abs=0.15)
    shares = np.bincount(labels, minlength=data.classes) / len(labels)
    assert shares == pytest.approx(np.full(data.classes, 1 / data.classes), abs=0.05)
    brightness = images.mean(axis=(1, 2, 3))
    assert np.all(np.diff([brightness[labels == c].mean() for c in range(data.classes)]) > 0.3)
    plain = Augmentation()
    first, again, other = (
        np.concatenate([images.mean(axis=(1, 2, 3)) for images, _ in epoch])
        for epoch in (
            data.training_batches(4, plain, 1, 0),
            data.training_batches(4, plain, 1, 0),
            data.training_batches(4, plain, 1, 1),
        )
    )
    assert len(first) == counts[0] // 4 * 4
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_folders(tmp_path: Path) -> None:
    write_folder(tmp_path)
    data = open_images(f"images:{tmp_path}", 8)
    check(data, (18, 6, 6))
    assert data.name != open_images(f"images:{tmp_path}", 8, seed=1).name
    arrays = data.arrays()
    assert arrays.train.images.shape == (18, 8, 8, 3)
    assert arrays.classes == 3
    for limit in (6, 9, 17):
        labels = [int(label) for _, some in data.batches("train", 4, limit) for label in some]
        counts = np.bincount(labels, minlength=3)
        assert counts.sum() == limit and counts.max() - counts.min() <= 1
    (tmp_path / "class0" / "0.JPEG").write_bytes(b"no image")
    with pytest.raises(SearchError, match="cannot be read"):
        open_images(f"images:{tmp_path}", 8).arrays()


def test_imagenet(tmp_path: Path) -> None:
    write_imagenet(tmp_path)
    check(open_images(f"imagenet:{tmp_path}", 8), (54, 6, 6))
    (tmp_path / "val" / "other").mkdir()
    with pytest.raises(SearchError, match="'other', which training has not"):
        open_images(f"imagenet:{tmp_path}", 8)


def test_records(tmp_path: Path) -> None:
    write_records(tmp_path / "a-0.tfrecord", 10)
    write_records(tmp_path / "a-1.tfrecord", 10)
    write_records(tmp_path / "b-0.tfrecord", 2)
    check(open_images(f"tfrecord:{tmp_path}/a-*", 8), (36, 12, 12))
    check(open_images(f"tfrecord:{tmp_path}/a-*,{tmp_path}/b-*", 8), (54, 6, 6))
    (tmp_path / "c-0").write_bytes(b"no record" * 9)
    for spec, message in (("c-0", "not made of"), ("d*", "no file matches")):
        with pytest.raises(SearchError, match=message):
            open_images(f"tfrecord:{tmp_path}/{spec}", 8)


def test_cifar10(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    data = open_images(f"cifar10:{tmp_path}", 32)
    assert [data.count(part) for part in ("train", "search", "test")] == [90, 10, 20]
    assert data.parts["test"].min() == 100
    images, labels = next(data.batches("test", 20))
    raw = images * data.deviation + data.mean
    assert raw[11, 0, 1] == pytest.approx([255, 20, 20], abs=0.1)
    assert labels.tolist() == list(range(10)) * 2
    (tmp_path / "test_batch.bin").write_bytes(b"x" * 100)
    with pytest.raises(SearchError, match="records of 3073"):
        open_images(f"cifar10:{tmp_path}", 32)
    (tmp_path / "test_batch.bin").rename(tmp_path / "test_batch")
    with pytest.raises(SearchError, match="pickles"):
        open_images(f"cifar10:{tmp_path}", 32)
    with pytest.raises(SearchError, match="cannot read"):
        open_images(f"cifar10:{tmp_path}/none", 32)


def test_digits_keep_their_split() -> None:
    data, before = open_images("digits", 8), digits(8)
    images, labels = next(data.batches("search", 360))
    assert np.array_equal(images, before.search.images)
    assert np.array_equal(labels, before.search.labels)
    assert data.name == before.name


def test_folds_cover_what_is_not_tested() -> None:
    data = in_memory(digits(8))
    folds = [data.fold(4, fold, seed=0) for fold in range(4)]
    seen = np.concatenate([fold.parts["search"] for fold in folds])
    assert np.array_equal(np.sort(seen), np.arange(1437))
    for fold in folds:
        assert not set(fold.parts["search"]) & set(fold.parts["train"])
        assert np.array_equal(fold.parts["test"], data.parts["test"])
        counts = np.bincount(data.source.labels[fold.parts["search"]])
        assert np.ptp(counts) <= 4
    assert len({fold.name for fold in folds}) == 4


def test_augmentation() -> None:
    rng = np.random.default_rng(0)
    image = tf.constant(rng.uniform(1, 2, (16, 16, 3)).astype(np.float32))

    def draw(augmentation: Augmentation, seed: int) -> Array:
        keys = tf.constant([7, seed], tf.int64)
        return np.asarray(augmented(image, 16, augmentation, keys, lambda x: x))

    assert np.array_equal(draw(Augmentation(), 0), image)
    flipped = [draw(Augmentation(flip=True), seed) for seed in range(20)]
    assert all(np.array_equal(one, image) or np.array_equal(one, image[:, ::-1]) for one in flipped)
    assert 3 < sum(np.array_equal(one, image) for one in flipped) < 17
    padded = [draw(Augmentation("pad", padding=3), seed) for seed in range(20)]
    assert any((one == 0).any() for one in padded)
    assert all((one[6:10, 6:10] != 0).all() for one in padded)
    holes = [draw(Augmentation(cutout=6), seed) for seed in range(20)]
    assert max((one[..., 0] == 0).sum() for one in holes) == 36
    assert all((one[one != 0] == np.asarray(image)[one != 0]).all() for one in holes)
    resized = [draw(Augmentation("resized", area=0.3), seed) for seed in range(5)]
    assert all(one.shape == (16, 16, 3) and one.min() >= 0.99 for one in resized)
    assert np.array_equal(draw(Augmentation("resized"), 3), draw(Augmentation("resized"), 3))
    assert fitted(image, 8).shape == (8, 8, 3)


def test_unknown_data(tmp_path: Path) -> None:
    for spec in ("mnist", "digits:x", "images:", "images"):
        with pytest.raises(UsageError, match="no data"):
            open_images(spec, 8)
    with pytest.raises(SearchError, match="cannot read"):
        open_images(f"images:{tmp_path}/none", 8)
    with pytest.raises(SearchError, match="at least two classes"):
        open_images(f"images:{tmp_path}", 8)

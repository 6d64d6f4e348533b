"""Data sets of a few images, as their owners lay them out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from latlas.profiler.graph import Array


def picture(label: int, number: int, side: int = 12) -> Array:
    """Return an image whose brightness tells its class, of the first four."""
    rng = np.random.default_rng([label, number])
    noise = rng.integers(0, 20, (side, side + number % 3, 3))
    return (noise + 60 * (label % 4)).astype(np.uint8)


def write_folder(folder: Path, count: int = 10, classes: int = 3) -> None:
    """Write a folder of each class."""
    import tensorflow as tf

    for label in range(classes):
        (folder / f"class{label}").mkdir(parents=True)
        for number in range(count):
            encode = tf.io.encode_png if number % 2 else tf.io.encode_jpeg
            suffix = "png" if number % 2 else "JPEG"
            path = folder / f"class{label}" / f"{number}.{suffix}"
            path.write_bytes(encode(picture(label, number)).numpy())


def write_imagenet(folder: Path, count: int = 20, classes: int = 3) -> None:
    """Write images to train on, and two of each class for the final test."""
    write_folder(folder / "train", count, classes)
    write_folder(folder / "val", 2, classes)


def write_cifar10(folder: Path) -> None:
    """Write CIFAR-10's binary version with twenty images a file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        rows = []
        for number in range(2):
            for label in range(10):
                planes = np.full((3, 32, 32), 20 * label, np.uint8)
                planes[0, 0, number] = 255  # red, first row
                rows.append(np.concatenate([[label], planes.ravel()]).astype(np.uint8))
        np.concatenate(rows).tofile(folder / f"{name}.bin")


def write_coco(folder: Path) -> None:
    """Write four images with a bright square each, and their annotations, twice."""
    import tensorflow as tf

    images, boxes = [], []
    for part in ("train1", "val1"):
        (folder / part).mkdir(parents=True)
    for number in range(4):
        pixels = np.zeros((48, 64, 3), np.uint8)
        pixels[10:30, 8 * number : 8 * number + 24] = 255
        for part in ("train1", "val1"):
            (folder / part / f"{number}.png").write_bytes(tf.io.encode_png(pixels).numpy())
        images.append({"id": number, "file_name": f"{number}.png", "height": 48, "width": 64})
        box = [8 * number, 10, 24, 20]
        boxes.append({"image_id": number, "category_id": number % 2 + 1, "bbox": box})
    categories = [{"id": 1, "name": "even"}, {"id": 2, "name": "odd"}]
    (folder / "annotations").mkdir()
    document = {"images": images, "annotations": boxes, "categories": categories}
    for part in ("train1", "val1"):
        (folder / "annotations" / f"instances_{part}.json").write_text(json.dumps(document))

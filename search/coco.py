"""Images with boxes of objects, in COCO's format (Lin et al. 2014, https://cocodataset.org).

::

    FOLDER/annotations/instances_train2017.json
    FOLDER/train2017/000000000009.jpg

An ``instances`` file lists images, annotations (a box as left, top, width, height in pixels) and
categories. It is a stranger's: what it says is checked against limits and against the images.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.errors import SearchError
from latlas.profiler.journal import Fields
from latlas.search.anchors import Boxes

MAX_BYTES = 1 << 30
"""Of an instances file; that of COCO's training images has 450 MB."""
MAX_IMAGE_BYTES = 64 << 20
MAX_PIXELS = 50_000_000
MAX_SIDE = 1 << 15
MAX_CATEGORIES = 10_000
_MAX_ID = (1 << 63) - 1


@dataclass(frozen=True, eq=False)
class Picture:
    """An image and the objects on it.

    Attributes:
        path: a JPEG or PNG file.
        height, width: in pixels, as annotated.
        boxes: of the objects, as fractions of the image, shape (objects, 4).
        labels: their classes from 1, shape (objects,); 0 is the background.
    """

    path: Path
    height: int
    width: int
    boxes: Boxes
    labels: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images with objects.

    Attributes:
        name: what they are.
        classes: names of the classes 1, 2, …
        pictures: in the order of the file.
        left_out: annotations without a box of their own: crowds, and boxes without an area.
    """

    name: str
    classes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    left_out: int


def coco(folder: Path, part: str = "train") -> Pictures:
    """Return the images of a part of a folder.

    Args:
        folder: with ``annotations`` beside the folders of images.
        part: what the name of the part begins with: train or val.

    Raises:
        SearchError: there is not exactly one such part, or its file is damaged.
    """
    try:
        found = sorted((folder / "annotations").glob(f"instances_{part}*.json"))
    except OSError as problem:
        raise SearchError(f"cannot read {folder}: {problem}") from problem
    if len(found) != 1:
        raise SearchError(
            f"{folder}/annotations holds {len(found)} files instances_{part}*.json; expected one"
        )
    images = folder / found[0].stem.removeprefix("instances_")
    try:
        return parse_coco(_load(found[0]), images, found[0])
    except SearchError as problem:
        raise (
            problem if str(found[0]) in str(problem) else SearchError(f"{found[0]}: {problem}")
        ) from problem


def _load(path: Path) -> object:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SearchError(f"{path} is longer than {MAX_BYTES >> 20} MiB")
        with path.open("rb") as file:
            return json.loads(file.read(MAX_BYTES + 1))
    except (OSError, ValueError, RecursionError) as problem:
        raise SearchError(f"cannot read {path}: {str(problem)[:200]}") from problem


def parse_coco(document: object, images: Path, path: Path) -> Pictures:
    """Return what an instances file says.

    Args:
        document: its JSON.
        images: folder of the images.
        path: of the file, for messages.

    Raises:
        SearchError: something is missing or impossible.
    """
    sections = [_section(document, name, path) for name in ("categories", "images", "annotations")]
    names = {one.integer("id", 0, _MAX_ID): one.text("name")[:100] for one in sections[0]}
    if len(names) != len(sections[0]) or not 1 <= len(names) <= MAX_CATEGORIES:
        raise SearchError(
            f"{path} has {len(sections[0])} categories; expected 1 to {MAX_CATEGORIES}, with ids "
            "of their own"
        )
    labels = {category: label for label, category in enumerate(sorted(names), start=1)}
    sizes: dict[int, tuple[Path, int, int]] = {}
    for one in sections[1]:
        number = one.integer("id", 0, _MAX_ID)
        if number in sizes:
            raise SearchError(f"{path} has two images with the id {number}")
        height, width = (one.integer(side, 1, MAX_SIDE) for side in ("height", "width"))
        sizes[number] = images / _file_name(one.text("file_name"), path), height, width
    objects: dict[int, list[tuple[list[float], int]]] = {number: [] for number in sizes}
    left_out = 0
    for one in sections[2]:
        number, category = (
            one.integer("image_id", 0, _MAX_ID),
            one.integer("category_id", 0, _MAX_ID),
        )
        if number not in sizes or category not in labels:
            raise SearchError(
                f"{path} has an annotation of image {number}, category {category}, which it does "
                "not list"
            )
        box = _box(one.values.get("bbox"), *sizes[number][1:], path)
        if one.values.get("iscrowd") or not (box[0] < box[2] and box[1] < box[3]):
            left_out += 1
            continue
        objects[number].append((box, labels[category]))
    pictures = [
        Picture(
            *sizes[number],
            np.array([box for box, _ in found], np.float32).reshape(-1, 4),
            np.array([label for _, label in found], np.int32),
        )
        for number, found in objects.items()
    ]
    if not pictures:
        raise SearchError(f"{path} lists no images")
    classes = tuple(names[category] for category in sorted(names))
    return Pictures(f"coco:{path}", classes, tuple(pictures), left_out)


class _Entry:
    """An object of a section, with typed access."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values
        get = Fields(values, SearchError)
        self.integer, self.text = get.integer, get.text


def _section(document: object, name: str, path: Path) -> list[_Entry]:
    found = document.get(name) if isinstance(document, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise SearchError(f"{path} is no instances file of COCO: {name} is no list of objects")
    return [_Entry(one) for one in found]


def _file_name(text: str, path: Path) -> str:
    parts = PurePosixPath(text).parts
    if not parts or len(text) > 1000 or "\0" in text or text.startswith("/") or ".." in parts:
        raise SearchError(f"{path} names an image outside its folder: {text!r:.80}")
    return text


def _box(found: object, height: int, width: int, path: Path) -> list[float]:
    """Return a box as fractions of its image, cut off at its border."""
    if (
        not isinstance(found, list)
        or len(found) != 4
        or not all(isinstance(n, int | float) and abs(n) < 1e9 and math.isfinite(n) for n in found)
    ):
        raise SearchError(f"{path} has a box that is no left, top, width, height: {found!r:.80}")
    left, top, wide, high = map(float, found)
    edges = ((top, height), (left, width), (top + high, height), (left + wide, width))
    return [min(max(edge / extent, 0.0), 1.0) for edge, extent in edges]


def require_size(data: bytes, picture: Picture) -> None:
    """Refuse an image file that is too large to be decoded, or has another size than annotated.

    Raises:
        SearchError: it is that, or no JPEG or PNG file.
    """
    size = _png_size(data) or _jpeg_size(data)
    if size is None:
        raise SearchError(f"{picture.path} is neither a JPEG nor a PNG file")
    if size != (picture.height, picture.width):
        raise SearchError(
            f"{picture.path} has {size[0]}x{size[1]} pixels, and its annotation says "
            f"{picture.height}x{picture.width}"
        )
    if size[0] * size[1] > MAX_PIXELS:
        raise SearchError(f"{picture.path} has more than {MAX_PIXELS} pixels")


def _png_size(data: bytes) -> tuple[int, int] | None:
    if not data.startswith(b"\x89PNG\r\n\x1a\n") or data[12:16] != b"IHDR" or len(data) < 24:
        return None
    width, height = struct.unpack(">II", data[16:24])
    return height, width


_FRAMES: Sequence[int] = (
    *range(0xC0, 0xC4),
    *range(0xC5, 0xC8),
    *range(0xC9, 0xCC),
    0xCD,
    0xCE,
    0xCF,
)
"""Markers of JPEG that a frame's size follows."""


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    if not data.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        if marker in _FRAMES:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return height, width
        if marker == 0xDA:
            return None
        at += 2 + max(struct.unpack(">H", data[at + 2 : at + 4])[0], 2)
    return None

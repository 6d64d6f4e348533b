import contextlib
import copy
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latlas.profiler.errors import SearchError
from latlas.search.coco import MAX_PIXELS, Picture, coco, parse_coco, require_size

DOCUMENT: dict[str, Any] = {
    "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
    "images": [
        {"id": 10, "file_name": "a.png", "height": 100, "width": 200},
        {"id": 11, "file_name": "b.png", "height": 50, "width": 50},
    ],
    "annotations": [
        {"image_id": 10, "category_id": 7, "bbox": [20, 10, 40.0, 50], "iscrowd": 0},
        {"image_id": 10, "category_id": 3, "bbox": [150, 0, 100, 10]},
        {"image_id": 10, "category_id": 3, "bbox": [0, 0, 200, 100], "iscrowd": 1},
        {"image_id": 11, "category_id": 3, "bbox": [0, 0, 0, 10]},
    ],
}


def folder_with(folder: Path, document: object) -> Path:
    (folder / "annotations").mkdir()
    (folder / "annotations" / "instances_train9.json").write_text(json.dumps(document))
    return folder


def test_boxes_are_fractions_and_classes_count_from_1(tmp_path: Path) -> None:
    found = coco(folder_with(tmp_path, DOCUMENT))
    assert found.classes == ("dog", "cat")
    assert found.left_out == 2  # a crowd, and a box without an area
    first, second = found.pictures
    assert first.path == tmp_path / "train9" / "a.png"
    np.testing.assert_allclose(first.boxes, [[0.1, 0.1, 0.6, 0.3], [0, 0.75, 0.1, 1.0]])
    assert first.labels.tolist() == [2, 1]
    assert second.boxes.shape == (0, 4)
    with pytest.raises(SearchError, match="0 files instances_val"):
        coco(tmp_path, "val")


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        (("images", 0, "file_name"), "../a.png", "outside its folder"),
        (("images", 0, "file_name"), "/etc/passwd", "outside its folder"),
        (("images", 0, "id"), 11, "two images"),
        (("images", 0, "height"), 0, "height"),
        (("annotations", 0, "image_id"), 12, "does not list"),
        (("annotations", 0, "category_id"), 4, "does not list"),
        (("annotations", 0, "bbox"), [0, 0, 1], "no left, top"),
        (("annotations", 0, "bbox"), [0, 0, 1e300, float("nan")], "no left, top"),
        (("categories", 0, "id"), 3, "ids of their own"),
        (("categories",), [], "0 categories"),
        (("images",), {}, "no list of objects"),
    ],
)
def test_what_is_refused(tmp_path: Path, where: tuple[Any, ...], value: object, words: str) -> None:
    document = copy.deepcopy(DOCUMENT)
    entry = document
    for step in where[:-1]:
        entry = entry[step]
    entry[where[-1]] = value
    with pytest.raises(SearchError, match=words):
        coco(folder_with(tmp_path, document))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["categories", "images", "annotations"]), st.integers(0, 3), JSON, st.data())
def test_anything_else_is_an_error_of_ours(
    section: str, position: int, value: object, data: st.DataObject
) -> None:
    document = copy.deepcopy(DOCUMENT)
    entries = document[section]
    entry = entries[position % len(entries)]
    entry[data.draw(st.sampled_from(sorted(entry)))] = value
    with contextlib.suppress(SearchError):
        parse_coco(document, Path("images"), Path("x.json"))
    with pytest.raises(SearchError):
        parse_coco(value, Path("images"), Path("x.json"))


def test_files_that_are_no_json(tmp_path: Path) -> None:
    folder_with(tmp_path, {})
    path = tmp_path / "annotations" / "instances_train9.json"
    for data in (b"", b"[" * 100_000, b"\xff"):
        path.write_bytes(data)
        with pytest.raises(SearchError, match="cannot read"):
            coco(tmp_path)


def png(height: int, width: int) -> bytes:
    head = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + b"\0\0\0\r" + head + zlib.crc32(head).to_bytes(4, "big")


def test_an_image_has_to_be_the_annotated_one_before_it_is_decoded() -> None:
    def of(height: int, width: int) -> Picture:
        return Picture(
            Path("x"), height, width, np.zeros((0, 4), np.float32), np.zeros(0, np.int32)
        )

    require_size(png(20, 30), of(20, 30))
    jpeg = b"\xff\xd8\xff\xe0\0\x04ab\xff\xc0\0\x11\x08\0\x14\0\x1e\x03"
    require_size(jpeg, of(20, 30))
    with pytest.raises(SearchError, match="20x30"):
        require_size(png(20, 30), of(20, 31))
    with pytest.raises(SearchError, match=str(MAX_PIXELS)):
        require_size(png(20_000, 20_000), of(20_000, 20_000))
    for data in (b"", b"GIF89a", b"\xff\xd8", jpeg[:12], b"\xff\xd8\xff\xda\0\0\0\0\0\0\0\0"):
        with pytest.raises(SearchError, match="neither"):
            require_size(data, of(20, 30))

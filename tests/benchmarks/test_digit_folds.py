"""Folds of digits keep what is reported apart from what was searched on."""

from __future__ import annotations

import numpy as np
import pytest
from scripts import benchmark

from latlas.search.data import Dataset, digits

folds = benchmark("digit_folds")


@pytest.fixture(scope="module")
def data() -> Dataset:
    return digits(8)


def rows(*images: np.ndarray) -> list[bytes]:
    return sorted(one.tobytes() for each in images for one in each)


def test_every_division_of_the_search_covers_the_training_images_once(data: Dataset) -> None:
    found = folds.search_folds(data, (3, 2))
    assert len({fold.name for fold in found}) == 6
    for division in (found[:3], found[3:]):
        assert rows(*[fold.search.images for fold in division]) == rows(data.train.images)
    assert rows(found[0].search.images) != rows(found[3].search.images)
    for fold in found:
        assert rows(fold.train.images, fold.search.images) == rows(data.train.images)
        shares = np.bincount(fold.search.labels) / np.bincount(data.train.labels)
        assert np.allclose(shares, 1 / 3, atol=0.02)  # stratified


def test_images_of_several_divisions_count_once(data: Dataset) -> None:
    once, twice = (
        folds.FoldsOracle((), folds.search_folds(data, (2, divisions))).standard_error
        for divisions in (1, 2)
    )
    assert once == twice > 0


def test_reports_are_on_images_that_no_search_saw(data: Dataset) -> None:
    found = folds.report_folds(data, (2, 2))
    others = rows(data.search.images, data.test.images)
    assert len({fold.name for fold in found}) == 4
    for first, second in (found[:2], found[2:]):
        assert rows(first.search.images, second.search.images) == others
    for fold in found:
        everything = rows(data.train.images, data.search.images, data.test.images)
        assert rows(fold.train.images, fold.search.images) == everything

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latlas.profiler.errors import SearchError, UsageError
from latlas.search.accuracy import AccuracyChoice, open_accuracy
from latlas.search.spaces import MogaSpace


def choice(text: str, folder: Path, epochs: int | None = None) -> AccuracyChoice:
    return AccuracyChoice(text, MogaSpace(), folder, epochs=epochs)


def test_train_is_a_small_relative_on_the_images(tmp_path: Path) -> None:
    source = open_accuracy(choice("train:digits", tmp_path, epochs=2))
    assert source.identity["recipe"]["epochs"] == 2
    oracle = source.open()
    assert oracle.space.decode((0,) * 14).inputs == ((1, 32, 32, 1),)  # type: ignore[attr-defined]
    assert source.report(oracle)["images"] == {"train": 1077, "search": 360, "test": 360}
    with pytest.raises(UsageError, match="train:NAME"):
        open_accuracy(choice("train", tmp_path))
    with pytest.raises(SearchError, match="no recipe"):
        open_accuracy(choice("train:none", tmp_path))


def test_train_by_folds(tmp_path: Path) -> None:
    plain = open_accuracy(choice("train:digits", tmp_path))
    source = open_accuracy(replace(choice("train:digits", tmp_path), folds=3, repeats=2))
    assert source.identity == plain.identity | {"folds": 3, "repeats": 2}
    report = source.report(source.open())
    assert report["text"] == ["train: 2 x 3 folds of 1437 images, a training for each"]
    with pytest.raises(UsageError, match="give both"):
        open_accuracy(replace(choice("train:digits", tmp_path), repeats=2))
    for text in ("supernet", "table:a.csv", "math:sqrt"):
        with pytest.raises(UsageError, match="for --accuracy train:RECIPE, not"):
            open_accuracy(replace(choice(text, tmp_path), folds=3))


def test_table(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    genes = (1,) * 14
    path.write_text(f"genes,accuracy\n{' '.join(map(str, genes))},0.7\n")
    source = open_accuracy(choice(f"table:{path}", tmp_path))
    oracle = source.open()
    assert oracle.evaluate([genes])[0] == 0.7
    assert np.isnan(source.test(oracle, [genes])[0])
    assert source.report(oracle)["text"] == ["table: 1 architectures"]
    with pytest.raises(UsageError, match="table:FILE"):
        open_accuracy(choice("table", tmp_path))

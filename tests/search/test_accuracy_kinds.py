from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from shallow_space import SHALLOW

from latlas.profiler.errors import SearchError, UsageError
from latlas.search.accuracy import AccuracyChoice, AccuracySite, open_accuracy
from latlas.search.protocols import Genes
from latlas.search.spaces import MogaSpace, open_space


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


def test_a_supernet_learns_from_a_user_s_images(tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text(SHALLOW)
    rng = np.random.default_rng(0)
    for name in ("left", "right"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(30):
            image = rng.integers(100, size=(20, 20, 3), dtype=np.uint8)
            half = np.s_[:, :10] if name == "left" else np.s_[:, 10:]
            image[half] += 150
            png = tf.io.encode_png(image).numpy()
            (tmp_path / "images" / name / f"{number}.png").write_bytes(png)
    space = open_space(f"toml:{tmp_path / 'space.toml'}", classes=1000)
    source = open_accuracy(
        AccuracyChoice("supernet", space, tmp_path, f"images:{tmp_path / 'images'}", epochs=1)
    )
    assert source.identity["dataset"].startswith("images")
    oracle = source.open()
    assert source.identity == oracle.identity  # type: ignore[attr-defined]
    genes = space.sample(3, seed=0)
    for accuracies in (oracle.evaluate(genes), source.test(oracle, genes)):
        assert accuracies.shape == (3,) and ((accuracies >= 0) & (accuracies <= 1)).all()


def test_why_a_training_failed_is_told() -> None:
    class Fails:
        standard_error = 0.0

        def __init__(self) -> None:
            self.errors = {(1,): "the loss became nan"}

        def evaluate(self, genes: list[Genes]) -> np.ndarray:
            return np.array([np.nan if one == (1,) else 0.5 for one in genes])

    site = AccuracySite(open_accuracy(choice("math:sqrt", Path())), Fails())  # type: ignore[arg-type]
    first, second = site.measure([(0,), (1,)])
    assert (first.value, first.error) == (0.5, "")
    assert second.error == "the loss became nan"


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

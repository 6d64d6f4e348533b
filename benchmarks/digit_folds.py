"""Accuracies of digits by repeated stratified folds, from one supernet for each fold.

The images are in two parts, three fifths and two fifths. A search scores on folds of the first:
every image is scored by supernets that did not train on it, one for each division into folds. What
it found is reported on folds of the second part, by supernets that trained on the first part and
the rest of the second: no image that is reported on has had a say in the search.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latlas.console import say
from latlas.search.accuracy import SUPERNET_IMAGE, SUPERNET_IMAGES, SUPERNET_WIDTH
from latlas.search.data import Dataset, Split, digits
from latlas.search.protocols import Genes
from latlas.search.significance import binomial_standard_error
from latlas.search.spaces.shared import require_supernet_space
from latlas.search.supernet import Supernet
from latlas.search.supernet_config import SETTINGS, SupernetConfig

Folds = tuple[int, int]
"""How many parts the images are divided into, and how often they are divided anew."""


def search_folds(data: Dataset, folds: Folds) -> list[Dataset]:
    """Return every fold of the training images, to be scored by what trains on the others."""
    return [
        _dataset(f"{data.name}, search {name}", data, rest, held)
        for name, rest, held in _divided(data.train, folds)
    ]


def report_folds(data: Dataset, folds: Folds) -> list[Dataset]:
    """Return every fold of the other images; what trains has the training images as well."""
    others = _together(data.search, data.test)
    return [
        _dataset(f"{data.name}, report {name}", data, _together(data.train, rest), held)
        for name, rest, held in _divided(others, folds)
    ]


def _divided(split: Split, folds: Folds) -> list[tuple[str, Split, Split]]:
    """Return the name of every fold, what is outside it, and the fold."""
    count, divisions = folds
    return [
        (f"fold {index + 1} of {count}, division {division + 1}", rest, held)
        for division in range(divisions)
        for index, (rest, held) in enumerate(_parts(split, count, seed=division))
    ]


def _parts(split: Split, folds: int, seed: int) -> list[tuple[Split, Split]]:
    from sklearn.model_selection import StratifiedKFold

    divided = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return [
        (_part(split, rest), _part(split, held))
        for rest, held in divided.split(split.labels, split.labels)
    ]


def _part(split: Split, index: NDArray[np.intp]) -> Split:
    return Split(split.images[index], split.labels[index])


def _together(first: Split, second: Split) -> Split:
    return Split(
        np.concatenate([first.images, second.images]),
        np.concatenate([first.labels, second.labels]),
    )


def _dataset(name: str, data: Dataset, train: Split, held: Split) -> Dataset:
    return Dataset(name, train, held, held, data.classes)


@dataclass(frozen=True)
class FoldsOracle:
    """Accuracies over all held-out images, an `AccuracyOracle`."""

    supernets: Sequence[Supernet]
    folds: Sequence[Dataset]

    @property
    def standard_error(self) -> float:
        """Binomial standard error at 0.9; an image counts once, however many divisions have it."""
        images = np.concatenate([fold.search.images for fold in self.folds])
        return binomial_standard_error(0.9, len(np.unique(images, axis=0)))

    def evaluate(self, genes: Sequence[Genes]) -> NDArray[np.float64]:
        """Return accuracies as fractions, shape (genes,)."""
        correct = [
            net.correct(genes, fold.search)
            for net, fold in zip(self.supernets, self.folds, strict=True)
        ]
        return np.array(np.concatenate(correct, axis=1).mean(axis=1))


@dataclass(frozen=True)
class FoldsSource:
    """Supernets of a space for all folds, trained in a folder; an `AccuracySource`.

    Attributes:
        space: whose architectures are scored.
        folds: what each supernet trains on, and is asked about.
        folder: where training is kept.
        epochs: of training; None is the default of the space.
    """

    space: Any
    folds: Sequence[Dataset]
    folder: Path
    epochs: int | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """The space, how it is trained, and on what."""
        nets = [
            Supernet(self._small, self._config(index)).identity(fold)
            for index, fold in enumerate(self.folds[:1])
        ]
        return {"kind": "supernets of folds", "folds": [f.name for f in self.folds], "first": nets}

    def open(self) -> FoldsOracle:
        """Train the supernets that are missing, and load all."""
        trainer: Supernet | None = None
        nets = []
        for index, fold in enumerate(self.folds):
            folder, config = self.folder / str(index), self._config(index)
            began = time.monotonic()
            if not (folder / "trained").exists():
                # One supernet trains all, since to prepare its graphs takes longer than an epoch.
                trainer = trainer or Supernet(self._small, config)
                trainer.restart(config)
                trainer.fit(fold, folder, progress=False)
                (folder / "trained").touch()
                say(f"{self.space.name}: {fold.name}: {time.monotonic() - began:.0f} s")
            # Its graph for training is never prepared.
            nets.append(Supernet(self._small, config).fit(fold, folder, progress=False))
        return FoldsOracle(nets, self.folds)

    def report(self, oracle: FoldsOracle) -> dict[str, Any]:
        """Return nothing: the benchmark reports."""
        return {}

    def test(self, oracle: FoldsOracle, genes: Sequence[Genes]) -> NDArray[np.float64]:
        """Return NaNs: the benchmark has folds of its own for that."""
        return np.full(len(genes), np.nan)

    @property
    def _small(self) -> Any:
        large: Any = require_supernet_space(self.space)
        size = self.folds[0].train.images.shape[1]
        return replace(large, resolution=size, width=SUPERNET_WIDTH, classes=10, channels=1)

    def _config(self, index: int) -> SupernetConfig:
        config = replace(SETTINGS.get(self.space.name, SupernetConfig()), seed=index)
        return config if self.epochs is None else replace(config, epochs=self.epochs)


def open_folds(
    space: Any, folder: Path, search: Folds, report: Folds, epochs: int | None
) -> tuple[FoldsSource, FoldsSource]:
    """Return the accuracies of a search, and those that its results are reported with.

    Args:
        space: that is searched.
        folder: where supernets are kept.
        search: folds of the search.
        report: folds of the report.
        epochs: of training; None is the default of the space.
    """
    data = digits(SUPERNET_IMAGES.get(space.name, SUPERNET_IMAGE))
    return (
        FoldsSource(space, search_folds(data, search), folder / "search", epochs),
        FoldsSource(space, report_folds(data, report), folder / "report", epochs),
    )

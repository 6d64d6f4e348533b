"""Where a search takes accuracies from, by what a user calls it.

``supernet`` trains a supernet first and scores all architectures with its weights; ``train:RECIPE``
trains each alone; ``table:FILE`` looks them up; ``package.module:Name`` is the user's own code.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.errors import UsageError
from latlas.search.evaluation import MAX_ERROR, Outcome, measure_with
from latlas.search.kept import kept_accuracy
from latlas.search.plugin import plugin
from latlas.search.protocols import AccuracyOracle, Genes, SearchSpace
from latlas.search.recipe import Recipe, load_recipe, recipe_names
from latlas.search.recorded import TableOracle
from latlas.search.significance import chance_level, is_above_chance
from latlas.search.spaces.shared import require_supernet_space

if TYPE_CHECKING:
    from latlas.search.data import Dataset
    from latlas.search.supernet import SupernetOracle
    from latlas.search.training import TrainOracle

SUPERNET_IMAGE = 32
SUPERNET_IMAGES = {"mnasnet": 16}
"""By space, others than the usual: many layers at the stem's resolution cost several times more."""
SUPERNET_WIDTH = 0.25
"""The supernet is a small relative of the networks whose latency counts: digits are small."""


@dataclass(frozen=True)
class AccuracyChoice:
    """What a user says about accuracies.

    Attributes:
        text: the kind.
        space: whose architectures are scored.
        folder: of the study; trainings have folders of their own in it.
        dataset: what is trained and scored on.
        epochs: of training; None is the default of the kind.
        folds: of ``train``: score by so many stratified folds; 0 is none.
        repeats: how often the folds are dealt.
    """

    text: str
    space: SearchSpace
    folder: Path
    dataset: str = "digits"
    epochs: int | None = None
    folds: int = 0
    repeats: int = 1


class AccuracySource(Protocol):
    """Accuracies of one kind; it can be sent to another machine and opened there."""

    @property
    def identity(self) -> dict[str, Any]:
        """What the accuracies depend on, as plain values."""
        ...

    def open(self) -> AccuracyOracle:
        """Return the oracle, ready to be asked; this may train for long.

        Raises:
            LatlasError: it cannot be made ready.
        """
        ...

    def report(self, oracle: Any) -> dict[str, Any]:
        """Return what the accuracies of the opened oracle are worth; ``text`` are lines of it."""
        ...

    def test(self, oracle: Any, genes: Sequence[Genes]) -> NDArray[np.float64]:
        """Return accuracies on data that the search does not see; NaN where there are none."""
        ...


def open_accuracy(choice: AccuracyChoice) -> AccuracySource:
    """Return the source that a user names.

    Raises:
        UsageError: there is none, or it does not fit the space.
    """
    kind, colon, _ = choice.text.partition(":")
    if kind != "train" and (choice.folds, choice.repeats) != (0, 1):
        raise UsageError(
            f"--folds and --repeats are for --accuracy train:RECIPE, not {choice.text!r:.200}"
        )
    if kind not in ("supernet", "train") and choice.epochs is not None:
        raise UsageError(f"--epochs is for what is trained here, not {choice.text!r:.200}")
    if opener := KINDS.get(kind):
        return opener(choice)
    if colon:
        plugin(choice.text)
        return PlugIn(choice.text, choice.space)
    raise UsageError(
        f"--accuracy {choice.text!r:.200}: known are {', '.join(KINDS)} and package.module:Name"
    )


@dataclass(frozen=True)
class AccuracySite:
    """An opened source as a `latlas.search.evaluation.Site` of an evaluation."""

    source: AccuracySource
    oracle: AccuracyOracle

    @property
    def identity(self) -> dict[str, Any]:
        """The source's."""
        return self.source.identity

    def measure(self, genes: Sequence[Genes]) -> Sequence[Outcome]:
        """Return the accuracies of architectures, or why there is none."""
        outcomes = measure_with(self.oracle.evaluate, "accuracy")(genes)
        reasons = getattr(self.oracle, "errors", None)
        if not isinstance(reasons, Mapping):
            return outcomes
        return [
            replace(outcome, error=str(reasons[one])[:MAX_ERROR])
            if one in reasons and not outcome.error and math.isnan(outcome.value)
            else outcome
            for one, outcome in zip(genes, outcomes, strict=True)
        ]


@contextmanager
def accuracy_site(source: AccuracySource) -> Iterator[AccuracySite]:
    """Open a source, as a worker does."""
    # Of a GPU that several workers share none may reserve the whole, as TensorFlow does otherwise.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    yield AccuracySite(source, source.open())


@dataclass(frozen=True)
class SupernetSource:
    """Accuracies from a supernet, trained in a folder."""

    choice: AccuracyChoice

    @property
    def identity(self) -> dict[str, Any]:
        """The space, how it is trained, and on what."""
        return self.untrained().identity

    def open(self) -> SupernetOracle:
        """Train the supernet, or go on with its training, or load it."""
        oracle = self.untrained()
        oracle.supernet.fit(oracle.dataset, self.choice.folder / "supernet")
        return oracle

    def report(self, oracle: SupernetOracle) -> dict[str, Any]:
        """Say whether its accuracies and its ranking differ from chance."""
        return supernet_quality(oracle)

    def test(self, oracle: SupernetOracle, genes: Sequence[Genes]) -> NDArray[np.float64]:
        """Return accuracies on the test images."""
        return np.array(oracle.supernet.correct(genes, oracle.dataset.test).mean(axis=1))

    def untrained(self) -> SupernetOracle:
        """Return the supernet before its training."""
        from latlas.search.supernet import Supernet, SupernetOracle
        from latlas.search.supernet_config import SETTINGS, SupernetConfig

        large: Any = require_supernet_space(self.choice.space)
        size = SUPERNET_IMAGES.get(large.name, SUPERNET_IMAGE)
        data = _held_images(self.choice.dataset, size)
        small = replace(
            large,
            resolution=size,
            width=SUPERNET_WIDTH,
            classes=data.classes,
            channels=data.train.images.shape[3],
        )
        config = SETTINGS.get(small.name, SupernetConfig())
        if self.choice.epochs is not None:
            config = replace(config, epochs=self.choice.epochs)
        return SupernetOracle(Supernet(small, config), data)


@lru_cache(maxsize=1)
def _held_images(spec: str, size: int) -> Dataset:
    """Return images in memory; a search asks several times what its accuracies depend on."""
    from latlas.search.image_data import open_images

    return open_images(spec, size).arrays()


def open_supernet(choice: AccuracyChoice) -> SupernetSource:
    """Return a supernet's accuracies.

    Raises:
        SearchError: there is no supernet of the space.
    """
    require_supernet_space(choice.space)
    return SupernetSource(choice)


@dataclass(frozen=True)
class TrainSource:
    """Accuracies of architectures that are each trained alone."""

    choice: AccuracyChoice
    recipe: Recipe

    @property
    def identity(self) -> dict[str, Any]:
        """The space, the recipe, and the images."""
        return self.open().identity

    def open(self) -> TrainOracle:
        """Open the images; networks get their size, channels and classes."""
        from latlas.search.image_data import open_images
        from latlas.search.training import TrainOracle

        space: Any = self.choice.space
        data = open_images(self.choice.dataset, self.recipe.resolution or space.resolution)
        space = replace(
            space,
            resolution=data.size,
            width=self.recipe.width or space.width,
            classes=data.classes,
            channels=data.shape[2],
        )
        return TrainOracle(
            space,
            data,
            self.recipe,
            folds=self.choice.folds,
            repeats=self.choice.repeats,
            folder=self.choice.folder / "training",
        )

    def report(self, oracle: TrainOracle) -> dict[str, Any]:
        """Say on how many images they rest."""
        counts = {part: oracle.data.count(part) for part in ("train", "search", "test")}
        line = f"train: {counts['train']} images, scored on {counts['search']} others"
        if oracle.folds:
            together = counts["train"] + counts["search"]
            line = (
                f"train: {oracle.repeats} x {oracle.folds} folds of {together} images, a training "
                "for each"
            )
        folds = {"folds": oracle.folds, "repeats": oracle.repeats}
        return {"images": counts, "epochs": self.recipe.epochs, **folds, "text": [line]}

    def test(self, oracle: TrainOracle, genes: Sequence[Genes]) -> NDArray[np.float64]:
        """Return accuracies on the test images, for which each is trained again, once."""

        def tested(one: Genes) -> float:
            return kept_accuracy(
                self.choice.folder / "tested.jsonl",
                [oracle.identity, list(one)],
                lambda: float(oracle.test([one])[0]),
            )

        return np.array([tested(one) for one in genes], np.float64)


def open_train(choice: AccuracyChoice) -> TrainSource:
    """Return accuracies of architectures that a recipe trains.

    Raises:
        UsageError: no recipe is named, or folds are repeated that are not there.
        SearchError: there is no such recipe.
    """
    _, _, name = choice.text.partition(":")
    if not name:
        raise UsageError(
            f"--accuracy train names a recipe: train:NAME or train:FILE.toml; there are "
            f"{', '.join(recipe_names())}"
        )
    if choice.repeats != 1 and not choice.folds:
        raise UsageError("--repeats says how often --folds are dealt: give both")
    recipe = load_recipe(name)
    if choice.epochs is not None:
        recipe = replace(recipe, epochs=choice.epochs)
    return TrainSource(choice, recipe)


@dataclass(frozen=True)
class TableSource:
    """Accuracies that a file lists."""

    path: Path
    choices: tuple[int, ...]

    @property
    def identity(self) -> dict[str, Any]:
        """What the file holds."""
        return self.open().identity

    def open(self) -> TableOracle:
        """Read the file."""
        return TableOracle(self.path, self.choices)

    def report(self, oracle: TableOracle) -> dict[str, Any]:
        """Say how many architectures the file lists."""
        count = len(oracle.accuracies)
        return {"architectures": count, "text": [f"table: {count} architectures"]}

    def test(self, oracle: TableOracle, genes: Sequence[Genes]) -> NDArray[np.float64]:
        """Return NaNs."""
        return np.full(len(genes), np.nan)


def open_table(choice: AccuracyChoice) -> TableSource:
    """Return the accuracies that a file lists.

    Raises:
        UsageError: no file is named.
    """
    _, _, name = choice.text.partition(":")
    if not name:
        raise UsageError("--accuracy table names a file: table:FILE")
    return TableSource(Path(name), tuple(choice.space.choices))


KINDS: dict[str, Callable[[AccuracyChoice], AccuracySource]] = {
    "supernet": open_supernet,
    "train": open_train,
    "table": open_table,
}


@dataclass(frozen=True)
class PlugIn:
    """Accuracies from the user's code, named ``package.module:Name``.

    A class is called with the space and gives an `AccuracyOracle`; an object with ``evaluate`` is
    one; a function takes the genes of one architecture and returns its accuracy.
    """

    name: str
    space: SearchSpace

    @property
    def identity(self) -> dict[str, Any]:
        """Its name, and what it says of itself in ``identity``."""
        return {
            "kind": "plug-in",
            "name": self.name,
            "own": getattr(self.open(), "identity", None),
        }

    def open(self) -> AccuracyOracle:
        """Import it.

        Raises:
            UsageError: it cannot be imported, or cannot be called.
        """
        found: Any = plugin(self.name)
        oracle = found(self.space) if isinstance(found, type) else found
        return oracle if hasattr(oracle, "evaluate") else _Function(oracle)

    def report(self, oracle: Any) -> dict[str, Any]:
        """Return nothing: what it is worth, its author knows."""
        return {}

    def test(self, oracle: Any, genes: Sequence[Genes]) -> NDArray[np.float64]:
        """Return NaNs."""
        return np.full(len(genes), np.nan)


@dataclass(frozen=True)
class _Function:
    """A function of one architecture as an oracle of many."""

    function: Callable[[Genes], float]
    standard_error: float = 0.0

    def evaluate(self, genes: Sequence[Genes]) -> NDArray[np.float64]:
        return np.array([self.function(one) for one in genes], np.float64)


def supernet_quality(oracle: SupernetOracle) -> dict[str, Any]:
    """Return what a supernet's accuracies are worth, and what to say about it."""
    ranking = oracle.ranking()
    images = oracle.dataset.search
    chance = chance_level(images.labels)
    accuracy = float(np.median(oracle.evaluate(_random_genes(oracle))))
    above = is_above_chance(accuracy, len(images), chance)
    lines = [
        f"supernet: median accuracy {accuracy:.1%} ± {oracle.standard_error:.1%} on "
        f"{len(images)} images, chance is {chance:.1%}"
    ]
    if not above:
        lines.append("  its accuracy is within two standard errors of chance: it says nothing")
    lines.append(
        f"supernet: ranks {ranking.architectures} architectures alike on two halves of the images "
        f"with Kendall's tau {ranking.tau:.2f} (p = {ranking.p_value:.2g})"
    )
    if not ranking.significant:
        lines.append(
            "  its ranking is not significant: the accuracies below do not tell architectures apart"
        )
    return {
        "median_accuracy": accuracy,
        "standard_error": oracle.standard_error,
        "chance": chance,
        "above_chance": above,
        "ranking": asdict(ranking) | {"significant": ranking.significant},
        "text": lines,
    }


def _random_genes(oracle: SupernetOracle) -> list[Genes]:
    rng = np.random.default_rng(1)
    choices = oracle.supernet.space.choices
    return [tuple(rng.integers(choices).tolist()) for _ in range(16)]

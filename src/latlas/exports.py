"""From a study's architectures to networks in files: chosen, made larger, trained, converted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from latlas.console import say
from latlas.studies import space_of

if TYPE_CHECKING:
    from latlas.search.coco import Pictures
    from latlas.search.conversion import Format
    from latlas.search.exporting import Exported
    from latlas.search.image_data import ImageData
    from latlas.search.protocols import Trial
    from latlas.search.recipe import Recipe
    from latlas.search.spaces import Space
    from latlas.search.study import Study
    from latlas.search.training import TrainingResult

Task = Literal["classification", "detection"]


@dataclass(frozen=True, eq=False)
class Finished:
    """A network with its files.

    Attributes:
        network: what it is.
        trial: what the search knew of it.
        files: by format.
        scores: of the files by format, where they are trained and there are images to score them
            on: accuracy on those of the final test, of a detector AP@[.5:.95].
        task: what the network does.
        average_precision: of a trained detector before it was converted.
    """

    network: Exported
    trial: Trial
    files: Mapping[Format, Path]
    scores: Mapping[str, float]
    task: Task = "classification"
    average_precision: float | None = None


def read_formats(text: str) -> tuple[Format, ...]:
    """Return the formats of ``float,int8``.

    Raises:
        UsageError: there is no such format.
    """
    from latlas.profiler.errors import UsageError

    known = ("float", "fp16", "int8")
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if unknown := [name for name in found if name not in known]:
        raise UsageError(f"--formats: no format {unknown[0]!r:.60}; there are {', '.join(known)}")
    return cast("tuple[Format, ...]", found)


def choose(study: Study, top: int | None, ranks: str | None) -> dict[int, Trial]:
    """Return what is exported, by rank on the front.

    Raises:
        UsageError: the ranks are malformed, or not on the front.
        SearchError: the study has no front.
    """
    from latlas.profiler.errors import SearchError, UsageError
    from latlas.search.objectives import front_of

    front = front_of(study.history, study.objectives, study.constraints)
    if not front:
        raise SearchError(f"{study.folder} has no front yet: run `latlas search -o` it first")
    if ranks is None:
        return dict(enumerate(front[: top or 1], start=1))
    if top is not None:
        raise UsageError("--top and --ranks are two ways to choose: give one")
    try:
        wanted = [int(part) for part in ranks.split(",")]
    except ValueError:
        wanted = []
    if not wanted or not all(1 <= rank <= len(front) for rank in wanted):
        raise UsageError(
            f"--ranks {ranks!r:.80}: expected numbers of the front such as 1,3; it has "
            f"{len(front)} architectures"
        )
    return {rank: front[rank - 1] for rank in wanted}


def larger(
    study: Study,
    resolution: int | None,
    width: float | None,
    classes: int | None,
    settings: Sequence[str],
    channels: int | None = None,
) -> Space:
    """Return the space of a study with what is to be different about its networks.

    Raises:
        UsageError: the space has no such setting.
        SearchError: the study describes no space.
    """
    from latlas.profiler.errors import UsageError
    from latlas.search.spaces import open_space, parse_settings

    space = space_of(study)
    given = parse_settings(settings)
    if unknown := sorted(set(given) - set(space.settings)):
        known = ", ".join(space.settings) or "none"
        raise UsageError(f"--set {unknown[0]}: the settings of {space.name} are {known}")
    return open_space(
        space.family,
        resolution=resolution or space.resolution,
        width=width or space.width,
        classes=classes or space.classes,
        channels=channels or space.channels,
        settings=space.settings | given,
    )


def dataset_of(study: Study) -> str:
    """Return what the accuracies of a study rest on, as ``--dataset`` names it.

    Raises:
        UsageError: that is not the digits, which alone can be found by their name.
    """
    from latlas.profiler.errors import UsageError

    accuracy = _accuracy_of(study)
    name = str(accuracy.get("dataset") or accuracy.get("data") or accuracy.get("kind", "nothing"))
    if name.startswith("digits-"):
        return "digits"
    raise UsageError(
        f"--dataset is missing: the study's accuracies rest on {name!r:.120}; say what is trained "
        "and tested on"
    )


def recipe_of(study: Study) -> str:
    """Return the recipe of a study's trainings by its name; ``digits`` where it trained none.

    Raises:
        UsageError: it is none of those that come with latlas.
    """
    from latlas.profiler.errors import UsageError
    from latlas.search.recipe import load_recipe, recipe_names

    trained = _accuracy_of(study).get("recipe")
    if not isinstance(trained, dict):
        return "digits"
    for name in recipe_names():
        epochs = {"epochs": trained.get("epochs")}
        if json.loads(json.dumps(load_recipe(name).identity)) | epochs == trained:
            return name
    raise UsageError(
        "--recipe is missing: the search trained by a recipe of your own; name that, or another"
    )


def _accuracy_of(study: Study) -> dict[str, Any]:
    found = study.settings.get("accuracy")
    return found if isinstance(found, dict) else {}


def open_data(
    study: Study,
    dataset: str,
    resolution: int | None,
    width: float | None,
    classes: int | None,
    settings: Sequence[str],
) -> tuple[Space, ImageData]:
    """Return the space whose networks fit some images, and the images, split as for the search.

    Raises:
        UsageError: the images have another number of classes than is asked for.
        SearchError: they cannot be read.
    """
    from latlas.profiler.errors import UsageError
    from latlas.search.image_data import open_images

    data = open_images(dataset, resolution or space_of(study).resolution)
    if classes not in (None, data.classes):
        raise UsageError(f"--classes {classes}: {dataset} has {data.classes} classes")
    size, _, channels = data.shape
    return larger(study, size, width, data.classes, settings, channels), data


def read_recipe(name: str, epochs: int | None) -> Recipe:
    """Return a recipe, with other epochs if they are given.

    Raises:
        SearchError: there is no such recipe.
    """
    from latlas.search.recipe import load_recipe

    recipe = load_recipe(name)
    return recipe if epochs is None else replace(recipe, epochs=epochs)


def networks_of(
    study: Study, space: Space, chosen: Mapping[int, Trial], identity: Mapping[str, Any]
) -> list[tuple[Exported, Trial]]:
    """Return networks in folders of their own, one for each way of training.

    Raises:
        SearchError: an architecture is none of this form of the space.
    """
    from latlas.search.exporting import Exported, begin, label_for

    found = []
    for rank, trial in chosen.items():
        label = label_for({**identity, "space": space.identity, "genes": list(trial.genes)})
        graph = space.decode(trial.genes)
        network = Exported(rank, trial.genes, graph, study.folder / "export" / label)
        begin(network)
        found.append((network, trial))
    return found


def without_training(
    study: Study, space: Space, chosen: Mapping[int, Trial], formats: Sequence[Format]
) -> list[Finished]:
    """Return networks of random weights."""
    from latlas.search.exporting import untrained

    if "fp16" in formats:
        say("--no-train: no files of float16 weights, which are for trained networks")
    return [
        Finished(network, trial, untrained(network, formats), {})
        for network, trial in networks_of(study, space, chosen, {"trained": False})
    ]


def with_training(
    study: Study,
    space: Space,
    chosen: Mapping[int, Trial],
    formats: Sequence[Format],
    data: ImageData,
    recipe: Recipe,
    seed: int,
) -> list[Finished]:
    """Return trained networks, one after the other.

    Raises:
        SearchError: one cannot be trained or converted.
    """
    from latlas.profiler.graph import Array, Graph
    from latlas.search.conversion import accuracy_of
    from latlas.search.exporting import REPRESENTATIVE_IMAGES, converted, scored, trained
    from latlas.search.training import train

    def fit(graph: Graph, checkpoint: Path) -> TrainingResult:
        return train(
            graph, data, recipe, seed=seed, checkpoint=checkpoint, part="test", progress=True
        )

    def seen() -> list[Array]:
        batches = data.batches("train", 1, REPRESENTATIVE_IMAGES)
        return [images for images, _ in batches]

    def score(file: bytes) -> float:
        return accuracy_of(file, data.batches("test", 32))

    identity = {"data": data.name, "recipe": recipe.identity, "seed": seed}
    found = []
    for network, trial in networks_of(study, space, chosen, identity):
        say(f"network {network.rank} of the front, in {network.folder}")
        weights, _ = trained(network, fit)
        files = converted(network, weights, formats, seen)
        found.append(Finished(network, trial, files, scored(network, files, score)))
    return found


@dataclass(frozen=True)
class DetectionChoice:
    """What a user says about detection.

    Attributes:
        folder: in COCO's format; its part ``val``, where it has one, is what detectors are scored
            on.
        resolution: height and width of the detector's input.
        recipe: how it is trained.
        epochs: instead of the recipe's.
        seed: of training.
    """

    folder: Path
    resolution: int
    recipe: str
    epochs: int | None
    seed: int


def read_detection(
    text: str, resolution: int, recipe: str, epochs: int | None, seed: int
) -> DetectionChoice:
    """Return what ``--detection`` says.

    Raises:
        UsageError: it is not ``coco:FOLDER``.
    """
    from latlas.profiler.errors import UsageError

    kind, _, folder = text.partition(":")
    if kind != "coco" or not folder:
        raise UsageError(f"--detection {text!r:.200}: expected coco:FOLDER")
    return DetectionChoice(Path(folder), resolution, recipe, epochs, seed)


def detectors(
    study: Study,
    space: Space,
    classifiers: Sequence[Finished],
    formats: Sequence[Format],
    choice: DetectionChoice,
    *,
    train: bool,
) -> list[Finished]:
    """Return SSDLite detectors on networks, which begin with the weights of these.

    Args:
        study: where they are kept.
        space: of the networks.
        classifiers: the networks.
        formats: of the files.
        choice: images, recipe, seed.
        train: whether they are trained, or get random weights.

    Raises:
        SearchError: a network has no detector, the images cannot be read, or training fails.
    """
    from latlas.search.coco import coco
    from latlas.search.detection import ssdlite
    from latlas.search.exporting import Exported, begin, label_for, untrained
    from latlas.search.spaces import restore_space

    data = coco(choice.folder)
    if data.left_out:
        say(f"{data.name}: {data.left_out} annotations of crowds or without an area are left out")
    wider = restore_space(space.identity | {"resolution": choice.resolution, "channels": 3})
    recipe = read_recipe(choice.recipe, choice.epochs)
    found = []
    for one in classifiers:
        graph = ssdlite(wider.decode(one.network.genes), len(data.classes))
        label = label_for(
            {
                "detector_on": one.network.folder.name,
                "resolution": choice.resolution,
                "data": data.name,
                "classes": len(data.classes),
                "recipe": recipe.identity if train else None,
                "seed": choice.seed,
            }
        )
        folder = study.folder / "export" / label
        network = Exported(one.network.rank, one.network.genes, graph, folder)
        begin(network)
        if train:
            say(f"detector on network {network.rank} of the front, in {folder}")
            found.append(_trained_detector(one, network, formats, data, choice, recipe))
        else:
            files = untrained(network, formats)
            found.append(Finished(network, one.trial, files, {}, "detection"))
    return found


def _trained_detector(
    classifier: Finished,
    network: Exported,
    formats: Sequence[Format],
    data: Pictures,
    choice: DetectionChoice,
    recipe: Recipe,
) -> Finished:
    import math

    from latlas.profiler.graph import Array, Graph
    from latlas.search import detection_training as training
    from latlas.search.exporting import (
        REPRESENTATIVE_IMAGES,
        converted,
        read_weights,
        scored,
        trained,
    )

    path = classifier.network.folder / "weights.npz"
    own, _ = read_weights(path, classifier.network.graph)
    start = training.starting_weights(network.graph, own, choice.seed)
    taken = sum(start.get(name) is array for name, array in own.items())
    say(f"it begins with {taken} of the classifier's {len(own)} weights; others do not fit")
    scored_on = _scored_on(choice.folder, data)

    def fit(graph: Graph, checkpoint: Path) -> TrainingResult:
        result = training.train_detector(
            graph,
            data,
            recipe,
            seed=choice.seed,
            weights=start,
            checkpoint=checkpoint,
            progress=True,
        )
        if result.error or scored_on is None:
            return result
        return replace(result, accuracy=training.evaluate(graph, result.weights, scored_on))

    def seen() -> list[Array]:
        some = data.pictures[:REPRESENTATIVE_IMAGES]
        return [training.read_picture(one, choice.resolution)[None] for one in some]

    weights, precision = trained(network, fit)
    files = converted(network, weights, formats, seen)
    known = None if math.isnan(precision) else precision
    scores: Mapping[str, float] = {}
    if scored_on is not None:
        scores = scored(
            network, files, lambda file: training.evaluate_file(network.graph, file, scored_on)
        )
    return Finished(network, classifier.trial, files, scores, "detection", known)


def _scored_on(folder: Path, data: Pictures) -> Pictures | None:
    """Return the images that detectors are scored on, None where the folder has none.

    Raises:
        SearchError: they have other classes than those for training.
    """
    from latlas.profiler.errors import SearchError
    from latlas.search.coco import coco

    if not any((folder / "annotations").glob("instances_val*.json")):
        say(f"{folder} has no annotations/instances_val*.json: detectors are not scored")
        return None
    found = coco(folder, "val")
    if found.classes != data.classes:
        raise SearchError(f"{found.name} has other classes than {data.name}")
    if not any(len(one.labels) for one in found.pictures):
        say(f"{found.name} has no objects: detectors are not scored")
        return None
    return found

"""``latlas search export``: from a study's architectures to trained .tflite files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from latlas.commands.verify import space_of, target_of
from latlas.console import FOLDER, emit, json_option, printable, say, space_options, table
from latlas.measuring_files import (
    Latencies,
    MeasuredFile,
    device_of,
    measure_files,
    read_devices,
)
from latlas.targets import DeviceChoice, measuring_options

if TYPE_CHECKING:
    from latlas.search.conversion import Format
    from latlas.search.exporting import Exported
    from latlas.search.image_data import ImageData
    from latlas.search.protocols import Trial
    from latlas.search.recipe import Recipe
    from latlas.search.spaces import Space
    from latlas.search.study import Study


@click.command("export")
@click.argument("folder", metavar="STUDY", type=FOLDER)
@click.option(
    "--top",
    type=click.IntRange(1, 10_000),
    help="The first so many of the front, the most accurate first; by default one.",
)
@click.option("--ranks", metavar="1,3", help="Or these of the front, numbered as in front.json.")
@click.option(
    "--resolution",
    type=click.IntRange(1, 4096),
    help="Height and width of the input; the study's, if unset.",
)
@space_options
@click.option(
    "--dataset",
    default="digits",
    show_default=True,
    help="What is trained and tested on: digits, images:FOLDER, cifar10:FOLDER, imagenet:FOLDER, "
    "tfrecord:PATTERN.",
)
@click.option(
    "--recipe",
    default="digits",
    show_default=True,
    help="How it is trained: a recipe that comes with latlas, or a TOML file.",
)
@click.option("--epochs", type=click.IntRange(1, 100_000), help="Instead of the recipe's.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of training.")
@click.option(
    "--formats",
    default="float,fp16,int8",
    show_default=True,
    help="Which files: float, fp16 (weights of float16), int8 (fully quantised).",
)
@click.option("--no-train", is_flag=True, help="Random weights: for latencies alone.")
@click.option(
    "--measure",
    "devices",
    metavar="[NAME=]DEVICE/cpu|gpu",
    multiple=True,
    help="Where the files are measured, e.g. local/cpu or pixel=SERIAL/gpu; may be given again. If "
    "unset, on the study's first target.",
)
@click.option("--no-measure", is_flag=True, help="Measure nothing.")
@measuring_options
@json_option
def main(
    folder: Path,
    top: int | None,
    ranks: str | None,
    resolution: int | None,
    width: float | None,
    classes: int | None,
    settings: tuple[str, ...],
    dataset: str,
    recipe: str,
    epochs: int | None,
    seed: int,
    formats: str,
    no_train: bool,
    devices: tuple[str, ...],
    no_measure: bool,
    choice: DeviceChoice,
    as_json: bool,
) -> None:
    """Train what STUDY chose, write .tflite files, and measure them.

    Everything is kept in STUDY/export: what an interrupted run finished is not done again. The
    final table is STUDY/export.json. A cell that was found small is exported larger with --set N=4
    --set F=44.
    """
    from latlas.profiler.errors import UsageError
    from latlas.search.study import Study

    if devices and no_measure:
        raise UsageError("--measure and --no-measure contradict each other")
    study = Study.open(folder)
    form = read_formats(formats)
    if no_measure:
        places = {}
    elif devices:
        places = read_devices(devices, choice)
    else:
        target = target_of(study)
        places = {f"local/{target.delegate}": device_of(target, choice, folder)}
    chosen = choose(study, top, ranks)
    space, data = (
        (larger(study, resolution, width, classes, settings), None)
        if no_train
        else open_data(study, dataset, seed, resolution, width, classes, settings)
    )
    networks = (
        without_training(study, space, chosen, form)
        if data is None
        else with_training(study, space, chosen, form, data, read_recipe(recipe, epochs), seed)
    )
    files = [
        MeasuredFile(f"{one.network.folder.name}-{kind}", path, kind == "int8")
        for one in networks
        for kind, path in one.files.items()
    ]
    measured = {
        name: measure_files(folder / "export" / "measured", name, device, files)
        for name, device in places.items()
    }
    document = document_of(study, space, networks, data, measured)
    write_document(folder / "export.json", document)
    emit(document, as_json, export_text(document))


@dataclass(frozen=True, eq=False)
class Finished:
    """A network with its files.

    Attributes:
        network: what it is.
        trial: what the search knew of it.
        files: by format.
        scores: accuracy on the images of the final test, by format; empty where untrained.
    """

    network: Exported
    trial: Trial
    files: Mapping[Format, Path]
    scores: Mapping[str, float]


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


def open_data(
    study: Study,
    dataset: str,
    seed: int,
    resolution: int | None,
    width: float | None,
    classes: int | None,
    settings: Sequence[str],
) -> tuple[Space, ImageData]:
    """Return the space whose networks fit some images, and the images.

    Raises:
        UsageError: the images have another number of classes than is asked for.
        SearchError: they cannot be read.
    """
    from latlas.profiler.errors import UsageError
    from latlas.search.image_data import open_images

    data = open_images(dataset, resolution or space_of(study).resolution, seed)
    if classes not in (None, data.classes):
        raise UsageError(f"--classes {classes}: {dataset} has {data.classes} classes")
    size, _, channels = data.shape
    return larger(study, size, width, data.classes, settings, channels), data


def read_recipe(name: str, epochs: int | None) -> Recipe:
    """Return a recipe, with other epochs if they are given.

    Raises:
        SearchError: there is no such recipe.
    """
    from dataclasses import replace

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
    from latlas.search.training import TrainingResult, train

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


def document_of(
    study: Study,
    space: Space,
    networks: Sequence[Finished],
    data: ImageData | None,
    measured: Mapping[str, tuple[list[str], Latencies]],
) -> dict[str, Any]:
    """Return the final table as plain values."""
    from latlas.profiler.count import count

    same = space.identity == study.settings.get("space")
    rows = []
    for one in networks:
        sizes = count(one.network.graph)
        predicted = {
            metric: value
            for metric, value in one.trial.values.items()
            if metric.startswith("latency_ms") and same
        }
        rows.append(
            {
                "rank": one.network.rank,
                "genes": list(one.network.genes),
                "params": sizes.params,
                "madds": sizes.madds,
                "search_accuracy": one.trial.accuracy,
                "search_latencies": predicted,
                "files": {
                    kind: {
                        "path": printable(path),
                        "bytes": path.stat().st_size,
                        "accuracy": one.scores.get(kind),
                        "latency": {
                            name: latencies[f"{one.network.folder.name}-{kind}"]
                            for name, (_, latencies) in measured.items()
                        },
                    }
                    for kind, path in one.files.items()
                },
            }
        )
    return {
        "study": printable(study.folder),
        "space": space.identity,
        "trained": data is not None,
        "input": None
        if data is None
        else {"mean": data.mean.tolist(), "deviation": data.deviation.tolist()},
        "targets": {name: targets for name, (targets, _) in measured.items()},
        "networks": rows,
    }


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write the final table.

    Raises:
        SearchError: it cannot be written.
    """
    from latlas.profiler.errors import SearchError
    from latlas.profiler.files import write_atomically

    with write_atomically(path, SearchError) as file:
        file.write(json.dumps(document, indent=2, allow_nan=False).encode() + b"\n")


def export_text(document: Mapping[str, Any]) -> str:
    """Return the final table for people."""
    names = list(document["targets"])
    rows = []
    for network in document["networks"]:
        for kind, file in network["files"].items():
            accuracy = file["accuracy"]
            rows.append(
                (
                    network["rank"],
                    kind,
                    "-" if accuracy is None else f"{accuracy:.2%}",
                    *(_latency_text(file["latency"][name]) for name in names),
                    f"{network['params'] / 1e6:.2f}",
                    f"{network['madds'] / 1e6:.1f}",
                    file["path"],
                )
            )
    header = (
        *("rank", "format", "test accuracy"),
        *(f"{name} ms" for name in names),
        *("params M", "MAdds M", "file"),
    )
    targets = [f"{name}: {'; '.join(found)}" for name, found in document["targets"].items()]
    return "\n".join([table(header, rows), "", *targets]).rstrip()


def _latency_text(figure: Mapping[str, Any]) -> str:
    if figure["latency_ms"] is None:
        return "-"
    mark = "" if figure["verdict"] == "stable" else f" ({figure['verdict']})"
    return f"{figure['latency_ms']:.3f}{mark}"

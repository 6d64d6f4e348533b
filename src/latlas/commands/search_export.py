"""``latlas search export``: from a study's architectures to trained .tflite files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latlas.console import (
    FILE,
    FOLDER,
    emit,
    json_option,
    own_space_option,
    printable,
    space_options,
    table,
)
from latlas.exports import (
    Finished,
    Task,
    choose,
    dataset_of,
    detectors,
    larger,
    open_data,
    read_detection,
    read_formats,
    read_recipe,
    recipe_of,
    with_training,
    without_training,
)
from latlas.measuring_files import (
    Latencies,
    MeasuredFile,
    device_of,
    measure_files,
    read_devices,
)
from latlas.studies import target_of
from latlas.targets import DeviceChoice, measuring_options

if TYPE_CHECKING:
    from latlas.predictor.predictor import LatencyPredictor
    from latlas.search.image_data import ImageData
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
    help="What is trained and tested on: digits, images:FOLDER, cifar10:FOLDER, imagenet:FOLDER, "
    "tfrecord:PATTERN. If unset, the digits, where the search scored on them.",
)
@click.option(
    "--recipe",
    help="How it is trained: a recipe that comes with latlas, or a TOML file. If unset, the "
    "search's; digits, if it trained none alone.",
)
@click.option("--epochs", type=click.IntRange(1, 100_000), help="Instead of the recipe's.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of training.")
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
@click.option(
    "--with",
    "predictors",
    type=FILE,
    multiple=True,
    help="Predict latencies with what `latlas fit` wrote too; may be given again.",
)
@click.option(
    "--detection",
    metavar="coco:FOLDER",
    help="Make SSDLite detectors of the networks too, trained on images in COCO's format.",
)
@click.option(
    "--detection-resolution",
    type=click.IntRange(32, 4096),
    default=320,
    show_default=True,
    help="Height and width of a detector's input.",
)
@click.option(
    "--detection-recipe",
    default="ssdlite_coco",
    show_default=True,
    help="How detectors are trained: a recipe without crops, or a TOML file.",
)
@click.option("--detection-epochs", type=click.IntRange(1, 100_000), help="Instead of its own.")
@own_space_option
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
    dataset: str | None,
    recipe: str | None,
    epochs: int | None,
    seed: int,
    formats: str,
    no_train: bool,
    devices: tuple[str, ...],
    no_measure: bool,
    predictors: tuple[Path, ...],
    detection: str | None,
    detection_resolution: int,
    detection_recipe: str,
    detection_epochs: int | None,
    choice: DeviceChoice,
    as_json: bool,
) -> None:
    """Train what STUDY chose, write .tflite files, and measure them.

    Everything is kept in STUDY/export: what an interrupted run finished is not done again. The
    final table is STUDY/export.json. A cell that was found small is exported larger with --set N=4
    --set F=44.

    \b
    latlas search export studies/first --top 3
    latlas search export studies/cells --ranks 1,4 --set N=4 --set F=44 --resolution 224
    """
    from latlas.predictor import file
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
    loaded = {printable(path): file.load(path) for path in predictors}
    chosen = choose(study, top, ranks)
    space, data = (
        (larger(study, resolution, width, classes, settings), None)
        if no_train
        else open_data(study, dataset or dataset_of(study), resolution, width, classes, settings)
    )
    if data is None:
        networks = without_training(study, space, chosen, form)
    else:
        how = read_recipe(recipe or recipe_of(study), epochs)
        networks = with_training(study, space, chosen, form, data, how, seed)
    if detection is not None:
        wanted = read_detection(
            detection, detection_resolution, detection_recipe, detection_epochs, seed
        )
        networks += detectors(study, space, networks, form, wanted, train=not no_train)
    files = [
        MeasuredFile(f"{one.network.folder.name}-{kind}", path, kind == "int8")
        for one in networks
        for kind, path in one.files.items()
    ]
    measured = {
        name: measure_files(folder / "export" / "measured", name, device, files)
        for name, device in places.items()
    }
    document = document_of(study, space, networks, data, measured, loaded)
    write_document(folder / "export.json", document)
    emit(document, as_json, export_text(document))


_SCORES: dict[Task, str] = {"classification": "accuracy", "detection": "average_precision"}
"""What files are scored by."""


def document_of(
    study: Study,
    space: Space,
    networks: Sequence[Finished],
    data: ImageData | None,
    measured: Mapping[str, tuple[list[str], Latencies]],
    predictors: Mapping[str, LatencyPredictor],
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
            if metric.startswith("latency_ms") and same and one.task == "classification"
        }
        rows.append(
            {
                "rank": one.network.rank,
                "task": one.task,
                "genes": list(one.network.genes),
                "params": sizes.params,
                "madds": sizes.madds,
                "search_accuracy": one.trial.accuracy,
                "average_precision": one.average_precision,
                "input": input_of(one, data),
                "search_latencies": predicted,
                "predicted": {name: predicted_by(p, one) for name, p in predictors.items()},
                "files": {
                    kind: {
                        "path": printable(path),
                        "bytes": path.stat().st_size,
                        _SCORES[one.task]: one.scores.get(kind),
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
        "targets": {name: targets for name, (targets, _) in measured.items()},
        "networks": rows,
    }


def input_of(one: Finished, data: ImageData | None) -> dict[str, list[float]] | None:
    """Return what a trained network's images are normalised by, in the order of the channels."""
    if data is None:
        return None
    if one.task == "detection":
        return {"mean": [127.5] * 3, "deviation": [127.5] * 3}
    return {"mean": data.mean.tolist(), "deviation": data.deviation.tolist()}


def predicted_by(predictor: LatencyPredictor, one: Finished) -> dict[str, Any]:
    """Return what a predictor says of a network; kernels that it does not know are estimated."""
    (found,) = predictor.predict([one.network.graph], accept_unknown=True)
    return {
        "target": str(predictor.target),
        "latency_ms": found.latency_ms,
        "low_ms": found.low_ms,
        "high_ms": found.high_ms,
        "unknown": list(found.unknown),
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
            predicted = [
                f"{'~' if found['unknown'] else ''}{found['latency_ms']:.3f}"
                for found in network["predicted"].values()
            ]
            rows.append(
                (
                    f"{network['rank']} {network['task']}",
                    kind,
                    _score_text(network, kind),
                    *(_latency_text(file["latency"][name]) for name in names),
                    *predicted,
                    f"{network['params'] / 1e6:.2f}",
                    f"{network['madds'] / 1e6:.1f}",
                    file["path"],
                )
            )
    files = list(document["networks"][0]["predicted"]) if document["networks"] else []
    header = (
        *("network", "format", "test"),
        *(f"{name} ms" for name in names),
        *(f"{Path(file).stem} predicted ms" for file in files),
        *("params M", "MAdds M", "file"),
    )
    targets = [f"{name}: {'; '.join(found)}" for name, found in document["targets"].items()]
    return "\n".join([table(header, rows), "", *targets]).rstrip()


def _score_text(network: Mapping[str, Any], kind: str) -> str:
    score = network["files"][kind][_SCORES[network["task"]]]
    if score is None:
        return "-"
    return f"AP {score:.3f}" if network["task"] == "detection" else f"{score:.2%}"


def _latency_text(figure: Mapping[str, Any]) -> str:
    if figure["latency_ms"] is None:
        return "-"
    mark = "" if figure["verdict"] == "stable" else f" ({figure['verdict']})"
    return f"{figure['latency_ms']:.3f}{mark}"

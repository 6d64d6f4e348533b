"""``latlas search``: search a space for architectures that are accurate and fast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latlas.console import FOLDER, emit, json_option, say, table
from latlas.targets import DeviceChoice, open_runner, oracle_options, parse_delegates

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from latlas.search.protocols import Genes, Trial
    from latlas.search.spaces import MogaSpace, Space
    from latlas.search.study import LatencyFunction, Study
    from latlas.search.supernet import SupernetOracle

SUPERNET_IMAGE = 32
SUPERNET_IMAGES = {"mnasnet": 16}
"""Where the stem alone precedes layers at its resolution, larger images cost several times more."""
SUPERNET_WIDTH = 0.25
"""The supernet is a small relative of the networks whose latency counts: digits are small."""


@contextmanager
def latency_source(
    text: str, space: Space, choice: DeviceChoice | None = None
) -> Iterator[tuple[LatencyFunction, dict[str, Any]]]:
    """Give chromosomes-to-milliseconds for a ``--latency``, and what identifies it in a study.

    Args:
        text: a predictor's file, a table's folder, or ``device:DEVICE/DELEGATE``.
        space: whose chromosomes are asked for.
        choice: how a device is used.

    Raises:
        UsageError: the text names no predictor, table or device.
    """
    from latlas.predictor import file
    from latlas.predictor.fit import fit
    from latlas.predictor.genes import gene_latency
    from latlas.predictor.observations import observe
    from latlas.profiler.errors import UsageError
    from latlas.profiler.table import Table

    path = Path(text)
    if text.startswith("device:"):
        with _device_latency(text, space, choice or DeviceChoice()) as source:
            yield source
        return
    if path.is_dir():
        predictor = fit(observe(Table.open(path)))
    elif path.exists():
        predictor = file.load(path)
    else:
        raise UsageError(
            f"--latency {text}: no such predictor file or table, and not a device such as "
            "device:local/cpu"
        )
    identity = {
        "kind": "predictor",
        "sha256": predictor.digest,
        "target": predictor.target.to_json(),
    }
    yield gene_latency(space, predictor).latency_ms, identity


@contextmanager
def _device_latency(
    text: str, space: Space, choice: DeviceChoice
) -> Iterator[tuple[LatencyFunction, dict[str, Any]]]:
    from latlas.predictor.oracle import DeviceOracle
    from latlas.profiler.errors import UsageError

    device, slash, delegate = text.removeprefix("device:").rpartition("/")
    if not slash:
        raise UsageError(
            f"--latency {text}: a device is written device:local/cpu or device:SERIAL/gpu"
        )
    named = replace(choice, device=device, delegates=parse_delegates(delegate))
    with open_runner(named) as runner:
        oracle = DeviceOracle(runner)

        def latency_ms(genes: Sequence[Genes]) -> NDArray[np.float64]:
            return oracle.latency_ms([space.decode(each) for each in genes])

        yield latency_ms, {"kind": "device", "target": runner.target.to_json()}


def open_supernet(
    dataset: str, space: Space | None = None, epochs: int | None = None
) -> SupernetOracle:
    """Return a supernet, not yet trained.

    Args:
        dataset: ``digits``.
        space: the supernet holds a small relative of its networks; None means MoGA's.
        epochs: of training; None means the default for the space.

    Raises:
        UsageError: there is no such data set.
        SearchError: the space has no supernet.
    """
    from latlas.profiler.errors import UsageError

    if dataset != "digits":
        raise UsageError(f"no data set {dataset!r}; known is digits")
    from latlas.search.data import digits
    from latlas.search.spaces import MogaSpace
    from latlas.search.spaces.shared import require_supernet_space
    from latlas.search.supernet import Supernet, SupernetOracle
    from latlas.search.supernet_config import SETTINGS, SupernetConfig

    large: Any = require_supernet_space(space or MogaSpace())
    size = SUPERNET_IMAGES.get(large.name, SUPERNET_IMAGE)
    data = digits(size)
    small = replace(
        large,
        resolution=size,
        width=SUPERNET_WIDTH,
        classes=data.classes,
        channels=data.train.images.shape[3],
    )
    config = SETTINGS.get(small.name, SupernetConfig())
    if epochs is not None:
        config = replace(config, epochs=epochs)
    return SupernetOracle(Supernet(small, config), data)


def supernet_quality(oracle: SupernetOracle) -> dict[str, Any]:
    """Return what the supernet's accuracies are worth, and what to say about it."""
    import numpy as np

    from latlas.search.significance import chance_level, is_above_chance

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
    import numpy as np

    rng = np.random.default_rng(1)
    choices = oracle.supernet.space.choices
    return [tuple(rng.integers(choices).tolist()) for _ in range(16)]


@click.command("search")
@click.option("--space", default="moga", show_default=True)
@click.option(
    "--searcher",
    type=click.Choice(["nsga2"]),
    default="nsga2",
    show_default=True,
    help="nsga2: weighted NSGA-II (MoGA).",
)
@click.option(
    "--latency",
    required=True,
    help="Where latencies come from: a predictor, a table, or a device itself, written "
    "device:local/cpu or device:SERIAL/gpu.",
)
@click.option("--accuracy", type=click.Choice(["supernet"]), default="supernet", show_default=True)
@click.option("--dataset", default="digits", show_default=True)
@click.option("-o", "--output", type=FOLDER, required=True, help="The study's folder.")
@click.option("--evaluations", type=click.IntRange(1), default=400, show_default=True)
@click.option("--population", type=click.IntRange(4, 10_000), default=40, show_default=True)
@click.option(
    "--weights",
    default="2:2:1",
    show_default=True,
    help="Of accuracy, latency and parameters in the crowding distance.",
)
@click.option(
    "--resolution",
    type=click.IntRange(1, 4096),
    default=224,
    show_default=True,
    help="Height and width of the input of the networks whose latency counts.",
)
@click.option("--epochs", type=click.IntRange(1, 10_000), help="Of the supernet's training.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--tflite", is_flag=True, help="Write the front's networks as .tflite files too.")
@oracle_options
@json_option
def main(
    space: str,
    searcher: str,
    latency: str,
    accuracy: str,
    dataset: str,
    output: Path,
    evaluations: int,
    population: int,
    weights: str,
    resolution: int,
    epochs: int | None,
    seed: int,
    tflite: bool,
    choice: DeviceChoice,
    as_json: bool,
) -> None:
    """Search for architectures that are accurate and fast, and have many parameters.

    Maximises accuracy, minimises latency and maximises parameters, as MoGA does. An interrupted
    search goes on where it was when the same command is given again.
    """
    from latlas.search.spaces import open_space

    numbers = parse_weights(weights)
    opened = require_supernet(open_space(space, resolution=resolution))
    with latency_source(latency, opened, choice) as (latency_ms, identity):
        oracle = open_supernet(dataset, opened, epochs)
        study, front, quality = run_search(
            output,
            opened,
            latency_ms,
            identity,
            oracle,
            output / "supernet",
            evaluations=evaluations,
            population=population,
            weights=numbers,
            seed=seed,
        )
    if tflite:
        export(study, opened, front)
    found = front_documents(front, oracle)
    document = {
        "study": str(output),
        "target": identity["target"],
        "tried": len(study.history),
        "supernet": quality,
        "front": found,
    }
    emit(document, as_json, front_text(found, oracle.standard_error))


def require_supernet(space: Space) -> MogaSpace:
    """Return a space that `open_supernet` knows how to score.

    Raises:
        UsageError: it is another one.
    """
    from latlas.profiler.errors import UsageError
    from latlas.search.spaces import MogaSpace

    if not isinstance(space, MogaSpace):
        raise UsageError(
            f"--space {space.name}: the supernet that accuracies come from is for moga alone, so "
            f"only --space moga can be searched; `latlas profile --space {space.name}` works"
        )
    return space


def parse_weights(text: str) -> list[float]:
    """Return the numbers of ``2:2:1``.

    >>> parse_weights("2:2:1")
    [2.0, 2.0, 1.0]

    Raises:
        UsageError: the text is not three numbers, one of them positive.
    """
    from latlas.profiler.errors import UsageError

    try:
        numbers = [float(part) for part in text.split(":")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(0 <= n < 1e6 for n in numbers) or not sum(numbers):
        raise UsageError(f"--weights takes three numbers such as 2:2:1, not {text!r}")
    return numbers


def run_search(
    folder: Path,
    space: MogaSpace,
    latency_ms: LatencyFunction,
    identity: dict[str, Any],
    oracle: SupernetOracle,
    checkpoint: Path,
    *,
    evaluations: int,
    population: int,
    weights: Sequence[float] = (2.0, 2.0, 1.0),
    seed: int = 0,
) -> tuple[Study, list[Trial], dict[str, Any]]:
    """Train the supernet and run a weighted NSGA-II in a study's folder, or go on with them.

    Args:
        folder: of the study.
        space: where architectures come from.
        latency_ms: from `latency_source`, as is `identity`, which goes into the study's settings.
        identity: see `latency_ms`.
        oracle: scores architectures; it is trained here, after the folder was found to fit.
        checkpoint: folder in which the supernet's training is kept.
        evaluations: architectures to try, those of earlier runs included.
        population: architectures in a generation.
        weights: of accuracy, latency and parameters.
        seed: of the searcher.

    Returns:
        The study, its front, and what the supernet's accuracies are worth.

    Raises:
        SearchError: the folder holds another study.
    """
    from latlas.search.nsga2 import WeightedNSGA2
    from latlas.search.objectives import DEFAULT_OBJECTIVES
    from latlas.search.study import Study, run

    objectives = [
        replace(one, weight=weight) for one, weight in zip(DEFAULT_OBJECTIVES, weights, strict=True)
    ]
    searcher = WeightedNSGA2(space.choices, objectives, population=population, seed=seed)
    study = Study.create(
        folder,
        {
            "space": {
                "name": space.name,
                "resolution": space.resolution,
                "width": space.width,
                "classes": space.classes,
            },
            "searcher": searcher.identity,
            "latency": identity,
            "accuracy": oracle.identity,
        },
    )
    oracle.supernet.fit(oracle.dataset, checkpoint)
    quality = supernet_quality(oracle)
    for line in quality["text"]:
        say(line)
    front = run(study, space, searcher, oracle, latency_ms, evaluations=evaluations)
    return study, front, quality


def export(study: Study, space: Space, front: list[Trial]) -> None:
    """Write the networks of a front as .tflite files with random weights.

    For a target of int8, they are quantised.
    """
    from latlas.commands.verify import target_of
    from latlas.profiler.errors import SearchError
    from latlas.profiler.files import write_atomically
    from latlas.profiler.quantise import for_precision
    from latlas.profiler.tflite.writer import to_tflite

    precision = target_of(study).precision
    for rank, trial in enumerate(front, start=1):
        path = study.folder / "architectures" / f"{rank}.tflite"
        with write_atomically(path, SearchError) as file:
            file.write(to_tflite(for_precision(space.decode(trial.genes), precision)))


def front_documents(front: list[Trial], oracle: SupernetOracle) -> list[dict[str, Any]]:
    """Return a front as plain dictionaries, with accuracies on images that the search never saw."""
    correct = oracle.supernet.correct([trial.genes for trial in front], oracle.dataset.test)
    return [
        {
            "rank": rank,
            "genes": list(trial.genes),
            "accuracy": trial.accuracy,
            "test_accuracy": float(test.mean()),
            "latency_ms": trial.latency_ms,
            "params": int(trial.params),
        }
        for rank, (trial, test) in enumerate(zip(front, correct, strict=True), start=1)
    ]


def front_text(front: list[dict[str, Any]], standard_error: float) -> str:
    """Return a front as a table."""
    rows = [
        (
            entry["rank"],
            f"{entry['accuracy']:.1%} ± {standard_error:.1%}",
            f"{entry['test_accuracy']:.1%}",
            f"{entry['latency_ms']:.3f}",
            f"{entry['params'] / 1e6:.2f}",
            " ".join(map(str, entry["genes"])),
        )
        for entry in front
    ]
    return table(("rank", "accuracy", "on test images", "latency ms", "params M", "genes"), rows)

"""``latlas search compare``: compare finished studies."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latlas.commands.search import import_from_here, open_reward
from latlas.commands.verify import space_of, target_of
from latlas.console import FILE, FOLDER, emit, json_option, printable, table
from latlas.searching import open_latency
from latlas.targets import DeviceChoice, oracle_options

if TYPE_CHECKING:
    from latlas.search.accuracy import AccuracySource
    from latlas.search.across import Front
    from latlas.search.objectives import Objective
    from latlas.search.protocols import Genes, Trial
    from latlas.search.scaling import Point
    from latlas.search.spaces import Space
    from latlas.search.study import Study

MUST_AGREE = ("accuracy", "latency", "constraints")
"""Studies that differ in one of these settings were not after the same."""


@click.command("compare")
@click.argument("folders", metavar="STUDY...", type=FOLDER, nargs=-1, required=True)
@click.option(
    "--evaluations",
    type=click.IntRange(1),
    help="Count the first so many architectures of each; by default as many as the shortest has.",
)
@click.option(
    "--reward",
    metavar="accuracy|soft|hard|absolute",
    help="What the best are the best in: accuracy, if unset, or MnasNet's or TuNAS' reward.",
)
@click.option(
    "--target-ms",
    type=click.FloatRange(0, min_open=True),
    metavar="MS",
    help="The latency of the reward.",
)
@click.option(
    "--reference",
    "references",
    metavar="METRIC=VALUE",
    multiple=True,
    help="Of the hypervolume: the worst value that counts, e.g. latency_ms=100; by default just "
    "beyond the worst of all studies.",
)
@click.option(
    "--scaled",
    metavar="GENES|NAME",
    help="Compare what was found at several targets with this network at several --widths: genes, "
    "or a published network of the space.",
)
@click.option(
    "--widths",
    default="0.35,0.5,0.75,1.0,1.4",
    show_default=True,
    help="Of the scaled network.",
)
@click.option(
    "--across",
    is_flag=True,
    help="Compare the fronts of searches for different targets on each other's.",
)
@click.option(
    "--latency",
    "latencies",
    metavar="SOURCE",
    multiple=True,
    help="With --scaled and --across: where latencies come from, as for the search; with --across "
    "once for each study, in their order.",
)
@click.option(
    "--accuracy", metavar="MODULE:NAME", help="With --scaled: where accuracies come from."
)
@click.option("--dataset", default="digits", show_default=True)
@click.option("--epochs", type=click.IntRange(1, 10_000), help="Of training, with --scaled.")
@click.option("--png", type=FILE, help="Draw the comparison into this file.")
@oracle_options
@json_option
def main(
    folders: tuple[Path, ...],
    evaluations: int | None,
    reward: str | None,
    target_ms: float | None,
    references: tuple[str, ...],
    scaled: str | None,
    widths: str,
    across: bool,
    latencies: tuple[str, ...],
    accuracy: str | None,
    dataset: str,
    epochs: int | None,
    png: Path | None,
    choice: DeviceChoice,
    as_json: bool,
) -> None:
    """Compare finished studies.

    Without more, searchers at equal evaluations: the best, the means of the best 5 and 25, and the
    hypervolume. With --scaled, searches at several targets beside one network at several widths.
    With --across, searches for two targets, each front on the other's target.
    """
    from latlas.profiler.errors import UsageError

    if scaled is not None and across:
        raise UsageError("--scaled and --across are two comparisons: give one")
    studies = open_studies(folders)
    if across:
        document, text = compare_across(studies, latencies, choice, png)
    elif scaled is not None:
        import_from_here()
        if accuracy is None:
            raise UsageError("--scaled needs --accuracy, as the searches had it")
        network = Scaled(scaled, read_widths(widths), accuracy, dataset, epochs)
        document, text = compare_scaled(studies, network, latencies, choice, png)
    else:
        if latencies or accuracy is not None:
            raise UsageError("--latency and --accuracy are for --scaled and --across")
        score = open_reward(reward, target_ms)
        document, text = compare_searchers(
            studies, evaluations, score, reward or "accuracy", references, png
        )
    emit(document, as_json, text)


def open_studies(folders: Sequence[Path]) -> dict[str, Study]:
    """Open studies, by the names of their folders.

    Raises:
        UsageError: one is given twice.
        SearchError: there is no study in a folder, or it has tried nothing.
    """
    from latlas.profiler.errors import SearchError, UsageError
    from latlas.search.study import Study

    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError("a study is given twice")
    names = [folder.resolve().name for folder in folders]
    found = {}
    for folder, name in zip(folders, names, strict=True):
        study = Study.open(folder)
        if not (folder / "history.jsonl").exists():
            raise SearchError(f"{folder} has tried nothing yet: run `latlas search -o` it first")
        found[printable(Path(name)) if names.count(name) == 1 else printable(folder)] = study
    return found


def require_alike(studies: dict[str, Study], names: Sequence[str] = MUST_AGREE) -> None:
    """Raise `SearchError` unless all studies have the same of some settings."""
    from latlas.profiler.errors import SearchError

    (first, one), *others = studies.items()
    for name in names:
        for other, study in others:
            there, here = one.settings.get(name), study.settings.get(name)
            if there != here:
                raise SearchError(
                    f"{first} and {other} differ in their {name} ({there!r:.200} and "
                    f"{here!r:.200}): their figures cannot be compared"
                )


def compare_searchers(
    studies: dict[str, Study],
    evaluations: int | None,
    reward: Callable[[Trial], float] | None,
    score_name: str,
    references: Sequence[str],
    png: Path | None,
) -> tuple[dict[str, Any], str]:
    """Return what searchers came to after equal evaluations.

    Raises:
        UsageError: a study is shorter than the evaluations asked for, or a reference is malformed.
        SearchError: the studies are not alike.
    """
    from latlas.profiler.errors import UsageError
    from latlas.search.best_means import TOPS, common_reference, progress_of
    from latlas.search.comparison_plot import plot_progress

    require_alike(studies)
    histories = {name: study.history for name, study in studies.items()}
    shortest = min(histories, key=lambda name: len(histories[name]))
    count = len(histories[shortest]) if evaluations is None else evaluations
    if count > len(histories[shortest]):
        raise UsageError(
            f"--evaluations {count}: {shortest} has tried only {len(histories[shortest])}"
        )
    histories = {name: trials[:count] for name, trials in histories.items()}
    study = next(iter(studies.values()))
    objectives = plane_of(study)
    worst = common_reference(list(histories.values()), objectives, study.constraints)
    reference = read_references(references, objectives, worst)
    score = reward or (lambda trial: trial.accuracy)
    progress = {
        name: progress_of(trials, score, objectives, reference, study.constraints)
        for name, trials in histories.items()
    }
    if png is not None:
        plot_progress(png, progress, score=score_name)
    rows = [
        {
            "study": name,
            "searcher": searcher_of(studies[name]),
            "evaluations": one.evaluations,
            "failed": one.failed,
            "top_means": {
                str(top): _known(mean)
                for top, mean in zip(TOPS, one.top_means[-1].tolist(), strict=True)
            },
            "hypervolume": one.hypervolume,
        }
        for name, one in progress.items()
    ]
    document = {
        "comparison": "searchers",
        "score": score_name,
        "reference": {
            objective.metric: value for objective, value in zip(objectives, reference, strict=True)
        },
        "studies": rows,
        "plot": None if png is None else printable(png),
    }
    return document, searchers_text(document)


def searchers_text(document: dict[str, Any]) -> str:
    """Return the comparison of searchers for people."""
    tops = list(document["studies"][0]["top_means"])
    header = (
        "study",
        "searcher",
        "evaluations",
        "failed",
        *("best" if top == "1" else f"top {top} mean" for top in tops),
        "hypervolume",
    )
    rows = [
        (
            row["study"],
            row["searcher"],
            row["evaluations"],
            row["failed"],
            *(_figure(row["top_means"][top], ".4f") for top in tops),
            f"{row['hypervolume']:.4g}",
        )
        for row in document["studies"]
    ]
    reference = ", ".join(f"{name} {value:.4g}" for name, value in document["reference"].items())
    return f"{table(header, rows)}\n\nbest by {document['score']}; hypervolume up to {reference}"


def plane_of(study: Study) -> list[Objective]:
    """Return accuracy and every latency of a study as objectives."""
    from latlas.search.latency import LATENCY
    from latlas.search.objectives import Objective

    latencies = study.settings.get("latency")
    metrics = sorted(latencies) if isinstance(latencies, dict) and latencies else [LATENCY]
    return [Objective("accuracy", "max"), *(Objective(metric, "min") for metric in metrics)]


def searcher_of(study: Study) -> str:
    """Return what a study was searched with, and the seed."""
    searcher = study.settings.get("searcher")
    if not isinstance(searcher, dict):
        return "?"
    kind = searcher.get("algorithm", searcher.get("kind", "?"))
    seed = f" seed {searcher['seed']}" if "seed" in searcher else ""
    return f"{kind!s:.40}{seed:.40}"


def read_references(
    texts: Sequence[str], objectives: Sequence[Objective], worst: Sequence[float]
) -> list[float]:
    """Return a reference point: what is given, and elsewhere the worst.

    Raises:
        UsageError: a text is no value of one of the objectives.
    """
    from latlas.profiler.errors import UsageError

    found = {one.metric: value for one, value in zip(objectives, worst, strict=True)}
    for text in texts:
        metric, _, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if metric not in found or not math.isfinite(number):
            raise UsageError(
                f"--reference {text}: expected METRIC=VALUE with one of {', '.join(found)}"
            )
        found[metric] = number
    return list(found.values())


@dataclass(frozen=True)
class Scaled:
    """A network at several widths, and where its accuracies come from.

    Attributes:
        network: genes, or the name of a published network of the space.
        widths: factors of the space's numbers of channels.
        accuracy: as `latlas search --accuracy`.
        dataset: what is trained on.
        epochs: of training.
    """

    network: str
    widths: Sequence[float]
    accuracy: str
    dataset: str = "digits"
    epochs: int | None = None


def read_widths(text: str) -> list[float]:
    """Return the widths of ``0.5,0.75,1``, ascending.

    >>> read_widths("1,0.5")
    [0.5, 1.0]

    Raises:
        UsageError: they are not at least two different positive numbers.
    """
    from latlas.profiler.errors import UsageError

    try:
        found = sorted({float(part) for part in text.split(",")})
    except ValueError:
        found = []
    if len(found) < 2 or not all(0.01 <= width <= 100 for width in found):
        raise UsageError(f"--widths takes at least two factors such as 0.5,0.75,1, not {text!r}")
    return found


def compare_scaled(
    studies: dict[str, Study],
    network: Scaled,
    latencies: Sequence[str],
    choice: DeviceChoice,
    png: Path | None,
) -> tuple[dict[str, Any], str]:
    """Return what searches at several targets found, beside one network at several widths.

    Raises:
        UsageError: the latencies or accuracies are not those of the searches.
        SearchError: the studies are not alike, or one found nothing.
    """
    from latlas.profiler.errors import UsageError
    from latlas.search.comparison_plot import plot_scaling
    from latlas.search.scaling import Point, chosen, gains

    require_alike(studies, ("space", "accuracy", "latency"))
    if len(latencies) != 1:
        raise UsageError("--scaled needs one --latency: the one that the searches had")
    best = {
        name: chosen(study.history, score_of(study), study.constraints)
        for name, study in studies.items()
    }
    searched = [Point(name, trial.latency_ms, trial.accuracy) for name, trial in best.items()]
    scaled = scaled_points(next(iter(studies.values())), network, latencies[0], choice)
    if png is not None:
        plot_scaling(png, searched, scaled)
    document = {
        "comparison": "scaled",
        "searched": [
            {
                "study": point.name,
                "target_ms": target_ms_of(studies[point.name]),
                "latency_ms": point.latency_ms,
                "accuracy": point.accuracy,
                "genes": list(best[point.name].genes),
                "gain": _known(gain),
            }
            for point, gain in zip(searched, gains(searched, scaled), strict=True)
        ],
        "network": network.network,
        "scaled": [
            {
                "width": float(point.name),
                "latency_ms": _known(point.latency_ms),
                "accuracy": _known(point.accuracy),
            }
            for point in scaled
        ],
        "plot": None if png is None else printable(png),
    }
    return document, scaled_text(document)


def scaled_text(document: dict[str, Any]) -> str:
    """Return searches beside a scaled network for people."""
    searched = [
        (
            one["study"],
            _figure(one["target_ms"], "g"),
            f"{one['latency_ms']:.3f}",
            f"{one['accuracy']:.2%}",
            _figure(one["gain"], "+.2%"),
        )
        for one in document["searched"]
    ]
    scaled = [
        (f"{one['width']:g}", _figure(one["latency_ms"], ".3f"), _figure(one["accuracy"], ".2%"))
        for one in document["scaled"]
    ]
    return "\n".join(
        [
            table(("study", "target ms", "latency ms", "accuracy", "more than scaled"), searched),
            "",
            f"{document['network']} scaled:",
            table(("width", "latency ms", "accuracy"), scaled),
        ]
    )


def score_of(study: Study) -> Callable[[Trial], float]:
    """Return what a study was after: the reward of its searcher, or else the accuracy.

    Raises:
        SearchError: the reward is the user's own, or damaged.
    """
    from latlas.profiler.errors import SearchError
    from latlas.search.rewards import restore_reward

    searcher = study.settings.get("searcher")
    identity = searcher.get("reward") if isinstance(searcher, dict) else None
    if identity is None:
        return lambda trial: trial.accuracy
    try:
        return restore_reward(identity)
    except SearchError as problem:
        raise SearchError(f"{study.folder / 'study.json'}: {problem}") from problem


def target_ms_of(study: Study) -> float | None:
    """Return the latency that a study aims at: its reward's, or that of a constraint."""
    searcher = study.settings.get("searcher")
    reward = searcher.get("reward") if isinstance(searcher, dict) else None
    target = reward.get("target") if isinstance(reward, dict) else None
    if isinstance(target, int | float):
        return float(target)
    limits = [one.limit for one in study.constraints if one.metric == "latency_ms"]
    return limits[0] if limits else None


def scaled_points(study: Study, network: Scaled, latency: str, choice: DeviceChoice) -> list[Point]:
    """Return a network at several widths, by the latencies and accuracies of a study.

    Raises:
        UsageError: these are not those of the study, or do not depend on the width.
        SearchError: the network is not of the study's space.
    """
    from latlas.profiler.errors import SearchError, UsageError
    from latlas.search.accuracy import AccuracyChoice, open_accuracy
    from latlas.search.latency import LATENCY, LatencySource
    from latlas.search.scaling import Point
    from latlas.search.spaces import restore_space

    kind = network.accuracy.partition(":")[0]
    if kind in ("supernet", "table"):
        raise UsageError(
            f"--accuracy {kind}: a {kind} knows one width; name a source that trains each"
        )
    space = space_of(study)
    genes = genes_of(space, network.network)

    def accuracies(of: Space, name: str) -> Any:
        folder = study.folder / "scaled" / name
        wanted = AccuracyChoice(network.accuracy, of, folder, network.dataset, network.epochs)
        return open_accuracy(wanted)

    if accuracies(space, "own").identity != study.settings.get("accuracy"):
        raise UsageError(
            f"--accuracy {network.accuracy} is not what {study.folder} was searched with: "
            f"{study.settings.get('accuracy')!r:.300}"
        )
    source = LatencySource(LATENCY, "", latency)
    found = []
    for width in network.widths:
        scaled = restore_space(space.identity | {"width": width})
        with open_latency(source, scaled, choice) as site:
            require_own(study, site.identity, latency)
            (figure,) = site.measure([genes])
        if figure.error:
            raise SearchError(f"{network.network} at width {width:g}: {figure.error}")
        accuracy = scaled_accuracy_of(study, accuracies(scaled, f"{width:g}"), scaled, genes)
        found.append(Point(f"{width:g}", figure.value, accuracy))
    return found


def scaled_accuracy_of(study: Study, source: AccuracySource, space: Space, genes: Genes) -> float:
    """Return the accuracy of a network, from the study's ``scaled.jsonl`` where it is there.

    Raises:
        SearchError: the file is damaged, or another process writes it.
    """
    from latlas.profiler.errors import SearchError
    from latlas.profiler.journal import Fields, JournalWriter

    wanted = [source.identity, space.identity, list(genes)]
    key = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    known: dict[str, float] = {}

    def replay(record: Mapping[str, Any]) -> None:
        get = Fields(record, SearchError)
        known[get.text("key")] = get.number("accuracy", 0, 1)

    with JournalWriter(study.folder / "scaled.jsonl", replay, SearchError) as writer:
        if key not in known:
            (value,) = source.open().evaluate([genes])
            if not 0 <= value <= 1:
                return math.nan  # a failure may have been the machine's: it is not kept
            known[key] = float(value)
            writer.append([{"key": key, "accuracy": known[key]}], sync=True)
    return known[key]


def genes_of(space: Space, text: str) -> Genes:
    """Return the genes that a text is, or those of the published network that it names.

    Raises:
        SearchError: it is neither, or not of the space.
    """
    from latlas.profiler.errors import SearchError
    from latlas.search.spaces import parse_genes

    known = space.references
    if text in known:
        return known[text]
    try:
        genes = parse_genes(text)
    except SearchError as problem:
        names = ", ".join(known) or "none"
        raise SearchError(
            f"{problem}; nor is it a published network of {space.name}: {names}"
        ) from problem
    space.require(genes)
    return genes


def require_own(study: Study, identity: dict[str, Any], source: str) -> None:
    """Raise `UsageError` unless a source's latencies are those that a study was searched with."""
    from latlas.profiler.errors import UsageError

    latencies = study.settings.get("latency")
    own = latencies.get("latency_ms") if isinstance(latencies, dict) else None
    if identity != own:
        raise UsageError(
            f"--latency {source} is not what {study.folder} was searched with: {own!r:.300}"
        )


def compare_across(
    studies: dict[str, Study], latencies: Sequence[str], choice: DeviceChoice, png: Path | None
) -> tuple[dict[str, Any], str]:
    """Return the fronts of searches for different targets, each on all targets.

    Raises:
        UsageError: there are not as many sources as studies, or fewer than two.
        TargetMismatchError: a source is for another target than its study.
        SearchError: the studies are not alike, or one has no front.
    """
    from latlas.profiler.errors import UsageError
    from latlas.search.across import loss, rank_correlation
    from latlas.search.comparison_plot import plot_across

    if len(studies) < 2 or len(latencies) != len(studies):
        raise UsageError(
            "--across compares two studies or more, and needs a --latency for each of them, in "
            f"their order; there are {len(studies)} studies and {len(latencies)} latencies"
        )
    require_alike(studies, ("space", "accuracy"))
    trials = {name: own_front(study) for name, study in studies.items()}
    fronts = fronts_across(studies, trials, latencies, choice)
    names = list(studies)
    targets = [str(target_of(study)) for study in studies.values()]
    if png is not None:
        plot_across(png, fronts, targets)
    pairs = []
    for mine, name in enumerate(names):
        for theirs, other in enumerate(names):
            if mine == theirs:
                continue
            lost = loss(fronts[name], fronts[other], mine)
            pairs.append(
                {
                    "target_of": name,
                    "front_of": other,
                    "kendall_tau": _known(rank_correlation(list(fronts.values()), mine, theirs)),
                    "median_latency_lost": _known(lost.median_lost),
                    "unreached": lost.unreached,
                    "hypervolume_share": lost.hypervolume,
                }
            )
    document = {
        "comparison": "across",
        "targets": dict(zip(names, targets, strict=True)),
        "fronts": {
            name: [
                {
                    "genes": list(trial.genes),
                    "accuracy": trial.accuracy,
                    "latency_ms": dict(zip(names, map(_known, row), strict=True)),
                }
                for trial, row in zip(trials[name], front.latency_ms.tolist(), strict=True)
            ]
            for name, front in fronts.items()
        },
        "pairs": pairs,
        "plot": None if png is None else printable(png),
    }
    return document, across_text(document)


def own_front(study: Study) -> list[Trial]:
    """Return the front of a study in accuracy and latency alone.

    Raises:
        SearchError: there is none.
    """
    from latlas.profiler.errors import SearchError
    from latlas.search.objectives import Objective, front_of

    plane = [Objective("accuracy", "max"), Objective("latency_ms", "min")]
    front = front_of(study.history, plane, study.constraints)
    if not front:
        raise SearchError(f"{study.folder} has no front: nothing that it tried succeeded")
    return front


def fronts_across(
    studies: dict[str, Study],
    trials: dict[str, list[Trial]],
    latencies: Sequence[str],
    choice: DeviceChoice,
) -> dict[str, Front]:
    """Return fronts with their latencies on the targets of all studies.

    A network that a target cannot run has the latency NaN there.

    Raises:
        TargetMismatchError: a source is for another target than its study.
    """
    import numpy as np

    from latlas.profiler.target import Target
    from latlas.search.across import Front
    from latlas.search.latency import LATENCY, LatencySource

    genes = list(dict.fromkeys(one.genes for front in trials.values() for one in front))
    columns = []
    for study, where in zip(studies.values(), latencies, strict=True):
        with open_latency(LatencySource(LATENCY, "", where), space_of(study), choice) as site:
            target_of(study).require_same(
                Target.from_json(site.identity["target"]),
                f"--latency {where}, for {study.folder},",
            )
            outcomes = site.measure(genes)
        columns.append({one: outcome.value for one, outcome in zip(genes, outcomes, strict=True)})
    return {
        name: Front(
            np.array([trial.accuracy for trial in front]),
            np.array([[column[trial.genes] for column in columns] for trial in front]),
        )
        for name, front in trials.items()
    }


def across_text(document: dict[str, Any]) -> str:
    """Return fronts across targets for people."""
    rows = [
        (
            pair["target_of"],
            pair["front_of"],
            _figure(pair["kendall_tau"], ".2f"),
            _figure(pair["median_latency_lost"], "+.1%"),
            pair["unreached"],
            f"{pair['hypervolume_share']:.3f}",
        )
        for pair in document["pairs"]
    ]
    header = ("target of", "front of", "tau", "latency lost", "out of reach", "hypervolume share")
    targets = [f"{name}: {target}" for name, target in document["targets"].items()]
    return "\n".join([table(header, rows), "", *targets])


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)

"""Searches at several targets beside one network at several widths: MnasNet's comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latlas.console import printable, table
from latlas.searching import open_latency
from latlas.studies import figure, known, require_alike, space_of
from latlas.targets import DeviceChoice

if TYPE_CHECKING:
    from latlas.search.accuracy import AccuracySource
    from latlas.search.protocols import Genes, Trial
    from latlas.search.scaling import Point
    from latlas.search.spaces import Space
    from latlas.search.study import Study


@dataclass(frozen=True)
class Scaled:
    """A network at several widths, and where its accuracies come from.

    Attributes:
        network: genes, or the name of a published network of the space.
        widths: factors of the space's numbers of channels.
        accuracy: as `latlas search --accuracy`.
        dataset: what is trained on.
        epochs: of training.
        folds: that score it; 0 is none.
        repeats: of the folds.
    """

    network: str
    widths: Sequence[float]
    accuracy: str
    dataset: str = "digits"
    epochs: int | None = None
    folds: int = 0
    repeats: int = 1


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
                "gain": known(gain),
            }
            for point, gain in zip(searched, gains(searched, scaled), strict=True)
        ],
        "network": network.network,
        "scaled": [
            {
                "width": float(point.name),
                "latency_ms": known(point.latency_ms),
                "accuracy": known(point.accuracy),
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
            figure(one["target_ms"], "g"),
            f"{one['latency_ms']:.3f}",
            f"{one['accuracy']:.2%}",
            figure(one["gain"], "+.2%"),
        )
        for one in document["searched"]
    ]
    scaled = [
        (f"{one['width']:g}", figure(one["latency_ms"], ".3f"), figure(one["accuracy"], ".2%"))
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
        wanted = AccuracyChoice(
            *(network.accuracy, of, folder, network.dataset, network.epochs),
            *(network.folds, network.repeats),
        )
        return open_accuracy(wanted)

    recipe = getattr(accuracies(space, "own"), "recipe", None)
    if recipe is not None and recipe.width:
        raise UsageError(
            f"--accuracy {network.accuracy}: the recipe trains networks of every width at width "
            f"{recipe.width:g}, so that all would be as accurate; search and compare with a recipe "
            "that names no width"
        )
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
    from latlas.search.kept import kept_accuracy

    def find_out() -> float:
        (value,) = source.open().evaluate([genes])
        return float(value)

    wanted = [source.identity, space.identity, list(genes)]
    return kept_accuracy(study.folder / "scaled.jsonl", wanted, find_out)


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
    """Raise an error unless a source's latencies are those that a study was searched with."""
    from latlas.profiler.errors import UsageError

    latencies = study.settings.get("latency")
    own = latencies.get("latency_ms") if isinstance(latencies, dict) else None
    if identity != own:
        raise UsageError(
            f"--latency {source} is not what {study.folder} was searched with: {own!r:.300}"
        )

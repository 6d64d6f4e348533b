"""``latlas search compare``: compare finished studies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from latlas.across_comparison import compare_across
from latlas.console import (
    FILE,
    FOLDER,
    emit,
    import_from_here,
    json_option,
    own_space_option,
    printable,
    table,
    training_options,
)
from latlas.scaled_comparison import Scaled, compare_scaled, read_widths
from latlas.searching import open_reward
from latlas.studies import figure, known, open_studies, require_alike
from latlas.targets import DeviceChoice, oracle_options

if TYPE_CHECKING:
    from latlas.search.objectives import Objective
    from latlas.search.protocols import Trial
    from latlas.search.study import Study


_OPTIONS: dict[str, frozenset[str]] = {
    "without --scaled and --across": frozenset(
        {"evaluations", "reward", "target_ms", "references"}
    ),
    "with --scaled": frozenset(
        {"widths", "latencies", "accuracy", "dataset", "epochs", "folds", "repeats"}
    ),
    "with --across": frozenset({"latencies"}),
}
"""What only some of the comparisons take."""


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
    "--accuracy",
    metavar="MODULE:NAME|train:RECIPE",
    help="With --scaled: where accuracies come from, as for the search.",
)
@training_options
@click.option("--png", type=FILE, help="Draw the comparison into this file.")
@own_space_option
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
    folds: int,
    repeats: int,
    png: Path | None,
    choice: DeviceChoice,
    as_json: bool,
) -> None:
    """Compare finished studies.

    Without more, searchers at equal evaluations: the best, the means of the best 5 and 25, and the
    hypervolume. With --scaled, searches at several targets beside one network at several widths.
    With --across, searches for two targets, each front on the other's target.

    \b
    latlas search compare studies/ppo studies/random --png compared.png
    latlas search compare studies/15ms studies/25ms --scaled nasnet_a --widths 0.5,0.75,1 \\
        --latency cpu.latlas --accuracy package.module:Name
    latlas search compare studies/cpu studies/gpu --across --latency cpu.latlas --latency gpu.latlas
    """
    from latlas.profiler.errors import UsageError

    if scaled is not None and across:
        raise UsageError("--scaled and --across are two comparisons: give one")
    _refuse_others(
        "with --across"
        if across
        else "with --scaled"
        if scaled is not None
        else "without --scaled and --across"
    )
    studies = open_studies(folders)
    if across:
        document, text = compare_across(studies, latencies, choice, png)
    elif scaled is not None:
        import_from_here()
        if accuracy is None:
            raise UsageError("--scaled needs --accuracy, as the searches had it")
        network = Scaled(scaled, read_widths(widths), accuracy, dataset, epochs, folds, repeats)
        document, text = compare_scaled(studies, network, latencies, choice, png)
    else:
        score = open_reward(reward, target_ms)
        document, text = compare_searchers(
            studies, evaluations, score, reward or "accuracy", references, png
        )
    emit(document, as_json, text)


def _refuse_others(comparison: str) -> None:
    """Refuse options that a comparison would leave unread.

    Raises:
        UsageError: one was given.
    """
    from latlas.profiler.errors import UsageError

    context = click.get_current_context()
    for parameter in context.command.params:
        takers = [kind for kind, names in _OPTIONS.items() if parameter.name in names]
        given = context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
        if given and takers and comparison not in takers:
            raise UsageError(
                f"{parameter.opts[0]} is read {' and '.join(takers)}, not {comparison}"
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
                str(top): known(mean)
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
            *(figure(row["top_means"][top], ".4f") for top in tops),
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

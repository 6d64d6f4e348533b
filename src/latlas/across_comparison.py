"""Fronts of searches for different targets, each on the targets of the others (MoGA)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latlas.console import printable, table
from latlas.searching import open_latency
from latlas.studies import figure, known, require_alike, space_of, target_of
from latlas.targets import DeviceChoice

if TYPE_CHECKING:
    from latlas.search.across import Front
    from latlas.search.protocols import Trial
    from latlas.search.study import Study


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
                    "kendall_tau": known(rank_correlation(list(fronts.values()), mine, theirs)),
                    "median_latency_lost": known(lost.median_lost),
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
                    "latency_ms": dict(zip(names, map(known, row), strict=True)),
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
            figure(pair["kendall_tau"], ".2f"),
            figure(pair["median_latency_lost"], "+.1%"),
            pair["unreached"],
            f"{pair['hypervolume_share']:.3f}",
        )
        for pair in document["pairs"]
    ]
    header = ("target of", "front of", "tau", "latency lost", "out of reach", "hypervolume share")
    targets = [f"{name}: {target}" for name, target in document["targets"].items()]
    return "\n".join([table(header, rows), "", *targets])

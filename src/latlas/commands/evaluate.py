"""``latlas evaluate``: say how right a predictor is on models that it has never seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latlas.console import FILE, FOLDER, emit, json_option, load_models, table

if TYPE_CHECKING:
    from latlas.predictor.evaluation import Evaluation, KernelsKnown, NetworkResult
    from latlas.predictor.observations import Observations

HOW = {
    "family": "every family left out in turn",
    "network": "every network left out in turn: flatters where its siblings stay",
    "none": "nothing left out: says how well the networks are fitted, not how new ones are",
}


KNOWN = {
    "measured": "all its kernels known",
    "shared": "its kernels known where others share them",
    "predicted": "none of its kernels known",
}


@click.command("evaluate")
@click.argument("folder", metavar="TABLE", type=FOLDER)
@click.option(
    "--models",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Evaluate these models only (files or folders of them), which TABLE holds.",
)
@click.option(
    "--predictor",
    "predictor_file",
    type=FILE,
    help="Evaluate this predictor as it is, instead of fitting on TABLE.",
)
@click.option(
    "--leave-out",
    type=click.Choice(list(HOW)),
    help="What is left out together. [default: family, with --predictor none]",
)
@click.option(
    "--family",
    "rules",
    metavar="REGEX=NAME",
    multiple=True,
    help="Networks whose name matches are of the family NAME; the first match wins. Others are "
    "of the family of their leading word: mobilenet_v2_1.0 of mobilenet_v2.",
)
@click.option(
    "--kernels",
    type=click.Choice(list(KNOWN)),
    help="What is known of the kernels of what is left out: all of them, those that other networks "
    "have too, or none. [default: shared]",
)
@click.option(
    "--accept-unknown",
    is_flag=True,
    help="Evaluate networks with unknown kernels too, which are refused otherwise.",
)
@click.option("--worst", type=click.IntRange(0), default=5, show_default=True)
@click.option("--plot", type=FILE, help="Draw predicted against measured latency (a PNG).")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@json_option
def main(
    folder: Path,
    models: tuple[Path, ...],
    predictor_file: Path | None,
    leave_out: str | None,
    rules: tuple[str, ...],
    kernels: KernelsKnown | None,
    accept_unknown: bool,
    worst: int,
    plot: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Say how right predictions are for the networks of the latency table TABLE.

    Every family of networks is left out in turn, with all that was measured of its kernels; a
    predictor is fitted on the rest and asked about it. Metrics are per family and per kernel type.
    With --predictor, that one is asked about all networks of TABLE, without fitting anything.

    \b
    latlas evaluate tables/here-cpu --leave-out network --plot evaluation.png
    """
    from latlas.predictor.families import Families
    from latlas.predictor.observations import observe
    from latlas.predictor.plot import plot_evaluation
    from latlas.profiler.errors import UsageError
    from latlas.profiler.table import Table

    families = Families.parse(rules)
    how = leave_out or ("none" if predictor_file is not None else "family")
    if predictor_file is not None and how != "none":
        raise UsageError("--predictor is evaluated as it is: --leave-out would fit others")
    if kernels is not None and how == "none":
        raise UsageError("--kernels is about what is left out, and here nothing is")
    observations = observe(Table.open(folder))
    names = _names_of(models, observations) if models else None
    evaluation = _evaluation(
        observations, predictor_file, how, families.of, names, kernels, accept_unknown, seed
    )
    document = describe(evaluation, families.of, worst) | {
        "leave_out": how,
        "kernels": None if how == "none" else kernels or "shared",
        "predictor": str(predictor_file) if predictor_file else None,
        "not_used": dict(observations.left_out),
    }
    if plot is not None:
        title = f"{evaluation.target}\n{_how(document)}"
        plot_evaluation(plot, evaluation.by_family(families.of), title=title)
        document["plot"] = str(plot)
    emit(document, as_json, evaluation_text(document))


def _names_of(models: Sequence[Path], observations: Observations) -> set[str]:
    """Return the names that a table has for models, which are known by their kernels."""
    from latlas.profiler.errors import UsageError
    from latlas.profiler.kernel import split
    from latlas.profiler.quantise import for_precision

    target, rules = observations.target, observations.rules
    names: set[str] = set()
    for path, graph in load_models(models).items():
        kernels = split(for_precision(graph, target.precision), rules)
        found = {network.name for network in observations.networks if network.kernels == kernels}
        if not found:
            raise UsageError(
                f"{path} is none of the networks that were measured undisturbed: profile it into "
                "the table with `latlas profile --models`"
            )
        names |= found
    return names


def _evaluation(
    observations: Observations,
    predictor_file: Path | None,
    how: str,
    family: Callable[[str], str],
    names: set[str] | None,
    kernels: KernelsKnown | None,
    accept_unknown: bool,
    seed: int,
) -> Evaluation:
    from tqdm import tqdm

    from latlas.predictor import file
    from latlas.predictor.evaluation import evaluate, leave_out
    from latlas.predictor.fit import fit

    if how == "none":
        predictor = file.load(predictor_file) if predictor_file else fit(observations, seed=seed)
        return evaluate(predictor, observations, names, accept_unknown=accept_unknown)
    return leave_out(
        observations,
        family if how == "family" else str,
        names=names,
        kernels=kernels or "shared",
        accept_unknown=accept_unknown,
        fit=partial(fit, seed=seed),
        progress=partial(tqdm, unit=how, disable=None),
    )


def describe(evaluation: Evaluation, family: Callable[[str], str], worst: int) -> dict[str, Any]:
    """Return an evaluation as a plain dictionary."""
    from latlas.predictor.evaluation import kernel_metrics

    by_family = evaluation.by_family(family)
    types = {}
    for kind, kernels in evaluation.by_type().items():
        found = kernel_metrics(kernels)
        looked_up = sum(kernel.looked_up for kernel in kernels)
        types[kind] = {
            "looked_up": looked_up,
            "predicted": len(kernels) - looked_up,
            "metrics": asdict(found) if found else None,
        }
    return {
        "target": evaluation.target.to_json(),
        "overall": _figures(evaluation.networks) if evaluation.networks else None,
        "families": {name: _figures(networks) for name, networks in by_family.items()},
        "kernel_types": types,
        "estimates": sum(bool(network.prediction.unknown) for network in evaluation.networks),
        "networks": [_network(network, family) for network in evaluation.networks],
        "worst": [_network(network, family) for network in evaluation.worst(worst)],
        "refused": [
            {"name": name, "unknown": sorted({kernel.text for kernel in kernels})}
            for name, kernels in evaluation.refused
        ],
    }


def _figures(networks: Sequence[NetworkResult]) -> dict[str, Any]:
    from latlas.predictor.evaluation import interval_coverage, network_metrics

    return asdict(network_metrics(networks)) | {"coverage": interval_coverage(networks)}


def _network(network: NetworkResult, family: Callable[[str], str]) -> dict[str, Any]:
    return {
        "name": network.name,
        "family": family(network.name),
        "measured_ms": network.measured_ms,
        "error": network.error,
        "within_bounds": network.within_bounds,
        "estimate": bool(network.prediction.unknown),
        "coverage": {kind: asdict(each) for kind, each in network.coverage.items()},
        "least_known": network.least_known,
    } | asdict(network.prediction)


def evaluation_text(document: dict[str, Any]) -> str:
    """Return an evaluation for people."""
    return "\n".join([*_summary(document), *_kernel_types(document), *_footnotes(document)])


def _how(document: dict[str, Any]) -> str:
    """Return in words what was evaluated."""
    if document["predictor"]:
        return f"predictor: {document['predictor']}, as it is"
    known = f"; {KNOWN[document['kernels']]}" if document["kernels"] else ""
    return HOW[document["leave_out"]] + known


_METRICS = ("MAPE", "RMSPE", "within 5%", "within 10%", "Spearman", "bias")


def _cells(figures: dict[str, Any] | None) -> tuple[str, ...]:
    if figures is None:
        return ("-",) * len(_METRICS)
    rank = figures["spearman"]
    return (
        *(f"{figures[name]:.1%}" for name in ("mape", "rmspe", "within5", "within10")),
        "-" if rank is None else f"{rank:.3f}",
        f"{figures['bias']:+.1%}",
    )


def _summary(document: dict[str, Any]) -> list[str]:
    from latlas.profiler.target import Target

    lines = [f"target: {Target.from_json(document['target'])}", _how(document)]
    families = document["families"]
    if not families:
        return [*lines, "", "no network could be predicted"]
    rows = [
        (name, figures["n"], *_cells(figures), f"{figures['coverage']:.0%}")
        for name, figures in (*families.items(), ("all", document["overall"]))
    ]
    return [*lines, "", table(("family", "networks", *_METRICS, "in 90% bounds"), rows)]


def _kernel_types(document: dict[str, Any]) -> list[str]:
    rows = [
        (kind, found["looked_up"], found["predicted"], *_cells(found["metrics"]))
        for kind, found in document["kernel_types"].items()
    ]
    return ["", table(("kernel type", "looked up", "predicted", *_METRICS), rows)] if rows else []


def _footnotes(document: dict[str, Any]) -> list[str]:
    lines = []
    if document["worst"]:
        header = ("worst networks", "family", "measured ms", "predicted ms", "error", "bounds ms")
        rows = [
            (
                n["name"],
                n["family"],
                f"{n['measured_ms']:.3f}",
                f"{'~' if n['estimate'] else ''}{n['latency_ms']:.3f}",
                f"{n['error']:+.1%}",
                f"{n['low_ms']:.3f}-{n['high_ms']:.3f}",
                f"{n['measured_share']:.0%}",
                "{} {:.0%}".format(*n["least_known"]) if n["least_known"] else "-",
            )
            for n in document["worst"]
        ]
        lines += ["", table((*header, "measured", "most of the rest"), rows)]
    if guessed := document["estimates"]:
        lines.append(
            f"~ estimates: nothing was known about some kernels of {guessed} network(s) predicted"
        )
    for refused in document["refused"]:
        unknown = refused["unknown"]
        lines.append(
            f"refused: {refused['name']} has {len(unknown)} unknown kernel(s), for example "
            f"{unknown[0]!r}; --accept-unknown estimates them"
        )
    by_reason: dict[str, list[str]] = {}
    for name, why in document["not_used"].items():
        by_reason.setdefault(why, []).append(name)
    for why, names in by_reason.items():
        lines.append(f"not used: {len(names)} network(s), because {why}: {', '.join(names)}")
    lines += [f"plot: {document['plot']}"] if "plot" in document else []
    return lines

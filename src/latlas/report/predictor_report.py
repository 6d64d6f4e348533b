"""How far a predictor can be trusted: what it was learned from, and how right it is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from latlas.predictor.evaluation import (
    Evaluation,
    NetworkResult,
    Progress,
    interval_coverage,
    kernel_metrics,
    leave_out,
    network_metrics,
)
from latlas.predictor.families import Families
from latlas.predictor.observations import Observations, observe
from latlas.predictor.predictor import LatencyPredictor
from latlas.profiler.errors import UsageError
from latlas.profiler.table import Table
from latlas.report.figure import Axis, Bars, Block, Chart, Facts, Section, Series, Text, grid
from latlas.report.text import latency, percent

FOLDS = 10
"""Networks that are all of one family are left out in so many parts."""

WORST = 10
"""Networks in the list of the worst."""


@dataclass(frozen=True)
class Grouping:
    """What is left out together.

    Attributes:
        of: the group of a network, by its name.
        text: what was left out, in words.
    """

    of: Callable[[str], str]
    text: str


def predictor_report(
    predictor: LatencyPredictor,
    name: str,
    tables: Mapping[str, Table],
    families: Families | None = None,
    progress: Progress = iter,
) -> list[Section]:
    """Return the sections on one predictor.

    Args:
        predictor: it is described as it is. Evaluated are others, fitted alike without what they
            are asked about.
        name: what the user calls it.
        tables: to evaluate on, by name; of the predictor's target.
        families: by which networks are left out together.
        progress: wraps the names of what is left out, to show how far it is.

    Raises:
        TargetMismatchError: a table is of another target.
        LatlasError: a table is damaged, or too little to fit on.
    """
    sections = [Section(f"Predictor {name}", _what(predictor), level=1)]
    if not tables:
        text = "Name the table that it was fitted on with --table to see how right it is."
        return [*sections, Section("Errors", [*_type_errors(predictor), Text(text)])]
    for label, table in tables.items():
        predictor.target.require_same(table.target, f"the table {label}, to evaluate {name},")
        observations = observe(table)
        left_out = grouping(observations, families or Families())
        evaluation = leave_out(observations, left_out.of, accept_unknown=True, progress=progress)
        sections += evaluation_report(evaluation, left_out, label)
    return sections


def grouping(observations: Observations, families: Families) -> Grouping:
    """Return what is left out together: families, or parts where all are of one.

    Raises:
        UsageError: there is no network.
    """
    names = [network.name for network in observations.networks]
    if not names:
        raise UsageError("the table holds no network that was measured undisturbed")
    if len({families.of(name) for name in names}) > 1:
        return Grouping(families.of, "every family of networks left out in turn")
    parts = {name: f"part {i % FOLDS + 1}" for i, name in enumerate(sorted(names))}
    text = (
        f"all networks are of one family, {families.of(names[0])}: a {FOLDS}th of them left out "
        "in turn, which flatters where its siblings stay"
    )
    return Grouping(parts.__getitem__, text)


def _what(predictor: LatencyPredictor) -> list[Block]:
    calibration, intervals = predictor.calibration, predictor.intervals
    types = Counter(kernel.type for kernel in predictor.table_us)
    width = f"±{math.expm1(intervals.measured):.1%}" if intervals.networks else ""
    return [
        Text(str(predictor.target)),
        Facts(
            [
                ("fusion rules", predictor.rules_version),
                ("kernels measured", f"{len(predictor.table_us)} of {len(types)} types"),
                ("kernel classes learned", str(len(predictor.forests))),
                ("transferred from", _transferred_from(predictor)),
                (
                    "calibration",
                    f"{calibration.a:.3f} × sum of kernels + {calibration.b_us:.2f} µs × kernels + "
                    f"{calibration.c_us:.1f} µs, on {calibration.networks} networks",
                ),
                ("intervals from", f"{intervals.networks} networks left out"),
                ("90% bounds where all is measured", width),
                ("digest", predictor.digest[:16]),
            ]
        ),
    ]


def _transferred_from(predictor: LatencyPredictor) -> str:
    sources = () if predictor.mixture is None else predictor.mixture.sources
    return "; ".join(str(source.target) for source in sources)


def _type_errors(predictor: LatencyPredictor) -> list[Block]:
    errors = sorted(predictor.type_error.items(), key=lambda item: -item[1])
    errors = [(name, error) for name, error in errors if math.isfinite(error)]
    if not errors:
        return [Text("Nothing was left out when it was fitted.")]
    bars = Bars(
        "Error of kernels that were left out",
        "standard deviation of ln(predicted / measured)",
        [name for name, _ in errors],
        [("", [error for _, error in errors])],
        [[f"{error:.2f}" for _, error in errors]],
    )
    return [bars]


def evaluation_report(evaluation: Evaluation, left_out: Grouping, name: str) -> list[Section]:
    """Return the sections on an evaluation.

    Args:
        evaluation: predicted and measured networks.
        left_out: what was left out together.
        name: of the table.
    """
    networks = evaluation.networks
    blocks: list[Block] = [Text(f"On {name}: {left_out.text}.")]
    if evaluation.refused:
        blocks.append(Text(f"{len(evaluation.refused)} networks were refused.", warning=True))
    if guessed := sum(bool(n.prediction.unknown) for n in networks):
        text = f"{guessed} predictions are estimates: nothing was known about some of the kernels."
        blocks.append(Text(text, warning=True))
    if not networks:
        return [Section("Predicted against measured", [*blocks, Text("Nothing was predicted.")])]
    found = network_metrics(networks)
    coverage = interval_coverage(networks)
    groups = evaluation.by_family(left_out.of)
    blocks.append(
        Facts(
            [
                ("networks", str(found.n)),
                ("mean error", percent(found.mape)),
                ("within 10%", percent(found.within10)),
                ("rank correlation", "–" if found.spearman is None else f"{found.spearman:.3f}"),
                ("bias", f"{found.bias:+.1%}"),
                ("within the 90% bounds", percent(coverage)),
            ]
        )
    )
    return [
        Section(
            "Predicted against measured", [*blocks, _scatter(groups), _error_by_size(networks)]
        ),
        Section("Errors by family", list(_by_family(groups))),
        Section("Errors by kernel type", list(_by_type(evaluation))),
        Section("The worst networks", [_worst(evaluation)]),
    ]


def _scatter(groups: Mapping[str, Sequence[NetworkResult]]) -> Chart:
    from latlas.predictor.plot import drawn_families

    series = [
        Series(
            f"{name} ({len(members)})",
            [n.measured_ms for n in members],
            [n.prediction.latency_ms for n in members],
            [_said(n) for n in members],
            colour=colour if colour < 24 else None,
            low=[n.prediction.low_ms for n in members],
            high=[n.prediction.high_ms for n in members],
        )
        for colour, (name, members) in enumerate(drawn_families(groups).items())
    ]
    axes = Axis("measured latency, ms", log=True), Axis("predicted latency, ms", log=True)
    note = "Bars are the 90% bounds, the band is ±10%."
    return Chart("Networks", *axes, series, note, diagonal=True)


def _said(network: NetworkResult) -> str:
    p = network.prediction
    return (
        f"{network.name}\nmeasured {latency(network.measured_ms)}\n"
        f"predicted {latency(p.latency_ms)} ({network.error:+.1%})\n"
        f"bounds {latency(p.low_ms)} to {latency(p.high_ms)}"
    )


def _error_by_size(networks: Sequence[NetworkResult]) -> Chart:
    inside = [n for n in networks if n.within_bounds]
    outside = [n for n in networks if not n.within_bounds]
    series = [
        Series(
            f"{name} ({len(members)})",
            [n.measured_ms for n in members],
            [100 * n.error for n in members],
            [_said(n) for n in members],
            colour=colour,
        )
        for name, members, colour in (("within bounds", inside, 0), ("outside", outside, 1))
    ]
    axes = Axis("measured latency, ms", log=True), Axis("error, %")
    note = f"{len(inside)} of {len(networks)} lie within their bounds; nine in ten should."
    return Chart("Errors over latency", *axes, series, note)


def _by_family(groups: Mapping[str, Sequence[NetworkResult]]) -> Sequence[Block]:
    figures = {name: network_metrics(members) for name, members in groups.items()}
    ordered = sorted(figures, key=lambda name: -figures[name].mape)
    rows = [
        (
            *(name, figures[name].n, percent(figures[name].mape), percent(figures[name].within10)),
            *(f"{figures[name].bias:+.1%}", percent(interval_coverage(groups[name]))),
        )
        for name in ordered
    ]
    header = ("family", "networks", "mean error", "within 10%", "bias", "in 90% bounds")
    bars = [("", [100 * figures[name].mape for name in ordered])]
    texts = [[percent(figures[name].mape) for name in ordered]]
    return [Bars("Mean error by family", "%", ordered, bars, texts), grid(header, rows)]


def _by_type(evaluation: Evaluation) -> Sequence[Block]:
    rows = []
    errors: dict[str, float] = {}
    for name, kernels in evaluation.by_type().items():
        found = kernel_metrics(kernels)
        looked_up = sum(kernel.looked_up for kernel in kernels)
        cells = ("–", "–", "–")
        if found is not None:
            errors[name] = found.mape
            cells = (percent(found.mape), percent(found.within10), f"{found.bias:+.1%}")
        rows.append((name, looked_up, len(kernels) - looked_up, *cells))
    ordered = sorted(errors, key=lambda name: -errors[name])
    header = ("kernel type", "looked up", "predicted", "mean error", "within 10%", "bias")
    predicted = [k for k in evaluation.kernels if not k.looked_up and k.predicted_us > 0]
    axes = Axis("measured, ms", log=True), Axis("predicted, ms", log=True)
    chart = Chart(
        "Kernels that were predicted",
        *axes,
        [
            Series(
                "",
                [k.measured_us / 1e3 for k in predicted],
                [k.predicted_us / 1e3 for k in predicted],
                [
                    f"{k.kernel.text}\nmeasured {latency(k.measured_us / 1e3)}\n"
                    f"predicted {latency(k.predicted_us / 1e3)} "
                    f"({k.predicted_us / k.measured_us - 1:+.1%})"
                    for k in predicted
                ],
            )
        ],
        diagonal=True,
    )
    bars = Bars(
        "Mean error of predicted kernels",
        "%",
        ordered,
        [("", [100 * errors[name] for name in ordered])],
        [[percent(errors[name]) for name in ordered]],
        most=25,
    )
    return [chart, bars, grid(header, rows)] if predicted else [grid(header, rows)]


def _worst(evaluation: Evaluation) -> Block:
    rows = [
        (
            *(n.name, latency(n.measured_ms), latency(n.prediction.latency_ms), f"{n.error:+.1%}"),
            f"{latency(n.prediction.low_ms)} to {latency(n.prediction.high_ms)}",
            percent(n.prediction.measured_share),
            "{} {:.0%}".format(*n.least_known) if n.least_known else "–",
        )
        for n in evaluation.worst(WORST)
    ]
    header = ("network", "measured", "predicted", "error", "90% bounds", "known", "most unknown")
    return grid(header, rows)

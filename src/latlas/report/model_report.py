"""Where the time of one model goes, on the target of every table and predictor given."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from latlas.predictor.coverage import SOURCES
from latlas.predictor.latencies import kernel_latencies
from latlas.predictor.observations import listed_us, observe
from latlas.predictor.predictor import LatencyPredictor, Prediction
from latlas.profiler.count import count
from latlas.profiler.graph import Graph
from latlas.profiler.kernel import FusionRules, Kernel, split
from latlas.profiler.measurement import Measurement
from latlas.profiler.quantise import for_precision
from latlas.profiler.table import Table
from latlas.profiler.target import Target
from latlas.report.architecture_drawing import architecture_drawing
from latlas.report.figure import Axis, Bars, Block, Chart, Facts, Section, Series, Text, grid
from latlas.report.table_report import foremost
from latlas.report.text import latency

LISTED = "listed in the profiled network"
"""Where the time of a kernel of a network is from that was measured itself."""


@dataclass(frozen=True)
class Breakdown:
    """The kernels of a model on one target, with their times.

    Attributes:
        name: of the table or predictor.
        target: what the times are valid for.
        kernels: in execution order.
        times_us: of every kernel in the network; NaN where it is not known.
        sources: where they are from.
        facts: on the whole model.
        not_delegated: what did not run on the delegate, and why.
    """

    name: str
    target: Target
    kernels: Sequence[Kernel]
    times_us: Sequence[float]
    sources: Sequence[str]
    facts: Sequence[tuple[str, str]]
    not_delegated: Sequence[tuple[str, str]] = ()

    @property
    def total_us(self) -> float:
        """Sum of the times that are known."""
        return sum(time for time in self.times_us if not math.isnan(time))


def model_report(
    graph: Graph,
    name: str,
    tables: Mapping[str, Table],
    predictors: Mapping[str, LatencyPredictor],
) -> list[Section]:
    """Return the sections on one model.

    Args:
        graph: the model.
        name: what the user calls it.
        tables: by name; the model's own figures where it was measured into one, else those of its
            kernels.
        predictors: by name.

    Raises:
        GraphError: the model cannot run on one of the targets.
        LatlasError: a table is damaged, or of fusion rules that are not known.
    """
    found = [_measured(graph, table, label) for label, table in tables.items()]
    found += [_predicted(graph, predictor, label) for label, predictor in predictors.items()]
    size = count(graph)
    facts = Facts(
        [
            ("input", ", ".join("×".join(map(str, shape)) for shape in graph.inputs)),
            ("multiply-adds", f"{(size.madds + size.se_madds) / 1e6:.4g} M"),
            ("stored parameters", f"{size.params / 1e6:.3g} M"),
            ("operators", str(len(graph.nodes))),
        ]
    )
    return [
        Section(f"Model {name}", [facts, *_overview(found)], level=1),
        Section(
            "Where the time goes",
            [*_types(found), architecture_drawing(graph, "The network, layer by layer")],
        ),
        Section("Time per kernel, in network order", [*_layers(found)]),
    ]


def _measured(graph: Graph, table: Table, name: str) -> Breakdown:
    observations = observe(table)
    rules = observations.rules
    kernels = split(for_precision(graph, table.target.precision), rules)
    own = _own(table, kernels, rules)
    times: tuple[float, ...] | None = None
    facts = [("latency", "not measured")]
    refused = _refused(table, kernels)
    if own is not None:
        facts = [("verdict", own.verdict.replace("_", " ")), ("reason", own.reason)]
        if own.init_ms:
            facts.append(("initialisation", latency(own.init_ms)))
        if own.peak_memory_mb is not None:
            facts.append(("peak memory", f"{own.peak_memory_mb:.1f} MB"))
        if own.summary is not None:
            facts.insert(0, ("latency", latency(own.summary.median_us / 1e3) + ", measured"))
            times = listed_us(own, kernels, rules) if own.ops else None
        if own.verdict == "not_delegated":
            refused.insert(0, (own.name, own.reason))
    if times is not None:
        return Breakdown(
            name, table.target, kernels, times, [LISTED] * len(kernels), facts, refused
        )
    known = kernel_latencies(observations).latency_us
    looked_up = [known.get(kernel, math.nan) for kernel in kernels]
    sources = ["not measured" if math.isnan(time) else "measured" for time in looked_up]
    return Breakdown(name, table.target, kernels, looked_up, sources, facts, refused)


def _own(table: Table, kernels: Sequence[Kernel], rules: FusionRules) -> Measurement | None:
    """Return the measurement of a network of these kernels."""
    for measurement in table.measurements:
        if measurement.unit == "network" and split(measurement.to_graph(), rules) == kernels:
            return measurement
    return None


def _refused(table: Table, kernels: Iterable[Kernel]) -> list[tuple[str, str]]:
    texts = {kernel.text for kernel in kernels}
    return [
        (m.graph, m.reason)
        for m in table.measurements
        if m.verdict == "not_delegated" and m.graph in texts
    ]


def _predicted(graph: Graph, predictor: LatencyPredictor, name: str) -> Breakdown:
    kernels = split(for_precision(graph, predictor.target.precision), predictor.rules)
    prediction = predictor.predict_kernels([kernels], accept_unknown=True)[0]
    times, source = predictor.network_us(kernels)
    how = "an estimate: it has unknown kernels" if prediction.unknown else "predicted"
    facts = [
        ("latency", f"{latency(prediction.latency_ms)}, {how}"),
        ("90% bounds", f"{latency(prediction.low_ms)} to {latency(prediction.high_ms)}"),
        ("from kernels", _shares(prediction, predictor.mixture is not None)),
    ]
    sources = [SOURCES[origin] for origin in source.tolist()]
    return Breakdown(name, predictor.target, kernels, tuple(times.tolist()), sources, facts)


def _shares(prediction: Prediction, of_others: bool) -> str:
    """Return the shares of a latency by where they come from; `of_others`: of other devices, too.

    >>> _shares(Prediction(1.0, 0.9, 1.1, 2, 0.75, 0.25, ()), of_others=False)
    '75% measured, 25% predicted, 0% unknown'
    """
    shares = {
        "measured": prediction.measured_share,
        **({"transferred": prediction.transferred_share} if of_others else {}),
        "predicted": prediction.predicted_share,
        "unknown": prediction.unknown_share,
    }
    return ", ".join(f"{share:.0%} {source}" for source, share in shares.items())


def _overview(found: Sequence[Breakdown]) -> list[Block]:
    names = list(dict.fromkeys(name for one in found for name, value in one.facts if value))
    rows = [
        (
            str(one.target),
            one.name,
            *(dict(one.facts).get(name) or "–" for name in names),
            len(one.kernels),
            latency(one.total_us / 1e3),
        )
        for one in found
    ]
    header = ("target", "from", *names, "kernels", "sum of kernels")
    blocks: list[Block] = [grid(header, rows)]
    for one in found:
        missing = [k for k, time in zip(one.kernels, one.times_us, strict=True) if math.isnan(time)]
        if missing:
            text = (
                f"{len(missing)} of {len(one.kernels)} kernels are not in {one.name} and are "
                f"missing below, for example {missing[0].text}"
            )
            blocks.append(Text(text, warning=True))
        if one.not_delegated:
            blocks.append(grid(("not delegated", "reason"), one.not_delegated, most=20))
    return blocks


def _plain(kernel: Kernel) -> str:
    return kernel.type.removesuffix(":int8")


def _types(found: Sequence[Breakdown]) -> Iterable[Block]:
    """Yield the share of every kernel type on every target, in one chart."""
    totals = [_by_type(one) for one in found]
    names = _order(found)
    shares, texts = [], []
    for one, each in zip(found, totals, strict=True):
        whole = sum(each.values()) or 1.0
        shares.append((_label(one, found), [100 * each.get(n, math.nan) / whole for n in names]))
        texts.append(
            [
                f"{each[n] / whole:.1%}, {latency(each[n] / 1e3)}" if n in each else "–"
                for n in names
            ]
        )
    yield Bars("Time per operator type", "share of the sum of kernels, %", names, shares, texts)


def _order(found: Sequence[Breakdown]) -> list[str]:
    """Return the kernel types of all targets, that of the largest share first."""
    totals = [_by_type(one) for one in found]
    shares: dict[str, float] = defaultdict(float)
    for each in totals:
        for name, time in each.items():
            shares[name] += time / (sum(each.values()) or 1.0)
    return sorted(shares, key=lambda name: (-shares[name], name))


def _label(one: Breakdown, found: Sequence[Breakdown]) -> str:
    """Return how a breakdown is called beside others."""
    target = one.target
    label = " ".join(
        filter(None, (target.device, target.delegate, target.backend, target.precision))
    )
    return label if [each.target for each in found].count(target) == 1 else f"{label}, {one.name}"


def _by_type(one: Breakdown) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for kernel, time in zip(one.kernels, one.times_us, strict=True):
        if not math.isnan(time):
            found[_plain(kernel)] += time
    return found


def _layers(found: Sequence[Breakdown]) -> Iterable[Block]:
    for one in found:
        # All targets in one order, so that a type has the same colour on each.
        groups: dict[str, list[int]] = {name: [] for name in _order(found)}
        for position, (kernel, time) in enumerate(zip(one.kernels, one.times_us, strict=True)):
            if not math.isnan(time):
                groups[_plain(kernel)].append(position)
        total = one.total_us or 1.0
        series = [
            Series(
                name,
                [float(i + 1) for i in positions],
                [one.times_us[i] / 1e3 for i in positions],
                [
                    f"kernel {i + 1}: {one.kernels[i].text}\n{latency(one.times_us[i] / 1e3)}, "
                    f"{one.times_us[i] / total:.1%}, {one.sources[i]}"
                    for i in positions
                ],
                mark="column",
                colour=colour,
            )
            for name, colour, positions in foremost(groups)
            if positions
        ]
        axes = Axis("kernel, in execution order"), Axis("ms", zero=True)
        yield Chart(_label(one, found), *axes, series, wide=True)

"""What a latency table holds: what was measured where, under which conditions, how well."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from latlas.predictor.metrics import spearman
from latlas.profiler.count import count
from latlas.profiler.measurement import Measurement
from latlas.profiler.rows import kernel_type
from latlas.profiler.statistics import VERDICTS
from latlas.profiler.table import Table
from latlas.report.architecture_drawing import block_text
from latlas.report.figure import Axis, Bars, Block, Chart, Facts, Section, Series, Text, grid
from latlas.report.text import duration, latency, percent

T = TypeVar("T")

UNITS = ("kernel", "block", "network")
"""What is measured to be used, the parts first."""

SLOWEST = 15
"""Kernels or blocks in the list of the slowest."""

SENSORS = 6
"""Sensors of temperature that are shown, those that change the most."""

COLOURED_TYPES = 12
"""Kernel types with a colour of their own, those that take the most time; the others are grey."""


@dataclass(frozen=True)
class Timed:
    """A kernel, block or network with a latency.

    Attributes:
        name: the kernel's type, the block in a line, or the network's name.
        text: the graph.
        latency_us: median of one invocation, in microseconds.
        flops: of one invocation: two for each multiply-add; squeeze-and-excitation included.
    """

    name: str
    text: str
    latency_us: float
    flops: float


def table_report(table: Table, name: str) -> list[Section]:
    """Return the sections on one table.

    Args:
        table: is read only.
        name: what the user calls it.

    Raises:
        TableError: a measurement is not of what it says.
    """
    kernels, blocks, networks = (timed(table, unit) for unit in UNITS)
    alone = [Section("Kernels", _kernels(kernels))] if kernels or not blocks else []
    alone += [Section("Blocks", _slowest(blocks, "block"))] if blocks else []
    return [
        Section(f"Table {name}", [Text(str(table.target)), *_what(table)], level=1),
        Section("Conditions over time", _conditions(table)),
        Section("Noise and failures", _quality(table)),
        Section("Latency over FLOPs", _latency_over_flops(kernels, blocks, networks)),
        *alone,
    ]


def timed(table: Table, unit: str) -> list[Timed]:
    """Return what was measured of a unit (of `UNITS`) and has a figure.

    Raises:
        TableError: the table holds something else under this name.
    """
    found = []
    for measurement in table.measurements:
        if measurement.unit == unit and measurement.summary is not None:
            graph = measurement.to_graph()
            size = count(graph)
            name = measurement.name
            if unit != "network":
                name = kernel_type(measurement) if unit == "kernel" else block_text(graph)
            flops = 2.0 * (size.madds + size.se_madds)
            found.append(Timed(name, measurement.graph, measurement.summary.median_us, flops))
    return found


def _name(measurement: Measurement) -> str:
    """Return what a measured graph is called; choices of a layer share the name that blocks have.

    Raises:
        TableError: it is no graph.
    """
    is_block = measurement.unit == "block"
    return block_text(measurement.to_graph()) if is_block else measurement.name


def _what(table: Table) -> list[Block]:
    header = table.header
    units = sorted({m.unit for m in table.measurements})
    counts = Counter((m.unit, m.verdict) for m in table.measurements)
    rows = [
        (unit, sum(counts[unit, v] for v in VERDICTS), *(counts[unit, v] or "–" for v in VERDICTS))
        for unit in units
    ]
    environment = ", ".join(f"{key} {value}" for key, value in header.environment.items())
    blocks: list[Block] = [
        Facts(
            [
                ("device", header.target.device),
                ("runtime", header.target.runtime),
                ("begun", header.created),
                ("measured for", duration(max((m.at_s for m in table.references), default=0.0))),
                ("environment", environment),
                ("fusion rules", header.fusion_rules),
                ("latlas", header.latlas),
                ("warm-up", f"{table.warmups[-1].warmup_ms:g} ms" if table.warmups else ""),
            ]
        ),
        grid(
            ("unit", "measured", *(v.replace("_", " ") for v in VERDICTS)),
            rows,
            "What was measured, by verdict",
        ),
    ]
    if not table.measurements:
        blocks.append(Text("Nothing was accepted into this table yet.", warning=True))
    if header.target.software:
        text = "The adapter is a software renderer: no phone is like it."
        blocks.append(Text(text, warning=True))
    if table.open_count:
        text = f"{table.open_count} measurements are open: a campaign runs, or was interrupted."
        blocks.append(Text(text, warning=True))
    return blocks


def _conditions(table: Table) -> list[Block]:
    figures = [(m, m.summary) for m in table.references if m.summary is not None]
    if not figures:
        return [Text("The reference kernel was not measured: nothing tells how steady it was.")]
    medians = [summary.median_us for _, summary in figures]
    usual = median(medians)
    series = Series(
        "",
        [m.at_s / 60 for m, _ in figures],
        medians,
        [
            f"reference {s.median_us:.1f} us ({s.median_us / usual - 1:+.1%})\n"
            f"5-95%: {s.p05_us:.1f}-{s.p95_us:.1f} us\nafter {duration(m.at_s)}"
            for m, s in figures
        ],
        mark="line",
        low=[summary.p05_us for _, summary in figures],
        high=[summary.p95_us for _, summary in figures],
    )
    text = (
        f"The reference kernel was measured {len(medians)} times: its median is {usual:.1f} us, "
        f"its medians lie between {min(medians) / usual - 1:+.1%} and "
        f"{max(medians) / usual - 1:+.1%} of that. {table.void_count} measurements were void, "
        "because it had departed from its level, and were made again."
    )
    axes = Axis("minutes of measuring"), Axis("reference kernel, us")
    note = "Median of every check; bars are the 5th and 95th percentile."
    chart = Chart("The reference kernel", *axes, [series], note, wide=True)
    return [Text(text), chart, _temperatures(table)]


def _temperatures(table: Table) -> Block:
    """Return the temperatures at the checks of the reference kernel."""
    sensors = table.temperatures_c()
    if not sensors:
        return Text(
            "Temperatures are not known: the device has no sensor that could be read, or the table "
            "is of an earlier version. Heat shows as a slower reference."
        )

    def change_c(name: str) -> float:
        degrees = [celsius for _, celsius in sensors[name]]
        return max(degrees) - min(degrees)

    chosen = sorted(sensors, key=change_c, reverse=True)[:SENSORS]
    series = [
        Series(
            name,
            [at_s / 60 for at_s, _ in sensors[name]],
            [celsius for _, celsius in sensors[name]],
            [
                f"{name}: {celsius:.1f} °C\nafter {duration(at_s)}"
                for at_s, celsius in sensors[name]
            ],
            mark="line",
            colour=colour,
        )
        for colour, name in enumerate(chosen)
    ]
    left = len(sensors) - len(chosen)
    note = "At every check of the reference kernel, as it was known then without asking again."
    if left:
        note += f" {left} more sensors changed less."
    axes = Axis("minutes of measuring"), Axis("temperature, °C")
    return Chart("Temperature", *axes, series, note, wide=True)


def _quality(table: Table) -> list[Block]:
    blocks: list[Block] = []
    series = []
    for colour, unit in enumerate(UNITS):
        found = [
            (_name(m), m.verdict, m.summary)
            for m in table.measurements
            if m.unit == unit and m.summary is not None
        ]
        if found:
            spread = [summary.robust_cv for _, _, summary in found]
            series.append(
                Series(
                    unit + "s",
                    [summary.median_us / 1e3 for _, _, summary in found],
                    [100 * each for each in spread],
                    [
                        f"{name}\n{latency(summary.median_us / 1e3)} ± {summary.robust_cv:.1%}"
                        f"\n{summary.n} samples, {verdict}"
                        for name, verdict, summary in found
                    ],
                    colour=colour,
                )
            )
            blocks.append(
                Text(
                    f"Samples of half of the {unit}s spread by less than {median(spread):.2%} "
                    "around their median (1.4826 MAD)."
                )
            )
    if series:
        axes = Axis("latency, ms", log=True), Axis("spread of the samples, %", log=True)
        blocks.append(Chart("How far samples spread", *axes, series))
    by_reason: dict[tuple[str, str], list[str]] = defaultdict(list)
    for m in table.measurements:
        if m.verdict not in ("stable", "noisy"):
            by_reason[m.verdict, m.reason].append(f"{m.unit} {_name(m)}")
    if not by_reason:
        return [*blocks, Text("Nothing failed, nothing was left to another delegate.")]
    rows = [
        (reason or "–", verdict.replace("_", " "), len(names), ", ".join(names[:3]))
        for (verdict, reason), names in sorted(by_reason.items(), key=lambda i: -len(i[1]))
    ]
    header = ("reason", "verdict", "measurements", "for example")
    return [*blocks, grid(header, rows, "What was not measured well", most=25)]


def by_type(kernels: Sequence[Timed]) -> dict[str, list[Timed]]:
    """Return kernels by type, the type that takes the most time first."""
    groups: dict[str, list[Timed]] = defaultdict(list)
    for kernel in kernels:
        groups[kernel.name].append(kernel)
    return dict(sorted(groups.items(), key=lambda item: -sum(k.latency_us for k in item[1])))


def foremost(groups: Mapping[str, Sequence[T]]) -> list[tuple[str, int | None, list[T]]]:
    """Return name, colour and members of the first groups, and all others as a grey one.

    The grey one comes first, to be drawn below the others.

    >>> groups = {str(i): [i] for i in range(14)}
    >>> foremost(groups)[0], foremost(groups)[1]
    (('2 other types', None, [12, 13]), ('0', 0, [0]))
    """
    names = list(groups)
    others = names[COLOURED_TYPES:]
    found: list[tuple[str, int | None, list[T]]] = []
    if others:
        members = [one for name in others for one in groups[name]]
        found.append((f"{len(others)} other types", None, members))
    named = enumerate(names[:COLOURED_TYPES])
    return found + [(name, colour, list(groups[name])) for colour, name in named]


def _latency_over_flops(
    kernels: Sequence[Timed], parts: Sequence[Timed], networks: Sequence[Timed]
) -> list[Block]:
    axes = Axis("FLOPs", log=True), Axis("latency, ms", log=True)
    groups = by_type([kernel for kernel in kernels if kernel.flops])
    series = [_points(name, members, colour) for name, colour, members in foremost(groups)]
    blocks: list[Block] = []
    if series:
        note = "Kernels of the same FLOPs may be many times apart: FLOPs alone tell no latency."
        blocks.append(Chart("Kernels", *axes, series, note))
    for title, found in (("Blocks", parts), ("Networks", networks)):
        if found:
            note = f"Rank correlation {_rank(found)}."
            blocks.append(Chart(title, *axes, [_points("", found, 0)], note))
    return blocks or [Text("Neither kernels with FLOPs nor blocks nor networks were measured.")]


def _rank(found: Sequence[Timed]) -> str:
    rank = spearman([one.flops for one in found], [one.latency_us for one in found])
    return "–" if rank is None else f"{rank:.3f}"


def _points(name: str, found: Sequence[Timed], colour: int | None) -> Series:
    return Series(
        name,
        [one.flops for one in found],
        [one.latency_us / 1e3 for one in found],
        [
            f"{one.name if name == '' else one.text}\n{latency(one.latency_us / 1e3)}, "
            f"{one.flops / 1e6:.3g} MFLOPs\n{one.flops / one.latency_us / 1e3:.3g} GFLOP/s"
            for one in found
        ],
        colour=colour,
    )


def _kernels(kernels: Sequence[Timed]) -> list[Block]:
    if not kernels:
        return [Text("No kernel was measured alone.")]
    total = sum(kernel.latency_us for kernel in kernels)
    groups = by_type(kernels)
    rows = []
    for name, members in groups.items():
        times = [kernel.latency_us for kernel in members]
        rates = [kernel.flops / kernel.latency_us / 1e3 for kernel in members if kernel.flops]
        rows.append(
            (
                *(name, len(members), percent(sum(times) / total)),
                *(latency(each / 1e3) for each in (min(times), median(times), max(times))),
                f"{median(rates):.3g}" if rates else "–",
            )
        )
    header = ("kernel type", "kernels", "of all time", "fastest", "median", "slowest", "GFLOP/s")
    return [
        grid(header, rows, "Kernel types; GFLOP/s are the median of the type", most=25),
        *_slowest(kernels, "kernel"),
    ]


def _slowest(found: Sequence[Timed], unit: str) -> list[Block]:
    """Return the slowest kernels or blocks, as bars and in words."""
    slowest = sorted(found, key=lambda one: -one.latency_us)[:SLOWEST]
    labels = [_label(one, unit) for one in slowest]
    texts = [one.name if unit == "block" else one.text for one in slowest]
    times = [latency(one.latency_us / 1e3) for one in slowest]
    return [
        Bars(
            f"The slowest {unit}s",
            "latency, ms",
            labels,
            [("", [one.latency_us / 1e3 for one in slowest])],
            [times],
        ),
        grid(
            (unit, "latency", "MFLOPs"),
            [
                (text, time, f"{one.flops / 1e6:.3g}")
                for text, time, one in zip(texts, times, slowest, strict=True)
            ],
        ),
    ]


def _label(one: Timed, unit: str) -> str:
    """Return what is short enough to stand at a bar."""
    if unit == "block":
        return f"{one.name.partition(',')[0]} {one.name.split(' ')[-1]}"
    return f"{one.name} {one.text.split(' ')[0]}"

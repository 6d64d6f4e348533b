"""Two latency tables side by side: what both measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from latlas.predictor.metrics import spearman
from latlas.profiler.table import Table
from latlas.profiler.target import Target
from latlas.report.figure import Axis, Block, Chart, Facts, Section, Series, Text
from latlas.report.table_report import UNITS, Timed, foremost, timed
from latlas.report.text import latency


def comparison_report(first: Table, second: Table, names: tuple[str, str]) -> list[Section]:
    """Return the section on two tables side by side: what both measured.

    Raises:
        TableError: a measurement is not of what it says.
    """
    blocks: list[Block] = [
        Facts([("x", f"{names[0]}: {first.target}"), ("y", f"{names[1]}: {second.target}")]),
        Text(_differences(first.target, second.target)),
    ]
    figures: list[Block] = []
    for unit in UNITS:
        by_name = unit == "network" and first.target.precision != second.target.precision
        here, there = _keyed(first, unit, by_name), _keyed(second, unit, by_name)
        both = [(here[key], there[key]) for key in here if key in there]
        if both:
            figures.append(_side_by_side(unit, both, names))
        elif unit != "block" or here or there:
            blocks.append(Text(f"They have no {unit} in common."))
    return [Section(f"{names[0]} against {names[1]}", [*blocks, *figures], level=1)]


def _keyed(table: Table, unit: str, by_name: bool) -> dict[str, Timed]:
    """Return what was measured by what it is known by in tables of both precisions.

    A kernel of int8 is the counterpart of the one of float32; a network, of that of its name.
    """
    found = timed(table, unit)
    return {one.name if by_name else one.text.replace(":int8", ""): one for one in found}


def _differences(first: Target, second: Target) -> str:
    mine, theirs = first.to_json(), second.to_json()
    found = [
        f"{key} ({mine[key]} against {theirs[key]})" for key in mine if mine[key] != theirs[key]
    ]
    if not found:
        return "Both are of the same target."
    return "The targets differ in " + ", ".join(found) + "."


def _side_by_side(unit: str, pairs: Sequence[tuple[Timed, Timed]], names: tuple[str, str]) -> Chart:
    groups: dict[str, list[tuple[Timed, Timed]]] = defaultdict(list)
    for pair in pairs:
        groups[pair[0].name if unit == "kernel" else ""].append(pair)
    ordered = dict(sorted(groups.items(), key=lambda item: -len(item[1])))
    series = [
        Series(
            name,
            [a.latency_us / 1e3 for a, _ in members],
            [b.latency_us / 1e3 for _, b in members],
            [
                f"{a.text if unit == 'kernel' else a.name}\n{names[0]}: "
                f"{latency(a.latency_us / 1e3)}\n{names[1]}: "
                f"{latency(b.latency_us / 1e3)} (×{b.latency_us / a.latency_us:.2f})"
                for a, b in members
            ],
            colour=colour,
        )
        for name, colour, members in foremost(ordered)
    ]
    rank = spearman([a.latency_us for a, _ in pairs], [b.latency_us for _, b in pairs])
    ratio = median(b.latency_us / a.latency_us for a, b in pairs)
    note = (
        f"{len(pairs)} that both measured. Rank correlation "
        + ("–" if rank is None else f"{rank:.3f}")
        + f"; the median of {names[1]} over {names[0]} is {ratio:.2f}."
    )
    axes = [Axis(f"{name}, ms", log=True) for name in names]
    return Chart(f"{unit.capitalize()}s", axes[0], axes[1], series, note, diagonal=True)

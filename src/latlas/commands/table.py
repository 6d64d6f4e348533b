"""``latlas table``: show, merge, compare and export latency tables."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latlas.console import FILE, FOLDER, emit, json_option, say, table

if TYPE_CHECKING:
    from latlas.profiler.comparison import Change, Comparison
    from latlas.profiler.table import Table

SHOWN = 10
"""Rows of the longest lists that are printed."""

WIDTH = 100
"""Longer texts of kernels are cut where people read them."""

FORMATS = ("csv", "parquet", "ofa", "proxylessnas")


@click.group("table")
def main() -> None:
    """Show, merge, compare and export latency tables.

    \b
    latlas table show tables/here-cpu
    latlas table diff tables/litert-2.2 tables/litert-2.3 --fail-above 5%
    latlas table merge tables/monday tables/tuesday -o tables/both
    latlas table export tables/here-cpu -o here-cpu.csv
    """


@main.command("show")
@click.argument("folder", metavar="TABLE", type=FOLDER)
@click.option("--slowest", type=click.IntRange(0, 10_000), default=SHOWN, show_default=True)
@json_option
def show(folder: Path, slowest: int, as_json: bool) -> None:
    """Say what a table holds: target, environment, verdicts, reference kernel, slowest kernels.

    \b
    latlas table show tables/here-cpu --slowest 3
    """
    from latlas.profiler.table import Table

    document = _described(Table.open(folder), slowest)
    emit(document, as_json, "" if as_json else _show_text(document))


def _described(opened: Table, slowest: int) -> dict[str, Any]:
    from latlas.profiler.merging import reference_level_us
    from latlas.profiler.rows import kernel_type

    units: dict[str, Counter[str]] = {}
    types: Counter[str] = Counter()
    for each in opened.measurements:
        units.setdefault(each.unit, Counter())[each.verdict] += 1
        if each.unit == "kernel":
            types[kernel_type(each)] += 1
    timed = [(m.summary.median_us, m) for m in opened.measurements if m.summary is not None]
    kernels = sorted(
        (pair for pair in timed if pair[1].unit in ("kernel", "block")), key=lambda pair: -pair[0]
    )
    levels = [m.summary.median_us for m in opened.references if m.summary is not None]
    header = opened.header
    return {
        "table": str(opened.folder),
        "target": opened.target.to_json(),
        "target_text": str(opened.target),
        "fusion_rules": header.fusion_rules,
        "latlas": header.latlas,
        "created": header.created,
        "environment": dict(header.environment),
        "units": {unit: dict(counts) for unit, counts in units.items()},
        "kernel_types": dict(types.most_common()),
        "open": opened.open_count,
        "void": opened.void_count,
        "warmup_ms": opened.warmups[-1].warmup_ms if opened.warmups else None,
        "reference": {
            "count": len(levels),
            "median_us": reference_level_us(opened) if levels else None,
            "low_us": min(levels, default=None),
            "high_us": max(levels, default=None),
        },
        "temperatures_c": {
            name: {"low": min(c for _, c in found), "high": max(c for _, c in found)}
            for name, found in opened.temperatures_c().items()
        },
        "networks": [
            {"name": m.name, "median_us": time_us, "verdict": m.verdict}
            for time_us, m in timed
            if m.unit == "network"
        ],
        "slowest": [
            {"unit": m.unit, "median_us": time_us, "verdict": m.verdict, "graph": m.graph}
            for time_us, m in kernels[:slowest]
        ],
        "failures": [
            {
                "unit": m.unit,
                "name": m.graph if m.unit == "block" else m.name,
                "verdict": m.verdict,
                "reason": m.reason,
            }
            for m in opened.measurements
            if m.summary is None
        ],
    }


def _show_text(document: dict[str, Any]) -> str:
    from latlas.profiler.statistics import VERDICTS

    lines = [
        f"target: {document['target_text']}",
        f"fusion rules: {document['fusion_rules'] or '-'}; measured by latlas "
        f"{document['latlas']}, begun {document['created']}",
        "environment: "
        + (", ".join(f"{key} {value}" for key, value in document["environment"].items()) or "-"),
    ]
    level = document["reference"]
    if level["count"]:
        lines.append(
            f"reference kernel: {level['median_us']:.1f} us (from {level['low_us']:.1f} to "
            f"{level['high_us']:.1f} in {level['count']} checks)"
        )
    if document["temperatures_c"]:
        found = document["temperatures_c"].items()
        ranges = (f"{name} {one['low']:.1f} to {one['high']:.1f} °C" for name, one in found)
        lines.append(f"temperatures: {', '.join(islice(ranges, SHOWN))}")
    lines.append(f"measured again: {document['void']}; not finished: {document['open']}")
    rows = [
        (unit, sum(counts.values()), *(counts.get(verdict, 0) for verdict in VERDICTS))
        for unit, counts in document["units"].items()
    ]
    lines += ["", table(("unit", "measured", *VERDICTS), rows)]
    if document["kernel_types"]:
        kinds = ", ".join(f"{count} {kind}" for kind, count in document["kernel_types"].items())
        lines += ["", f"kernels: {kinds}"]
    if document["slowest"]:
        slowest = [
            (_named(each["unit"], each["graph"]), f"{each['median_us']:,.1f}", each["verdict"])
            for each in document["slowest"]
        ]
        lines += ["", table(("slowest", "median us", "verdict"), slowest)]
    for each in document["failures"][:SHOWN]:
        name = _named(each["unit"], each["name"])
        lines.append(f"{each['unit']} {name}: {each['verdict']}: {each['reason']}")
    return "\n".join(lines)


def _cut(text: str) -> str:
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"


def _named(unit: str, name: str) -> str:
    """Return what a measured graph is called where people read it."""
    if unit == "block":  # its text is long, and begins as that of its siblings does
        from latlas.profiler.errors import GraphError
        from latlas.profiler.graph import Graph
        from latlas.report.architecture_drawing import block_text

        with suppress(GraphError):
            return _cut(block_text(Graph.from_text(name)))
    return _cut(name)


def _job(name: str) -> str:
    """Return what a job is called where people read it, by its id."""
    unit, colon, graph = name.partition(":")
    return f"{unit}{colon}{_named(unit, graph)}"


@main.command("merge")
@click.argument("folders", metavar="TABLE...", type=FOLDER, nargs=-1, required=True)
@click.option("-o", "--output", type=FOLDER, required=True, help="Folder of the new table.")
@json_option
def merge(folders: tuple[Path, ...], output: Path, as_json: bool) -> None:
    """Write what tables of one target hold into a new table, every job once.

    Tables of different targets, phones, runtimes or fusion rules are refused.

    \b
    latlas table merge tables/monday tables/tuesday -o tables/both
    """
    from latlas.profiler.merging import merge as merge_tables
    from latlas.profiler.table import Table

    merged = merge_tables([Table.open(folder) for folder in folders], output)
    levels = [level for level in merged.levels_us if level]
    apart = max(levels) / min(levels) - 1 if levels else 0.0
    document = {
        "table": str(output),
        "target": merged.header.target.to_json(),
        "measurements": merged.measurements,
        "references": merged.references,
        "duplicates": list(merged.duplicates),
        "reference_levels_us": list(merged.levels_us),
    }
    if apart > 0.03:
        say(
            f"the reference kernel was {apart:.1%} slower in one of the tables than in another: "
            "the device was not in the same state"
        )
    text = (
        f"{output}: {merged.measurements} measurements and {merged.references} references of "
        f"{len(folders)} tables; {len(merged.duplicates)} were in more than one, of which the "
        "best was kept"
    )
    emit(document, as_json, text)


def _share(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:
    """Read ``5%`` or ``0.05``."""
    if text is None:
        return None
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1e6:
        raise click.BadParameter(f"a share is written 5% or 0.05, not {text!r}", ctx, param)
    return share


@main.command("diff")
@click.argument("before", metavar="TABLE_A", type=FOLDER)
@click.argument("after", metavar="TABLE_B", type=FOLDER)
@click.option(
    "--relative/--absolute",
    default=None,
    help="Compare figures relative to the reference kernel's level in their table; by default "
    "where the two targets are the same, so that only the device's state can have moved it.",
)
@click.option(
    "--fail-above",
    metavar="SHARE",
    callback=_share,
    help="Exit with 1 where a network, block or kernel type is slower in TABLE_B by more than this "
    "and beyond the noise, or something no longer runs.",
)
@click.option("--top", type=click.IntRange(0, 10_000), default=SHOWN, show_default=True)
@json_option
def diff(
    before: Path,
    after: Path,
    relative: bool | None,
    fail_above: float | None,
    top: int,
    as_json: bool,
) -> int:
    """Say what is slower or faster in TABLE_B than in TABLE_A, beyond the noise of both.

    The tables may belong to different targets, such as two versions of the runtime.

    \b
    latlas table diff tables/litert-2.2 tables/litert-2.3
    latlas table diff tables/yesterday tables/today --fail-above 5%
    """
    from latlas.profiler.comparison import compare
    from latlas.profiler.table import Table

    tables = Table.open(before), Table.open(after)
    if relative is None:
        relative = tables[0].target == tables[1].target
    found = compare(*tables, relative=relative)
    failures = [] if fail_above is None else _failures(found, fail_above)
    document = {
        "targets": list(found.targets),
        "relative": found.relative,
        "reference": found.reference,
        "reference_noise": found.reference_noise,
        "compared": len(found.changes),
        "only_before": found.only_before,
        "only_after": found.only_after,
        "groups": [asdict(group) for group in found.groups],
        "slower": [_change(each) for each in found.slower()],
        "faster": [_change(each) for each in found.faster()],
        "broken": dict(found.broken),
        "mended": list(found.mended),
        "failures": failures,
    }
    emit(document, as_json, "" if as_json else _diff_text(found, top))
    for failure in failures:
        say(failure)
    return 1 if failures else 0


def _change(each: Change) -> dict[str, Any]:
    return {**asdict(each), "change": each.change}


def _failures(found: Comparison, above: float) -> list[str]:
    """Return what is slower than allowed. A kernel alone says too little: it counts in its type."""
    slower = [
        f"{each.unit} {_named(each.unit, each.name)} is {each.change:+.1%} slower, more than "
        f"{above:.1%}"
        for each in found.slower(above)
        if each.unit != "kernel"
    ]
    slower += [
        f"{_group_name(group.unit, group.type)} are {group.change:+.1%} slower on average, more "
        f"than {above:.1%}"
        for group in found.groups
        if group.significant and group.change > above
    ]
    return slower + [f"{_job(name)} no longer runs: {why}" for name, why in found.broken.items()]


def _group_name(unit: str, kind: str) -> str:
    return f"{unit}s of type {kind}" if kind else f"{unit}s"


def _diff_text(found: Comparison, top: int) -> str:
    lines = [
        "targets: " + ("; ".join(found.targets) or "the same"),
        f"compared: {len(found.changes)}; only in the first table: {found.only_before}; only in "
        f"the second: {found.only_after}",
    ]
    if found.reference is not None:
        use = "is left out of" if found.relative else "is part of"
        lines.append(
            f"reference kernel: {found.reference:+.1%} ± {found.reference_noise:.1%}, which {use} "
            "the figures below"
        )
    rows = [
        (
            group.type or f"{group.unit}s",
            group.count,
            f"{group.change:+.1%}",
            "yes" if group.significant else "no",
            group.slower,
            group.faster,
        )
        for group in found.groups
    ]
    header = ("what", "compared", "change", "beyond noise", "slower", "faster")
    lines += ["", table(header, rows)]
    for title, changes in (("slower", found.slower()), ("faster", found.faster())):
        if changes:
            lines += ["", table((title, "before us", "after us", "change"), _rows(changes[:top]))]
        if len(changes) > top:
            lines.append(f"… and {len(changes) - top} more")
    for name, why in found.broken.items():
        lines.append(f"no longer runs: {_job(name)}: {why}")
    for name in found.mended:
        lines.append(f"runs now: {_job(name)}")
    return "\n".join(lines)


def _rows(changes: list[Change]) -> list[tuple[str, ...]]:
    return [
        (_named(c.unit, c.name), f"{c.before_us:,.1f}", f"{c.after_us:,.1f}", f"{c.change:+.1%}")
        for c in changes
    ]


@main.command("export")
@click.argument("folder", metavar="TABLE", type=FOLDER)
@click.option("-o", "--output", type=FILE, required=True, help="File to write.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    help="By default from the file's name: .csv, .parquet; .yaml is ofa.",
)
@json_option
def export(folder: Path, output: Path, kind: str | None, as_json: bool) -> None:
    """Write a table as CSV or Parquet, or as a look-up table of OFA or ProxylessNAS.

    \b
    latlas table export tables/here-cpu -o here-cpu.csv
    latlas table export tables/blocks -o lut.yaml --format proxylessnas
    """
    from latlas.profiler.errors import TableError, UsageError
    from latlas.profiler.files import write_atomically
    from latlas.profiler.rows import COLUMNS, to_csv, write_parquet
    from latlas.profiler.table import Table

    suffixes = {".csv": "csv", ".parquet": "parquet", ".yaml": "ofa", ".yml": "ofa"}
    chosen = kind or suffixes.get(output.suffix)
    if chosen is None:
        raise UsageError(f"{output}: say --format {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    opened = Table.open(folder)
    document: dict[str, Any] = {"file": str(output), "format": chosen}
    if chosen in ("ofa", "proxylessnas"):
        document |= _export_lookup(opened, output, chosen)
        text = f"wrote {output}: {document['entries']} layers"
        for reason, count in document["left_out"].items():
            say(f"left out {count}: {reason}")
    else:
        if chosen == "parquet":
            write_parquet(opened, output)
        else:
            content = to_csv(opened).encode()
            with write_atomically(output, TableError) as file:
                file.write(content)
        count = len(opened.measurements) + len(opened.references)
        document |= {"rows": count, "columns": list(COLUMNS)}
        text = f"wrote {output}: {count} rows"
    emit(document, as_json, text)


def _export_lookup(opened: Table, output: Path, dialect: str) -> dict[str, Any]:
    from latlas.predictor.lookup_table import lookup_table
    from latlas.profiler.errors import TableError
    from latlas.profiler.files import write_atomically

    found = lookup_table(opened, "ofa" if dialect == "ofa" else "proxylessnas")
    with write_atomically(output, TableError) as file:
        file.write(found.to_yaml().encode())
    return {"entries": len(found.entries), "left_out": dict(Counter(found.left_out.values()))}

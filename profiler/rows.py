"""A latency table as flat rows: what spreadsheets, pandas and Parquet take."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latlas.profiler.count import count
from latlas.profiler.errors import GraphError, TableError
from latlas.profiler.extras import optional
from latlas.profiler.files import write_atomically
from latlas.profiler.graph import Graph
from latlas.profiler.kernel import Kernel
from latlas.profiler.measurement import Measurement
from latlas.profiler.op_text import format_shape
from latlas.profiler.statistics import MAD_TO_SIGMA
from latlas.profiler.table import Table
from latlas.profiler.target import Target

if TYPE_CHECKING:
    import pandas as pd

_TARGET = tuple(field.name for field in fields(Target))
_SUMMARY = ("n", "median_us", "p05_us", "p95_us", "mean_us", "std_us", "iqr_us", "min_us", "max_us")

COLUMNS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("unit", "name", "type", "verdict", "reason"), str),
    "n": int,
    **dict.fromkeys(_SUMMARY[1:], float),
    "sigma_us": float,
    **dict.fromkeys(("init_ms", "cpu_share", "at_s", "reference_us", "drift"), float),
    "peak_memory_mb": float,
    **dict.fromkeys(("madds", "params"), int),
    **dict.fromkeys(("inputs", "outputs", "graph"), str),
    **dict.fromkeys(_TARGET, str),
    "software": bool,
    "threads": int,
    "attempt": int,
    "id": str,
}
"""The columns of a row and their types. Units are in the names: ``_us`` microseconds, ``_ms``
milliseconds, ``_s`` seconds since the campaign began, ``_mb`` MB of 2^20 bytes; ``drift`` and
``cpu_share`` are shares. ``type`` is a kernel's type; ``sigma_us`` is 1.4826 times the median
absolute deviation; ``madds`` are multiply-adds with those of squeeze-and-excitation, ``params``
stored numbers; shapes are NHWC, several of them separated by a comma. What is not known is None."""


def rows(table: Table) -> Iterator[dict[str, Any]]:
    """Yield every accepted measurement of a table as a row of `COLUMNS`, references last.

    Raises:
        TableError: a graph is damaged.
    """
    target = {name: getattr(table.target, name) for name in _TARGET}
    for measurement in (*table.measurements, *table.references):
        row = _row(measurement) | target
        yield {name: row[name] for name in COLUMNS}


def kernel_type(measurement: Measurement) -> str:
    """Return the type of a measured kernel, or an empty string for other units.

    Raises:
        TableError: its graph is damaged.
    """
    if measurement.unit != "kernel":
        return ""
    try:
        return Kernel.from_text(measurement.graph).type
    except GraphError as problem:
        raise TableError(f"measurement {measurement.id!r:.200}: {problem}") from problem


def _row(measurement: Measurement) -> dict[str, Any]:
    graph = measurement.to_graph()
    size = count(graph)
    summary = measurement.summary
    figures = {name: None if summary is None else getattr(summary, name) for name in _SUMMARY}
    mad_us = None if summary is None else summary.mad_us
    return {
        **{name: getattr(measurement, name) for name in COLUMNS if hasattr(measurement, name)},
        **figures,
        "sigma_us": None if mad_us is None else MAD_TO_SIGMA * mad_us,
        "type": kernel_type(measurement),
        "madds": size.madds + size.se_madds,
        "params": size.params,
        "inputs": ",".join(map(format_shape, graph.inputs)),
        "outputs": ",".join(_outputs(graph)),
    }


def _outputs(graph: Graph) -> Iterator[str]:
    for value in graph.outputs:
        yield format_shape(graph.shapes[value])


def to_csv(table: Table) -> str:
    """Return the rows as comma-separated values under a header; None is an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(table))
    return text.getvalue()


def write_parquet(table: Table, path: Path) -> None:
    """Write the rows as a Parquet file, by pyarrow; the target is in the schema's metadata too.

    Raises:
        UsageError: pyarrow is missing (the extra ``parquet``).
        TableError: the file cannot be written, or a graph is damaged.
    """
    arrow = optional("pyarrow", "parquet")
    parquet = optional("pyarrow.parquet", "parquet")
    types: dict[Callable[[str], Any], Any] = {
        str: arrow.string(),
        bool: arrow.bool_(),
        int: arrow.int64(),
        float: arrow.float64(),
    }
    columns = [(name, types[kind]) for name, kind in COLUMNS.items()]
    schema = arrow.schema(columns).with_metadata({"latlas.target": str(table.target)})
    content = arrow.Table.from_pylist(list(rows(table)), schema)
    with write_atomically(path, TableError) as file:
        parquet.write_table(content, file)


def to_frame(table: Table) -> pd.DataFrame:
    """Return the rows as a data frame of pandas.

    Raises:
        UsageError: pandas is missing (the extra ``pandas``).
        TableError: a graph is damaged.
    """
    return optional("pandas", "pandas").DataFrame(list(rows(table)), columns=list(COLUMNS))

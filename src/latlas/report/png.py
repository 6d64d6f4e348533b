"""Figures as PNG files, for papers and slides."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latlas.profiler.errors import UsageError
from latlas.profiler.files import write_atomically
from latlas.report.figure import (
    Bars,
    Chart,
    Drawing,
    Figure,
    Section,
    Series,
    drawable,
    is_drawable,
)
from latlas.report.markup import clean
from latlas.report.scale import ranges
from latlas.report.svg import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PALETTE = (
    *("#0b6fb8", "#d1560a", "#11875d", "#a5458f", "#3aa0d8", "#b98a00", "#7a5c3e", "#5b5fc7"),
)
"""The page's colours in light."""
GREY = "#a9aeb8"
WINDOWS = {1: "#dfe3ea", 3: "#bcd9f2", 5: "#bfe6cd", 7: "#f7cfae", 9: "#e7c5e2", 0: "#eceef1"}
_MARKERS = "os^"


def write_figures(folder: Path, sections: Sequence[Section]) -> list[Path]:
    """Write every figure of a report; files are numbered in the report's order.

    Raises:
        UsageError: a file cannot be written.
    """
    paths = []
    for number, figure in enumerate(_figures(sections), start=1):
        name = re.sub(r"[^a-z0-9]+", "-", figure.title.lower()).strip("-")[:40].strip("-")
        path = folder / f"{number:02d}-{name or 'figure'}.png"
        write_figure(path, figure)
        paths.append(path)
    return paths


def _figures(sections: Sequence[Section]) -> Iterator[Figure]:
    for section in sections:
        for block in section.blocks:
            if isinstance(block, Figure):
                yield block


def write_figure(path: Path, figure: Figure) -> None:
    """Write one figure.

    Raises:
        UsageError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Sheet

    sheet = Sheet(figsize=_size(figure), dpi=120, layout="constrained")
    FigureCanvasAgg(sheet)
    axes = sheet.add_subplot(1, 1, 1)
    match figure:
        case Chart():
            _chart(axes, drawable(figure))
        case Bars():
            _bars(axes, figure)
        case Drawing():
            _drawing(axes, figure)
    axes.set_title(_plain(figure.title), fontsize=10)
    with write_atomically(path, UsageError) as file:
        sheet.savefig(file, format="png")


def _plain(text: str) -> str:
    """Return a text in which nothing is a formula to matplotlib."""
    return clean(text[:120]).replace("$", r"\$")


def _size(figure: Figure) -> tuple[float, float]:
    match figure:
        case Bars():
            rows = min(len(figure.rows), figure.most)
            return 7.0, 1.2 + rows * (0.12 + 0.14 * len(figure.series))
        case Drawing():
            return 4.6, 0.7 + 0.26 * len(figure.layers)
        case _:
            return (11.0, 4.0) if figure.wide else (7.0, 5.2)


def _colour(colour: int | None) -> str:
    return GREY if colour is None else PALETTE[colour % COLOURS]


def _chart(axes: Axes, chart: Chart) -> None:
    (x_low, x_high), (y_low, y_high) = ranges(chart)
    axes.set_xlim(x_low, x_high)
    axes.set_ylim(y_low, y_high)
    if chart.x.log:
        axes.set_xscale("log")
    if chart.y.log:
        axes.set_yscale("log")
    axes.set_xlabel(_plain(chart.x.label))
    axes.set_ylabel(_plain(chart.y.label))
    axes.grid(color="#eceef1")
    axes.set_axisbelow(True)
    if chart.diagonal:
        line = [x_low, x_high]
        axes.fill_between(
            line, [0.9 * v for v in line], [1.1 * v for v in line], color=GREY, alpha=0.25, lw=0
        )
        axes.plot(line, line, color="#60646c", lw=0.8)
    for series in chart.series:
        _series(axes, series)
    if any(one.name for one in chart.series):
        axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))


def _series(axes: Axes, series: Series) -> None:
    colour = _colour(series.colour)
    label: Any = _plain(series.name) if series.name else None
    if series.low and series.high:
        axes.vlines(series.x, series.low, series.high, color=colour, lw=0.6, alpha=0.6)
    if series.mark == "line":
        axes.plot(series.x, series.y, color=colour, lw=1.2, label=label)
    elif series.mark == "column":
        axes.bar(series.x, series.y, color=colour, width=0.8, label=label)
    else:
        marker = _MARKERS[0 if series.colour is None else series.colour // COLOURS % 3]
        axes.scatter(series.x, series.y, s=14, c=colour, marker=marker, label=label, lw=0)


def _bars(axes: Axes, bars: Bars) -> None:
    rows = bars.rows[: bars.most]
    many = max(len(bars.series), 1)
    height = 0.8 / many
    for number, (name, lengths) in enumerate(bars.series):
        places = [row - 0.4 + (number + 0.5) * height for row in range(len(rows))]
        shown = [v if is_drawable(v) else 0.0 for v in lengths[: len(rows)]]
        label: Any = _plain(name) if name else None
        axes.barh(places, shown, height=0.9 * height, color=_colour(number), label=label)
    axes.set_yticks(range(len(rows)), [_plain(row[:40]) for row in rows], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel(_plain(bars.label))
    if any(name for name, _ in bars.series):
        axes.legend(fontsize=7)


def _drawing(axes: Axes, drawing: Drawing) -> None:
    widest = max([layer.expansion for layer in drawing.layers], default=1.0)
    for row, layer in enumerate(drawing.layers):
        width = max(0.45, min(math.sqrt(layer.expansion / max(widest, 1.0)), 1.0))
        colour = WINDOWS[min(layer.kernel | 1, 9)] if layer.kernel else WINDOWS[0]
        axes.barh(row, width, left=0.5 - width / 2, height=0.8, color=colour, edgecolor="#dfe1e5")
        stride = f" /{layer.stride}" if layer.stride > 1 else ""
        axes.text(0.5, row, _plain(layer.name) + stride, ha="center", va="center", fontsize=8)
        axes.text(1.03, row, _plain(layer.shape), ha="left", va="center", fontsize=7)
    axes.set_xlim(0, 1.3)
    axes.set_ylim(len(drawing.layers) - 0.4, -0.6)
    axes.axis("off")

"""What a report is made of, apart from how it is drawn: as a page
(`latlas.report.page`, `latlas.report.svg`) or as a PNG.

A report is a list of sections; a section holds paragraphs, facts, grids of text, and figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

MAX_POINTS = 3000
"""A chart with more points is thinned."""

MAX_ROWS = 60
"""A grid or a chart of bars with more rows is cut."""

MAX_VALUE = 1e30
"""Larger numbers are errors and are not drawn."""


def is_drawable(value: float) -> bool:
    """Tell whether a number can be drawn; a NaN cannot."""
    return abs(value) <= MAX_VALUE


Mark = Literal["dot", "line", "column"]


@dataclass(frozen=True)
class Axis:
    """An axis of a chart.

    Attributes:
        label: what it shows, with the unit.
        log: whether it is logarithmic; then it shows numbers above 0 only.
        zero: whether a linear axis begins at 0.
    """

    label: str
    log: bool = False
    zero: bool = False

    def shows(self, value: float) -> bool:
        """Tell whether a value can be drawn."""
        return is_drawable(value) and (value >= 1 / MAX_VALUE or not self.log)


@dataclass(frozen=True)
class Series:
    """Points of a chart that look alike.

    Attributes:
        name: for the legend; "" keeps it out.
        x, y: the points.
        texts: what is said of every point that is pointed at, or nothing.
        mark: ``dot``, ``line`` (points in order, joined) or ``column`` (from 0 up to y).
        colour: number of the colour; None is grey.
        low, high: ends of a vertical bar through every point, or nothing.
        keep: whether all its points are drawn, however many there are.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    texts: Sequence[str] = ()
    mark: Mark = "dot"
    colour: int | None = 0
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    keep: bool = False

    def chosen(self, positions: Sequence[int]) -> Series:
        """Return a series of some of the points."""

        def pick(values: Sequence[float]) -> tuple[float, ...]:
            return tuple([values[i] for i in positions]) if values else ()

        texts = tuple([self.texts[i] for i in positions]) if self.texts else ()
        return replace(
            self,
            x=pick(self.x),
            y=pick(self.y),
            texts=texts,
            low=pick(self.low),
            high=pick(self.high),
        )


@dataclass(frozen=True)
class Chart:
    """Points, lines or columns over two axes.

    Attributes:
        title: what it shows.
        x, y: the axes.
        series: what is drawn, the first at the bottom.
        note: what is to be known when looking at it.
        diagonal: a line y = x with a band of ±10% around it; both axes show the same range.
        wide: whether it takes the width of the page.
    """

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    note: str = ""
    diagonal: bool = False
    wide: bool = False


@dataclass(frozen=True)
class Bars:
    """Horizontal bars from 0, one row for each label, in each row one bar for each series.

    Attributes:
        title: what it shows.
        label: what the lengths are, with the unit.
        rows: labels.
        series: name and lengths, one for each row; NaN where there is none.
        texts: what stands at the end of the bars, by series and row; the number where left out.
        note: what is to be known when looking at it.
        most: rows that are drawn at most; the note tells how many are left out.
    """

    title: str
    label: str
    rows: Sequence[str]
    series: Sequence[tuple[str, Sequence[float]]]
    texts: Sequence[Sequence[str]] = ()
    note: str = ""
    most: int = MAX_ROWS


@dataclass(frozen=True)
class Layer:
    """A layer of a drawn architecture.

    Attributes:
        name: what it is, e.g. ``MB6 5x5 SE``.
        shape: of its output, e.g. ``28x28x40``.
        kernel: size of its window, which decides the colour.
        expansion: channels inside over channels read, which decides the width; 1 for a plain one.
        stride: above 1 it is marked.
    """

    name: str
    shape: str
    kernel: int
    expansion: float
    stride: int = 1


@dataclass(frozen=True)
class Drawing:
    """An architecture, layer by layer.

    Attributes:
        title: its name and figures.
        layers: from the input on.
        note: what is to be known when looking at it.
    """

    title: str
    layers: Sequence[Layer]
    note: str = ""


Figure = Chart | Bars | Drawing


@dataclass(frozen=True)
class Text:
    """A paragraph; a warning stands out."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class Facts:
    """Names and values; no value, no line."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Grid:
    """Rows of text under a header; the first column to the left, the others to the right.

    Attributes:
        header: of every column.
        rows: cells.
        caption: what it shows.
        more: rows that are left out.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    more: int = 0


Block = Text | Facts | Grid | Figure


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it.

    Attributes:
        title: the heading.
        blocks: in order; neighbouring figures stand side by side where there is room.
        level: 1 for the subject of a report, 2 for a part of it.
    """

    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)
    level: Literal[1, 2] = 2


def grid(
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    caption: str = "",
    most: int = MAX_ROWS,
) -> Grid:
    """Return a grid of the first rows.

    >>> grid(["a"], [[1], [2], [3]], most=2)
    Grid(header=('a',), rows=(('1',), ('2',)), caption='', more=1)
    """
    kept = tuple([tuple([str(cell) for cell in row]) for row in rows[:most]])
    return Grid(tuple(header), kept, caption, max(len(rows) - most, 0))


def drawable(chart: Chart) -> Chart:
    """Return a chart of what can be drawn, at most `MAX_POINTS` points; its note tells the rest.

    Points at the ends of an axis stay; the others are taken at even distances.

    >>> chart = Chart("t", Axis("x"), Axis("y"), [Series("a", [1, 2], [1.0, float("nan")])])
    >>> drawable(chart).note
    '1 point without a figure on these axes is not drawn.'
    """
    series, notes, missing = [], [chart.note] if chart.note else [], 0
    for one in chart.series:
        seen = [
            i
            for i, (x, y) in enumerate(zip(one.x, one.y, strict=True))
            if chart.x.shows(x) and chart.y.shows(y)
        ]
        missing += len(one.x) - len(seen)
        series.append(one.chosen(seen))
    if missing:
        words = (
            "point without a figure on these axes is"
            if missing == 1
            else ("points without a figure on these axes are")
        )
        notes.append(f"{missing} {words} not drawn.")
    total = sum(len(one.x) for one in series)
    free = sum(len(one.x) for one in series if not one.keep)
    room = max(MAX_POINTS - (total - free), 100)
    if free > room:
        series = [one if one.keep else _thinned(one, room / free) for one in series]
        left = sum(len(one.x) for one in series)
        notes.append(f"{left} of {total} points are drawn.")
    return replace(chart, series=tuple(series), note=" ".join(notes))


def _thinned(series: Series, share: float) -> Series:
    count = len(series.x)
    if not count:
        return series
    wanted = max(int(count * share), 2)
    even = {round(i * (count - 1) / (wanted - 1)) for i in range(wanted)}
    for values in (series.x, series.y):
        even |= {
            min(range(count), key=values.__getitem__),
            max(range(count), key=values.__getitem__),
        }
    return series.chosen(sorted(even))

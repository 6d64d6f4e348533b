"""Figures as inline SVG: readable without scripts, coloured by the page's style sheet.

Every mark that can be pointed at has the class ``m`` and a title, which ``hover.js`` shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from latlas.report.figure import (
    Axis,
    Bars,
    Chart,
    Drawing,
    Layer,
    Mark,
    Series,
    drawable,
    is_drawable,
)
from latlas.report.markup import append, element
from latlas.report.scale import Scale, ranges
from latlas.report.ticks import padded, short

COLOURS = 8
"""Colours of the style sheet; further series have the same colours and other shapes."""

WIDTH, HEIGHT = 440.0, 330.0
WIDE, WIDE_HEIGHT = 960.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 10.0, 8.0, 42.0
_CHARACTER = 6.3
"""Width of a character of a chart's text."""


def draw(figure: Chart | Bars | Drawing) -> Element:
    """Return a figure as an ``svg`` element; a chart must come from `drawable`."""
    match figure:
        case Chart():
            return draw_chart(figure)
        case Bars():
            return draw_bars(figure)
        case Drawing():
            return draw_architecture(figure)


def colour_class(colour: int | None) -> str:
    """Return the style sheet's class of a series.

    >>> colour_class(9), colour_class(None)
    ('c1', 'grey')
    """
    return "grey" if colour is None else f"c{colour % COLOURS}"


def _svg(width: float, height: float, label: str, class_: str = "chart") -> Element:
    return element(
        "svg",
        class_=class_,
        viewBox=f"0 0 {_n(width)} {_n(height)}",
        role="img",
        aria_label=label,
    )


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Element:
    return element("line", x1=_n(x1), y1=_n(y1), x2=_n(x2), y2=_n(y2), class_=class_)


def _text(x: float, y: float, text: str, anchor: str = "start", **other: object) -> Element:
    return element("text", text, x=_n(x), y=_n(y), text_anchor=anchor, **other)


def draw_chart(chart: Chart) -> Element:
    """Return a chart of points, lines or columns."""
    chart = drawable(chart)
    width, height = (WIDE, WIDE_HEIGHT) if chart.wide else (WIDTH, HEIGHT)
    (x_low, x_high), (y_low, y_high) = ranges(chart)
    x = Scale(x_low, x_high, _LEFT, width - _RIGHT, chart.x.log)
    y = Scale(y_low, y_high, height - _BOTTOM, _TOP, chart.y.log)
    svg = _svg(width, height, chart.title)
    append(svg, *_axes(x, y, chart.x, chart.y))
    if chart.diagonal:
        append(svg, *_diagonal(x, y))
    for series in chart.series:
        append(svg, _series(series, x, y))
    return svg


def _axes(x: Scale, y: Scale, x_axis: Axis, y_axis: Axis) -> Iterator[Element]:
    left, right, bottom, top = x.start, x.end, y.start, y.end
    end = -math.inf
    for tick in x.ticks:
        place, text = x(tick), short(tick)
        yield _line(place, bottom, place, top, "tick")
        half = _CHARACTER * len(text) / 2
        if place - half > end + 4 and place + half < right + 12:
            yield _text(place, bottom + 15, text, "middle")
            end = place + half
    for tick in y.ticks:
        yield _line(left, y(tick), right, y(tick), "tick")
        yield _text(left - 5, y(tick) + 4, short(tick), "end")
    yield _line(left, bottom, right, bottom, "axis")
    yield _line(left, bottom, left, top, "axis")
    yield _text((left + right) / 2, bottom + 34, x_axis.label, "middle", class_="label")
    middle = (top + bottom) / 2
    yield _text(
        *(11, middle, y_axis.label, "middle"),
        class_="label",
        transform=f"rotate(-90 11 {_n(middle)})",
    )


def _diagonal(x: Scale, y: Scale) -> Iterator[Element]:
    low, high = x.low, x.high
    steps = [low + (high - low) * i / 40 for i in range(41)]
    if x.log:
        steps = [low * (high / low) ** (i / 40) for i in range(41)]
    above = [(x(v), y(1.1 * v)) for v in steps]
    below = [(x(v), y(0.9 * v)) for v in reversed(steps)]
    band = element("polygon", class_="band")
    band.set("points", _points([*above, *below]))
    yield band
    yield _line(x(low), y(low), x(high), y(high), "diagonal")


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_n(a)},{_n(b)}" for a, b in places)


def _series(series: Series, x: Scale, y: Scale) -> Element:
    group = element("g", class_=f"series {colour_class(series.colour)}", data_series=series.name)
    places = [(x(a), y(b)) for a, b in zip(series.x, series.y, strict=True)]
    if series.mark == "line" and len(places) > 1:
        line = element("polyline", class_="line")
        line.set("points", _points(places))
        append(group, line)
    base = y(0.0 if not y.log else y.low)
    step = (x.end - x.start) / max(x.high - x.low, 1e-9)
    for index, (a, b) in enumerate(places):
        if series.low and series.high:
            append(group, _line(a, y(series.low[index]), a, y(series.high[index]), "bar"))
        text = series.texts[index] if series.texts else ""
        append(group, _mark(series.mark, a, b, base, min(0.8 * step, 30.0), series.colour, text))
    return group


def _mark(
    mark: Mark, x: float, y: float, base: float, width: float, colour: int | None, text: str
) -> Element | None:
    title = [element("title", text)] if text else []
    if mark == "line":
        return element("circle", *title, class_="m join", cx=_n(x), cy=_n(y), r=2) if text else None
    class_ = "m" if text else None
    if mark == "column":
        top, height = min(y, base), max(abs(base - y), 0.5)
        return element(
            "rect",
            *title,
            class_=class_,
            x=_n(x - max(width, 1.0) / 2),
            y=_n(top),
            width=_n(max(width, 1.0)),
            height=_n(height),
        )
    shape = 0 if colour is None else colour // COLOURS % 3
    if shape == 0:
        return element("circle", *title, class_=class_, cx=_n(x), cy=_n(y), r=3)
    if shape == 1:
        return element(
            "rect", *title, class_=class_, x=_n(x - 2.8), y=_n(y - 2.8), width=5.6, height=5.6
        )
    path = f"M{_n(x)} {_n(y - 4)}l4 7h-8z"
    return element("path", *title, class_=class_, d=path)


def draw_bars(bars: Bars) -> Element:
    """Return horizontal bars."""
    rows = bars.rows[: bars.most]
    layout = _Rows(rows, len(bars.series))
    values = [v for _, lengths in bars.series for v in lengths[: len(rows)] if is_drawable(v)]
    _, high = padded([0.0, *values], log=False, zero=True)
    ends = [text for column in bars.texts for text in column[: len(rows)]]
    room = 18 + _CHARACTER * max([len(text) for text in ends], default=6)
    left, bottom = layout.left, layout.bottom
    x = Scale(0.0, high, left, max(WIDTH - room, left + 60), log=False)
    svg = _svg(WIDTH, bottom + 36, bars.title)
    for tick in x.ticks:
        append(svg, _line(x(tick), 2, x(tick), bottom, "tick"))
        append(svg, _text(x(tick), bottom + 14, short(tick), "middle"))
    for number, (name, lengths) in enumerate(bars.series):
        texts = bars.texts[number] if bars.texts else [short(length) for length in lengths]
        append(svg, _bar_series(layout, x, number, name, lengths, texts))
    for row, label in enumerate(rows):
        shown = label if len(label) <= 26 else label[:25] + "…"
        middle = layout.top(row) + layout.many * layout.thick / 2 + 3
        append(svg, _text(left - 5, middle, shown, "end"))
    append(svg, _line(left, 2, left, bottom, "axis"))
    middle = (left + x.end) / 2
    return append(svg, _text(middle, bottom + 30, bars.label, "middle", class_="label"))


@dataclass(frozen=True)
class _Rows:
    """Where the bars of rows lie, `many` in each."""

    labels: Sequence[str]
    many: int

    @property
    def thick(self) -> float:
        return 13.0 if self.many == 1 else 12.0

    @property
    def left(self) -> float:
        """Where bars begin."""
        longest = max([min(len(label), 26) for label in self.labels], default=0)
        return min(_CHARACTER * longest + 10, 175.0)

    @property
    def bottom(self) -> float:
        return 6 + (self.many * self.thick + 8) * len(self.labels)

    def top(self, row: int, number: int = 0) -> float:
        return 6 + row * (self.many * self.thick + 8) + number * self.thick


def _bar_series(
    layout: _Rows,
    x: Scale,
    number: int,
    name: str,
    lengths: Sequence[float],
    texts: Sequence[str],
) -> Element:
    group = element("g", class_=f"series {colour_class(number)}", data_series=name)
    for row, label in enumerate(layout.labels):
        if is_drawable(lengths[row]):
            end, top = x(lengths[row]), layout.top(row, number)
            bar = element(
                "rect",
                element("title", "\n".join(filter(None, (label, name, texts[row])))),
                class_="m",
                x=_n(layout.left),
                y=_n(top),
                width=_n(max(end - layout.left, 0.5)),
                height=_n(layout.thick - 1.5),
            )
            append(group, bar, _text(end + 4, top + layout.thick - 3, texts[row], class_="value"))
    return group


_ROW = 22.0
_DRAWN = 340.0
"""Width of a drawing."""


def draw_architecture(drawing: Drawing) -> Element:
    """Return an architecture: a box for each layer, from the top down.

    A box is the wider the more the layer expands its channels; its colour is the size of its
    window. What is read at half the size has a notch.
    """
    svg = _svg(_DRAWN, _ROW * len(drawing.layers) + 6, drawing.title, "chart drawing")
    widest = max([layer.expansion for layer in drawing.layers], default=1.0)
    for row, layer in enumerate(drawing.layers):
        append(svg, *_layer(layer, 3 + row * _ROW, widest))
    return svg


def _layer(layer: Layer, top: float, widest: float) -> Iterator[Element]:
    centre, room = 130.0, 256.0
    share = math.sqrt(min(layer.expansion / max(widest, 1.0), 1.0))
    width = room * max(0.45, min(share, 1.0))
    title = f"{layer.name}\noutput {layer.shape}" + (
        f"\nstride {layer.stride}" if layer.stride > 1 else ""
    )
    yield element(
        "rect",
        element("title", title),
        class_=f"m box {kernel_class(layer.kernel)}",
        x=_n(centre - width / 2),
        y=_n(top),
        width=_n(width),
        height=_n(_ROW - 4),
        rx=3,
    )
    mark = f"{layer.name} /{layer.stride}" if layer.stride > 1 else layer.name
    yield _text(centre, top + 13, mark, "middle", class_="in-box")
    yield _text(_DRAWN - 2, top + 13, layer.shape, "end", class_="value")


def kernel_class(kernel: int) -> str:
    """Return the style sheet's class of a window.

    >>> kernel_class(5), kernel_class(11)
    ('k5', 'k9')
    """
    return f"k{min(kernel | 1, 9)}" if kernel > 0 else "k0"

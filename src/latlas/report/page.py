"""A report as one HTML page: no other file, no network, readable without its script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from xml.etree.ElementTree import Element

import latlas
from latlas.profiler.errors import UsageError
from latlas.profiler.files import write_atomically
from latlas.report.figure import (
    Bars,
    Block,
    Chart,
    Drawing,
    Facts,
    Figure,
    Grid,
    Section,
    Text,
    drawable,
)
from latlas.report.markup import append, clean, element, serialise
from latlas.report.svg import COLOURS, colour_class, draw, kernel_class

_SHAPES = ("dot", "square", "triangle")


def page(title: str, sections: Sequence[Section]) -> str:
    """Return a page.

    Its policy lets no script run but its own, and nothing be loaded from anywhere.

    >>> text = page("<b>", [Section("s", [Text("a < b")])])
    >>> "<title>&lt;b&gt;</title>" in text, "<p>a &lt; b</p>" in text, "<b>" in text
    (True, True, False)
    """
    style, script = (
        files("latlas.report").joinpath(name).read_text("utf-8")
        for name in ("page.css", "hover.js")
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        _verbatim("style", style),
    )
    subjects = [(f"s{i}", one.title) for i, one in enumerate(sections) if one.level == 1]
    links = [element("a", name, href=f"#{anchor}") for anchor, name in subjects]
    header = element("header", element("h1", title))
    if len(links) > 1:
        append(header, element("nav", *links))
    main = element("main", header)
    for index, section in enumerate(sections):
        found = _section(section, f"s{index}")
        if section.title == title:  # the page's heading is its own
            next(found)
        append(main, *found)
    append(main, element("footer", f"Made by latlas {latlas.__version__}."))
    body = element("body", main, _verbatim("script", script))
    html = element("html", head, body, lang="en")
    return "<!doctype html>\n" + serialise(html) + "\n"


def write_page(path: Path, title: str, sections: Sequence[Section]) -> None:
    """Write a page; its folder is created.

    Raises:
        UsageError: it cannot be written there; what was there is untouched.
    """
    with write_atomically(path, UsageError) as file:
        file.write(page(title, sections).encode())


def _verbatim(tag: str, text: str) -> Element:
    """Return a style or script of ours, which is not escaped."""
    found = element(tag)
    found.text = text
    return found


def _section(section: Section, anchor: str) -> Iterator[Element]:
    yield element(f"h{section.level + 1}", section.title, id=anchor)
    for figures, group in groupby(section.blocks, lambda one: isinstance(one, Figure)):
        if figures:
            drawn = list(group)
            small = " small" if all(isinstance(one, Drawing) for one in drawn) else ""
            yield element(
                "div",
                *[_figure(one) for one in drawn if isinstance(one, Figure)],
                class_=f"figures{small}",
            )
        else:
            yield from map(_block, group)


def _block(block: Block) -> Element:
    match block:
        case Text():
            return element("p", block.text, class_="warning" if block.warning else None)
        case Facts():
            items = [(name, value) for name, value in block.items if value]
            pairs = [(element("dt", name), element("dd", value)) for name, value in items]
            return element("dl", *[one for pair in pairs for one in pair])
        case Grid():
            return _grid(block)
        case _:
            return _figure(block)


def _grid(grid: Grid) -> Element:
    rows = [element("tr", *[element("td", cell) for cell in row]) for row in grid.rows]
    table = element(
        "table",
        element("caption", grid.caption) if grid.caption else None,
        element("thead", element("tr", *[element("th", name) for name in grid.header])),
        element("tbody", *rows),
    )
    more = element("p", f"… and {grid.more} more", class_="more") if grid.more else None
    return element("div", table, more, class_="scroll")


def _figure(figure: Figure) -> Element:
    figure = drawable(figure) if isinstance(figure, Chart) else figure
    svg = draw(figure)
    note = figure.note
    if isinstance(figure, Bars) and len(figure.rows) > figure.most:
        note = f"{note} {len(figure.rows) - figure.most} more are not drawn.".strip()
    wide = isinstance(figure, Chart) and figure.wide
    return element(
        "figure",
        element("figcaption", figure.title, element("small", note) if note else None),
        element("div", svg, class_="plot"),
        _legend(figure),
        class_="wide" if wide else None,
    )


def _legend(figure: Figure) -> Element | None:
    entries: list[tuple[str, int | None]] = []
    match figure:
        case Chart():
            entries = [(one.name, one.colour) for one in figure.series if one.name]
        case Bars():
            entries = [(name, i) for i, (name, _) in enumerate(figure.series) if name]
        case Drawing():
            kernels = sorted({layer.kernel for layer in figure.layers if layer.kernel > 1})
            items = [
                element("li", element("i", class_=f"square {kernel_class(k)}"), f"{k}×{k}")
                for k in kernels
            ]
            return element("ul", *items, class_="legend") if items else None
    if not entries:
        return None
    return element(
        "ul",
        *[
            element(
                "li",
                element("i", class_=f"{_shape(colour)} {colour_class(colour)}"),
                clean(name),
                data_series=name,
            )
            for name, colour in entries
        ],
        class_="legend",
    )


def _shape(colour: int | None) -> str:
    return _SHAPES[0 if colour is None else colour // COLOURS % len(_SHAPES)]

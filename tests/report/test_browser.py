"""The page in a real browser: nothing is complained about, and it does what it promises."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Page, browser, chromium
from components import require

from latlas.report.page import page
from latlas.report.report import open_sources, report


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    require("Chromium", bool(chromium()), "apt-get install chromium")
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def path(
    tmp_path_factory: pytest.TempPathFactory,
    table_folder: Path,
    other_folder: Path,
    predictor_path: Path,
    study_folder: Path,
    model_path: Path,
) -> Path:
    paths = [table_folder, other_folder, predictor_path, study_folder]
    file = tmp_path_factory.mktemp("page") / "report.html"
    sources = open_sources(paths, evaluated=[table_folder], models=[model_path])
    file.write_text(page(*report(sources)))
    return file


def test_it_loads_in_silence_and_asks_for_nothing(tab: Page, path: Path) -> None:
    tab.problems.clear()
    tab.requests.clear()
    tab.open(path)
    assert tab.evaluate("document.querySelectorAll('svg.chart').length") > 20
    assert tab.evaluate("document.querySelectorAll('script').length") == 1
    assert tab.evaluate("document.querySelectorAll('img').length") == 0
    assert tab.problems == []
    assert tab.requests == [path.resolve().as_uri()]


MARK = """
(() => {
  const figures = [...document.querySelectorAll('figure')];
  const figure = figures.find((one) => one.querySelector('figcaption').textContent.startsWith(%r));
  const svg = figure.querySelector('svg');
  svg.scrollIntoView({block: 'center'});
  const box = svg.querySelectorAll('.m')[%d].getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
})()
"""


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize(
    ("figure", "mark", "said"),
    [
        ("Accuracy against latency", -1, "MB"),
        ("Networks", 0, "bounds "),
        ("Errors over latency", 0, "measured "),
        ("Temperature", 3, "°C"),
        ("Time per operator type", 0, "%"),
        ("The reference kernel", 3, "reference "),
        ("Rank ", 2, "output "),
    ],
)
def test_what_is_pointed_at_is_told(
    tab: Page, path: Path, figure: str, mark: int, said: str, width: int
) -> None:
    tab.open(path, width=width)
    script = MARK % (figure, max(mark, 0))
    if mark < 0:  # the last, which lies on top
        script = script.replace("querySelectorAll('.m')[0]", "querySelector('g.c0 .m:last-child')")
    tab.evaluate(script)  # scrolls, which hides what is told, in one of the next frames
    frames = "requestAnimationFrame(() => requestAnimationFrame(done))"
    tab.evaluate(f"new Promise((done) => {frames})")
    x, y = tab.evaluate(script)
    assert tab.evaluate("document.getElementById('tip').hidden")
    tab.point(x, y)
    assert said in tab.evaluate("document.getElementById('tip').textContent")
    assert not tab.evaluate("document.getElementById('tip').hidden")
    assert tab.evaluate("document.querySelectorAll('.m.on').length") == 1
    inside = tab.evaluate(
        "(() => { const b = document.getElementById('tip').getBoundingClientRect();"
        "return b.left >= 0 && b.right <= innerWidth && b.top >= 0; })()"
    )
    assert inside
    tab.point(2, 2)
    assert tab.evaluate("document.getElementById('tip').hidden")


def test_a_legend_shows_its_series(tab: Page, path: Path) -> None:
    tab.open(path)
    item = "document.querySelector('.legend li[data-series]')"
    tab.evaluate(f"{item}.scrollIntoView({{block: 'center'}})")
    x, y = tab.evaluate(
        f"(() => {{ const b = {item}.getBoundingClientRect();"
        "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    tab.point(x, y)
    figure = f"{item}.closest('figure')"
    assert tab.evaluate(f"{figure}.classList.contains('faded')")
    assert tab.evaluate(f"{figure}.querySelectorAll('.series.lit').length") == 1
    tab.point(2, 2)
    assert not tab.evaluate(f"{figure}.classList.contains('faded')")


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_is_wider_than_the_window(tab: Page, path: Path, width: int) -> None:
    tab.open(path, width=width)
    assert tab.evaluate("innerWidth") == width
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    # Text in charts stays readable: no smaller than 6 CSS pixels.
    smallest = tab.evaluate(
        "Math.min(...[...document.querySelectorAll('svg.chart text')]"
        ".map((one) => one.getBoundingClientRect()).map((b) => Math.max(b.width, b.height)))"
    )
    assert smallest >= 6
    scale = tab.evaluate(
        "Math.min(...[...document.querySelectorAll('svg.chart')]"
        ".map((one) => one.getBoundingClientRect().width / one.viewBox.baseVal.width))"
    )
    assert scale * 11 >= 7


def luminance(colour: str) -> float:
    """Return the relative luminance of ``rgb(r, g, b)`` (WCAG 2.2)."""
    shares = [int(number) / 255 for number in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours (WCAG 2.2)."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("width", [390, 1280])
def test_light_and_dark(tab: Page, path: Path, width: int) -> None:
    found = []
    for dark in (False, True):
        tab.open(path, width=width, dark=dark)
        colours = tab.evaluate(
            "(() => { const of = (q, k) => getComputedStyle(document.querySelector(q))[k];"
            "return [of('body', 'backgroundColor'), of('body', 'color'), of('svg text', 'fill'),"
            "of('.series.c0 .m', 'fill')]; })()"
        )
        found.append((colours, tab.screenshot()))
        background, text, words, _ = colours
        assert contrast(background, text) >= 7
        assert contrast(background, words) >= 4.5
    (light, light_shot), (dark_colours, dark_shot) = found
    assert all(a != b for a, b in zip(light, dark_colours, strict=True))
    assert light_shot != dark_shot


def test_it_reads_without_its_script(tab: Page, path: Path) -> None:
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.open(path)
        root = tab.call("DOM.getDocument")["root"]["nodeId"]
        found = tab.call("DOM.querySelectorAll", nodeId=root, selector="svg.chart .m > title")
        assert len(found["nodeIds"]) > 100
    finally:
        tab.call("Emulation.setScriptExecutionDisabled", value=False)

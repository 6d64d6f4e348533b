import math
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latlas.report.figure import MAX_POINTS, Axis, Bars, Chart, Drawing, Layer, Series, drawable
from latlas.report.markup import serialise
from latlas.report.svg import draw
from latlas.report.ticks import linear_ticks, log_ticks, padded

numbers = st.floats(allow_nan=True, allow_infinity=True, width=64)


def numbers_of(svg: ET.Element) -> list[float]:
    """Return every coordinate of a drawing."""
    names = ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height", "r")
    return [float(e.attrib[n]) for e in svg.iter() for n in names if n in e.attrib]


@given(
    st.lists(st.tuples(numbers, numbers), max_size=12),
    st.booleans(),
    st.sampled_from(["dot", "line", "column"]),
    st.booleans(),
)
def test_any_points_are_drawn_inside_the_picture(
    points: list[tuple[float, float]], log: bool, mark: str, diagonal: bool
) -> None:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    series = Series("s", xs, ys, ["text"] * len(points), mark, low=ys, high=ys)  # type: ignore[arg-type]
    chart = Chart("t", Axis("x", log=log), Axis("y", log=log), [series], diagonal=diagonal)
    svg = ET.fromstring(serialise(draw(chart)))
    found = numbers_of(svg)
    assert all(math.isfinite(value) for value in found)
    assert all(-50 <= value <= 1100 for value in found)


@given(st.lists(numbers, max_size=8), st.integers(1, 3))
def test_any_bars_are_drawn_inside_the_picture(lengths: list[float], many: int) -> None:
    rows = [f"row {i}" for i in range(len(lengths))]
    bars = Bars("t", "ms", rows, [(f"s{i}", [abs(v) for v in lengths]) for i in range(many)])
    svg = ET.fromstring(serialise(draw(bars)))
    assert all(math.isfinite(value) and value >= 0 for value in numbers_of(svg))


def test_no_layers_and_a_layer_are_drawn() -> None:
    ET.fromstring(serialise(draw(Drawing("t", ()))))
    svg = ET.fromstring(serialise(draw(Drawing("t", (Layer("MB6 5×5", "7×7×8", 5, 6.0, 2),)))))
    assert [e.text for e in svg.iter("text")] == ["MB6 5×5 /2", "7×7×8"]
    assert "k5" in next(svg.iter("rect")).attrib["class"]


def test_many_points_are_thinned_and_told() -> None:
    count = 10 * MAX_POINTS
    ys = [float(i % 977) for i in range(count)]
    ys[12_345] = 5000.0
    tried = Series("tried", [float(i) for i in range(count)], ys)
    front = Series("front", [1.0] * 50, [2.0] * 50, keep=True)
    chart = drawable(Chart("t", Axis("x"), Axis("y"), [tried, front]))
    drawn = sum(len(one.x) for one in chart.series)
    assert drawn <= MAX_POINTS + 10
    assert len(chart.series[1].x) == 50
    assert max(chart.series[0].y) == 5000.0
    assert (chart.series[0].x[0], chart.series[0].x[-1]) == (0.0, count - 1.0)
    assert chart.note == f"{drawn} of {count + 50} points are drawn."


def test_what_a_logarithm_cannot_show_is_told() -> None:
    series = Series("s", [0.0, 1.0, -1.0], [1.0, 1.0, 1.0], ["a", "b", "c"])
    chart = drawable(Chart("t", Axis("x", log=True), Axis("y"), [series], note="n."))
    assert chart.series[0].texts == ("b",)
    assert chart.note == "n. 2 points without a figure on these axes are not drawn."


@given(st.floats(-1e12, 1e12), st.floats(1e-9, 1e12))
def test_linear_ticks_lie_inside(low: float, width: float) -> None:
    ticks = linear_ticks(low, low + width)
    assert len(ticks) <= 52
    slack = 1e-6 * max(abs(low), width)
    assert all(low - slack <= tick <= low + width + slack for tick in ticks)


@given(st.floats(1e-200, 1e200), st.floats(1.0, 1e90))
def test_log_ticks_lie_inside(low: float, factor: float) -> None:
    ticks = log_ticks(low, low * factor)
    assert len(ticks) <= 20
    assert all(low * 0.999 <= tick <= low * factor * 1.001 for tick in ticks)


@pytest.mark.parametrize("values", [[], [0.0], [5.0], [-1.0, 1.0], [3.0, 3.0]])
def test_a_range_is_never_empty(values: list[float]) -> None:
    low, high = padded(values, log=False, zero=False)
    assert low < high
    assert all(low <= value <= high for value in values)

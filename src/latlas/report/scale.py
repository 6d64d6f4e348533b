"""From values to places in a drawing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from latlas.report.figure import Axis, Chart
from latlas.report.ticks import linear_ticks, log_ticks, padded


@dataclass(frozen=True)
class Scale:
    """A range of values on a stretch of a drawing.

    Attributes:
        low, high: the range.
        start, end: where these lie.
        log: whether it is logarithmic.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool

    def __call__(self, value: float) -> float:
        """Return where a value lies; values beyond the range lie at its end.

        >>> Scale(1, 100, 0, 10, log=True)(10)
        5.0
        """
        value = min(max(value, self.low), self.high)
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Round values of the range."""
        find = log_ticks if self.log else linear_ticks
        return find(self.low, self.high)


def ranges(chart: Chart) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return what the axes of a chart show, low and high of x and of y."""
    xs = [x for one in chart.series for x in one.x]
    ys = [y for one in chart.series for y in (*one.y, *_ends(one.low, chart.y))]
    ys += [y for one in chart.series for y in _ends(one.high, chart.y)]
    columns = any(one.mark == "column" for one in chart.series)
    if chart.diagonal:
        xs = ys = [x for one in chart.series for x in (*one.x, *one.y)]
    return (
        padded(xs, chart.x.log, chart.x.zero),
        padded(ys, chart.y.log, chart.y.zero or columns),
    )


def _ends(values: object, axis: Axis) -> list[float]:
    assert isinstance(values, tuple | list)
    return [value for value in values if axis.shows(value)]

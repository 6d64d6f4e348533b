"""Round numbers for axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

_SUFFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k"))


def short(value: float) -> str:
    """Return a number for an axis.

    >>> [short(v) for v in (0, 0.25, 1500, 20000, 3e6, 1e-5)]
    ['0', '0.25', '1500', '20k', '3M', '1e-05']
    """
    for size, suffix in _SUFFIXES:
        if abs(value) >= size:
            return f"{value / (1e3 if suffix == 'k' else size):.4g}{suffix}"
    return f"{value:.4g}"


def linear_ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Return about `count` multiples of 1, 2 or 5 times a power of ten from `low` to `high`.

    >>> linear_ticks(0, 10)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    rough = (high - low) / max(count - 1, 1)
    if not (math.isfinite(rough) and rough > 0):
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda s: abs(math.log(s / rough)))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, min(last, first + 50) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten from `low` to `high`, with 2 and 5 times them where these are few.

    >>> log_ticks(1, 30)
    [1.0, 2.0, 5.0, 10.0, 20.0]
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps: Sequence[int] = (1, 2, 5) if len(decades) <= 4 else (1,)
    ticks = [float(f"{m}e{e}") for e in decades for m in steps]
    found = [t for t in ticks if low * (1 - 1e-9) <= t <= high * (1 + 1e-9)]
    return found[:: max(1, math.ceil(len(found) / 8))] if len(steps) == 1 else found


def padded(values: Sequence[float], log: bool, zero: bool) -> tuple[float, float]:
    """Return the range of an axis that shows some values, with a little room around them.

    >>> padded([], log=False, zero=False)
    (0.0, 1.0)
    >>> padded([5.0], log=False, zero=True)
    (0.0, 5.25)
    """
    if not values:
        return (0.1, 10.0) if log else (0.0, 1.0)
    low, high = min(values), max(values)
    if log:
        room = max((high / low) ** 0.04, 1.08)
        return max(low / room, 1e-300), min(high * room, 1e300)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return (low if zero and low == 0 else low - room), high + room

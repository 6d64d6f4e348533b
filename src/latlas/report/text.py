"""Figures as text."""

from __future__ import annotations

import math


def latency(value_ms: float) -> str:
    """Return a latency, given in milliseconds, with the unit that suits it.

    >>> latency(12.3456), latency(0.0123456), latency(2345.6), latency(float("nan"))
    ('12.3 ms', '12.3 µs', '2346 ms', '–')
    """
    if not math.isfinite(value_ms):
        return "–"
    if 0 < abs(value_ms) < 0.9995:
        return f"{1e3 * value_ms:.3g} µs"
    return f"{value_ms:.3g} ms" if abs(value_ms) < 999.5 else f"{value_ms:.0f} ms"


def percent(value: float) -> str:
    """Return a fraction in percent.

    >>> percent(0.1234), percent(float("nan"))
    ('12.3%', '–')
    """
    return f"{value:.1%}" if math.isfinite(value) else "–"


def duration(seconds: float, least: float = 0.0) -> str:
    """Return a time in words; nothing for what is not above the least.

    >>> duration(7), duration(200), duration(9000), duration(0)
    ('7 s', '3.3 min', '2.5 h', '')
    """
    if seconds <= least:
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

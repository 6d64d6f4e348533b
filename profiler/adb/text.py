"""What a phone says about itself is somebody else's text: bounded, printable, or nothing."""

from __future__ import annotations

import re

MAX_CHARACTERS = 120


def clean(text: str | None) -> str | None:
    """Return text that is safe to print and to store, or None if nothing is left of it.

    >>> clean("  Pixel 6\\x1b[2J ")
    'Pixel 6?[2J'
    >>> clean(" ")
    """
    if text is None:
        return None
    kept = text.strip()[:MAX_CHARACTERS]
    return "".join(c if c.isprintable() else "?" for c in kept) or None


def whole_number(text: str | None) -> int | None:
    """Return a number of at most nine digits, or None.

    >>> whole_number("-42"), whole_number("4 2"), whole_number("9" * 5000)
    (-42, None, None)
    """
    if text is None or not re.fullmatch(r"-?[0-9]{1,9}", text.strip()):
        return None
    return int(text)


def decimal_number(text: str | None) -> float | None:
    """Return a number of at most six digits before the point, or None.

    >>> decimal_number("31.5"), decimal_number("NaN"), decimal_number("1e999")
    (31.5, None, None)
    """
    if text is None or not re.fullmatch(r"-?[0-9]{1,6}(\.[0-9]{1,12})?", text.strip()):
        return None
    return float(text)

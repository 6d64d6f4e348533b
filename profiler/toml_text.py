"""TOML from outside, read in bounded time and memory."""

from __future__ import annotations

import tomllib
from typing import Any

from latlas.profiler.errors import LatlasError

MAX_DOTS = 200
"""Dots in one line: the time to read a dotted key grows with the square of its parts."""


def read_toml(text: str, where: str, max_bytes: int, error: type[LatlasError]) -> dict[str, Any]:
    """Return what a text in TOML says.

    Args:
        text: that somebody wrote.
        where: what messages call it.
        max_bytes: it is no longer, in UTF-8.
        error: class of the exception raised when the text is no TOML.

    >>> read_toml("a.b = 1", "mine", 100, LatlasError)
    {'a': {'b': 1}}

    Raises:
        LatlasError: of class `error`: it is too long, a line has too many dots, or it is no TOML.
    """
    # A text of more characters than bytes allowed is not encoded first.
    if len(text) > max_bytes or len(text.encode(errors="surrogatepass")) > max_bytes:
        raise error(f"{where}: longer than {max_bytes} bytes; is it the right file?")
    if any(line.count(".") > MAX_DOTS for line in text.split("\n")):
        raise error(f"{where}: a line with more than {MAX_DOTS} dots; break it into several")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as problem:
        raise error(f"{where}: not TOML: {ascii(str(problem))[1:200]}") from problem


def shown(value: object) -> str:
    """Return a value for a message, cut to 80 characters.

    >>> shown("mbconv")
    "'mbconv'"
    """
    try:
        return f"{value!r:.80}"
    except (ValueError, RecursionError):  # a number of thousands of digits, a table that deep
        return f"one too large to show ({type(value).__name__})"

"""What a space can be told by name beside resolution, width and classes, as of ``--set KEY=VALUE``.

Settings come from a command line, as text, or from a study's file, as JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from latlas.profiler.errors import UsageError

_SETTING = re.compile(r"([A-Za-z][A-Za-z0-9_]{0,39})=(\S{0,2000})")


def parse_settings(texts: Sequence[str], option: str = "--set") -> dict[str, str]:
    """Read settings, several of which may stand in one text; `option` is for messages.

    >>> parse_settings(["N=4 F=44", "kind=c"])
    {'N': '4', 'F': '44', 'kind': 'c'}

    Raises:
        UsageError: a text is not ``KEY=VALUE``, or a key is there twice.
    """
    found: dict[str, str] = {}
    for word in [word for text in texts for word in text.split()]:
        match = _SETTING.fullmatch(word)
        if match is None:
            raise UsageError(f"{option} takes KEY=VALUE, e.g. {option} N=4, not {word!r:.80}")
        if match[1] in found:
            raise UsageError(f"{option} {match[1]} is there twice: give it once")
        found[match[1]] = match[2]
    return found


class Settings:
    """Typed access to the settings of a space.

    Args:
        space: whose they are, for messages.
        values: by key: texts, or what JSON holds.

    >>> Settings("nasnet", {"N": "4"}).integer("N", 6, 1, 30)
    4
    """

    def __init__(self, space: str, values: Mapping[str, Any]) -> None:
        self.space = space
        self.values = values

    def require_known(self, *keys: str) -> None:
        """Raise `UsageError` where there is a setting that the space does not have."""
        for key in self.values:
            if key not in keys:
                known = f"known are {', '.join(keys)}" if keys else "it has none"
                raise UsageError(f"the space {self.space} has no setting {key!r:.80}; {known}")

    def fail(self, key: str, expected: str) -> UsageError:
        """Return the error for a setting that is not as expected."""
        return UsageError(
            f"{key} of the space {self.space} must be {expected}, got {self.values[key]!r:.80}"
        )

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        """Return an integer in ``[low, high]``."""
        value = self.values.get(key, default)
        if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value):
            value = int(value)
        if type(value) is not int or not low <= value <= high:
            raise self.fail(key, f"an integer from {low} to {high}")
        return value

    def choice(self, key: str, default: str, known: Sequence[str]) -> str:
        """Return one of the known words."""
        value = self.values.get(key, default)
        if not isinstance(value, str) or value not in known:
            raise self.fail(key, f"one of {', '.join(known)}")
        return value

    def switch(self, key: str, default: bool) -> bool:
        """Return whether something is wanted: yes or no."""
        value = self.values.get(key, default)
        if isinstance(value, bool):
            return value
        return self.choice(key, "no", ("yes", "no")) == "yes"

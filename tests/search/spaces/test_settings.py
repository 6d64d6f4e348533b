from __future__ import annotations

import pytest

from latlas.profiler.errors import UsageError
from latlas.search.spaces.settings import Settings, parse_settings


def test_texts() -> None:
    assert parse_settings([]) == {}
    assert parse_settings(["N=4", "F=44 widths=16,24/32"]) == {
        "N": "4",
        "F": "44",
        "widths": "16,24/32",
    }


@pytest.mark.parametrize("text", ["N", "=4", "4=N", "N==\u00e9" * 2000, "a-b=3", "N=4 F"])
def test_what_is_no_setting(text: str) -> None:
    with pytest.raises(UsageError, match="KEY=VALUE"):
        parse_settings([text])
    with pytest.raises(UsageError, match="there twice"):
        parse_settings(["N=4", "N=4"])


@pytest.mark.parametrize("value", ["", "x", "-1", "31", "1e1", 3.0, True, None, [3], "9" * 5000])
def test_integers_are_checked(value: object) -> None:
    with pytest.raises(UsageError, match="N of the space nasnet must be an integer from 1 to 30"):
        Settings("nasnet", {"N": value}).integer("N", 3, 1, 30)


def test_words_and_switches() -> None:
    settings = Settings("nasnet", {"kind": "c", "yes": "yes", "no": False, "odd": 1})
    assert settings.choice("kind", "a", ("a", "c")) == "c"
    assert settings.choice("other", "a", ("a", "c")) == "a"
    assert settings.switch("yes", False)
    assert not settings.switch("no", True)
    assert settings.switch("absent", True)
    with pytest.raises(UsageError, match="must be one of a, b"):
        settings.choice("kind", "a", ("a", "b"))
    with pytest.raises(UsageError, match="must be one of yes, no"):
        settings.switch("odd", False)
    with pytest.raises(UsageError, match="no setting 'kind'; known are N"):
        settings.require_known("N")
    with pytest.raises(UsageError, match="it has none"):
        settings.require_known()

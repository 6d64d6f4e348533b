import time

import pytest

from latlas.profiler.errors import SearchError, UsageError
from latlas.profiler.toml_text import read_toml
from latlas.search.recipe import parse_recipe


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = ", "mine: not TOML"),
        ("a = " + "[" * 900, "not TOML"),
        ("\x1b[2J", r"not TOML: [ -~]*$"),
        ("a." * 400 + "a = 1", "more than 200 dots"),
        ("#" * 1001, "longer than 1000 bytes"),
        ("#" + "ü" * 500, "longer than 1000 bytes"),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_toml(text, "mine", 1000, UsageError)


def test_a_recipe_of_one_long_key_is_refused_at_once() -> None:
    began = time.process_time()
    with pytest.raises(SearchError, match="dots"):
        parse_recipe("a." * 30_000 + "a = 1")
    assert time.process_time() - began < 5

"""Spaces that are a user's own classes, by the name of their code."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from latlas.profiler.errors import SearchError, UsageError
from latlas.search.spaces import MogaSpace, label_of, open_space, restore_space

CODE = """
from dataclasses import dataclass
from latlas.profiler.graph_builder import GraphBuilder
from latlas.search.spaces import MogaSpace, Space

class Plain(Space):
    choices = (2, 3)
    def decode(self, genes):
        b = GraphBuilder((1, self.resolution, self.resolution, self.channels))
        x = b.conv(b.input, 8 + genes[0], 1 + 2 * genes[1])
        return b.build(b.dense(b.mean(x, keepdims=False), self.classes))

@dataclass(frozen=True)
class Deep(Plain):
    depth: int = 2
    @classmethod
    def opened(cls, settings, common):
        settings.require_known("depth")
        return cls(**common, depth=settings.integer("depth", 2, 1, 9))
    @property
    def settings(self):
        return {"depth": self.depth}

class Forgetful(Deep):
    settings = {}

class Stubborn(Plain):
    @classmethod
    def opened(cls, settings, common):
        return cls(32)

class NoNetwork(Plain):
    def decode(self, genes):
        return [genes]

class Failing(Plain):
    def decode(self, genes):
        raise RuntimeError("no decoder yet")

class NoChoices(Plain):
    choices = ()

class Odd(Plain):
    choices = (2, 0.5)

class NoDecoder(Space):
    choices = (2, 3)

class Named(Plain):
    family = "moga"

class Wider(MogaSpace):
    pass

class NoSpace:
    choices = (2, 3)

def function(): ...
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "user_space.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("user_space", None)


@pytest.mark.parametrize(
    ("name", "chosen"),
    [("Plain", {}), ("Deep", {}), ("Deep", {"depth": "5"}), ("Wider", {})],
)
def test_a_class_is_opened_and_restored(name: str, chosen: dict[str, Any]) -> None:
    space = open_space(
        f"user_space:{name}",
        resolution=24,
        width=0.5,
        classes=7,
        channels=1,
        settings=chosen,
    )
    assert space.name == name
    assert space.identity["name"] == f"user_space:{name}"
    assert label_of(space).startswith(f"{name}-")
    again = restore_space(json.loads(json.dumps(space.identity)))
    assert again == space and type(again) is type(space)
    (genes,) = space.sample(1, seed=0)
    graph = space.decode(genes)
    assert graph.inputs == ((1, 24, 24, 1),)
    assert graph.shapes[graph.outputs[0]] == (1, 7)
    if chosen:
        assert space.settings == {"depth": 5}
        assert space != open_space("user_space:Deep", resolution=24)


def test_a_class_derived_from_a_space_of_latlas_is_another_space() -> None:
    assert open_space("user_space:Wider").identity != MogaSpace().identity


def test_a_study_does_not_decide_what_is_imported() -> None:
    identity = open_space("user_space:Plain").identity
    del sys.modules["user_space"]
    with pytest.raises(SearchError, match="--space user_space:Plain"):
        restore_space(identity)
    assert "user_space" not in sys.modules
    for name in ("json:JSONDecoder", "os:system", "toml:file.toml", ":", "user_space:"):
        with pytest.raises(SearchError, match="--space"):
            restore_space(identity | {"name": name})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absent_module:Name", "cannot import absent_module:Name"),
        ("user_space:Absent", "cannot import user_space:Absent"),
        ("user_space:NoSpace", "a class derived from latlas.search.spaces.Space"),
        ("user_space:function", "a class derived from latlas.search.spaces.Space"),
        ("user_space:Forgetful", "do not make the same space again"),
        ("user_space:Stubborn", "keep what `opened` is given"),
        ("user_space:NoNetwork", "decode must return a Graph"),
        ("user_space:Failing", "RuntimeError: no decoder yet"),
        ("user_space:NoChoices", "choices must be 1 to 4096 integers"),
        ("user_space:Odd", "choices must be 1 to 4096 integers"),
        ("user_space:NoDecoder", "has no decode"),
        ("user_space:Named", "remove `family`"),
        ("latlas.search.spaces:Space", "a class derived from"),
    ],
)
def test_what_is_wrong_is_said(name: str, words: str) -> None:
    chosen = {"depth": "3"} if name.endswith("Forgetful") else {}
    with pytest.raises(UsageError, match=words):
        open_space(name, settings=chosen)


@pytest.mark.parametrize("chosen", [{"N": "4"}, {"depth": "12"}])
def test_settings_are_the_users(chosen: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="the space user_space:Deep"):
        open_space("user_space:Deep", settings=chosen)
    with pytest.raises(UsageError, match="the space user_space:Plain has no setting"):
        open_space("user_space:Plain", settings=chosen)


def test_the_class_of_the_reference(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "spaces.md").read_text()
    *_, written = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "user_space.py").write_text(written)
    space = open_space("user_space:Columns", resolution=24, settings={"columns": "3"})
    assert space.choices == (3, 4) * 3
    for genes in space.sample(5, seed=0):
        assert space.decode(genes).shapes[-1] == (1, 1000)


def test_genes_are_checked() -> None:
    space = open_space("user_space:Plain")
    wrong: Sequence[int] = (0, 3)
    with pytest.raises(SearchError, match="a chromosome of Plain is 2 integers"):
        space.require(wrong)

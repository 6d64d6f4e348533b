"""Search spaces that are the user's own code, named ``package.module:Name``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from latlas.profiler.errors import LatlasError, SearchError, UsageError
from latlas.profiler.graph import Graph
from latlas.search.plugin import imported, plugin
from latlas.search.spaces.genes import MAX_GENES
from latlas.search.spaces.settings import Settings
from latlas.search.spaces.space import Space


def open_own(name: str, settings: Mapping[str, Any], common: Mapping[str, Any]) -> Space:
    """Import a class that is derived from `Space`, and return its space.

    Args:
        name: ``package.module:Name``.
        settings: of the space.
        common: resolution, width, classes and channels.

    Raises:
        UsageError: it cannot be imported, is no such class, or fails.
        LatlasError: the class's own, of settings that it does not take.
    """
    found = plugin(name)
    if not (isinstance(found, type) and issubclass(found, Space) and found is not Space):
        raise UsageError(
            f"{name} is no search space: it must be a class derived from "
            f"latlas.search.spaces.Space, with choices and decode, not {found!r:.80}"
        )
    for needed in ("choices", "decode"):
        if getattr(found, needed) is getattr(Space, needed):
            raise UsageError(f"the space {name} has no {needed}: see docs/spaces.md")
    if imported(found.family) is not found:
        raise UsageError(
            f"{name} has the family {found.family!r:.80}, by which it is not found again: "
            "remove `family` from the class"
        )
    try:
        space = found.opened(Settings(name, settings), common)
        problem = _fault(space, common)
    except LatlasError:
        raise
    except Exception as error:  # a user's code may raise anything
        problem = f"{type(error).__name__}: {error}"
    if problem:
        raise UsageError(f"the space {name}: {problem:.500}")
    return space


def require_imported(name: str) -> None:
    """Raise unless a space's code was imported: a study's file does not decide what is run.

    Raises:
        SearchError: it was not.
    """
    found = imported(name)
    if not (isinstance(found, type) and issubclass(found, Space)):
        raise SearchError(
            f"the space {name!r:.200} is code, which a study cannot bring along: allow it to be "
            f"imported, with --space {name:.200}"
        )


def _fault(space: Space, common: Mapping[str, Any]) -> str:
    """Return what is wrong with a space, or ""."""
    kept = {key: getattr(space, key) for key in common}
    if kept != common:
        return f"made with {common}, it has {kept}: keep what `opened` is given"
    choices: Any = space.choices
    if (
        not isinstance(choices, Sequence)
        or not 1 <= len(choices) <= MAX_GENES
        or not all(type(count) is int and count >= 1 for count in choices)
    ):
        return f"choices must be 1 to {MAX_GENES} integers from 1 on, not {choices!r:.80}"
    settings = json.loads(json.dumps(space.settings, allow_nan=False))
    again = type(space).opened(Settings(space.name, settings), common)
    if again.settings != space.settings or again != space:
        return f"its settings {settings} do not make the same space again: see `Space.opened`"
    (genes,) = space.sample(1, seed=0)
    try:
        graph: Any = space.decode(genes)
    except LatlasError:
        return ""  # some chromosomes, or this resolution, may have no network
    return "" if isinstance(graph, Graph) else f"decode must return a Graph, not {graph!r:.80}"

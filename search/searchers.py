"""Searchers by name, with their settings checked: what a user writes becomes a `Searcher`."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Any

from latlas.profiler.errors import UsageError
from latlas.search.objectives import DEFAULT_OBJECTIVES, Constraint, Objective
from latlas.search.plugin import plugin
from latlas.search.protocols import Searcher, SearchSpace
from latlas.search.rewards import AccuracyReward, Reward, Score

_OUR_OWN = ("choices", "score", "objectives", "constraints", "mutate", "seed")
"""What a searcher gets from the space and the search, never from its settings."""


def open_searcher(
    name: str,
    space: SearchSpace,
    objectives: Sequence[Objective] = DEFAULT_OBJECTIVES,
    constraints: Sequence[Constraint] = (),
    reward: Reward | None = None,
    *,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> Searcher:
    """Return a searcher by name.

    Args:
        name: random, evolution, ppo, nsga2, or a user's own ``package.module:Name``, which is
            called with space, objectives, constraints, reward, seed and the settings by name.
        space: that is searched; evolution mutates with its own ``mutate`` where it has one.
        objectives: of nsga2.
        constraints: of all but random.
        reward: of evolution and ppo; None is the accuracy alone.
        seed: of everything random.
        settings: of the searcher, by name; texts are read as what the setting is.

    Raises:
        UsageError: there is no such searcher or setting, or a setting is of another type.
        SearchError: a setting is out of its range.

    >>> from latlas.search.spaces import MogaSpace
    >>> open_searcher("nsga2", MogaSpace(), settings={"population": "70"}).population
    70
    """
    given = dict(settings or {})
    if ":" in name:
        own = plugin(name)
        return _call(
            name,
            own,
            {
                "space": space,
                "objectives": objectives,
                "constraints": constraints,
                "reward": reward,
                "seed": seed,
                **given,
            },
        )
    known = searcher_class(name)
    available: dict[str, Any] = {
        "choices": space.choices,
        "objectives": objectives,
        "constraints": constraints,
        "score": Score(reward or AccuracyReward(), tuple(constraints)),
        "mutate": getattr(space, "mutate", None),
        "seed": seed,
    }
    wanted = inspect.signature(known).parameters
    arguments = {key: value for key, value in available.items() if key in wanted}
    return _call(name, known, {**arguments, **read_settings(name, known, given)})


NAMES = ("random", "evolution", "ppo", "nsga2")


def searcher_class(name: str) -> type[Any]:
    """Return the class of a searcher.

    Raises:
        UsageError: there is no such searcher.
    """
    if name == "random":
        from latlas.search.random_search import RandomSearch

        return RandomSearch
    if name == "evolution":
        from latlas.search.evolution import RegularisedEvolution

        return RegularisedEvolution
    if name == "ppo":
        from latlas.search.ppo import PPO

        return PPO
    if name == "nsga2":
        from latlas.search.nsga2 import WeightedNSGA2  # imports half of pymoo

        return WeightedNSGA2
    raise UsageError(
        f"no searcher {name!r}; known are {', '.join(NAMES)}, and your own as package.module:Name"
    )


def settings_of(searcher: Callable[..., Any]) -> dict[str, Any]:
    """Return the settings of a searcher and their defaults.

    >>> settings_of(searcher_class("random"))
    {'batch': 20}
    """
    return {
        name: parameter.default
        for name, parameter in inspect.signature(searcher).parameters.items()
        if name not in _OUR_OWN
    }


def read_settings(
    name: str, searcher: Callable[..., Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Check settings, and read those that are given as texts.

    Args:
        name: of the searcher, for the message.
        searcher: its class.
        settings: from a command line (texts) or a file (texts, numbers, booleans).

    Raises:
        UsageError: there is no such setting, or its value is of another type.
    """
    known = settings_of(searcher)
    unknown = sorted(set(settings) - set(known))
    if unknown:
        shown = ", ".join(f"{key} ({value})" for key, value in known.items())
        raise UsageError(f"{name} has no setting {unknown[0]!r}; it has {shown}")
    hints = typing.get_type_hints(searcher.__init__)
    return {key: _read(name, key, value, hints[key]) for key, value in settings.items()}


def _call(name: str, factory: Callable[..., Any], arguments: Mapping[str, Any]) -> Searcher:
    try:
        inspect.signature(factory).bind(**arguments)
    except (TypeError, ValueError) as problem:  # ValueError: written in C, and does not tell
        raise UsageError(
            f"{name} cannot be called with {sorted(arguments)}: {problem}"
        ) from problem
    found = factory(**arguments)
    missing = [method for method in ("ask", "tell", "identity") if not hasattr(found, method)]
    if missing:
        raise UsageError(f"{name} is no searcher: it lacks {', '.join(missing)}")
    return typing.cast("Searcher", found)


def _read(name: str, key: str, value: Any, hint: Any) -> Any:
    """Return a value as the type that its setting has."""
    kinds = typing.get_args(hint) if typing.get_origin(hint) is not typing.Literal else ()
    plain = [kind for kind in kinds or (hint,) if kind is not NoneType]
    if value is None and NoneType in kinds:
        return None
    for kind in plain:
        if isinstance(value, str) and kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                continue
        if kind is bool and value in ("true", "false"):
            return value == "true"
        if kind is float and type(value) is int:
            return float(value)
        if typing.get_origin(kind) is typing.Literal:
            if value in typing.get_args(kind):
                return value
        elif type(value) is kind:
            return value
    expected = " or ".join(
        " or ".join(typing.get_args(kind))
        if typing.get_origin(kind) is typing.Literal
        else kind.__name__
        for kind in plain
    )
    raise UsageError(f"the setting {key} of {name} is {expected}, not {value!r}")

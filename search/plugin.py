"""A user's own code, named ``package.module:Name`` on the command line."""

from __future__ import annotations

import importlib
import sys
import typing
from collections.abc import Callable
from typing import Any

from latlas.profiler.errors import UsageError


def plugin(name: str) -> Callable[..., Any]:
    """Return a user's own callable, named ``package.module:Name``.

    >>> plugin("fractions:Fraction")("3/4")
    Fraction(3, 4)

    Raises:
        UsageError: it cannot be imported.
    """
    module, _, attribute = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as problem:  # a user's module may raise anything
        raise UsageError(
            f"cannot import {name}: {type(problem).__name__}: {problem}; write package.module:Name "
            "of a module that Python finds (PYTHONPATH)"
        ) from problem
    if not callable(found):
        raise UsageError(f"{name} is {found!r}, nothing that can be called")
    return typing.cast("Callable[..., Any]", found)


def imported(name: str) -> object:
    """Return what a name stands for where its module is imported already, else None.

    Nothing is run: names of files go here, since a file from elsewhere must not choose code.

    >>> import fractions
    >>> imported("fractions:Fraction") is fractions.Fraction
    True
    """
    module, _, attribute = name.partition(":")
    found: object = sys.modules.get(module)
    for part in attribute.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    return found

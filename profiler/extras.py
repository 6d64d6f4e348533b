"""Optional dependencies: imported when they are needed, with the install line where missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from latlas.profiler.errors import LatlasError, UsageError


def optional(module: str, extra: str, error: type[LatlasError] = UsageError) -> ModuleType:
    """Import a module of one of latlas's extras.

    >>> optional("json", "none").__name__
    'json'

    Args:
        module: what to import.
        extra: the extra of latlas that brings it.
        error: class of the exception raised.

    Raises:
        LatlasError: of class `error`: it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as problem:
        raise error(
            f"this needs {module.partition('.')[0]} ({problem}): pip install 'latlas[{extra}]'"
        ) from problem

"""What a test needs beyond the packages, and what happens when it is missing."""

import importlib.util
import os

import pytest


def require(
    name: str, present: bool, how_to_install: str, variable: str = "LATLAS_REQUIRE_COMPONENTS"
) -> None:
    """Skip the test, with the reason, unless a component is present.

    Where the environment variable is 1, as in CI, the test fails instead: there every component is
    supposed to be installed, and a skipped test would go unnoticed.
    """
    if present:
        return
    reason = f"{name} is missing: {how_to_install}"
    if os.environ.get(variable) == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def require_ray() -> None:
    """Skip the test without Ray. It is not imported, since its environment may not be set yet."""
    found = importlib.util.find_spec("ray")
    # A folder called ray has no origin.
    require("Ray", found is not None and found.origin is not None, "pip install 'latlas[cluster]'")

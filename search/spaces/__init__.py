"""Search spaces: chromosomes in, graphs out."""

from latlas.profiler.errors import UsageError
from latlas.search.spaces.moga import MogaSpace

__all__ = ["SPACES", "MogaSpace", "open_space"]

SPACES = {"moga": MogaSpace}


def open_space(name: str, *, resolution: int = 224, classes: int = 1000) -> MogaSpace:
    """Return a search space by name.

    >>> open_space("moga").size
    1283918464548864

    Raises:
        UsageError: there is no such space.
    """
    if name not in SPACES:
        raise UsageError(f"no search space {name!r}; known are {', '.join(SPACES)}")
    return SPACES[name](resolution=resolution, classes=classes)

"""Search spaces: chromosomes in, graphs out."""

from latlas.profiler.errors import UsageError
from latlas.search.spaces.blockwise import BlockwiseSpace
from latlas.search.spaces.fairnas import FairnasSpace
from latlas.search.spaces.mnasnet import MnasnetSpace
from latlas.search.spaces.moga import MogaSpace
from latlas.search.spaces.nasnet import NasnetSpace

__all__ = [
    "SPACES",
    "BlockwiseSpace",
    "FairnasSpace",
    "MnasnetSpace",
    "MogaSpace",
    "NasnetSpace",
    "Space",
    "open_space",
]

Space = FairnasSpace | MnasnetSpace | MogaSpace | NasnetSpace

SPACES: dict[str, type[Space]] = {
    "fairnas": FairnasSpace,
    "mnasnet": MnasnetSpace,
    "moga": MogaSpace,
    "nasnet": NasnetSpace,
}


def open_space(name: str, *, resolution: int = 224, classes: int = 1000) -> Space:
    """Return a search space by name.

    >>> open_space("moga").size
    1283918464548864

    Raises:
        UsageError: there is no such space.
    """
    if name not in SPACES:
        raise UsageError(f"no search space {name!r}; known are {', '.join(SPACES)}")
    return SPACES[name](resolution=resolution, classes=classes)

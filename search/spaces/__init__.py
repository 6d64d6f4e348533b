"""Search spaces: chromosomes in, graphs out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from latlas.profiler.errors import LatlasError, SearchError, UsageError
from latlas.profiler.journal import Fields
from latlas.search.spaces.blockwise import BlockwiseSpace
from latlas.search.spaces.fairnas import FairnasSpace
from latlas.search.spaces.genes import format_genes, parse_genes
from latlas.search.spaces.mnasnet import MnasnetSpace
from latlas.search.spaces.moga import MogaSpace
from latlas.search.spaces.nasnet import NasnetSpace
from latlas.search.spaces.own import open_own, require_imported
from latlas.search.spaces.settings import Settings, parse_settings
from latlas.search.spaces.space import Space
from latlas.search.spaces.toml_space import PREFIX, TomlSpace

__all__ = [
    "SPACES",
    "BlockwiseSpace",
    "FairnasSpace",
    "MnasnetSpace",
    "MogaSpace",
    "NasnetSpace",
    "Space",
    "TomlSpace",
    "format_genes",
    "label_of",
    "open_space",
    "parse_genes",
    "parse_settings",
    "restore_space",
]

SPACES: dict[str, type[Space]] = {
    "fairnas": FairnasSpace,
    "mnasnet": MnasnetSpace,
    "moga": MogaSpace,
    "nasnet": NasnetSpace,
}
"""The spaces that need no file."""


def open_space(
    name: str,
    *,
    resolution: int = 224,
    classes: int = 1000,
    width: float = 1.0,
    channels: int = 3,
    settings: Mapping[str, Any] | None = None,
) -> Space:
    """Return a search space by name.

    Args:
        name: one of `SPACES`, ``toml:FILE`` for a space that a file defines, or
            ``package.module:Name`` for a class that is derived from `Space`.
        resolution: height and width of the input.
        classes: number of classes.
        width: factor of the numbers of channels.
        channels: of the input.
        settings: what the space has beside these, as texts or as JSON holds them: of ``mnasnet``
            ``blocks`` and ``widths``; of ``nasnet`` see `NasnetSpace.opened`;
            of ``toml`` its ``definition``; of the user's own what it takes.

    >>> open_space("moga").size
    1283918464548864
    >>> open_space("mnasnet", settings={"blocks": "5"}).size == 432**5
    True

    Raises:
        UsageError: there is no such space, or no such setting, or a user's space fails.
        SearchError: the file is damaged.
    """
    common = {"resolution": resolution, "width": width, "classes": classes, "channels": channels}
    if name.startswith(PREFIX):
        Settings(name, settings or {}).require_known()
        return TomlSpace.load(name.removeprefix(PREFIX), common)
    if name == TomlSpace.family:
        return TomlSpace.opened(Settings(name, settings or {}), common)
    if ":" in name:
        return open_own(name, settings or {}, common)
    if name not in SPACES:
        raise UsageError(
            f"no search space {name!r:.200}; known are {', '.join(SPACES)}, toml:FILE and "
            "package.module:Name"
        )
    return SPACES[name].opened(Settings(name, settings or {}), common)


def restore_space(identity: object) -> Space:
    """Return the space with an identity, as a study keeps it.

    A space that is a user's own code must have been imported.

    >>> space = open_space("mnasnet", resolution=96, settings={"widths": "published"})
    >>> restore_space(space.identity) == space
    True

    Raises:
        SearchError: it is no identity of a space.
    """
    if not isinstance(identity, dict):
        raise SearchError(f"a space is described by an object, not by {identity!r:.80}")
    get = Fields(identity, SearchError)
    name = get.text("name")
    if ":" in name:
        require_imported(name)
    try:
        return open_space(
            name,
            resolution=get.integer("resolution", 1, 1 << 20),
            classes=get.integer("classes", 1, 1 << 30),
            width=get.number("width", 1e-3, 1e3),
            channels=get.integer("channels", 1, 1 << 20),
            settings=get.mapping("settings"),
        )
    except LatlasError as problem:
        raise SearchError(f"no such search space: {problem}") from problem


def label_of(space: Space) -> str:
    """Return a name for the networks of a space: one that no other space's networks have.

    It is the space's own where the space is as `open_space` opens it by default.

    >>> label_of(open_space("moga")), label_of(open_space("moga", resolution=96))
    ('moga', 'moga-4bf933')
    """
    identity = space.identity
    if space.family in SPACES and open_space(space.family).identity == identity:
        return space.name
    text = json.dumps(identity, sort_keys=True)
    return f"{space.name}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"

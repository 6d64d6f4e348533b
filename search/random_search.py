"""Random search: what every other searcher is compared with.

All decisions are drawn uniformly, as in NASNet's comparison (Zoph et al. 2018,
https://arxiv.org/abs/1707.07012), except that no architecture is asked for twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from latlas.profiler.errors import SearchError
from latlas.search.batch import MAX_DRAWS, as_tuples, require_asked, require_choices
from latlas.search.protocols import Genes, Trial


class RandomSearch:
    """Draws architectures uniformly; a `latlas.search.protocols.Searcher`.

    Args:
        choices: number of choices of every gene.
        batch: architectures asked for at a time.
        seed: of the draws.

    Raises:
        SearchError: an argument is out of its range.

    >>> len(RandomSearch([3, 3, 3], batch=5).ask())
    5
    """

    def __init__(self, choices: Sequence[int], *, batch: int = 20, seed: int = 0) -> None:
        self.choices = require_choices(choices)
        self.batch = batch
        self.seed = seed
        if batch < 1:
            raise SearchError(f"a batch is at least 1, not {batch}")
        self._rng = np.random.default_rng(seed)
        self._seen: set[Genes] = set()
        self._asked: list[Genes] | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What it asks for depends on this alone, as plain values."""
        return {"kind": "random", "batch": self.batch, "seed": self.seed}

    def ask(self) -> list[Genes]:
        """Return the next batch, none of it asked for before; empty once nothing new is found."""
        if self._asked is None:
            self._asked = self._draw()
            self._seen.update(self._asked)
        return list(self._asked)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Go on to the next batch; nothing is learned.

        Raises:
            SearchError: these are not the architectures that were asked for.
        """
        require_asked(self._asked, trials)
        self._asked = None

    def _draw(self) -> list[Genes]:
        found: dict[Genes, None] = {}
        for _ in range(MAX_DRAWS):
            size = (self.batch, len(self.choices))
            drawn = as_tuples(self._rng.integers(np.array(self.choices), size=size))
            found.update(dict.fromkeys(one for one in drawn if one not in self._seen))
            if len(found) >= self.batch:
                break
        return list(found)[: self.batch]

"""A searcher of your own: `ask`, `tell` and `identity`, named on the command line.

    PYTHONPATH=examples latlas search --searcher own_searcher:HillClimber \
        --latency here-cpu.latlas --accuracy supernet --reward hard --target-ms 5 \
        --set-searcher batch=16 -o studies/climbing

It keeps no files: a study that goes on tells a new one the old results, batch by batch. Then it
must ask for what it would have asked for, so all that is random comes from the seed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from latlas.search.protocols import Genes, SearchSpace, Trial


class HillClimber:
    """Changes one gene of the best architecture so far.

    It is called with all of these by name; `reward` is None without ``--reward``, and `batch` a
    setting of its own, which ``--set-searcher batch=16`` gives as text.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Any],
        constraints: Sequence[Any],
        reward: Callable[[Trial], float] | None,
        seed: int,
        batch: int | str = 8,
    ) -> None:
        self.choices = np.array(space.choices)
        self.reward = reward or (lambda trial: trial.accuracy)
        self.batch = int(batch)
        self.identity = {"kind": "hill climber", "batch": self.batch, "seed": seed}
        self._rng = np.random.default_rng(seed)
        self._best: tuple[float, Genes] = (
            -np.inf,
            tuple(self._rng.integers(self.choices).tolist()),
        )
        self._asked: list[Genes] = []

    def ask(self) -> list[Genes]:
        """Return the next batch; the same one until `tell` was called."""
        while len(self._asked) < self.batch:
            genes = list(self._best[1])
            gene = self._rng.integers(len(genes))
            genes[gene] = int(self._rng.integers(self.choices[gene]))
            self._asked.append(tuple(genes))
        return list(self._asked)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Climb to the best of the batch, if it is better; what failed has an error."""
        scored = [(self.reward(trial), trial.genes) for trial in trials if not trial.error]
        self._best = max([self._best, *scored])
        self._asked = []

"""Reinforcement learning with a recurrent controller, as NASNet and MnasNet search.

NASNet (Zoph et al. 2018, https://arxiv.org/abs/1707.07012) trains the controller of
`latlas.search.controller` with PPO (Schulman et al. 2017, https://arxiv.org/abs/1707.06347):
learning rate 3.5e-4, entropy weight 1e-5, a moving average of rewards (0.95) as baseline, 20
architectures an update; MnasNet (Tan et al. 2019) does the same with its own reward. Neither tells
clip nor epochs: here 0.2 and 4, as the PPO tuner of NNI has them.

The baseline is of all rewards before the batch, each counted in its order; before the first batch,
it is that batch's mean. REINFORCE (Williams 1992) takes one step a batch, without clip.

A controller that has made up its mind asks for the same architectures again: they count, but need
not be evaluated again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.errors import SearchError
from latlas.search.batch import as_tuples, require_asked, require_choices
from latlas.search.controller import Controller, Step
from latlas.search.protocols import Genes, Trial
from latlas.search.rewards import Score


class PPO:
    """Searches for architectures of high score; a `latlas.search.protocols.Searcher`.

    Args:
        choices: number of choices of every gene.
        score: what is maximised.
        algorithm: "ppo" or "reinforce".
        batch: architectures an update.
        learning_rate: of Adam.
        entropy: weight of the controller's entropy, against settling too early.
        baseline: weight of the past in the moving average of rewards.
        clip: how far PPO lets the ratio of new to old probability leave 1.
        epochs: steps that PPO takes on a batch.
        normalise: divide a batch's advantages by their root mean square.
        units: of the controller's LSTM.
        seed: of everything random.

    Raises:
        SearchError: an argument is out of its range.

    >>> from latlas.search.rewards import AccuracyReward
    >>> searcher = PPO([3, 3, 3], Score(AccuracyReward()), batch=4, units=8)
    >>> searcher.tell([Trial(genes, {"accuracy": 0.9}) for genes in searcher.ask()])
    >>> len(searcher.ask())
    4
    """

    def __init__(
        self,
        choices: Sequence[int],
        score: Score,
        *,
        algorithm: Literal["ppo", "reinforce"] = "ppo",
        batch: int = 20,
        learning_rate: float = 3.5e-4,
        entropy: float = 1e-5,
        baseline: float = 0.95,
        clip: float = 0.2,
        epochs: int = 4,
        normalise: bool = False,
        units: int = 100,
        seed: int = 0,
    ) -> None:
        self.choices = require_choices(choices)
        self.score = score
        self.algorithm = algorithm
        self.batch = batch
        self.learning_rate = learning_rate
        self.entropy = entropy
        self.baseline = baseline
        self.clip = clip
        self.epochs = epochs
        self.normalise = normalise
        self.units = units
        self.seed = seed
        self._check()
        self._controller = Controller(self.choices, units=units, seed=seed)
        self._rng = np.random.default_rng([seed, 1])
        self._average: float | None = None
        self._asked: list[Genes] | None = None
        self._log_probability = np.zeros(0, np.float32)

    @property
    def identity(self) -> dict[str, Any]:
        """What it asks for depends on this and on what it is told, as plain values."""
        return {
            "kind": "ppo",
            **self.score.identity,
            "algorithm": self.algorithm,
            "batch": self.batch,
            "learning_rate": self.learning_rate,
            "entropy": self.entropy,
            "baseline": self.baseline,
            "clip": self.clip,
            "epochs": self.epochs,
            "normalise": self.normalise,
            "units": self.units,
            "seed": self.seed,
        }

    def ask(self) -> list[Genes]:
        """Return the next batch; it may hold an architecture twice, or one that was asked before.

        The same batch is returned until `tell` was called.
        """
        if self._asked is None:
            uniform = self._rng.random((self.batch, len(self.choices)))
            genes, self._log_probability = self._controller.sample(uniform)
            self._asked = as_tuples(genes)
        return list(self._asked)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learn the results of the batch that was asked for, in its order.

        Raises:
            SearchError: these are not the architectures that were asked for.
        """
        require_asked(self._asked, trials)
        rewards = np.array([self.score(trial) for trial in trials])
        before = float(rewards.mean()) if self._average is None else self._average
        self._average = moving_average(before, rewards, self.baseline)
        advantages = rewards - before
        if self.normalise:
            advantages /= max(float(np.sqrt(np.mean(advantages**2))), 1e-12)
        plain = self.algorithm == "reinforce"
        step = Step(self.learning_rate, np.inf if plain else self.clip, self.entropy)
        genes = np.array(self._asked)
        for _ in range(1 if plain else self.epochs):
            self._controller.learn(genes, advantages, self._log_probability, step)
        self._asked = None

    def _check(self) -> None:
        if self.algorithm not in ("ppo", "reinforce"):
            raise SearchError(f'algorithm is "ppo" or "reinforce", not {self.algorithm!r}')
        if min(self.batch, self.epochs, self.units) < 1:
            raise SearchError("batch, epochs and units are at least 1")
        if not (0 < self.learning_rate < 1 and 0 <= self.entropy < np.inf):
            raise SearchError(
                f"learning_rate is between 0 and 1 and entropy not negative, not "
                f"{self.learning_rate} and {self.entropy}"
            )
        if not (0 <= self.baseline < 1 and 0 < self.clip < np.inf):
            raise SearchError(
                f"baseline is in [0, 1) and clip positive, not {self.baseline} and {self.clip}"
            )


def moving_average(before: float, rewards: NDArray[np.float64], weight: float) -> float:
    """Return an exponential moving average after more rewards, taken in their order.

    >>> moving_average(0.5, np.array([1.0, 0.0]), 0.5)
    0.375
    """
    for reward in rewards.tolist():
        before = weight * before + (1 - weight) * reward
    return before

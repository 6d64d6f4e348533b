"""Reinforced mutation: a learned policy says what a gene is changed to.

MoreMNAS (Chu et al. 2019, https://arxiv.org/abs/1901.01074) and, after it, FairNAS and MoGA mutate
some children by what a controller has learned, the others at random. What their controller is
told could not be read, so that this is the project's decision:

- Which genes change is as random as in random mutation. What such a gene changes to is drawn from
  the policy with a probability, the share, and from all other choices alike otherwise.
- The policy is one softmax per gene, as TuNAS has it (Bender et al. 2020), without the current
  choice; it begins uniform.
- The reward of a child is 1 if it survives into the next population, else 0: survival knows all
  objectives, constraints and weights. REINFORCE (Williams 1992) with the batch's mean as baseline
  moves the logits of the genes that were changed.
- The share comes from the probabilities 0.65 and 0.2 of reinforced and random mutation, as they are
  remembered of these papers' settings; a third kind, by a prior on sizes, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from latlas.search.mutation import resample_genes

DEFAULT_SHARE = 0.65 / 0.85
RATE = 0.5
"""Step of a logit per unit of advantage, of the sum over a batch divided by its square root."""


class Policy:
    """A softmax for every gene.

    Args:
        choices: number of choices of every gene.
        share: probability that a changed gene is drawn from the policy.
        rate: how fast it learns; 0 leaves it uniform.

    >>> policy = Policy([3, 2])
    >>> policy.learn(np.array([[2, 0]]), np.array([[True, False]]), np.array([1.0]))
    >>> [round(p, 2) for p in policy.probabilities(0).tolist()]
    [0.27, 0.27, 0.45]
    """

    def __init__(
        self, choices: Sequence[int], *, share: float = DEFAULT_SHARE, rate: float = RATE
    ) -> None:
        self.choices = tuple(choices)
        self.share = share
        self.rate = rate
        self._logits = [np.zeros(number) for number in self.choices]

    def probabilities(self, gene: int) -> NDArray[np.float64]:
        """Return the probability of every choice of a gene."""
        weight = np.exp(self._logits[gene] - self._logits[gene].max())
        found: NDArray[np.float64] = weight / weight.sum()
        return found

    def mutate(
        self, genes: NDArray[np.integer], rate: float, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Give every gene, with probability `rate`, another of its choices.

        Args:
            genes: shape (chromosomes, genes).
            rate: probability per gene.
            rng: source of randomness.
        """
        found = resample_genes(genes, self.choices, rate, rng)
        drawn = (found != genes) & (rng.random(genes.shape) < self.share)
        uniform = rng.random(genes.shape)
        for gene in np.flatnonzero(drawn.any(axis=0)).tolist():
            rows = drawn[:, gene]
            odds = np.tile(self.probabilities(gene), (int(rows.sum()), 1))
            odds[np.arange(len(odds)), genes[rows, gene]] = 0.0  # a change is to another choice
            below = np.cumsum(odds, axis=1) <= uniform[rows, gene, None] * odds.sum(axis=1)[:, None]
            chosen = np.minimum(below.sum(axis=1), len(odds[0]) - 1)
            # Where rounding or a certain policy leaves nothing, the random choice stands.
            valid = odds[np.arange(len(odds)), chosen] > 0
            found[rows, gene] = np.where(valid, chosen, found[rows, gene])
        return found

    def learn(
        self,
        genes: NDArray[np.integer],
        changed: NDArray[np.bool_],
        advantages: NDArray[np.float64],
    ) -> None:
        """Make choices more likely whose children did better than expected.

        Args:
            genes: children, shape (children, genes).
            changed: which of their genes were mutated, of the same shape.
            advantages: of every child, shape (children,).
        """
        for gene, logits in enumerate(self._logits):
            rows = changed[:, gene]
            if not rows.any():
                continue
            gradient = -advantages[rows].sum() * self.probabilities(gene)
            np.add.at(gradient, genes[rows, gene], advantages[rows])
            logits += self.rate * gradient / np.sqrt(rows.sum())

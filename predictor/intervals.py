"""How far a prediction may be off: conformal intervals.

Networks were left out in groups of their like, and predicted by the others. How far these
predictions were off, in units of what the predictor said of its own doubt, is what new ones are
expected to be off: the interval is the quantile of that (split conformal prediction, Vovk et al.
2005; with errors in units of doubt, Papadopoulos et al. 2002). Groups count alike, however many
networks each has, because a new network is the first of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.9
"""Share of networks whose latency an interval should hold."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """Half-widths of 90% intervals, in logarithms of the latency.

    Attributes:
        measured: of a network whose kernels were all measured.
        doubt: of a network whose kernels were all predicted, per unit of `spread + floor`.
        floor: added to the spread between the trees.
        networks: number of networks left out, on which it rests.
    """

    measured: float
    doubt: float
    floor: float
    networks: int

    def half_width(self, share: NDArray[Any], spread: NDArray[Any]) -> NDArray[np.float64]:
        """Return half-widths, shape (networks,).

        Args:
            share: of the latency that is not from measured kernels, shape (networks,).
            spread: mean standard deviation between trees of the logarithm of a kernel's time, over
                those kernels, weighted by their times, shape (networks,).
        """
        predicted = self.doubt * (spread + self.floor)
        return np.sqrt((1 - share) * self.measured**2 + (share * predicted) ** 2)


NO_INTERVALS = Intervals(measured=0.0, doubt=0.0, floor=0.0, networks=0)


def quantile(errors: NDArray[Any], weight: NDArray[Any] | None = None) -> float:
    """Return the error that `LEVEL` of new ones should stay below, at most the largest.

    >>> quantile(np.arange(1.0, 21.0))
    19.0
    """
    if not len(errors):
        return 0.0
    weight = np.ones(len(errors)) if weight is None else weight
    order = np.argsort(errors)
    # The new network is one more, of average weight, and may be worse than all.
    share = np.cumsum(weight[order]) / (weight.sum() + weight.mean())
    return float(errors[order][min(int(np.searchsorted(share, LEVEL - 1e-9)), len(errors) - 1)])


def interval_ms(latency_ms: float, half_width: float) -> tuple[float, float]:
    """Return the bounds of an interval around a latency."""
    factor = math.exp(min(half_width, 50.0))
    return latency_ms / factor, latency_ms * factor

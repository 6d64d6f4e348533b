"""How far a prediction may be off: conformal intervals.

Networks were left out in groups of their like, and predicted by the others. How far these
predictions were off, in units of what the predictor said of its own doubt, is what new ones are
expected to be off: the interval is the quantile of that (split conformal prediction, Vovk et al.
2005; with errors in units of doubt, Papadopoulos et al. 2002).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.9
"""Share of networks whose latency an interval should hold."""


FLOOR = 0.5
"""Added to the spread between trees, which agree on what none of them has seen."""

UNKNOWN_ERROR = 1.645
"""Half-width of the interval of kernels whose class was never measured: a factor of five."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """Half-widths of 90% intervals, in logarithms of the latency.

    Attributes:
        measured: of a network whose kernels were all measured.
        doubt: of a network whose kernels were all predicted, per unit of `spread + FLOOR`.
        networks: number of networks left out, on which it rests.
    """

    measured: float
    doubt: float
    networks: int

    def half_width(
        self, predicted: NDArray[Any], spread: NDArray[Any], unknown: NDArray[Any]
    ) -> NDArray[np.float64]:
        """Return half-widths, shape (networks,).

        Args:
            predicted: share of the latency from predicted kernels, shape (networks,).
            spread: mean standard deviation between trees of the logarithm of a kernel's time, over
                predicted kernels, weighted by their times, shape (networks,).
            unknown: share of the latency from unknown kernels, shape (networks,).
        """
        measured = 1 - predicted - unknown
        variance = measured * self.measured**2
        variance += (predicted * self.doubt * (spread + FLOOR)) ** 2
        variance += (unknown * UNKNOWN_ERROR) ** 2
        return np.asarray(np.sqrt(np.maximum(variance, 0.0)), np.float64)


NO_INTERVALS = Intervals(measured=UNKNOWN_ERROR, doubt=UNKNOWN_ERROR / FLOOR, networks=0)
"""Where no network was left out, nothing is known of how far predictions are off."""


def quantile(errors: NDArray[Any]) -> float:
    """Return the error that `LEVEL` of new ones should stay below, at most the largest.

    Args:
        errors: of shape (networks,), of one network at least.

    >>> quantile(np.arange(1.0, 21.0))
    19.0
    """
    rank = math.ceil(LEVEL * (len(errors) + 1) - 1e-9)  # the new one is one more
    return float(np.sort(errors)[min(rank, len(errors)) - 1])


def interval_ms(latency_ms: float, half_width: float) -> tuple[float, float]:
    """Return the bounds of an interval around a latency."""
    factor = math.exp(min(half_width, 50.0))
    return latency_ms / factor, latency_ms * factor

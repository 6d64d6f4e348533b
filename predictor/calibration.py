"""From a sum of kernel latencies to the latency of a whole network.

``latency = a * sum + b * kernels + c``: kernels measured alone find their data in the cache (a > 1
undoes that), every kernel costs a launch (b), and so does every invocation (c). The three are
fitted on whole networks measured on the same target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.errors import PredictorError

MIN_NETWORKS = 5
"""Fewer whole networks than this say too little about three coefficients."""

GROUPS = 20
"""Networks are left out in so many groups at most, however many there are."""

TOLERANCE = 0.03
"""Relative error up to which networks count in full."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Coefficients of a fit, and how well it did on networks left out of it.

    Attributes:
        a: factor of the sum of kernel latencies.
        b_us: microseconds per kernel.
        c_us: microseconds per invocation.
        error: standard deviation of the relative error, each network left out of the fit of a, b
            and c in turn, in groups where there are many; the kernels' times still rest on all of
            them.
        networks: number of networks fitted on.
    """

    a: float
    b_us: float
    c_us: float
    error: float
    networks: int

    def apply(self, sum_us: NDArray[Any], kernels: NDArray[Any]) -> NDArray[np.float64]:
        """Return whole-network latencies in microseconds, shape (networks,)."""
        return np.asarray(self.a * sum_us + self.b_us * kernels + self.c_us, np.float64)


PLAIN_SUM = Calibration(a=1.0, b_us=0.0, c_us=0.0, error=0.0, networks=0)
"""No calibration at all."""


def solve(sums: NDArray[Any], kernels: NDArray[Any], measured: NDArray[Any]) -> NDArray[np.float64]:
    """Return a, b and c of the least relative error, with a small pull towards the plain sum.

    Networks of one space resemble each other, so that a, b and c trade off almost freely; the pull
    decides among equals for the fit that still holds on networks of another size. Errors beyond
    `TOLERANCE` count less than their square: a disturbed measurement is not to bend the fit.

    Args:
        sums: sum of kernel latencies, shape (networks,).
        kernels: number of kernels, shape (networks,).
        measured: latency of the whole, shape (networks,).
    """
    from scipy.optimize import least_squares

    scale = np.array([1.0, measured.mean() / kernels.mean(), measured.mean()])
    columns = np.stack([sums, kernels, np.ones_like(sums)], axis=1) * scale / measured[:, None]
    pull = 0.02 * np.sqrt(len(sums))

    def residuals(x: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([columns @ x - 1, pull * (x - [1.0, 0.0, 0.0])])

    bounds = ([0.2, 0.0, 0.0], [5.0, 1.0, 1.0])
    start = np.array([1.0, 0.01, 0.01])
    solution = least_squares(residuals, start, bounds=bounds, loss="soft_l1", f_scale=TOLERANCE)
    return np.asarray(solution.x * scale, np.float64)


def fit_calibration(
    sum_us: NDArray[Any], kernels: NDArray[Any], measured_us: NDArray[Any]
) -> Calibration:
    """Fit on networks of which both the kernels and the whole were measured.

    Args:
        sum_us: sum of kernel latencies, shape (networks,).
        kernels: number of kernels, shape (networks,).
        measured_us: latency of the whole, shape (networks,).

    Raises:
        PredictorError: fewer than `MIN_NETWORKS` networks.
    """
    sums, counts, measured = (np.asarray(v, np.float64) for v in (sum_us, kernels, measured_us))
    if len(sums) < MIN_NETWORKS:
        raise PredictorError(
            f"the table holds {len(sums)} whole networks that were measured undisturbed, a "
            f"calibration needs {MIN_NETWORKS}: profile more into it (--models with more models, "
            "--space moga, a larger --budget), with other programs closed"
        )
    errors = np.empty(len(sums))
    group = np.arange(len(sums)) % GROUPS
    for number in range(min(GROUPS, len(sums))):
        out = group == number
        a, b, c = solve(sums[~out], counts[~out], measured[~out])
        errors[out] = (a * sums[out] + b * counts[out] + c) / measured[out] - 1
    a, b, c = solve(sums, counts, measured)
    error = float(np.sqrt(np.mean(np.square(errors))))
    return Calibration(float(a), float(b), float(c), error, len(sums))

"""What a kernel that is measured alone pays for its inputs and outputs on a GPU.

Alone, its inputs are copied to the GPU in every invocation, and its outputs back; in a network only
those of the whole are. Of a large convolution's time that is nothing, of an activation's half:

    alone = fixed + price * MB of inputs and outputs + what it takes in a network

The price of a MB is learned from whole networks. Those of small kernels are faster, against the sum
of their kernels, than those of large ones, the more so the more their kernels read and write.
"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from latlas.predictor import features
from latlas.predictor.forest import Forest
from latlas.predictor.observations import Observations
from latlas.predictor.sizes import kernel_class
from latlas.profiler.kernel import Kernel
from latlas.profiler.vocabulary import MIN_KERNELS

MIN_NETWORKS = 10
"""Fewer whole networks say too little."""

GAIN = 0.1
"""The price must lower the error on whole networks by this share at least."""

FLOOR = 0.2
"""Share of its time alone that a kernel keeps at least."""

_TREES = 24
_STEADY = 0.05


def copied_mb(kernel: Kernel) -> float:
    """Return the inputs and outputs of a kernel in MB (10^6 bytes); a host's are float32."""
    graph = kernel.graph
    values = (*range(len(graph.inputs)), *graph.outputs)
    return 4e-6 * sum(math.prod(graph.shapes[value]) for value in values)


def without_copies(time_us: float, kernel: Kernel, price_us: float) -> float:
    """Return what a kernel takes without its copies.

    Args:
        time_us: what it takes alone.
        kernel: the kernel.
        price_us: microseconds per MB.
    """
    return max(time_us - price_us * copied_mb(kernel), FLOOR * time_us)


def fit_copies(observations: Observations, *, seed: int = 0) -> float:
    """Return what copying a MB costs, in microseconds; 0 where that does not show.

    Args:
        observations: those of a CPU, which copies nothing, or with listed kernels, say nothing.
        seed: of the forests that say what kernels take that were not measured.
    """
    networks = [network for network in observations.networks if network.listed_us is None]
    if observations.target.delegate != "gpu" or len(networks) < MIN_NETWORKS:
        return 0.0
    kernels = list(dict.fromkeys(kernel for network in networks for kernel in network.kernels))
    time_us = dict(zip(kernels, _alone_us(observations, kernels, seed).tolist(), strict=True))
    mb = {kernel: copied_mb(kernel) for kernel in kernels}
    rows = np.array(
        [
            (
                sum(time_us[kernel] for kernel in network.kernels),
                sum(mb[kernel] for kernel in network.kernels),
                network.latency_us,
            )
            for network in networks
        ]
    )
    rows = rows[np.isfinite(rows).all(axis=1)]
    if len(rows) < MIN_NETWORKS:
        return 0.0
    _, before = _priced(rows, free=False)
    price_us, after = _priced(rows, free=True)
    return price_us if after < (1 - GAIN) * before else 0.0


def _alone_us(observations: Observations, kernels: list[Kernel], seed: int) -> NDArray[np.float64]:
    """Return what kernels take alone, as measured or as forests predict it; NaN if neither."""
    known = {k: max(t - observations.fixed_us, 1e-3) for k, t in observations.alone_us.items()}
    found = np.array([known.get(kernel, np.nan) for kernel in kernels])
    by_class: dict[str, list[Kernel]] = defaultdict(list)
    for kernel in known:
        by_class[kernel_class(kernel)].append(kernel)
    classes = np.array([kernel_class(kernel) for kernel in kernels])
    for name, learned in by_class.items():
        asked = np.flatnonzero((classes == name) & np.isnan(found))
        if not len(asked) or len(learned) < MIN_KERNELS:
            continue
        x = features.matrix(learned, observations.target)
        y = np.log([known[kernel] for kernel in learned]) - x[:, 0]
        forest = Forest.grow(x, y, np.ones(len(y)), trees=_TREES, seed=seed)
        x = features.matrix([kernels[index] for index in asked], observations.target)
        found[asked] = np.exp(forest.predict(x) + x[:, 0])
    return found


def _priced(rows: NDArray[np.float64], *, free: bool) -> tuple[float, float]:
    """Return the price that explains whole networks best, and the loss; 0 unless `free`.

    Args:
        rows: time of the kernels alone, their MB, and time of the whole, shape (networks, 3).
    """
    from scipy.optimize import least_squares

    sums, mb, whole = rows.T
    unit = sums.sum() / mb.sum()  # a price at which all would be copying
    most = 1.0 if free else 1e-9

    def residuals(x: NDArray[np.float64]) -> NDArray[np.float64]:
        factor, share, fixed = x
        inside = np.maximum(sums - share * unit * mb, FLOOR * sums)
        return np.asarray((factor * inside + fixed * whole.min()) / whole - 1)

    start = np.array([1.0, 0.1 * most, 0.1])
    bounds = ([0.2, 0.0, 0.0], [5.0, most, 1.0])
    found = least_squares(residuals, start, bounds=bounds, loss="soft_l1", f_scale=_STEADY)
    return float(found.x[1]) * unit, float(found.cost)

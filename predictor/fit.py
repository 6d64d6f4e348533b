"""Learn a predictor from observations, such as those of a latency table."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np

from latlas.predictor import features
from latlas.predictor.calibration import PLAIN_SUM, fit_calibration
from latlas.predictor.forest import Forest
from latlas.predictor.latencies import KernelLatencies, kernel_latencies
from latlas.predictor.observations import Observations
from latlas.predictor.predictor import UNKNOWN, LatencyPredictor
from latlas.profiler.errors import PredictorError
from latlas.profiler.fusion import rules_for
from latlas.profiler.kernel import Kernel

MIN_KERNELS = 4
"""A kernel type known from fewer kernels is looked up only, not predicted."""

FOLDS = 5


def fit(observations: Observations, *, trees: int = 100, seed: int = 0) -> LatencyPredictor:
    """Fit a predictor.

    Args:
        observations: of kernels and of at least `calibration.MIN_NETWORKS` whole networks.
        trees: trees of every forest.
        seed: makes the fit reproducible.

    Raises:
        PredictorError: there are too few observations.
    """
    target = observations.target
    known = kernel_latencies(observations)
    if not known.latency_us:
        raise PredictorError(
            f"there are no measured kernels of the target {target}: run `latlas profile` first"
        )
    by_type: dict[str, list[Kernel]] = defaultdict(list)
    for kernel in known.latency_us:
        by_type[kernel.type].append(kernel)
    forests, errors = {}, {}
    for kind, kernels in sorted(by_type.items()):
        if len(kernels) < MIN_KERNELS:
            continue
        forests[kind], errors[kind] = _fit_type(kernels, known, trees, seed)
    rules = rules_for(target.delegate, target.adapter).version
    plain = LatencyPredictor(target, rules, dict(known.latency_us), forests, errors, PLAIN_SUM)
    whole = []
    for network in observations.networks:
        # A table that was cut short lacks some kernels of its networks: these are predicted.
        latency_us, source = plain.kernels_us(network.kernels)
        if not (source == UNKNOWN).any():
            whole.append((float(latency_us.sum()), len(network.kernels), network.latency_us))
    calibration = fit_calibration(*np.asarray(whole, np.float64).reshape(-1, 3).T)
    return replace(plain, calibration=calibration)


def _fit_type(
    kernels: list[Kernel], known: KernelLatencies, trees: int, seed: int
) -> tuple[Forest, float]:
    """Return the forest of one kernel type and its error on kernels left out."""
    x = features.matrix(kernels)
    time_us = np.array([known.latency_us[kernel] for kernel in kernels])
    y = np.log(np.maximum(time_us, 1e-3)) - x[:, 0]
    weight = np.sqrt([known.weight[kernel] for kernel in kernels])
    order = np.random.default_rng(seed).permutation(len(kernels))
    residuals = []
    for fold in np.array_split(order, min(FOLDS, len(kernels))):
        rest = np.setdiff1d(order, fold)
        forest = Forest.grow(x[rest], y[rest], weight[rest], trees=max(trees // 2, 1), seed=seed)
        residuals.append(forest.predict(x[fold]) - y[fold])
    error = float(np.sqrt(np.mean(np.square(np.concatenate(residuals)))))
    return Forest.grow(x, y, weight, trees=trees, seed=seed), error

"""One device's latencies from the features of items, with relative errors.

Most of a latency adds up: so many operators of this kind, so many of that. What does not is a
smooth function of the same quantities. Both are terms of one Gaussian process
(predictor/gaussian_process.py), and a handful of measurements decides how much of each there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latlas.predictor.gaussian_process import (
    Posterior,
    Term,
    Variances,
    condition,
    covariances,
    learn_variances,
    unit_features,
    usual_variances,
)
from latlas.profiler.errors import PredictorError

SPREAD = 2.0
"""Standard deviation of the logarithm of a variance: a device differs from others by that much."""

_NOISE = 1e-3
_REFITS = 2


@dataclass(frozen=True, eq=False)
class Regression:
    """Latencies as ``mean + scale * f(item)``, where a process f was learned.

    Attributes:
        terms: of the process; their features hold every item.
        mean, scale: shape (items,); errors are even in units of `scale`.
        ratio: what the process' standard deviation is multiplied by, shape (items,).
        variances: of the terms and the noise.
        posterior: of the process.
        score: logarithm of the probability of every measured latency given the others, summed.
    """

    terms: Sequence[Term]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    ratio: NDArray[np.float64]
    variances: Variances
    posterior: Posterior
    score: float

    def predict(self, items: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return latencies and the standard deviations of measured ones, each (items,)."""
        measured = self.posterior.items
        unit = covariances(self.terms, items, measured)
        cross = self.variances.sum(unit) * np.outer(self.ratio[items], self.ratio[measured])
        prior = np.zeros(len(items))
        for variance, term in zip(self.variances.terms, self.terms, strict=True):
            prior += variance * term.own_variance(items)
        variance = self.posterior.variance(cross, prior * self.ratio[items] ** 2)
        latency = self.mean[items] + self.scale[items] * self.posterior.mean(cross)
        deviation = self.scale[items] * np.sqrt(variance + self.variances.noise)
        # A latency is never nothing: a line may fall below, an item does not.
        return np.maximum(latency, 0.05 * self.scale[items]), deviation


def regress(
    terms: Sequence[Term],
    mean: NDArray[np.float64],
    scale: NDArray[np.float64],
    ratio: NDArray[np.float64],
    items: NDArray[np.intp],
    latency: NDArray[np.float64],
    usual: Variances,
    spread: float,
) -> Regression:
    """Learn the variances of a process on measured items, then the process.

    Args:
        terms, mean, scale, ratio: as in `Regression`.
        items: measured ones.
        latency: of those, shape (items,).
        usual, spread: of the variances, as in `learn_variances`.
    """
    unit = covariances(terms, items, items) * np.outer(ratio[items], ratio[items])
    values = (latency - mean[items]) / scale[items]
    fixed = [term.fixed for term in terms]
    variances = learn_variances([unit], [values], usual, spread, fixed)
    posterior = condition(items, variances.sum(unit), values, variances.noise)
    score = posterior.score - float(np.log(scale[items]).sum())
    return Regression(terms, mean, scale, ratio, variances, posterior, score)


def additive_terms(
    features: Mapping[str, NDArray[np.float64]], smooth: Sequence[str] = ()
) -> tuple[Term, ...]:
    """Return the terms of features that add up, and a smooth one over some of them.

    Args:
        features: by name, arrays of shape (items, columns), the most important first.
        smooth: names of those that the smooth term sees; none: all.
    """
    if not features:
        raise PredictorError("a device's own model needs features of its items: got none")
    everyone = np.arange(len(next(iter(features.values()))))
    terms = [Term("constant", np.ones((len(everyone), 1)), 0.05)]
    usual = 0.03
    for name, columns in features.items():
        centred = columns.reshape(len(columns), -1) - columns.reshape(len(columns), -1).mean(0)
        terms.append(Term(name, unit_features(centred, everyone), usual))
        usual = 0.003
    seen = np.hstack([features[name].reshape(len(everyone), -1) for name in smooth or features])
    terms.append(Term("smooth", spread_out(seen), 0.002, radial=True))
    return tuple(terms)


def spread_out(
    features: NDArray[np.float64], columns: int = 8, length: float = 3.0
) -> NDArray[np.float64]:
    """Return the first principal components, scaled so that items are `length` apart or nearer.

    Args:
        features: shape (items, columns).
        columns: components at most.
        length: of the smooth function, in standard deviations of a component.
    """
    deviation = features.std(axis=0)
    kept = (features - features.mean(axis=0))[:, deviation > 1e-9] / deviation[deviation > 1e-9]
    if not kept.size:
        return np.zeros((len(features), 1))
    left, size, _ = np.linalg.svd(kept, full_matrices=False)
    some = min(columns, int(np.sum(size > 1e-6 * size[0])))
    return np.asarray(left[:, :some] * np.sqrt(len(features)) / length)


def fit_additive(
    terms: Sequence[Term], items: NDArray[np.intp], latency: NDArray[np.float64]
) -> Regression:
    """Learn a device's own model from measured items.

    Args:
        terms: as from `additive_terms`.
        items: indices of the measured ones.
        latency: of those, in any unit, shape (items,).

    Raises:
        PredictorError: a latency is not positive, or there are fewer than 3.
    """
    if len(items) < 3 or not (np.isfinite(latency) & (latency > 0)).all():
        raise PredictorError(
            f"a device's own model needs at least 3 positive latencies: got {latency!r:.200}"
        )
    level = float(np.median(latency))
    everyone = np.arange(len(terms[0].features))
    mean = np.full(len(everyone), level)
    scale = mean
    usual = usual_variances(terms, _NOISE)
    for _ in range(_REFITS):
        fitted = regress(terms, mean, scale, level / scale, items, latency, usual, SPREAD)
        scale = np.maximum(fitted.predict(everyone)[0], 0.3 * float(latency.min()))
    return fitted

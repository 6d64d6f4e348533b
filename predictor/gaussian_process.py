"""Regression by a Gaussian process whose covariance is a sum of terms.

Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006 (chapters 2 and 5, equations
5.8-5.12): https://gaussianprocess.org/gpml. The noise is Student's t (Jylänki et al. 2011), so that
a disturbed measurement does not bend the fit.

A term says in which respect two items are alike: in proportion to inner products of their features
(then its part of the function is linear in them), or by how near they are (any smooth function).
Each term's variance is learned by maximising the marginal likelihood, pulled towards what is usual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FREEDOM = 4.0
"""Degrees of freedom of Student's t: its noise is half as heavy-tailed as that of bad medians."""

_LOWEST, _HIGHEST = np.log(1e-7), np.log(50.0)
_REWEIGHTINGS = 5


@dataclass(frozen=True, eq=False)
class Term:
    """One respect in which items are alike.

    Attributes:
        name: what it stands for.
        features: shape (items, columns).
        variance: a usual one, where the learning starts and towards which it is pulled.
        radial: alike are items that are near each other; otherwise, the term is linear.
        fixed: the variance is known and not learned.
    """

    name: str
    features: NDArray[np.float64]
    variance: float
    radial: bool = False
    fixed: bool = False

    def own_variance(self, items: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the variance of items at unit variance, shape (items,)."""
        if self.radial:
            return np.ones(len(items))
        return np.asarray(np.sum(self.features[items] ** 2, axis=1), np.float64)

    def covariance(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the covariance between items at unit variance, shape (rows, columns)."""
        a, b = self.features[rows], self.features[columns]
        product = a @ b.T
        if not self.radial:
            return product
        distance = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * product
        return np.asarray(np.exp(-0.5 * np.maximum(distance, 0)))


def unit_features(features: NDArray[np.float64], items: NDArray[np.intp]) -> NDArray[np.float64]:
    """Scale features so that a linear term of them has the mean variance 1 over `items`.

    >>> unit_features(np.array([[3.0, 4.0]]), np.array([0]))
    array([[0.6, 0.8]])
    """
    features = features.reshape(len(features), -1)
    size = np.sqrt(np.mean(np.sum(features[items] ** 2, axis=1)))
    return np.asarray(features / size if size > 1e-9 else np.zeros_like(features))


def covariances(
    terms: Sequence[Term], rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the covariance of every term at unit variance, shape (terms, rows, columns)."""
    return np.stack([term.covariance(rows, columns) for term in terms])


@dataclass(frozen=True, eq=False)
class Variances:
    """What was learned of a process.

    Attributes:
        terms: variance of every term, shape (terms,).
        noise: variance of the noise.
    """

    terms: NDArray[np.float64]
    noise: float

    def sum(self, unit: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the covariance of the whole from those of the terms, shape (rows, columns)."""
        return np.asarray(np.tensordot(self.terms, unit, axes=1))


def usual_variances(terms: Sequence[Term], noise: float) -> Variances:
    """Return the variances that the terms start with."""
    return Variances(np.array([term.variance for term in terms]), noise)


def learn_variances(
    units: Sequence[NDArray[np.float64]],
    values: Sequence[NDArray[np.float64]],
    usual: Variances,
    spread: float,
    fixed: Sequence[bool],
) -> Variances:
    """Maximise the marginal likelihood of several functions that share their variances.

    Args:
        units: of every function, the terms' covariances, each of shape (terms, items, items).
        values: of every function, shape (items,).
        usual: where to start, and the mode of the variances' prior.
        spread: standard deviation of the logarithm of a variance under the prior.
        fixed: the terms whose variance stays.
    """
    from scipy.optimize import minimize

    start = np.log(np.maximum([*usual.terms, usual.noise], np.exp(_LOWEST)))
    bounds = [
        (x, x) if stays else (_LOWEST, _HIGHEST)
        for x, stays in zip(start, [*fixed, False], strict=True)
    ]

    def loss(logarithms: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        off = (logarithms - start) / spread
        total, gradient = 0.5 * float(off @ off), off / spread
        variances = np.exp(logarithms)
        for unit, value in zip(units, values, strict=True):
            part, slope = _negative_log_likelihood(unit, value, variances)
            total += part
            gradient = gradient + slope
        return total, gradient

    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    variances = np.exp(found.x)
    return Variances(variances[:-1], float(variances[-1]))


def _negative_log_likelihood(
    unit: NDArray[np.float64], value: NDArray[np.float64], variances: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Return it and its gradient by the logarithms of the variances (GPML 5.8 and 5.9)."""
    from scipy.linalg import cho_factor, cho_solve

    whole = np.tensordot(variances[:-1], unit, axes=1) + variances[-1] * np.eye(len(value))
    factor = cho_factor(whole, lower=True)
    weight = cho_solve(factor, value)
    slope = cho_solve(factor, np.eye(len(value))) - np.outer(weight, weight)
    total = 0.5 * float(value @ weight) + float(np.log(np.diag(factor[0])).sum())
    by_term = [*np.tensordot(unit, slope, axes=2), np.trace(slope)]
    return total, 0.5 * variances * np.array(by_term)


@dataclass(frozen=True, eq=False)
class Posterior:
    """A process given values of some items.

    Attributes:
        items: those items, shape (items,).
        dual: weights of their covariances, shape (items,).
        spread: from covariances to what the values took off the variance, (items, items).
        score: logarithm of the probability of every value given the others, summed.
    """

    items: NDArray[np.intp]
    dual: NDArray[np.float64]
    spread: NDArray[np.float64]
    score: float

    def mean(self, cross: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return expected values, given covariances of shape (wanted, items)."""
        return np.asarray(cross @ self.dual)

    def variance(self, cross: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return variances of the function, given also the prior ones, shape (wanted,)."""
        taken = np.einsum("ij,jk,ik->i", cross, self.spread, cross)
        return np.asarray(np.maximum(own - taken, 0.0))


def condition(
    items: NDArray[np.intp],
    covariance: NDArray[np.float64],
    values: NDArray[np.float64],
    noise: float,
) -> Posterior:
    """Return the process given the values of items, outliers weighted down.

    Args:
        items: indices of the items, kept.
        covariance: between them, without noise, shape (items, items).
        values: shape (items,).
        noise: variance of the noise.
    """
    weight = np.ones(len(values))
    for _ in range(_REWEIGHTINGS):
        inverse = np.linalg.inv(covariance + np.diag(noise / weight))
        residual = values - covariance @ (inverse @ values)
        unsure = np.diag(covariance - covariance @ inverse @ covariance)
        weight = (FREEDOM + 1) / (FREEDOM + (residual**2 + unsure) / noise)
    spread = np.asarray(np.linalg.inv(covariance + np.diag(noise / weight)), np.float64)
    dual = np.asarray(spread @ values, np.float64)
    return Posterior(items, dual, spread, _leave_one_out(covariance, values, noise))


def _leave_one_out(
    covariance: NDArray[np.float64], values: NDArray[np.float64], noise: float
) -> float:
    """Return the log score of every value predicted from the others (GPML 5.10-5.12)."""
    from scipy.stats import t

    inverse = np.linalg.inv(covariance + noise * np.eye(len(values)))
    width = 1 / np.sqrt(np.diag(inverse))
    residual = (inverse @ values) * width**2
    return float(np.sum(t.logpdf(residual / width, FREEDOM) - np.log(width)))

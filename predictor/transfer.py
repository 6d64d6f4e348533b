"""A new device from few measurements, with what other devices are known to do.

Lee et al., HELP, NeurIPS 2021 (https://arxiv.org/abs/2106.08630) set the task and its protocol.
Here a latency on the new device is ``s * m * (1 + g)``: m is the mean of the other devices'
latencies, each in units of its median, s how fast the device is, and g a Gaussian process that is
linear in what the others differ in and in features of the items, and smooth in both. How much each
matters is learned from the other devices: each in turn is taken for the new one.

There may be two means, that of all sources and that of those of the target's kind (GPUs for a GPU).
Which one serves is decided by how well measured items are predicted from each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from latlas.predictor.additive import Regression, additive_terms, fit_additive, regress, spread_out
from latlas.predictor.design import i_optimal, middle
from latlas.predictor.gaussian_process import (
    Term,
    Variances,
    covariances,
    learn_variances,
    unit_features,
    usual_variances,
)
from latlas.profiler.errors import PredictorError

OWN_SAMPLES = 50
"""From so many measurements on, the device's own model is tried beside those of other devices."""

LEARNED_ON = 100
"""Items on which the variances are learned."""

_NOISE = 3e-3
_WIDE = 3.0
_SPREADS = {"all": 1.0, "kin": 0.5}
_LIKELY = 0.9  # share of the pool, by mean latency, that is measured or aimed at
MEAN_ABSOLUTE = float(np.sqrt(2 / np.pi))
"""Mean absolute value of a normal variable, in standard deviations."""


@dataclass(frozen=True, eq=False)
class Sources:
    """What is known about every item before the new device is measured.

    Attributes:
        latency: on every source, in any unit, positive, shape (items, sources); predictions where
            there are predictors: they are free of the measurements' noise.
        devices: the device of every source: two settings of one do not stand in for each other.
        kin: whether a source is of the target's kind, such as its delegate; empty: all are.
        features: groups of quantities that add up (operator counts, FLOPs), (items, columns) each.
        measured: measurements behind `latency`, NaN where there are none, or None.
        smooth: whether the process may have a part that is not linear in the sources and features.
    """

    latency: NDArray[np.float64]
    devices: tuple[str, ...]
    kin: tuple[bool, ...] = ()
    features: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    measured: NDArray[np.float64] | None = None
    smooth: bool = True

    def check(self) -> None:
        """Raise `PredictorError` unless the shapes agree and latencies are positive."""
        shape = self.latency.shape
        if len(shape) != 2 or 0 in shape or shape[1] != len(self.devices):
            raise PredictorError(
                f"sources: got latencies of shape {shape} for {len(self.devices)} sources, "
                "expected (items, sources) with at least one of each"
            )
        if not (np.isfinite(self.latency) & (self.latency > 0)).all():
            raise PredictorError("sources: a latency is not positive: leave the source out")
        if self.kin and len(self.kin) != shape[1]:
            raise PredictorError(f"sources: {len(self.kin)} marks of kin for {shape[1]} sources")
        if self.measured is not None and self.measured.shape != shape:
            raise PredictorError(f"sources: measured is {self.measured.shape}, latency {shape}")
        for name, columns in self.features.items():
            if len(columns) != shape[0] or not np.isfinite(columns).all():
                raise PredictorError(f"sources: {name} are not finite numbers for every item")


@dataclass(frozen=True, eq=False)
class View:
    """One way to see the new device in the sources.

    Attributes:
        name: ``all`` or ``kin``: whose mean it starts from.
        mean: shape (items,), around 1.
        terms: of the process that departs from it.
        variances: learned from the sources.
    """

    name: str
    mean: NDArray[np.float64]
    terms: tuple[Term, ...]
    variances: Variances


@dataclass(frozen=True, eq=False)
class Transfer:
    """The new device, learned.

    Attributes:
        models: from the views, and from the device's own measurements where there are enough.
        weights: of the models' predictions, they sum to 1.
    """

    models: Mapping[str, Regression]
    weights: Mapping[str, float]

    def predict(self, items: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return latencies and the standard deviations of measured ones, each (items,)."""
        mean, square = np.zeros(len(items)), np.zeros(len(items))
        for name, weight in self.weights.items():
            latency, deviation = self.models[name].predict(items)
            mean += weight * latency
            square += weight * (deviation**2 + latency**2)
        return mean, np.sqrt(np.maximum(square - mean**2, 0.0))

    def expected_error(self, items: NDArray[np.intp]) -> float:
        """Return the mean absolute relative error that is expected of predictions of `items`."""
        latency, deviation = self.predict(items)
        return MEAN_ABSOLUTE * float(np.mean(deviation / latency))


@dataclass(frozen=True, eq=False)
class Prior:
    """All that is known before the new device is measured."""

    sources: Sources
    views: tuple[View, ...]
    pool: NDArray[np.intp]

    def choose(self, count: int, measured: Sequence[int] = ()) -> list[int]:
        """Choose items of the pool to measure on the new device, the most useful first.

        Raises:
            PredictorError: the pool holds too few.
        """
        mean = self.views[-1].mean[self.pool]
        likely = middle(mean, _LIKELY)
        if len(likely) < count + len(measured):
            likely = np.arange(len(self.pool))
        whole = [view.variances.sum(_unit(view.terms, self.pool)) for view in self.views]
        noises = [view.variances.noise for view in self.views]
        place = {int(item): index for index, item in enumerate(self.pool)}
        known = [place[item] for item in measured if item in place]
        chosen = i_optimal(whole, noises, count, likely, likely, known)
        return [int(self.pool[index]) for index in chosen]

    def expected_error(self, measured: NDArray[np.intp], items: NDArray[np.intp]) -> float:
        """Return the mean absolute relative error expected of `items`, before measuring."""
        errors = []
        for view in self.views:
            noise = view.variances.noise
            known = view.variances.sum(_unit(view.terms, measured))
            cross = view.variances.sum(covariances(view.terms, items, measured))
            own = sum(
                variance * term.own_variance(items)
                for variance, term in zip(view.variances.terms, view.terms, strict=True)
            )
            inverse = np.linalg.inv(known + noise * np.eye(len(measured)))
            left = own - np.einsum("ij,jk,ik->i", cross, inverse, cross)
            errors.append(np.sqrt(np.maximum(left, 0) + noise).mean())
        return MEAN_ABSOLUTE * float(np.mean(errors))

    def fit(self, items: NDArray[np.intp], latency: NDArray[np.float64]) -> Transfer:
        """Learn the new device.

        Args:
            items: measured ones.
            latency: of those, in any unit, shape (items,).

        Raises:
            PredictorError: fewer than 3 items, or a latency is not positive.
        """
        latency = np.asarray(latency, np.float64)
        if len(items) < 3 or not (np.isfinite(latency) & (latency > 0)).all():
            raise PredictorError(
                f"a transfer needs at least 3 positive latencies: got {latency!r:.200}"
            )
        models = {view.name: _fit_view(view, items, latency) for view in self.views}
        if len(items) >= OWN_SAMPLES and self.sources.features and self.sources.smooth:
            terms = additive_terms(self.sources.features)
            models["own"] = fit_additive(terms, items, latency)
        scores = np.array([model.score for model in models.values()])
        likely = np.exp(scores - scores.max())
        weights = dict(zip(models, (likely / likely.sum()).tolist(), strict=True))
        return Transfer(models, weights)


def _fit_view(view: View, items: NDArray[np.intp], latency: NDArray[np.float64]) -> Regression:
    speed = float(np.median(latency / view.mean[items]))
    scale = speed * view.mean
    ones = np.ones(len(scale))
    spread = _SPREADS[view.name]
    return regress(view.terms, scale, scale, ones, items, latency, view.variances, spread)


def _unit(terms: Sequence[Term], items: NDArray[np.intp]) -> NDArray[np.float64]:
    return covariances(terms, items, items)


def prepare(sources: Sources, pool: NDArray[np.intp], *, seed: int = 0) -> Prior:
    """Learn from the sources how devices differ.

    Args:
        sources: what is known about all items.
        pool: items that can be measured on the new device; the variances are learned on them.
        seed: of the choice of items that they are learned on.

    Raises:
        PredictorError: the sources are not what they should be.
    """
    sources.check()
    relative = sources.latency / np.median(sources.latency[pool], axis=0)
    real = relative if sources.measured is None else sources.measured
    real = real / np.nanmedian(real[pool], axis=0)
    some = np.random.default_rng(seed).permutation(pool)[:LEARNED_ON]
    kin = np.array(sources.kin or (True,) * relative.shape[1])
    views = [_view("all", _all_terms, relative, real, np.ones_like(kin), sources, pool, some)]
    if kin.any() and not kin.all():
        views.append(_view("kin", _kin_terms, relative, real, kin, sources, pool, some))
    return Prior(sources, tuple(views), pool)


_Terms = Callable[
    [NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64], Sources, NDArray[np.intp]],
    tuple[Term, ...],
]


def _view(
    name: str,
    make_terms: _Terms,
    relative: NDArray[np.float64],
    real: NDArray[np.float64],
    kin: NDArray[np.bool_],
    sources: Sources,
    pool: NDArray[np.intp],
    some: NDArray[np.intp],
) -> View:
    """Return a view whose variances are learned by taking each kin for the new device in turn."""
    mean = relative[:, kin].mean(axis=1)
    terms = make_terms(relative, kin, mean, sources, pool)
    units, values = [], []
    devices = np.array(sources.devices)
    for source in np.flatnonzero(kin):
        others = devices != devices[source]
        if not (others & kin).any():
            continue
        from_ = relative[:, others & kin].mean(axis=1)
        known = some[np.isfinite(real[some, source])]
        if len(known) < len(terms):
            continue
        departing = make_terms(relative[:, others], kin[others], from_, sources, pool)
        value = real[known, source] / from_[known]
        units.append(_unit(departing, known))
        values.append(value / np.median(value) - 1)
    usual = usual_variances(terms, _NOISE)
    if units:
        fixed = [term.fixed for term in terms]
        usual = learn_variances(units, values, usual, _WIDE, fixed)
    return View(name, mean, terms, usual)


def _all_terms(
    relative: NDArray[np.float64],
    kin: NDArray[np.bool_],
    mean: NDArray[np.float64],
    sources: Sources,
    pool: NDArray[np.intp],
) -> tuple[Term, ...]:
    others = {"directions": (relative - mean[:, None], 0.1)}
    return _terms(others, mean, sources, pool)


def _kin_terms(
    relative: NDArray[np.float64],
    kin: NDArray[np.bool_],
    mean: NDArray[np.float64],
    sources: Sources,
    pool: NDArray[np.intp],
) -> tuple[Term, ...]:
    departures = relative - mean[:, None]
    near = departures[:, kin] if kin.sum() > 1 else departures
    return _terms({"kin": (near, 0.1), "others": (departures[:, ~kin], 0.01)}, mean, sources, pool)


def _terms(
    directions: Mapping[str, tuple[NDArray[np.float64], float]],
    mean: NDArray[np.float64],
    sources: Sources,
    pool: NDArray[np.intp],
) -> tuple[Term, ...]:
    """Return the terms, everything relative to the mean: errors count relatively."""
    share = 1 / mean[:, None]
    terms = [
        Term("speed", np.ones((len(mean), 1)), 1.0, fixed=True),
        Term("constant", unit_features(share, pool), 0.01),
    ]
    parts = []
    for name, (columns, usual) in directions.items():
        terms.append(Term(name, unit_features(columns * share, pool), usual))
        parts.append(columns * share)
    for name, columns in sources.features.items():
        rest = beyond(columns.reshape(len(mean), -1), mean, pool)
        terms.append(Term(name, unit_features(rest * share, pool), 0.01))
        parts.append(rest * share)
    if sources.smooth:
        traits = spread_out(np.hstack(parts), columns=4)
        size = spread_out(np.log(mean)[:, None])
        terms.append(Term("smooth", np.hstack([size, traits]), 0.01, radial=True))
    return tuple(terms)


def beyond(
    columns: NDArray[np.float64], mean: NDArray[np.float64], pool: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return what of features the mean latency does not explain, in units where they are 1 large.

    >>> beyond(np.array([[2.0], [4.0]]), np.array([1.0, 2.0]), np.array([0, 1]))
    array([[0.],
           [0.]])
    """
    size = np.abs(columns[pool]).mean(axis=0)
    scaled = columns / np.where(size > 0, size, 1.0)
    slope = (scaled[pool] * mean[pool, None]).sum(0) / (mean[pool] ** 2).sum()
    return np.asarray(scaled - np.outer(mean, slope))

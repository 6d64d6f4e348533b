"""A predictor of a new device from a few networks measured on it and predictors of other devices.

The items of a transfer (predictor/transfer.py) are whole networks here. What the sources say of a
network is a sum over its kernels, and so is everything that the new device may differ in: its
speed, what each class of kernels costs, which source it resembles, what a launch and an invocation
cost. All of it is linear, so that a device learned from networks gives every kernel a latency, a
weighted sum of the sources' (predictor/mixture.py).

Where the new device lists operators, the networks show many kernels in context too: forests learn
how these depart from the mixture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from latlas.predictor.calibration import MIN_NETWORKS
from latlas.predictor.fit import MIN_KERNELS, TREES, fit
from latlas.predictor.gaussian_process import (
    Term,
    covariances,
    learn_variances,
    unit_features,
    usual_variances,
)
from latlas.predictor.intervals import FLOOR, Intervals, quantile
from latlas.predictor.latencies import KernelLatencies, kernel_latencies
from latlas.predictor.mixture import Mixture
from latlas.predictor.observations import EMPTY, Observations
from latlas.predictor.predictor import UNKNOWN, LatencyPredictor
from latlas.predictor.sizes import kernel_class
from latlas.predictor.transfer import LEARNED_ON, MEAN_ABSOLUTE, Prior, Sources, View
from latlas.profiler.errors import PredictorError
from latlas.profiler.kernel import Kernel

_NOISE = 2e-3
_SPREAD = 1.0
_MOST = 0.5
"""Where so many of the networks' kernels were measured, sources are weighed by kernels."""

_PULL = 0.1
_NORMAL_90 = 1.645

Networks = Mapping[str, Sequence[Kernel]]
"""Kernels of networks in execution order, by name."""


@dataclass(frozen=True)
class FewShotPlan:
    """Which networks to measure on a new device.

    Attributes:
        chosen: their names, the most useful first.
        expected_error: mean absolute relative error that is expected of the others.
        networks: number of networks that there were to choose from.
        left_out: networks that could not be chosen, with a kernel that a source does not know, or
            what else is the matter with them.
    """

    chosen: tuple[str, ...]
    expected_error: float
    networks: int
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class FewShotFit:
    """A transferred predictor, and how good it expects to be.

    Attributes:
        predictor: of the new device.
        expected_error: mean absolute relative error expected of networks that were not measured.
        left_out_error: mean absolute relative error of each measured network, predicted from the
            whole latencies of the others.
        networks: measured networks that it was learned from.
        listed: whether it learned from kernels that were measured, too.
        left_out: measured networks with a kernel that a source does not know.
    """

    predictor: LatencyPredictor
    expected_error: float
    left_out_error: float
    networks: int
    listed: bool
    left_out: Mapping[str, str]


def check_sources(sources: Sequence[LatencyPredictor], rules_version: str, precision: str) -> None:
    """Raise `PredictorError` unless predictors can be sources for a target.

    Args:
        sources: predictors of other devices.
        rules_version: fusion rules of the target.
        precision: of the target.

    Raises:
        PredictorError: there is none; or one is itself transferred, of another precision, or of a
            delegate that fuses otherwise.
    """
    if not sources:
        raise PredictorError("a transfer needs tables or predictors of other devices: give --from")
    for source in sources:
        of = f"the source {source.target}"
        if source.mixture is not None:
            raise PredictorError(f"{of} was itself transferred: give its own sources instead")
        if source.target.precision != precision:
            raise PredictorError(
                f"{of} is of {source.target.precision}, the new device of {precision}: "
                "measure both in the same precision"
            )
        if source.rules_version != rules_version:
            raise PredictorError(
                f"{of} splits networks by the fusion rules {source.rules_version}, the new device "
                f"by {rules_version}: give tables of a delegate of these rules"
            )


def plan(
    sources: Sequence[LatencyPredictor],
    networks: Networks,
    count: int,
    *,
    measured: Collection[str] = (),
    seed: int = 0,
) -> FewShotPlan:
    """Choose networks to measure on a new device.

    Args:
        sources: predictors of other devices.
        networks: that can be chosen.
        count: how many to choose.
        measured: names of those among them that are measured already.
        seed: of the networks on which it is learned how devices differ.

    Raises:
        PredictorError: there are too few networks whose kernels the sources know.
    """
    common = _Common.of(sources, networks)
    prior, _ = common.prior(sources, seed)
    known = [common.names.index(name) for name in measured if name in common.names]
    chosen = prior.choose(count, known)
    all_ = np.array([*known, *chosen])
    others = np.setdiff1d(prior.pool, all_)
    expected = prior.expected_error(all_, others if len(others) else prior.pool)
    names = tuple(common.names[item] for item in chosen)
    return FewShotPlan(names, expected, len(common.names), common.left_out)


def fit_few(
    observations: Observations,
    sources: Sequence[LatencyPredictor],
    networks: Networks | None = None,
    *,
    trees: int = TREES,
    seed: int = 0,
) -> FewShotFit:
    """Fit a predictor of a new device.

    Args:
        observations: of the new device, with at least
            `latlas.predictor.calibration.MIN_NETWORKS` networks.
        sources: predictors of other devices.
        networks: others, on which it is learned how devices differ and told how good it will be.
        trees, seed: as for `fit`.

    Raises:
        PredictorError: there are too few networks whose kernels the sources know, or the sources
            are not of the target's kind.
    """
    check_sources(sources, observations.rules.version, observations.target.precision)
    own = {network.name: network for network in observations.networks}
    everything = dict(networks or {}) | {name: each.kernels for name, each in own.items()}
    common = _Common.of(sources, everything)
    items = np.array([i for i, name in enumerate(common.names) if name in own], np.intp)
    if len(items) < MIN_NETWORKS:
        raise PredictorError(
            f"{len(items)} networks were measured on {observations.target} whose kernels all "
            f"sources know, a transfer needs {MIN_NETWORKS}: measure more (a larger --few-shot)"
            + "".join(f"; {name} has {text}" for name, text in list(common.left_out.items())[:1])
        )
    latency_us = np.array([own[common.names[item]].latency_us for item in items])
    prior, level_us = common.prior(sources, seed)
    fitted = prior.fit(items, latency_us)
    left_out = np.array([_without(prior, items, latency_us, i) for i in range(len(items))])
    others = np.setdiff1d(prior.pool, items)
    expected = fitted.expected_error(others if len(others) else items)
    known = kernel_latencies(observations)
    listed = _covered(observations, known) >= _MOST
    if listed:
        mixture = _of_kernels(sources, known)
    else:
        mixture = _of_networks(prior, items, latency_us, common, level_us, sources)
    predictor = fit(observations, mixture=mixture, trees=trees, seed=seed)
    if listed:
        rest = others if len(others) else items
        expected = _mean_error(predictor, [everything[common.names[item]] for item in rest])
    else:
        intervals = _intervals(predictor, observations, left_out, expected)
        predictor = replace(predictor, intervals=intervals)
    return FewShotFit(
        predictor,
        expected,
        float(np.mean(np.abs(np.expm1(left_out)))),
        len(items),
        listed,
        {name: text for name, text in common.left_out.items() if name in own},
    )


@dataclass(frozen=True, eq=False)
class _Common:
    """Networks whose kernels all sources know.

    Attributes:
        names: of the networks.
        classes: of their kernels.
        total_us: by network, source and class, sums of kernel latencies.
        whole_us: what the sources say of the networks, shape (networks, sources).
        launches: number of kernels, shape (networks,).
        left_out: other networks, with one kernel that a source does not know.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    total_us: NDArray[np.float64]
    whole_us: NDArray[np.float64]
    launches: NDArray[np.float64]
    left_out: Mapping[str, str]

    @staticmethod
    def of(sources: Sequence[LatencyPredictor], networks: Networks) -> _Common:
        kernels = list(dict.fromkeys(kernel for each in networks.values() for kernel in each))
        found = [source.estimate(kernels) for source in sources]
        unknown = np.any([each.source == UNKNOWN for each in found], axis=0)
        strange = {kernel for kernel, bad in zip(kernels, unknown, strict=True) if bad}
        left_out = {
            name: next((kernel.text for kernel in each if kernel in strange), EMPTY)
            for name, each in networks.items()
            if not (each and strange.isdisjoint(each))
        }
        kept = {name: each for name, each in networks.items() if name not in left_out}
        if not kept:
            example = next(iter(left_out.values()), "no network at all")
            raise PredictorError(
                "the sources have no common ground: of none of the networks do they all know "
                f"every kernel (for example {example!r}): profile the same kind of networks on "
                "all of them, or choose others with --space or --models"
            )
        classes = tuple(sorted({kernel_class(kernel) for each in kept.values() for kernel in each}))
        column = {name: index for index, name in enumerate(classes)}
        place = {kernel: index for index, kernel in enumerate(kernels)}
        time_us = np.stack([each.latency_us for each in found])
        total_us = np.zeros((len(kept), len(sources), len(classes)))
        for row, each in zip(total_us, kept.values(), strict=True):
            for kernel in each:
                row[:, column[kernel_class(kernel)]] += time_us[:, place[kernel]]
        lengths = np.array([len(each) for each in kept.values()])
        launches = lengths.astype(np.float64)
        rows = np.array([place[kernel] for each in kept.values() for kernel in each])
        whole_us = [
            source.calibration.apply(source.sums_us(each[rows], lengths), launches)
            for source, each in zip(sources, found, strict=True)
        ]
        return _Common(
            tuple(kept), classes, total_us, np.stack(whole_us, axis=1), launches, left_out
        )

    def prior(
        self, sources: Sequence[LatencyPredictor], seed: int
    ) -> tuple[Prior, NDArray[np.float64]]:
        """Return what is known before the new device is measured, and every source's level.

        How devices differ is learned by taking every source for the new one in turn.
        """
        pool = np.arange(len(self.names))
        level_us = np.exp(np.log(self.whole_us).mean(axis=0))
        mean, terms = self._terms(np.arange(len(sources)), level_us)
        variances = usual_variances(terms, _NOISE)
        some = np.random.default_rng(seed).permutation(pool)[:LEARNED_ON]
        units, values = [], []
        for index, source in enumerate(sources):
            others = [i for i, s in enumerate(sources) if s.target.device != source.target.device]
            if others:
                from_, departing = self._terms(np.array(others), level_us)
                value = (self.whole_us[:, index] / from_)[some]
                units.append(covariances(departing, some, some))
                values.append(value / np.median(value) - 1)
        if units:
            fixed = [term.fixed for term in terms]
            variances = learn_variances(units, values, variances, _SPREAD, fixed)
        # Predictions are smoother than what is measured: the sources say by how much.
        noise = float(np.mean([source.calibration.error**2 for source in sources]))
        variances = replace(variances, noise=max(variances.noise, noise))
        known = Sources(self.whole_us, tuple(source.target.device for source in sources))
        known = replace(known, smooth=False)
        known.check()
        return Prior(known, (View("all", mean, terms, variances),), pool), level_us

    def _terms(
        self, sources: NDArray[np.intp], level_us: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], tuple[Term, ...]]:
        """Return the mean of some sources, and what a device may differ in, relative to it."""
        pool = np.arange(len(self.names))
        relative = self.total_us[:, sources] / level_us[sources, None]
        by_class, by_source = relative.mean(axis=1), relative.sum(axis=2)
        mean = by_class.sum(axis=1)
        share = 1 / mean[:, None]
        directions = (by_source - mean[:, None]) * share
        return mean, (
            Term("speed", np.ones((len(mean), 1)), 1.0, fixed=True),
            Term("classes", by_class * share, 0.1),
            Term("constant", unit_features(share, pool), 0.003),
            Term("launches", unit_features(self.launches[:, None] * share, pool), 0.003),
            Term("directions", directions, 1.0),
        )


def _without(
    prior: Prior, items: NDArray[np.intp], latency_us: NDArray[np.float64], index: int
) -> float:
    """Return ln(predicted / measured) of one network, predicted from the others."""
    rest = np.arange(len(items)) != index
    (predicted_us,), _ = prior.fit(items[rest], latency_us[rest]).predict(items[index : index + 1])
    return float(np.log(predicted_us / latency_us[index]))


def _of_networks(
    prior: Prior,
    items: NDArray[np.intp],
    latency_us: NDArray[np.float64],
    common: _Common,
    level_us: NDArray[np.float64],
    sources: Sequence[LatencyPredictor],
) -> Mixture:
    """Return the weights of the sources' kernels that amount to the learned process.

    What launches and invocations cost is left to the calibration.
    """
    (view,) = prior.views
    regression = prior.fit(items, latency_us).models[view.name]
    speed = float(np.median(regression.mean / view.mean))
    slopes = {
        term.name: variance * (term.features[items].T @ regression.posterior.dual)
        for term, variance in zip(view.terms, regression.variances.terms, strict=True)
    }
    near = slopes["directions"]
    general = (1 + slopes["speed"][0] - near.sum()) / len(near)
    by_class = dict(zip(common.classes, slopes["classes"] / len(near), strict=True))
    weights = {
        name: speed * (general + by_class.get(name, 0.0) + near) / level_us
        for name in sorted(_classes(sources))
    }
    return Mixture(tuple(sources), speed * (1 + slopes["speed"][0]) / level_us, weights)


def _of_kernels(sources: Sequence[LatencyPredictor], known: KernelLatencies) -> Mixture:
    """Return the weights of the sources that explain measured kernels best.

    They are not negative and pulled towards equal ones. Classes that the sources only look up are
    left to the target's own kernels, where there are enough of them.
    """
    from scipy.optimize import nnls

    learned = {name for source in sources for name in source.forests}
    counts = Counter(kernel_class(kernel) for kernel in known.latency_us)
    classes = _classes(sources) - {
        name for name, count in counts.items() if count >= MIN_KERNELS and name not in learned
    }
    kernels = [kernel for kernel in known.latency_us if kernel_class(kernel) in classes]
    found = [source.estimate(kernels) for source in sources]
    time_us = np.stack([each.latency_us for each in found], axis=1)
    usable = np.all([each.source != UNKNOWN for each in found], axis=0) & (time_us > 0).all(axis=1)
    measured_us = np.maximum([known.latency_us[kernel] for kernel in kernels], 1e-3)
    ratio = time_us[usable] / measured_us[usable, None]
    share = np.sqrt([known.weight[kernel] for kernel in kernels])[usable]
    if not len(ratio):
        raise PredictorError(
            f"the sources know none of the {len(known.latency_us)} kernels that were measured on "
            "the new device: profile the same kind of networks on all of them"
        )
    share /= share.sum()
    speeds = np.exp(-share @ np.log(ratio))
    root = np.sqrt(share)
    equal = np.full(len(sources), 1 / len(sources))
    weights, _ = nnls(
        np.concatenate([root[:, None] * ratio * speeds, _PULL * np.eye(len(sources))]),
        np.concatenate([root, _PULL * equal]),
    )
    return Mixture(tuple(sources), speeds, dict.fromkeys(sorted(classes), weights * speeds))


def _covered(observations: Observations, known: KernelLatencies) -> float:
    """Return the share of the networks' kernels that were measured."""
    kernels = [kernel for network in observations.networks for kernel in network.kernels]
    return sum(kernel in known.latency_us for kernel in kernels) / max(len(kernels), 1)


def _classes(sources: Sequence[LatencyPredictor]) -> set[str]:
    """Return the classes of kernels of which a source knows some."""
    looked_up = {kernel_class(kernel) for source in sources for kernel in source.table_us}
    return looked_up.union(*(source.forests for source in sources))


def _mean_error(predictor: LatencyPredictor, networks: Sequence[Sequence[Kernel]]) -> float:
    """Return the mean absolute relative error that bounds amount to, were errors normal."""
    found = predictor.predict_kernels(networks, accept_unknown=True)
    half = [np.log(each.high_ms / each.latency_ms) for each in found]
    return float(np.mean(half)) * MEAN_ABSOLUTE / _NORMAL_90


def _intervals(
    predictor: LatencyPredictor,
    observations: Observations,
    left_out: NDArray[np.float64],
    expected_error: float,
) -> Intervals:
    """Return intervals from networks predicted by the others, and from what the process expects."""
    sums = []
    for network in observations.networks:
        found = predictor.estimate(network.kernels)
        sums.append(found.latency_us @ found.spread / max(found.latency_us.sum(), 1e-9))
    doubt = float(np.mean(sums)) + FLOOR
    half = max(quantile(np.abs(left_out)), _NORMAL_90 / MEAN_ABSOLUTE * expected_error)
    return Intervals(measured=half, doubt=half / doubt, networks=len(left_out))

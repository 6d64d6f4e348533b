"""Rounds of measuring what a predictor is least sure of.

Every round fits a predictor, says how far it is off on networks that were set aside at the start,
and chooses what to measure next. What is worth most is a kernel on which the trees of a forest
disagree (query by committee, Seung, Opper and Sompolinsky 1992), that networks spend time in, and
that is unlike all that was measured and all that is chosen beside it. Each of the three alone is
worse: trees disagree most on oddities, and a batch of the least certain is a batch of neighbours.
The rounds end when the error no longer falls.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from latlas.predictor.evaluation import remaining
from latlas.predictor.fit import fit
from latlas.predictor.observations import Observations
from latlas.predictor.predictor import UNKNOWN, LatencyPredictor
from latlas.profiler.errors import UsageError
from latlas.profiler.jobs import kernel_id, network_id
from latlas.profiler.kernel import Kernel
from latlas.profiler.sampler import point

SHARE_POWER = 1 / 3
"""Of a kernel's share in the networks' latency: errors of common kernels weigh more, but what is
learned of a rare one serves others."""

UNKNOWN_SPREAD = 1.0
"""Of a kernel of a type that nothing is known about, as a standard deviation of ln(us)."""

FARTHEST = 4.0
"""Distance to what was measured that counts at most, and where nothing of the type was."""

PATIENCE = 3
"""The error has to fall within so many rounds …"""

LEVEL = 0.1
"""… at this level of significance (one-sided Wilcoxon signed-rank test over the networks)."""

Fit = Callable[[Observations], LatencyPredictor]


@dataclass(frozen=True)
class Candidate:
    """Something that could be measured.

    Attributes:
        id: of its job.
        kernels: what it would show: one kernel alone, or those of a network that is profiled.
    """

    id: str
    kernels: tuple[Kernel, ...]


@dataclass(frozen=True)
class Round:
    """What one round found.

    Attributes:
        measured: candidates that were measured before it.
        errors: relative error of every network that was set aside, by name.
        chosen: ids to be measured next; none in the last round.
        why_last: why no more is measured; empty while the rounds go on.
    """

    measured: int
    errors: Mapping[str, float]
    chosen: tuple[str, ...] = ()
    why_last: str = ""

    @property
    def error(self) -> float:
        """Mean of the relative errors."""
        return float(np.mean(list(self.errors.values())))


def held_out_errors(
    predictor: LatencyPredictor, observations: Observations, names: Collection[str]
) -> dict[str, float]:
    """Return how far a predictor is off on networks, by name, relative to their latency.

    Where operators are listed, it is the sum of the kernels' absolute errors, so that errors do not
    cancel; elsewhere it is the error of the whole.
    """
    networks = [network for network in observations.networks if network.name in names]
    predictions = predictor.predict_kernels([n.kernels for n in networks], accept_unknown=True)
    errors = {}
    for network, prediction in zip(networks, predictions, strict=True):
        if network.listed_us is None:
            errors[network.name] = abs(prediction.latency_ms * 1e3 / network.latency_us - 1)
            continue
        latency_us, _ = predictor.network_us(network.kernels)
        listed_us = np.asarray(network.listed_us)
        known = np.isfinite(listed_us)
        off_us = np.abs(latency_us[known] - listed_us[known]).sum()
        errors[network.name] = float(off_us / listed_us[known].sum())
    return errors


def choose(
    predictor: LatencyPredictor,
    candidates: Sequence[Candidate],
    uses: Mapping[Kernel, int],
    count: int,
) -> list[Candidate]:
    """Return the candidates that are worth most, uncertain and different from each other.

    Args:
        predictor: fitted on all that was measured.
        candidates: what could be measured.
        uses: how often the networks of interest run a kernel; 1 for those not named.
        count: how many to choose.
    """
    pool = _Field.of(predictor, candidates, uses)
    left = dict(enumerate(candidates))
    chosen: list[Candidate] = []
    while left and len(chosen) < count:
        best = max(left, key=lambda index: (pool.worth(index), -index))
        pool.take(best)
        chosen.append(left.pop(best))
    return chosen


@dataclass
class _Field:
    """The kernels of candidates, what each is worth, and how far it is from all measured ones."""

    merit: NDArray[np.float64]
    places: NDArray[np.float64]
    types: NDArray[np.str_]
    members: list[NDArray[np.intp]]  # of every candidate, its distinct kernels
    distance: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    @staticmethod
    def of(
        predictor: LatencyPredictor, candidates: Sequence[Candidate], uses: Mapping[Kernel, int]
    ) -> _Field:
        """Return the field around what a predictor was fitted on."""
        numbers: dict[Kernel, int] = {}
        members = [
            np.unique([numbers.setdefault(kernel, len(numbers)) for kernel in each.kernels])
            for each in candidates
        ]
        kernels = list(numbers)
        known = predictor.estimate(kernels)
        spread = np.where(known.source == UNKNOWN, UNKNOWN_SPREAD, known.spread)
        time_us = np.array([uses.get(kernel, 1) for kernel in kernels]) * known.latency_us
        share = time_us / (time_us.sum() or 1.0)
        found = _Field(
            spread * share**SHARE_POWER,
            np.array([point(kernel) for kernel in kernels]),
            np.array([kernel.type for kernel in kernels]),
            members,
            np.full(len(kernels), FARTHEST),
        )
        by_type: dict[str, list[Kernel]] = defaultdict(list)
        for kernel in predictor.table_us:
            by_type[kernel.type].append(kernel)
        for kind, measured in by_type.items():
            for kernel in measured if kind in found.types else ():
                found.draw_near(kind, np.array(point(kernel)))
        return found

    def worth(self, index: int) -> float:
        """Return what a candidate would teach."""
        members = self.members[index]
        return float((self.merit[members] * self.distance[members]).sum())

    def take(self, index: int) -> None:
        """Count a candidate's kernels as measured."""
        for member in self.members[index]:
            self.draw_near(str(self.types[member]), self.places[member])

    def draw_near(self, kind: str, place: NDArray[np.float64]) -> None:
        """Let a kernel be measured: others of its type are no farther from a measured one."""
        same = np.flatnonzero(self.types == kind)
        away = np.sqrt(np.square(self.places[same] - place).sum(axis=1))
        self.distance[same] = np.minimum(self.distance[same], away)


def no_longer_falls(errors: Sequence[Mapping[str, float]]) -> bool:
    """Return whether the last rounds brought no improvement that chance would not bring.

    Args:
        errors: of every round, the error of every network that was set aside.

    >>> falling = [{str(i): 0.5 / (round + 1) + 0.01 * i for i in range(9)} for round in range(4)]
    >>> no_longer_falls(falling), no_longer_falls(falling[:1] * 4)
    (False, True)
    """
    if len(errors) <= PATIENCE:
        return False
    before, now = errors[-1 - PATIENCE], errors[-1]
    gains = np.array([before[name] - now[name] for name in now if name in before])
    if not gains.any():
        return True
    if 0.5 ** len(gains) > LEVEL:  # so few that no test could tell them from chance
        return bool(gains.mean() <= 0)
    from scipy.stats import wilcoxon

    return bool(wilcoxon(gains, alternative="greater").pvalue > LEVEL)


def active_rounds(
    observe: Callable[[], Observations],
    measure: Callable[[Sequence[Candidate]], None],
    candidates: Sequence[Candidate],
    held_out: Collection[str],
    uses: Mapping[Kernel, int],
    *,
    first: int,
    batch: int,
    most: int,
    fit: Fit = fit,
) -> Iterator[Round]:
    """Measure in rounds what a predictor is least sure of, and yield what every round found.

    All state is in what `observe` returns: rounds that were interrupted go on from there, and
    rounds that ended end again, since what was measured last is taken away to see how the error
    fell.

    Args:
        observe: returns all that was measured so far, networks set aside included.
        measure: measures candidates.
        candidates: what could be measured; those that `observe` shows already count as measured.
        held_out: names of networks that no predictor is ever fitted on.
        uses: as for `choose`.
        first: candidates that were measured before the first round.
        batch: candidates of a round.
        most: candidates that are measured at most.
        fit: fits a predictor.

    Raises:
        UsageError: none of the networks set aside was measured.
        PredictorError: there is too little to fit on.
    """
    wanted = {candidate.id for candidate in candidates}
    history: list[dict[str, float]] = []
    tried: set[str] = set()

    def errors(observations: Observations) -> tuple[LatencyPredictor, dict[str, float]]:
        predictor = fit(remaining(observations, held_out))
        return predictor, held_out_errors(predictor, observations, held_out)

    while True:
        observations = observe()
        shown = [name for name in _ids(observations) if name in wanted]
        left = [c for c in candidates if c.id not in tried and c.id not in shown]
        if not history:
            for back in range(PATIENCE, 0, -1):
                if len(shown) - back * batch >= first:
                    earlier = _before(observations, shown[len(shown) - back * batch :])
                    history.append(errors(earlier)[1])
        predictor, found = errors(observations)
        if not found:
            raise UsageError(
                "none of the networks that were set aside could be measured: measure more of them"
            )
        history.append(found)
        why = ""
        if no_longer_falls(history):
            why = "the error no longer falls"
        elif not left or len(shown) >= most:
            why = "all that was planned is measured"
        # After an interruption, the round that was under way is finished.
        count = min(batch - max(len(shown) - first, 0) % batch, most - len(shown))
        chosen = [] if why else choose(predictor, left, uses, count)
        yield Round(len(shown), found, tuple(c.id for c in chosen), why)
        if why:
            return
        tried |= {candidate.id for candidate in chosen}
        measure(chosen)


def _ids(observations: Observations) -> list[str]:
    """Return the ids of the jobs that were observed, in order."""
    networks = [network_id(network.name) for network in observations.networks]
    return [*networks, *map(kernel_id, observations.alone_us)]


def _before(observations: Observations, ids: Collection[str]) -> Observations:
    """Return the observations without some jobs."""
    networks = [n.name for n in observations.networks if network_id(n.name) in ids]
    rest = observations.without(networks)
    alone_us = {k: t for k, t in rest.alone_us.items() if kernel_id(k) not in ids}
    return replace(rest, alone_us=alone_us)

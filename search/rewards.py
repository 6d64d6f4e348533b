"""Rewards: how good an architecture is, as one number, for searchers that know no fronts.

MnasNet (Tan et al. 2019, https://arxiv.org/abs/1807.11626) multiplies the accuracy by
``(latency / target) ** w``. w is alpha within the target and beta beyond it: soft (-0.07, -0.07),
under which twice the latency costs 5% of the accuracy, or hard (0, -1). TuNAS (Bender et al. 2020)
subtracts instead: ``accuracy + beta * |latency / target - 1|``, beta = -0.10, which also pulls
networks up that are faster than they need to be. Its ``mnas`` and ``mnas_hard`` are MnasNet's with
alpha = beta, and with alpha = 0 and any beta.

What failed or breaks a constraint has no reward in these papers. `Score` puts it below whatever
keeps to the constraints: architectures that break one get -1 less the sum of their violations, at
least -2; failed ones get -2. So a searcher is told which way the constraint lies. A reward below 0,
which TuNAS's may be, is drawn into (-1, 0), in its order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from latlas.profiler.errors import SearchError
from latlas.search.objectives import Constraint, violation
from latlas.search.protocols import Trial

Reward = Callable[[Trial], float]
"""A trial to a number to maximise; NaN where the trial lacks what it takes."""

FAILED = -2.0
"""Score of an architecture that failed; nothing that breaks a constraint has less."""


@dataclass(frozen=True)
class AccuracyReward:
    """The accuracy alone, as NASNet searches (Zoph et al. 2018).

    >>> AccuracyReward()(Trial((), {"accuracy": 0.75}))
    0.75
    """

    kind: ClassVar[str] = "accuracy"

    def __call__(self, trial: Trial) -> float:
        """Return the reward of a trial."""
        return trial.accuracy


@dataclass(frozen=True)
class MnasnetReward:
    """MnasNet's: ``accuracy * (latency / target) ** w``.

    Attributes:
        target: latency that is aimed at, in the metric's unit (milliseconds); MnasNet's is 75.
        alpha: w up to the target.
        beta: w beyond it; MobileNetV3-Small was searched with alpha = beta = -0.15.
        metric: what is kept to the target, a name in `Trial.values`.

    Raises:
        SearchError: the target is not positive, or an exponent is positive.

    >>> trial = Trial((), {"accuracy": 0.75, "latency_ms": 150.0})
    >>> round(MnasnetReward(75.0)(trial), 6), MnasnetReward.hard(75.0)(trial)
    (0.714478, 0.375)
    """

    target: float
    alpha: float = -0.07
    beta: float = -0.07
    metric: str = "latency_ms"

    kind: ClassVar[str] = "mnasnet"

    def __post_init__(self) -> None:
        """Refuse what rewards slowness."""
        _check_target(self.target)
        _check_slopes(alpha=self.alpha, beta=self.beta)

    @classmethod
    def hard(cls, target: float, beta: float = -1.0, metric: str = "latency_ms") -> MnasnetReward:
        """Return the hard form: nothing is gained within the target, much is lost beyond it."""
        return cls(target, 0.0, beta, metric)

    def __call__(self, trial: Trial) -> float:
        """Return the reward of a trial."""
        ratio = trial.value(self.metric) / self.target
        if not ratio > 0:
            return math.nan
        return trial.accuracy * _power(ratio, self.alpha if ratio <= 1 else self.beta)


@dataclass(frozen=True)
class AbsoluteReward:
    """TuNAS's: ``accuracy + beta * |latency / target - 1|``.

    Attributes:
        target: latency that is aimed at, in the metric's unit (milliseconds).
        beta: what a departure by the whole target costs.
        metric: what is kept to the target, a name in `Trial.values`.

    Raises:
        SearchError: the target is not positive, or beta is.

    >>> trial = Trial((), {"accuracy": 0.75, "latency_ms": 100.0})
    >>> round(AbsoluteReward(84.0)(trial), 6)
    0.730952
    """

    target: float
    beta: float = -0.10
    metric: str = "latency_ms"

    kind: ClassVar[str] = "absolute"

    def __post_init__(self) -> None:
        """Refuse what rewards a departure."""
        _check_target(self.target)
        _check_slopes(beta=self.beta)

    def __call__(self, trial: Trial) -> float:
        """Return the reward of a trial."""
        return trial.accuracy + self.beta * abs(trial.value(self.metric) / self.target - 1)


REWARDS: dict[str, Callable[..., Reward]] = {
    "accuracy": AccuracyReward,
    "soft": MnasnetReward,
    "hard": MnasnetReward.hard,
    "absolute": AbsoluteReward,
}
"""By name; all but accuracy take a target."""


def open_reward(name: str, target: float | None = None, **options: Any) -> Reward:
    """Return a reward by name.

    Args:
        name: accuracy, soft, hard or absolute.
        target: latency that is aimed at, in milliseconds; needed by all but accuracy.
        options: alpha, beta, metric, where the reward has them.

    Raises:
        SearchError: there is no such reward, it needs a target, or has no such option.

    >>> open_reward("hard", 75.0)
    MnasnetReward(target=75.0, alpha=0.0, beta=-1.0, metric='latency_ms')
    """
    if name not in REWARDS:
        raise SearchError(f"no reward {name!r}; known are {', '.join(REWARDS)}")
    if name == "accuracy":
        if target is not None or options:
            raise SearchError("the reward accuracy has no target and no options: leave them out")
        return AccuracyReward()
    if target is None:
        raise SearchError(f"the reward {name} needs a target: the latency to aim at, in ms")
    try:
        return REWARDS[name](target, **options)
    except TypeError as problem:
        raise SearchError(
            f"the reward {name} takes beta, metric and, if soft, alpha; not {sorted(options)}"
        ) from problem


@dataclass(frozen=True)
class Score:
    """A reward that is a finite number for every trial, also for what failed.

    Attributes:
        reward: of what succeeded.
        constraints: what breaks them gets -1 less its violations, at least -2.

    >>> score = Score(AccuracyReward(), (Constraint("latency_ms", "max", 50.0),))
    >>> score(Trial((), {"accuracy": 0.75, "latency_ms": 60.0}))
    -1.2
    """

    reward: Reward
    constraints: Sequence[Constraint] = ()

    def __call__(self, trial: Trial) -> float:
        """Return the score of a trial."""
        if trial.error:
            return FAILED
        broken = violation(trial, self.constraints)
        if broken:
            return max(-1.0 - broken, FAILED)
        found = float(self.reward(trial))
        if not math.isfinite(found):
            return FAILED
        return found if found >= 0 else found / (1 - found)

    @property
    def identity(self) -> dict[str, Any]:
        """What it depends on, as plain values."""
        return {
            "reward": identity_of(self.reward),
            "constraints": [asdict(one) for one in self.constraints],
        }


def identity_of(reward: Reward) -> dict[str, Any]:
    """Return what a reward depends on, as plain values; a user's own is known by its name only.

    >>> identity_of(AbsoluteReward(84.0))
    {'kind': 'absolute', 'target': 84.0, 'beta': -0.1, 'metric': 'latency_ms'}
    """
    if isinstance(reward, AccuracyReward | MnasnetReward | AbsoluteReward):
        return {"kind": reward.kind, **asdict(reward)}
    named = reward if hasattr(reward, "__qualname__") else type(reward)
    return {"kind": f"{named.__module__}:{named.__qualname__}"}


def restore_reward(identity: object) -> Reward:
    """Return the reward that an identity is of; see `identity_of`.

    >>> restore_reward(identity_of(AbsoluteReward(84.0))) == AbsoluteReward(84.0)
    True

    Raises:
        SearchError: it is of a user's own reward, or of none.
    """
    kinds: dict[str, Callable[..., Reward]] = {
        one.kind: one for one in (AccuracyReward, MnasnetReward, AbsoluteReward)
    }
    given = dict(identity) if isinstance(identity, dict) else {}
    kind = given.pop("kind", None)
    try:
        return kinds[kind](**given)
    except (KeyError, TypeError, ValueError) as problem:
        raise SearchError(
            f"{identity!r:.200} is none of the rewards {', '.join(kinds)}"
        ) from problem


def _power(base: float, exponent: float) -> float:
    try:
        return float(base**exponent)
    except OverflowError:  # a latency of next to nothing
        return math.inf


def _check_target(target: float) -> None:
    if not (math.isfinite(target) and target > 0):
        raise SearchError(f"a reward's target is a positive latency, not {target}")


def _check_slopes(**slopes: float) -> None:
    for name, value in slopes.items():
        if not (math.isfinite(value) and value <= 0):
            raise SearchError(f"{name} is {value}: a positive one would reward slow networks")

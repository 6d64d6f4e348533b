from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from latlas.predictor.transfer import OWN_SAMPLES, Sources, prepare
from latlas.profiler.errors import PredictorError

POOL, QUERY = np.arange(150), np.arange(150, 300)


def world(seed: int = 0, noise: float = 0.02) -> tuple[Sources, np.ndarray]:
    """Return five devices that pay differently for four operators, and a sixth."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 6, size=(300, 4)).astype(float)
    price = np.array([0.5, 1.0, 2.0, 4.0]) * np.exp(0.4 * rng.normal(size=(6, 4)))
    latency = (3 + counts @ price.T) * np.exp(rng.normal(size=6))
    sources = Sources(
        latency[:, :5],
        tuple("abcde"),
        features={"counts": counts},
        measured=latency[:, :5] * (1 + noise * rng.normal(size=(300, 5))),
    )
    return sources, latency[:, 5] * (1 + noise * rng.normal(size=300))


def error_of(seed: int, count: int, draw: int | None = None) -> float:
    sources, latency = world(seed)
    prior = prepare(sources, POOL)
    chosen = np.array(
        prior.choose(count) if draw is None else np.random.default_rng(draw).choice(POOL, count)
    )
    predicted, _ = prior.fit(chosen, latency[chosen]).predict(QUERY)
    return float(np.abs(predicted / latency[QUERY] - 1).mean())


def test_ten_samples_are_enough() -> None:
    assert np.mean([error_of(seed, 10) for seed in range(4)]) < 0.035


def test_designed_samples_beat_random_ones() -> None:
    designed = np.mean([error_of(seed, 6) for seed in range(6)])
    random = np.mean([error_of(seed, 6, draw) for seed in range(6) for draw in range(3)])
    assert designed < 0.9 * random


def test_expected_error_comes_out() -> None:
    expected, real = [], []
    for seed in range(6):
        sources, latency = world(seed)
        prior = prepare(sources, POOL)
        chosen = np.array(prior.choose(12))
        fitted = prior.fit(chosen, latency[chosen])
        expected.append((fitted.expected_error(QUERY), prior.expected_error(chosen, QUERY)))
        real.append(np.abs(fitted.predict(QUERY)[0] / latency[QUERY] - 1).mean())
    for ratio in np.mean(expected, axis=0) / np.mean(real):
        assert 0.6 < ratio < 2.5


def test_choice_is_of_the_pool_goes_on_and_needs_no_target() -> None:
    prior = prepare(world()[0], POOL)
    chosen = prior.choose(10)
    assert len(set(chosen)) == 10
    assert set(chosen) <= set(POOL.tolist())
    assert prior.choose(4, chosen[:6]) == chosen[6:]


def test_the_unit_of_latency_does_not_matter() -> None:
    sources, latency = world()
    other = replace(sources, latency=1e3 * sources.latency)
    chosen = np.array(prepare(sources, POOL).choose(10))
    one = prepare(sources, POOL).fit(chosen, latency[chosen]).predict(QUERY)[0]
    two = prepare(other, POOL).fit(chosen, 7 * latency[chosen]).predict(QUERY)[0]
    assert np.allclose(7 * one, two, rtol=1e-2)


def test_own_model_takes_over_from_useless_sources() -> None:
    sources, latency = world()
    shuffled = np.random.default_rng(0).permutation(300)
    useless = replace(sources, latency=sources.latency[shuffled], measured=None)
    prior = prepare(useless, POOL)
    few, many = POOL[: OWN_SAMPLES - 1], POOL[:100]
    assert "own" not in prior.fit(few, latency[few]).models
    fitted = prior.fit(many, latency[many])
    error = np.abs(fitted.predict(QUERY)[0] / latency[QUERY] - 1).mean()
    own = np.abs(fitted.models["own"].predict(QUERY)[0] / latency[QUERY] - 1).mean()
    assert error < 0.05
    assert error < 1.2 * own


def test_one_source_is_enough() -> None:
    sources, latency = world()
    alone = replace(sources, latency=sources.latency[:, :1], devices=("a",), measured=None)
    prior = prepare(alone, POOL)
    chosen = np.array(prior.choose(15))
    predicted = prior.fit(chosen, latency[chosen]).predict(QUERY)[0]
    assert np.abs(predicted / latency[QUERY] - 1).mean() < 0.1


def test_kin_sources_have_a_view_of_their_own() -> None:
    sources, latency = world()
    prior = prepare(replace(sources, kin=(True, True, False, False, False)), POOL)
    assert [view.name for view in prior.views] == ["all", "kin"]
    chosen = np.array(prior.choose(10))
    fitted = prior.fit(chosen, latency[chosen])
    assert np.isclose(sum(fitted.weights.values()), 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"devices": ("a",)}, "expected"),
        ({"latency": np.zeros((300, 5))}, "not positive"),
        ({"kin": (True,)}, "kin"),
        ({"measured": np.ones((2, 5))}, "measured"),
        ({"features": {"counts": np.ones((2, 1))}}, "counts"),
    ],
)
def test_sources_that_do_not_fit_together_are_refused(change: dict, message: str) -> None:
    with pytest.raises(PredictorError, match=message):
        prepare(replace(world()[0], **change), POOL)


def test_two_samples_are_too_few() -> None:
    with pytest.raises(PredictorError, match="at least 3"):
        prepare(world()[0], POOL).fit(np.array([0, 1]), np.array([1.0, 2.0]))

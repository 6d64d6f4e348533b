import itertools

import numpy as np
import pytest
import tensorflow as tf

from latlas.search.controller import Controller, Step, _log_softmaxes, clipped_loss

CHOICES = (2, 4, 3)
UNIFORM = np.random.default_rng(0).random((24, 3))
EVERY = np.array(list(itertools.product(*map(range, CHOICES))))
STEP = Step(0.01, 0.2, 0.0)


def probabilities(controller: Controller) -> np.ndarray:
    """The probability of every architecture of the space, by the other of the two graphs."""
    one_hot = tf.one_hot(EVERY.T, max(CHOICES))
    log_p = _log_softmaxes(controller._weights, controller._mask, one_hot)
    return np.exp(np.sum(log_p.numpy() * one_hot.numpy(), axis=(0, 2)))


def test_probabilities_are_of_this_space() -> None:
    controller = Controller(CHOICES, units=16, seed=1)
    every = probabilities(controller)
    assert every.sum() == pytest.approx(1, abs=1e-5)
    genes, log_probability = controller.sample(UNIFORM)
    assert (genes >= 0).all() and (genes < np.array(CHOICES)).all()
    index = genes @ np.array([12, 3, 1])
    assert np.exp(log_probability) == pytest.approx(every[index], rel=1e-4)


def test_samples_follow_the_probabilities() -> None:
    controller = Controller(CHOICES, units=16, seed=1)
    drawn = [
        controller.sample(np.random.default_rng(seed).random((24, 3)))[0] for seed in range(200)
    ]
    shares = np.bincount(np.concatenate(drawn) @ np.array([12, 3, 1]), minlength=24) / 4800
    assert shares == pytest.approx(probabilities(controller), abs=0.012)
    extremes = Controller(CHOICES, units=16).sample(np.array([[0.0] * 3, [1 - 1e-9] * 3] * 12))
    assert extremes[0][:2].tolist() == [[0, 0, 0], [1, 3, 2]]


def test_weights_start_uniform() -> None:
    weights = [w.numpy().ravel() for w in Controller((12,) * 14)._weights]
    assert [w.size for w in weights] == [100, 16800, 40000, 40000, 400, 16800, 168]
    values = np.concatenate(weights)
    assert np.abs(values).max() <= 0.1
    assert values.std() == pytest.approx(0.2 / np.sqrt(12), rel=0.02)


def test_what_was_better_than_expected_becomes_more_likely() -> None:
    controller = Controller(CHOICES, units=16)
    before = probabilities(controller)
    genes, log_probability = controller.sample(UNIFORM)
    advantages = np.where(genes[:, 1] == 2, 1.0, -1.0)
    for _ in range(3):
        controller.learn(genes, advantages, log_probability, STEP)
    after = probabilities(controller)
    assert after.sum() == pytest.approx(1, abs=1e-5)
    good = EVERY[:, 1] == 2
    assert after[good].sum() > before[good].sum() * 1.05


def test_entropy_alone_evens_the_odds() -> None:
    controller = Controller(CHOICES, units=16, seed=2)

    def spread() -> float:
        return float(np.abs(probabilities(controller) - 1 / 24).max())

    before = spread()
    genes, log_probability = controller.sample(UNIFORM)
    for _ in range(20):
        controller.learn(genes, np.zeros(24), log_probability, Step(0.005, 0.2, 1.0))
    assert spread() < before / 2


def test_a_step_is_adams() -> None:
    controller = Controller(CHOICES, units=16)
    before = [w.numpy() for w in controller._weights]
    genes, log_probability = controller.sample(UNIFORM)
    controller.learn(genes, np.linspace(-1, 1, 24), log_probability, STEP)
    # The first step of Adam moves every weight that has a gradient by the learning rate.
    moved = np.abs(controller._weights.bias.numpy() - before[4])
    assert np.median(moved) == pytest.approx(0.01, rel=0.05)
    assert moved.max() <= 0.0101


def test_the_clipped_objective() -> None:
    log_ratio = tf.math.log(tf.constant([1.5, 0.5, 1.5, 0.5, 1.1]))
    advantages = tf.constant([1.0, 1.0, -1.0, -1.0, 2.0])
    found = clipped_loss(log_ratio, advantages, 0.2)
    assert float(found) == pytest.approx(-(1.2 + 0.5 - 1.5 - 0.8 + 2.2) / 5)
    unclipped = clipped_loss(log_ratio, advantages, np.inf)
    assert float(unclipped) == pytest.approx(-(1.5 + 0.5 - 1.5 - 0.5 + 2.2) / 5)

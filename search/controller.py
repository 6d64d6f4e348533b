"""The recurrent controller of NASNet (Zoph et al. 2018, https://arxiv.org/abs/1707.07012).

One LSTM layer writes an architecture decision by decision: a softmax per decision, whose choice is
the next step's input. Everything starts uniform in (-0.1, 0.1), biases too.

The decisions' softmaxes are padded to the widest, so that a batch is one loop over decisions,
compiled by XLA. It runs on the CPU: it is small, and does there the same thing every time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

_NEVER = -1e9
"""Logit of a choice that a decision does not have."""

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""Of Adam (Kingma and Ba 2015)."""


class Weights(NamedTuple):
    """What is learned, or what Adam keeps of each."""

    start: Any  # (units,), the first step's input
    embedding: Any  # (decisions, widest, units), the input after a choice
    input_kernel: Any  # (units, 4 units)
    recurrent_kernel: Any  # (units, 4 units)
    bias: Any  # (4 units,)
    softmax_kernel: Any  # (decisions, units, widest)
    softmax_bias: Any  # (decisions, widest)


class Step(NamedTuple):
    """How one step of learning is taken.

    Attributes:
        learning_rate: of Adam.
        clip: how far the ratio of probabilities may leave 1 and still count; infinite for
            REINFORCE, whose single step begins at 1.
        entropy: weight of the mean entropy of a decision, summed over decisions.
    """

    learning_rate: float
    clip: float
    entropy: float


class Controller:
    """Samples architectures, and makes those of high advantage more likely.

    Args:
        choices: number of choices of every decision.
        units: of the LSTM, and length of an embedding.
        seed: of the first weights.

    >>> controller = Controller([2, 5], units=8)
    >>> genes, log_probability = controller.sample(np.array([[0.0, 0.0], [0.9999, 0.9999]]))
    >>> genes.tolist()
    [[0, 0], [1, 4]]
    """

    def __init__(self, choices: Sequence[int], *, units: int = 100, seed: int = 0) -> None:
        self.choices = tuple(choices)
        widest = max(self.choices)
        n = len(self.choices)
        rng = np.random.default_rng(seed)

        def drawn(*shape: int) -> tf.Tensor:
            return tf.constant(rng.uniform(-0.1, 0.1, shape).astype(np.float32))

        with tf.device("/CPU:0"):
            self._weights = Weights(
                start=drawn(units),
                embedding=drawn(n, widest, units),
                input_kernel=drawn(units, 4 * units),
                recurrent_kernel=drawn(units, 4 * units),
                bias=drawn(4 * units),
                softmax_kernel=drawn(n, units, widest),
                softmax_bias=drawn(n, widest),
            )
            self._moments = tuple(Weights(*map(tf.zeros_like, self._weights)) for _ in range(2))
            here = np.arange(widest) < np.array(self.choices)[:, None]
            self._mask = tf.constant(np.where(here, 0.0, _NEVER).astype(np.float32))
        self._steps = 0

    def sample(
        self, uniform: NDArray[np.floating]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return architectures, and the natural logarithms of their probabilities.

        Args:
            uniform: one number in [0, 1) for each decision, shape (architectures, decisions); the
                same numbers give the same architectures.
        """
        with tf.device("/CPU:0"):
            numbers = tf.constant(np.asarray(uniform, np.float32))
            genes, log_probability = _sample(self._weights, self._mask, numbers)
        return genes.numpy().astype(np.int64), log_probability.numpy()

    def learn(
        self,
        genes: NDArray[np.integer],
        advantages: NDArray[np.floating],
        log_probability: NDArray[np.floating],
        step: Step,
    ) -> None:
        """Take one step of Adam on the clipped objective of PPO.

        Args:
            genes: architectures, shape (architectures, decisions).
            advantages: by how much each was better than expected, shape (architectures,).
            log_probability: of each, when it was sampled, shape (architectures,).
            step: how.
        """
        self._steps += 1
        corrected = step.learning_rate * (
            math.sqrt(1 - BETA_2**self._steps) / (1 - BETA_1**self._steps)
        )
        with tf.device("/CPU:0"):
            self._weights, *moments = _learn(
                self._weights,
                *self._moments,
                self._mask,
                tf.constant(np.asarray(genes, np.int32)),
                tf.constant(np.asarray(advantages, np.float32)),
                tf.constant(np.asarray(log_probability, np.float32)),
                tf.constant([corrected, step.clip, step.entropy], tf.float32),
            )
        self._moments = tuple(moments)


def _cell(gates: tf.Tensor, state: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return output and state of an LSTM, given the sums at its gates."""
    i, f, g, o = tf.split(gates, 4, axis=1)
    state = tf.sigmoid(f) * state + tf.sigmoid(i) * tf.tanh(g)
    return tf.sigmoid(o) * tf.tanh(state), state


@tf.function(jit_compile=True, autograph=False)  # type: ignore[untyped-decorator, unused-ignore]
def _sample(weights: Weights, mask: tf.Tensor, uniform: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    batch, decisions = uniform.shape
    units, widest = weights.start.shape[0], mask.shape[1]
    x = tf.broadcast_to(weights.start, (batch, units))
    h = tf.zeros((batch, units))
    state = tf.zeros((batch, units))
    log_probability = tf.zeros((batch,))
    found = tf.TensorArray(tf.int32, decisions, element_shape=(batch,))
    numbers = tf.transpose(uniform)

    def decide(
        t: tf.Tensor,
        x: tf.Tensor,
        h: tf.Tensor,
        state: tf.Tensor,
        log_probability: tf.Tensor,
        found: tf.TensorArray,
    ) -> tuple[Any, ...]:
        gates = x @ weights.input_kernel + h @ weights.recurrent_kernel + weights.bias
        h, state = _cell(gates, state)
        logits = h @ weights.softmax_kernel[t] + weights.softmax_bias[t] + mask[t]
        below = tf.cumsum(tf.nn.softmax(logits), axis=1) <= numbers[t][:, None]
        # Rounding may leave the sum of probabilities below the largest number drawn.
        last = tf.reduce_sum(tf.cast(mask[t] == 0, tf.int32)) - 1
        chosen = tf.minimum(tf.reduce_sum(tf.cast(below, tf.int32), axis=1), last)
        one_hot = tf.one_hot(chosen, widest)
        log_probability += tf.reduce_sum(one_hot * tf.nn.log_softmax(logits), axis=1)
        x = one_hot @ weights.embedding[t]
        return t + 1, x, h, state, log_probability, found.write(t, chosen)

    *_, log_probability, found = _repeat(decide, decisions, x, h, state, log_probability, found)
    return tf.transpose(found.stack()), log_probability


def _repeat(step: Callable[..., tuple[Any, ...]], times: int, *values: Any) -> tuple[Any, ...]:
    """Return what `step` makes of its number, from 0, and the values, after so many times.

    AutoGraph would write this loop, but not under Python 3.13.
    """
    found: tuple[Any, ...] = tf.while_loop(
        lambda t, *_: t < times, step, (tf.constant(0), *values), maximum_iterations=times
    )
    return found[1:]


def _log_softmaxes(weights: Weights, mask: tf.Tensor, one_hot: tf.Tensor) -> tf.Tensor:
    """Return every decision's log probabilities, shape (decisions, architectures, widest).

    Args:
        weights: of the controller.
        mask: of the choices that there are, shape (decisions, widest).
        one_hot: what was chosen, shape (decisions, architectures, widest).
    """
    decisions, batch, _ = one_hot.shape
    units = weights.start.shape[0]
    after = tf.matmul(one_hot[:-1], weights.embedding[:-1])
    start = tf.broadcast_to(weights.start, (1, batch, units))
    inputs = tf.reshape(tf.concat([start, after], axis=0), (decisions * batch, units))
    gates = inputs @ weights.input_kernel + weights.bias
    gates = tf.reshape(gates, (decisions, batch, 4 * units))
    h = tf.zeros((batch, units))
    state = tf.zeros((batch, units))
    outputs = tf.TensorArray(tf.float32, decisions, element_shape=(batch, units))

    def step(
        t: tf.Tensor, h: tf.Tensor, state: tf.Tensor, outputs: tf.TensorArray
    ) -> tuple[Any, ...]:
        h, state = _cell(gates[t] + h @ weights.recurrent_kernel, state)
        return t + 1, h, state, outputs.write(t, h)

    *_, outputs = _repeat(step, decisions, h, state, outputs)
    logits = tf.matmul(outputs.stack(), weights.softmax_kernel)
    return tf.nn.log_softmax(logits + weights.softmax_bias[:, None] + mask[:, None])


@tf.function(jit_compile=True, autograph=False)  # type: ignore[untyped-decorator, unused-ignore]
def _learn(
    weights: Weights,
    first: Weights,
    second: Weights,
    mask: tf.Tensor,
    genes: tf.Tensor,
    advantages: tf.Tensor,
    old: tf.Tensor,
    settings: tf.Tensor,
) -> tuple[Weights, Weights, Weights]:
    rate, clip, entropy = settings[0], settings[1], settings[2]
    one_hot = tf.one_hot(tf.transpose(genes), mask.shape[1])
    with tf.GradientTape() as tape:
        tape.watch(weights)
        log_p = _log_softmaxes(weights, mask, one_hot)
        chosen = tf.reduce_sum(log_p * one_hot, axis=(0, 2))
        loss = clipped_loss(chosen - old, advantages, clip)
        doubt = -tf.reduce_sum(tf.exp(log_p) * log_p, axis=(0, 2))
        loss -= entropy * tf.reduce_mean(doubt)
    return _adam(weights, first, second, Weights(*tape.gradient(loss, weights)), rate)


def _adam(
    weights: Weights, first: Weights, second: Weights, gradients: Weights, rate: tf.Tensor
) -> tuple[Weights, Weights, Weights]:
    """Return weights and both moments after a step; the rate is corrected for its number."""
    pairs = list(zip(first, second, gradients, strict=True))
    first = Weights(*[m + (1 - BETA_1) * (g - m) for m, _, g in pairs])
    second = Weights(*[v + (1 - BETA_2) * (g * g - v) for _, v, g in pairs])
    moved = [
        w - rate * m / (tf.sqrt(v) + EPSILON)
        for w, m, v in zip(weights, first, second, strict=True)
    ]
    return Weights(*moved), first, second


def clipped_loss(log_ratio: tf.Tensor, advantages: tf.Tensor, clip: tf.Tensor) -> tf.Tensor:
    """Return PPO's loss (Schulman et al. 2017, https://arxiv.org/abs/1707.06347), a scalar.

    Args:
        log_ratio: natural logarithm of new over old probability, shape (architectures,).
        advantages: shape (architectures,).
        clip: how far the ratio may leave 1.

    >>> round(float(clipped_loss(tf.math.log([1.5, 0.5]), tf.constant([1.0, 1.0]), 0.2)), 4)
    -0.85
    """
    ratio = tf.exp(log_ratio)
    bounded = tf.clip_by_value(ratio, 1 - clip, 1 + clip)
    return -tf.reduce_mean(tf.minimum(ratio * advantages, bounded * advantages))

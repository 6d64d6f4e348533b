"""What the layers of a supernet are computed with: operations whose gradients are written down.

A supernet's graph has hundreds of layers for any number of paths and images. TensorFlow's own
gradients ask at run time which axes were broadcast, in dozens of operations each, so that the graph
of MnasNet's supernet would have 90,000 of them and take minutes to trace.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

with_gradient: Callable[[Callable[..., Any]], Callable[..., Any]] = tf.custom_gradient

EPSILON = 1e-3
"""Of batch norm, as in the decoded networks."""

IMAGES_AND_PIXELS = [2, 3]
"""Axes of a map, ``(paths, channels, images, pixels)``, that batch norm reduces."""


def product(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Return matrix products; all axes but the last two are the same in both."""
    return tf.raw_ops.BatchMatMul(x=a, y=b)


def rows_of(stack: tf.Variable, rows: tf.Tensor) -> tf.Tensor:
    """Return what paths take of weights that are stacked along the first axis.

    Args:
        stack: shape (sets, ...).
        rows: int32, the set of every path.
    """

    @with_gradient
    def take(values: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return tf.math.unsorted_segment_sum(upstream, rows, values.shape[0])

        return tf.gather(values, rows), gradient

    return take(tf.convert_to_tensor(stack))


def permute(x: tf.Tensor, order: tf.Tensor, inverse: tf.Tensor) -> tf.Tensor:
    """Return a tensor whose first axis is put in another order, given that and the way back."""

    @with_gradient
    def gathered(values: tf.Tensor) -> Any:
        return tf.gather(values, order), lambda upstream: tf.gather(upstream, inverse)

    return gathered(x)


def masked(x: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Return a tensor times factors that are not learned and broadcast against it."""

    @with_gradient
    def times(values: tf.Tensor) -> Any:
        return values * factors, lambda upstream: upstream * factors

    return times(x)


@with_gradient
def rescaled(x: tf.Tensor, factors: tf.Tensor) -> Any:
    """Return maps times a factor for every channel of every image (paths, channels, images)."""

    def gradient(upstream: tf.Tensor) -> Any:
        return upstream * factors[..., None], tf.reduce_sum(upstream * x, 3)

    return x * factors[..., None], gradient


def moments(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return mean and variance of every channel of every path, (paths, channels, 1, 1)."""
    mean = tf.reduce_mean(x, IMAGES_AND_PIXELS, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(x, mean), IMAGES_AND_PIXELS, keepdims=True)
    return mean, variance


@with_gradient
def batch_norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> Any:
    """Normalise by the statistics of the batch.

    Args:
        x: shape (paths, channels, images, pixels).
        gamma: shape (paths or 1, channels).
        beta: the same.
    """
    mean, variance = moments(x)
    inverse = tf.math.rsqrt(variance + EPSILON)
    scale = gamma[:, :, None, None] * inverse

    def gradient(upstream: tf.Tensor) -> Any:
        count = tf.cast(tf.shape(x)[2], tf.float32) * x.shape[3]
        normal = (x - mean) * inverse
        of_beta = tf.reduce_sum(upstream, IMAGES_AND_PIXELS, keepdims=True)
        of_gamma = tf.reduce_sum(upstream * normal, IMAGES_AND_PIXELS, keepdims=True)
        of_x = scale * (upstream - (of_beta + normal * of_gamma) / count)
        return of_x, _like(of_gamma, gamma), _like(of_beta, beta)

    return x * scale + (beta[:, :, None, None] - mean * scale), gradient


def _like(sums: tf.Tensor, parameter: tf.Tensor) -> tf.Tensor:
    found = sums[:, :, 0, 0]
    return tf.reduce_sum(found, 0, keepdims=True) if parameter.shape[0] == 1 else found


def apply_norm(
    x: tf.Tensor, statistics: tuple[tf.Tensor, tf.Tensor], gamma: tf.Tensor, beta: tf.Tensor
) -> tf.Tensor:
    """Normalise by given mean and variance, each (paths, channels, 1, 1)."""
    mean, variance = statistics
    scale = tf.math.rsqrt(variance + EPSILON) * gamma[:, :, None, None]
    return x * scale + (beta[:, :, None, None] - mean * scale)


def activate(x: tf.Tensor, act: str) -> tf.Tensor:
    """Return an activation by its name."""
    if act == "relu":
        return tf.nn.relu(x)
    if act == "relu6":
        return tf.nn.relu6(x)
    return x * tf.nn.relu6(x + 3) * (1 / 6) if act == "hard_swish" else x

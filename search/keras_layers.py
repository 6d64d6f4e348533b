"""Layers that Keras does not have: noise that can be resumed, constants, TFLite's resizing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from latlas.profiler.ops import Shape


class Clock:
    """What the noise of training depends on, so that a resumed run draws what it would have drawn.

    Attributes:
        step: how many updates were done.
        drop_path: what the rates of drop path are multiplied by, from 0 to 1.
        seed: of everything that is drawn.
    """

    def __init__(self, seed: int) -> None:
        self.step = tf.Variable(0, trainable=False, dtype=tf.int32)
        self.drop_path = tf.Variable(1.0, trainable=False, dtype=tf.float32)
        self.seed = seed


class _Noise(keras.layers.Layer):  # type: ignore[misc]
    """Sets parts of its input to zero in training, and enlarges the others to make up for it."""

    def __init__(self, rate: float, clock: Clock, stream: int, **options: Any) -> None:
        super().__init__(**options)
        self.rate = rate
        # Keras would keep the variables of a plain attribute for the layer's own.
        self._draw: Callable[[tf.Tensor], tf.Tensor] = lambda shape: tf.random.stateless_uniform(
            shape, [clock.seed * 65537 + stream, clock.step]
        )
        self._scale: Callable[[], tf.Tensor] = lambda: clock.drop_path

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return shape


class Dropout(_Noise):
    """Drops elements (Srivastava et al. 2014)."""

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training:
            return x
        kept = tf.cast(self._draw(tf.shape(x)) >= self.rate, x.dtype)
        return x * kept / (1 - self.rate)


class DropPath(_Noise):
    """Drops whole examples (Larsson et al. 2017), at a rate that the clock may let grow."""

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training:
            return x
        keep = 1 - self.rate * self._scale()
        shape = tf.concat([tf.shape(x)[:1], tf.ones([tf.rank(x) - 1], tf.int32)], 0)
        kept = tf.cast(self._draw(shape) < keep, x.dtype)
        return x * kept / keep


class Scale(keras.layers.Layer):  # type: ignore[misc]
    """Adds, multiplies … a tensor that is learned; `function` takes input and tensor."""

    def __init__(self, shape: Shape, function: Any, **options: Any) -> None:
        super().__init__(**options)
        self.shape = shape
        self._function = function

    def build(self, _: Any) -> None:
        self.constant = self.add_weight(shape=self.shape, initializer="zeros", name="constant")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self._function(x, self.constant)


class Resize(keras.layers.Layer):  # type: ignore[misc]
    """Resizing with TFLite's two options."""

    def __init__(
        self, size: tuple[int, int], method: str, align: bool, half: bool, **options: Any
    ) -> None:
        super().__init__(**options)
        self.size = size
        self._resize = {
            "bilinear": tf.raw_ops.ResizeBilinear,
            "nearest": tf.raw_ops.ResizeNearestNeighbor,
        }[method]
        self._options = {"align_corners": align, "half_pixel_centers": half}

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self._resize(images=x, size=self.size, **self._options)

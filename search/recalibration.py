"""Batch norm's statistics of a trained network, taken anew.

The running averages of a short training still hold its beginning: with Keras' default momentum a
network of a few epochs stays at chance.
"""

from __future__ import annotations

from collections.abc import Iterable

import keras
import tensorflow as tf


def recalibrate(model: keras.Model, batches: Iterable[tf.Tensor], momentum: float) -> None:
    """Set moving means and variances to the mean over batches of images.

    Args:
        model: of `latlas.search.keras_view.to_keras`.
        batches: images, shape (images, height, width, channels) each; none leaves all as it is.
        momentum: that batch norm has afterwards.
    """
    layers = [one for one in model.layers if hasattr(one, "moving_variance")]
    model.clock.drop_path.assign(0.0)  # a dropped branch is no statistic
    for number, images in enumerate(batches):
        for layer in layers:
            layer.momentum = number / (number + 1)
        model(images, training=True)
    for layer in layers:
        layer.momentum = momentum

"""What is done to an image before it is trained on. All that is drawn follows from a seed."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from latlas.search.recipe import Augmentation

_CENTRE = 0.875
"""Share of the shorter side that is kept where an image is resized without being drawn."""


def fitted(image: tf.Tensor, size: int) -> tf.Tensor:
    """Return an image of `size`, float32: the middle of one of another size, resized."""
    channels = image.shape[-1]
    image = tf.cast(image, tf.float32)

    def resized() -> tf.Tensor:
        shape = tf.shape(image)
        side = tf.cast(
            tf.math.ceil(_CENTRE * tf.cast(tf.reduce_min(shape[:2]), tf.float32)), "int32"
        )
        top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
        part = image[top : top + side, left : left + side]
        return tf.image.resize(part, (size, size), antialias=True)

    same = tf.reduce_all(tf.shape(image)[:2] == size)
    image = tf.cond(same, lambda: image, resized)
    return tf.ensure_shape(image, (size, size, channels))


def augmented(
    image: tf.Tensor,
    size: int,
    augmentation: Augmentation,
    seed: tf.Tensor,
    normal: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Return a training image as it is drawn.

    Args:
        image: shape (height, width, channels).
        size: height and width of the result.
        augmentation: what is done.
        seed: two integers.
        normal: what normalises an image; zeros are added to and cut out of normalised ones.
    """
    seeds = tf.unstack(tf.random.split(seed, 3), num=3)
    if augmentation.crop == "resized":
        image = normal(_random_part(image, size, augmentation.area, seeds[0]))
    else:
        image = normal(fitted(image, size))
    if augmentation.crop == "pad" and augmentation.padding:
        pads = [[augmentation.padding] * 2] * 2 + [[0, 0]]
        padded = tf.pad(image, pads)
        image = tf.image.stateless_random_crop(padded, tf.shape(image), seeds[0])
    if augmentation.flip:
        image = tf.image.stateless_random_flip_left_right(image, seeds[1])
    if augmentation.cutout:
        image = image * _hole(size, augmentation.cutout, seeds[2])
    return tf.ensure_shape(image, (size, size, image.shape[-1]))


def _random_part(image: tf.Tensor, size: int, area: float, seed: tf.Tensor) -> tf.Tensor:
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        tf.zeros([1, 0, 4]),
        seed,
        area_range=(area, 1.0),
        aspect_ratio_range=(3 / 4, 4 / 3),
        use_image_if_no_bounding_boxes=True,
    )
    return tf.image.resize(tf.slice(image, begin, extent), (size, size))


def _hole(size: int, side: int, seed: tf.Tensor) -> tf.Tensor:
    """Return ones with a square of zeros, whose middle may lie anywhere in the image."""
    middle = tf.random.stateless_uniform([2], seed, 0, size, tf.int32)
    places = tf.range(size)
    inside = [
        (places >= at - side // 2) & (places < at - side // 2 + side) for at in tf.unstack(middle)
    ]
    return 1 - tf.cast(inside[0][:, None] & inside[1][None, :], tf.float32)[..., None]

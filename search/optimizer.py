"""A recipe's optimiser, and one step of it."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from latlas.search.recipe import Recipe


def optimizer_of(recipe: Recipe) -> keras.optimizers.Optimizer:
    """Return the optimiser of a recipe; its learning rate is set at every step."""
    settings, kinds = recipe.optimizer, keras.optimizers
    if settings.kind == "sgd":
        return kinds.SGD(0.0, settings.momentum, settings.nesterov)
    if settings.kind == "rmsprop":
        return kinds.RMSprop(0.0, settings.decay, settings.momentum, settings.epsilon)
    return kinds.Adam(0.0, 0.9, settings.decay, settings.epsilon)


def descend(
    optimizer: keras.optimizers.Optimizer,
    recipe: Recipe,
    variables: Sequence[keras.Variable],
    gradients: Sequence[tf.Tensor],
    rate: tf.Tensor,
) -> None:
    """Change variables by one step of an optimiser that was built for them.

    Kernels decay, as L2 regularisation (Tan et al. 2019); biases and batch norm do not.

    Args:
        optimizer: of `optimizer_of`.
        recipe: its weight decay and clipping norm.
        variables: what is trained.
        gradients: of the loss, one for each variable.
        rate: the learning rate of this step.
    """
    settings = recipe.optimizer
    if settings.weight_decay:
        gradients = [
            gradient + settings.weight_decay * one.value
            if one.path.endswith("/kernel")
            else gradient
            for gradient, one in zip(gradients, variables, strict=True)
        ]
    if settings.clip_norm:
        gradients, _ = tf.clip_by_global_norm(gradients, settings.clip_norm)
    optimizer.learning_rate.assign(rate)
    optimizer.apply(gradients)

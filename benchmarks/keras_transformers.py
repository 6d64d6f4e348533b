"""Small transformers in Keras, as its examples and the papers spell them.

The vision transformer is Dosovitskiy et al. 2021 (arXiv:2010.11929), MobileViT is Mehta and
Rastegari 2022 (arXiv:2110.02178); both thin by default, since conversion takes its time.
"""

from __future__ import annotations

from typing import Any


def _position_layer() -> type:
    """Return a layer that adds a class token (if wanted) and learned positions to its input."""
    import keras

    class Positions(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self, class_token: bool, **options: Any) -> None:
            super().__init__(**options)
            self.class_token = class_token

        def build(self, shape: tuple[int, ...]) -> None:
            _, tokens, width = shape
            if self.class_token:
                self.token = self.add_weight((1, 1, width), "random_normal", name="token")
                tokens += 1
            self.positions = keras.layers.Embedding(tokens, width)
            self.positions.build((tokens,))
            self.tokens = tokens

        def call(self, x: Any) -> Any:
            ops = keras.ops
            if self.class_token:
                token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1]))
                x = ops.concatenate([ops.cast(token, x.dtype), x], axis=1)
            return x + self.positions(ops.arange(self.tokens))

    return Positions


def encoder(x: Any, heads: int, ratio: int, activation: Any) -> Any:
    """Append one block of attention and two fully connected layers, normalised before each."""
    import keras

    layers = keras.layers
    width = x.shape[-1]
    normal = layers.LayerNormalization(epsilon=1e-6)(x)
    attended = layers.MultiHeadAttention(heads, width // heads)(normal, normal)
    x = layers.Add()([x, attended])
    normal = layers.LayerNormalization(epsilon=1e-6)(x)
    hidden = layers.Dense(ratio * width, activation=activation)(normal)
    return layers.Add()([x, layers.Dense(width)(hidden)])


def vit(
    size: int = 32,
    patch: int = 8,
    width: int = 32,
    heads: int = 2,
    depth: int = 2,
    ratio: int = 4,
    classes: int = 10,
    *,
    class_token: bool = True,
    approximate: bool = False,
    batch_size: int | None = None,
) -> Any:
    """Return a vision transformer; without a class token it ends in a mean over tokens."""
    import keras

    layers = keras.layers
    image = keras.Input((size, size, 3), batch_size=batch_size)
    x = layers.Conv2D(width, patch, strides=patch)(image)
    x = layers.Reshape((-1, width))(x)
    x = _position_layer()(class_token)(x)
    for _ in range(depth):
        x = encoder(x, heads, ratio, lambda v: keras.activations.gelu(v, approximate=approximate))
    x = layers.LayerNormalization(epsilon=1e-6)(x)
    x = x[:, 0] if class_token else layers.GlobalAveragePooling1D()(x)
    return keras.Model(image, layers.Dense(classes)(x))


def _inverted_residual(x: Any, filters: int, stride: int) -> Any:
    import keras

    layers = keras.layers
    y = layers.Conv2D(4 * x.shape[-1], 1, use_bias=False)(x)
    y = layers.Activation("silu")(layers.BatchNormalization()(y))
    y = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(y)
    y = layers.Activation("silu")(layers.BatchNormalization()(y))
    y = layers.BatchNormalization()(layers.Conv2D(filters, 1, use_bias=False)(y))
    return layers.Add()([x, y]) if stride == 1 and filters == x.shape[-1] else y


def _mobilevit_block(x: Any, width: int, heads: int, everywhere: bool, patch: int = 2) -> Any:
    """Append convolutions, and attention among the pixels that have the same place in a patch."""
    import keras

    layers, ops = keras.layers, keras.ops
    _, height, columns, channels = x.shape
    y = layers.Conv2D(channels, 3, padding="same", activation="silu")(x)
    y = layers.Conv2D(width, 1, use_bias=False)(y)
    rows, lines = height // patch, columns // patch
    y = ops.reshape(y, (-1, rows, patch, lines, patch, width))
    y = ops.transpose(y, (0, 2, 4, 1, 3, 5))
    y = ops.reshape(y, (-1, patch * patch, rows * lines, width))
    normal = layers.LayerNormalization(epsilon=1e-5)(y)
    axes = None if everywhere else (2,)
    attention = layers.MultiHeadAttention(heads, width // heads, attention_axes=axes)
    y = layers.Add()([y, attention(normal, normal)])
    normal = layers.LayerNormalization(epsilon=1e-5)(y)
    hidden = layers.Dense(2 * width, activation="silu")(normal)
    y = layers.Add()([y, layers.Dense(width)(hidden)])
    y = layers.LayerNormalization(epsilon=1e-5)(y)
    y = ops.reshape(y, (-1, patch, patch, rows, lines, width))
    y = ops.transpose(y, (0, 3, 1, 4, 2, 5))
    y = ops.reshape(y, (-1, height, columns, width))
    y = layers.Conv2D(channels, 1, activation="silu")(y)
    return layers.Conv2D(channels, 3, padding="same", activation="silu")(
        layers.Concatenate()([x, y])
    )


def mobilevit(
    size: int = 64,
    classes: int = 10,
    *,
    width: int = 1,
    everywhere: bool = False,
    batch_size: int | None = None,
) -> Any:
    """Return a network of MobileViT's parts; `width` multiplies all channels.

    `everywhere` is attention among all pixels, as Keras' example has it: its layer then has two
    axes to attend to, and spells their softmax out.
    """
    import keras

    layers = keras.layers
    image = keras.Input((size, size, 3), batch_size=batch_size)
    x = layers.Conv2D(8 * width, 3, strides=2, padding="same", activation="silu")(image)
    x = _inverted_residual(x, 16 * width, 2)
    x = _inverted_residual(x, 16 * width, 1)
    x = _mobilevit_block(_inverted_residual(x, 24 * width, 2), 32 * width, 4, everywhere)
    x = _mobilevit_block(_inverted_residual(x, 32 * width, 2), 48 * width, 4, everywhere)
    x = layers.Conv2D(64 * width, 1, activation="silu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(classes)(x))

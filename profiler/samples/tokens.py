"""Networks of attention: vision transformers, and convolutions with attention in between.

Layer norm, attention and gelu are spelled as TensorFlow's converter spells them.
"""

from __future__ import annotations

from latlas.profiler.layer_norm import layer_norm
from latlas.profiler.ops import (
    Activation,
    BatchMatmul,
    Binary,
    FullyConnected,
    Reduce,
    Softmax,
    Transpose,
)
from latlas.profiler.samples.mobile import inverted_residual
from latlas.profiler.samples.sketch import Sketch


def transformer(s: Sketch, x: int) -> int:
    """Patches that attend to each other, and a classifier (Dosovitskiy et al. 2021)."""
    patch = s.pick([p for p in (8, 12, 14, 16, 16, 32) if s.map_size(x) // p >= 4])
    heads = s.pick((2, 3, 4, 6, 8))
    width = heads * s.round(s.scale * s.between(16, 64))
    x = s.conv(x, width, patch, stride=patch, act="none", padding="valid")
    tokens = s.b.shape(x)[1] * s.b.shape(x)[2]
    x = s.b.reshape(x, (1, tokens, width))
    x = s.b.apply(Binary("add", constant=(tokens, width)), x)
    ratio, act = s.pick((2, 3, 4, 4)), s.pick(("gelu", "gelu", "gelu_tanh", "relu"))
    for _ in range(min(max(2, s.operators // 30), 5)):
        x = _encoder(s, x, heads, ratio * width, act)
    x = layer_norm(s.b, x)
    x = s.b.apply(Reduce("mean", (1,), keepdims=False), x)
    return s.b.fully_connected(x, s.between(10, 1500))


def hybrid(s: Sketch, x: int) -> int:
    """Inverted residuals, with attention on the smaller maps (Mehta and Rastegari 2022)."""
    kernel, heads = s.pick((3, 3, 5)), s.pick((2, 4, 4))
    for stage in s.stages(x, per_block=12):
        x = inverted_residual(s, x, stage.width, s.pick((2, 4)), kernel, stage.stride)
        for _ in range(max(1, stage.blocks // 2)):
            height, columns = s.b.shape(x)[1:3]
            if max(height, columns) > 32 or height % 2 or columns % 2:
                x = inverted_residual(s, x, stage.width, s.pick((2, 4)), kernel, 1)
            else:
                x = _global(s, x, heads)
    return x


def _global(s: Sketch, x: int, heads: int) -> int:
    """Attention among the pixels that have the same place in patches of 2x2."""
    _, height, columns, channels = s.b.shape(x)
    rows, lines = height // 2, columns // 2
    width = heads * s.round(channels / heads)
    y = s.conv(s.conv(x, channels, 3), width, 1, act="none")
    y = s.b.reshape(y, (1, rows, 2, lines, 2, width))
    y = s.b.apply(Transpose((0, 2, 4, 1, 3, 5)), y)
    y = s.b.reshape(y, (1, 4, rows * lines, width))
    y = _encoder(s, y, heads, 2 * width, s.act)
    y = s.b.reshape(y, (1, 2, 2, rows, lines, width))
    y = s.b.apply(Transpose((0, 3, 1, 4, 2, 5)), y)
    y = s.b.reshape(y, (1, height, columns, width))
    y = s.conv(y, channels, 1)
    return s.conv(s.b.concat((x, y)), channels, 3)


def _encoder(s: Sketch, x: int, heads: int, hidden: int, act: str) -> int:
    x = s.b.add(x, _attention(s, layer_norm(s.b, x), heads))
    y = _dense(s, layer_norm(s.b, x), hidden)
    y = s.b.apply(Activation("gelu_tanh"), y) if act == "gelu_tanh" else s.activate(y, act)
    return s.b.add(x, _dense(s, y, s.b.shape(x)[-1]))


def _attention(s: Sketch, x: int, heads: int) -> int:
    """Append scaled dot-product attention (Vaswani et al. 2017) among the tokens."""
    *rest, tokens, width = s.b.shape(x)
    outer = tuple(range(len(rest)))
    split = (*rest, tokens, heads, width // heads)
    a, b, c = (len(rest) + i for i in range(3))
    query, key, value = (s.b.reshape(_dense(s, x, width), split) for _ in range(3))
    query = s.b.apply(Transpose((*outer, b, a, c)), query)
    key = s.b.apply(Transpose((*outer, b, c, a)), key)
    value = s.b.apply(Transpose((*outer, b, a, c)), value)
    scores = s.b.apply(_product(s), query, key)
    scores = s.b.apply(Binary("mul", value=(width // heads) ** -0.5), scores)
    seen = s.b.apply(_product(s), s.b.apply(Softmax(), scores), value)
    seen = s.b.apply(Transpose((*outer, b, a, c)), seen)
    return _dense(s, s.b.reshape(seen, (*rest, tokens, width)), width)


def _product(s: Sketch) -> BatchMatmul:
    return BatchMatmul(symmetric=s.symmetric > 0 and s.chance(s.symmetric))


def _dense(s: Sketch, x: int, units: int) -> int:
    return s.b.apply(FullyConnected(units, keepdims=True), x)

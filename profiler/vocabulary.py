"""Kernels that every table should hold, whatever network it is made for.

The kernels of one search space resemble each other. A predictor that shall be right on other
networks needs a few of every operator, over the sizes that mobile networks have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from latlas.profiler.canonical import canonical
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.kernel import Kernel
from latlas.profiler.op_text import from_text
from latlas.profiler.ops import Shape
from latlas.profiler.quantise import quantise_kernel

MAPS = ((112, 32), (56, 96), (28, 40), (28, 240), (14, 112), (14, 480), (7, 160), (7, 960))
"""Height (and width) and channels of feature maps as mobile networks have them."""

SQUEEZED = ((1, 40), (1, 240), (1, 960))
"""The 1x1 maps of squeeze-and-excitation."""

TOKENS = ((49, 384, 6), (64, 96, 4), (197, 192, 3), (256, 144, 4))
"""Tokens, width and heads of transformers: ViT's on images of several sizes, MobileViT's."""

MIN_KERNELS = 4
"""A class of kernels is learned from so many different ones at least."""

MAX_MADDS = 60e6
"""Larger convolutions are rare on phones, and take long to measure."""

_ELEMENTWISE = (
    *(f"activation kind={kind}" for kind in ("relu", "relu6", "hard_swish", "logistic", "tanh")),
    *(f"binary kind={kind}" for kind in ("add", "mul", "sub")),
)
_SPATIAL: tuple[Callable[[GraphBuilder], int], ...] = (
    lambda b: b.average_pool(0, 3),
    lambda b: b.average_pool(0, 2, stride=2),
    lambda b: b.max_pool(0, 3, stride=2),
    lambda b: b.max_pool(0, 2, stride=2),
    lambda b: b.mean(0),
    lambda b: b.pad(0, (1, 1, 1, 1)),
    lambda b: b.resize(0, (2 * b.shape(0)[1], 2 * b.shape(0)[2])),
    lambda b: b.slice(0, (0, 0, 0, 0), (1, b.shape(0)[1] - 1, b.shape(0)[2] - 1, b.shape(0)[3])),
)

_NOT_OF_INT8 = frozenset({"square", "sqrt", "rsqrt", "pow", "select"})
"""Types that TFLite has not in int8, or runs on positive numbers only, unlike random ones."""

_ON_INT8: tuple[Callable[[GraphBuilder], int], ...] = (
    lambda b: b.quantize(0),
    lambda b: b.dequantize(0),
    lambda b: b.mul(0, b.logistic(0)),
)


def vocabulary_kernels(seed: int = 0, precision: str = "fp32") -> list[Kernel]:
    """Return kernels of every operator, about 500, without repeats.

    Args:
        seed: of the convolutions' sizes; the others are a fixed grid.
        precision: of the target; ``int8`` gives int8 kernels.

    >>> {kernel.dtype for kernel in vocabulary_kernels(precision="int8")} == {"int8", "float32"}
    True
    """
    kernels = [*_grid(), *_convolutions(np.random.default_rng(seed))]
    for tokens, width, heads in TOKENS:
        kernels += _attention(tokens, width, heads)
    for size, channels in MAPS[:: len(MAPS) // MIN_KERNELS]:
        kernels += _rare(size, channels)
    if precision == "int8":
        kernels = [quantise_kernel(each) for each in kernels if each.type not in _NOT_OF_INT8]
        kernels += _int8_only()
    return list(dict.fromkeys(kernels))


def _int8_only() -> list[Kernel]:
    """Return what only int8 networks have.

    These are conversions, of which one reads float32, tables, and products whose right operand has
    the zero point 0.
    """
    kernels = []
    for size, channels in (*MAPS, (224, 3), *SQUEEZED):
        shape = (1, size, size, channels)
        b = GraphBuilder(shape)
        kernels.append(_only(b, b.quantize(0)))
        for append in _ON_INT8:
            b = GraphBuilder(shape, types=["int8"])
            kernels.append(_only(b, append(b)))
    for tokens, width, heads in TOKENS:
        merged, scores = (1, heads, tokens, width // heads), (1, heads, tokens, tokens)
        turned = (1, heads, width // heads, tokens)
        for operands in ((merged, turned), (scores, merged)):
            kernels.append(quantise_kernel(_alone("batch_matmul symmetric=1", *operands)))
    return kernels


def _grid() -> list[Kernel]:
    kernels = []
    for size, channels in (*MAPS, *SQUEEZED):
        shape = (1, size, size, channels)
        for text in _ELEMENTWISE:
            inputs = (0, 1) if text.startswith("binary") else (0,)
            b = GraphBuilder(*[shape] * len(inputs))
            kernels.append(_only(b, b.apply(from_text(text), *inputs)))
    for size, channels in MAPS:
        shape = (1, size, size, channels)
        for append in _SPATIAL:
            b = GraphBuilder(shape)
            kernels.append(_only(b, append(b)))
        b = GraphBuilder(shape, shape)
        kernels.append(_only(b, b.concat((0, 1))))
        b = GraphBuilder(shape, (1, 1, 1, channels))  # the scaling of squeeze-and-excitation
        kernels.append(_only(b, b.mul(0, 1)))
    for classes in (10, 100, 1000, 10000):
        b = GraphBuilder((1, 1, 1, classes))
        kernels.append(_only(b, b.softmax(0)))
    return kernels


def _attention(tokens: int, width: int, heads: int) -> list[Kernel]:
    """Return what one block of a transformer holds, and the ways that files spell it."""
    depth = width // heads
    x, column = (1, tokens, width), (1, tokens, 1)
    hidden, scores = (1, tokens, 4 * width), (1, heads, tokens, tokens)
    split, merged = (1, tokens, heads, depth), (1, heads, tokens, depth)
    parts: list[tuple[str, tuple[Shape, ...]]] = [
        ("activation kind=gelu", (hidden,)),
        ("activation kind=gelu_tanh", (hidden,)),
        ("activation kind=exp", (scores,)),
        ("activation kind=neg", (column,)),
        ("activation kind=rsqrt", (column,)),
        ("binary kind=squared_difference", (x, column)),
        ("binary kind=mul", (x, column)),
        ("binary kind=sub", (scores, (1, heads, tokens, 1))),
        (f"binary kind=add constant={tokens}x{width}", (x,)),
        ("reduce kind=mean axes=2", (x,)),
        ("reduce kind=mean axes=1", (x,)),
        ("reduce kind=sum axes=3", (scores,)),
        ("reduce kind=max axes=3", (scores,)),
        ("transpose perm=0x2x1x3", (split,)),
        ("transpose perm=0x2x3x1", (split,)),
        ("batch_matmul", (merged, (1, heads, depth, tokens))),
        ("batch_matmul", (scores, merged)),
        ("softmax", (scores,)),
        (f"fully_connected units={width} keepdims=1", (x,)),
        (f"fully_connected units={4 * width} keepdims=1", (x,)),
        (f"fully_connected units={width} keepdims=1", (hidden,)),
        ("concat axis=1", ((1, 1, width), x)),
    ]
    return [_alone(text, *shapes) for text, shapes in parts]


def _rare(size: int, channels: int) -> list[Kernel]:
    """Return operators that few networks have, on one map."""
    x = (1, size, size, channels)
    same = (x, x)
    larger = f"transpose_conv2d filters={channels // 2} stride=2x2 size={2 * size}x{2 * size}"
    parts: list[tuple[str, tuple[Shape, ...]]] = [
        *((f"activation kind={kind}", (x,)) for kind in ("elu", "abs", "sqrt", "square", "log")),
        ("activation kind=leaky_relu alpha=0.2", (x,)),
        (f"prelu alpha={channels}", (x,)),
        ("binary kind=maximum", same),
        ("binary kind=minimum", same),
        ("binary kind=pow value=2.0", (x,)),
        ("depth_to_space block=2", (x,)),
        ("space_to_depth block=2", ((1, 2 * size, 2 * size, channels // 4),)),
        (f"{larger} kernel=2x2", (x,)),
        (f"{larger} kernel=3x3", (x,)),
        (f"gather axis=1 count={size}", (x,)),
        ("tile multiples=1x2x1x1", (x,)),
        (f"broadcast shape=1x{size}x{size}x{channels}", ((1, 1, 1, channels),)),
        ("select", same),
    ]
    return [_alone(text, *shapes) for text, shapes in parts]


def _alone(text: str, *inputs: Shape) -> Kernel:
    """Return the kernel that an operator is, in the spelling of its work."""
    op, shapes = canonical(from_text(text), inputs)
    return Kernel.single(op, shapes)


def _convolutions(rng: np.random.Generator) -> list[Kernel]:
    """Return convolutions of random width over the maps of mobile networks."""
    kernels = []
    for size, low, high in (
        (112, 8, 64),
        (56, 16, 192),
        (28, 24, 384),
        (14, 64, 768),
        (7, 96, 1280),
    ):
        for _ in range(10):
            b = GraphBuilder((1, size, size, _width(rng, low, high)))
            filters = _width(rng, low, high)
            if size * size * b.shape(0)[3] * filters <= MAX_MADDS:
                kernels.append(_only(b, b.conv(0, filters, 1, activation=_act(rng))))
        for _ in range(3):
            b = GraphBuilder((1, size, size, _width(rng, low, high // 4)))
            filters, stride = _width(rng, low, high // 4), int(rng.integers(1, 3))
            if size * size * b.shape(0)[3] * filters * 9 <= MAX_MADDS:
                x = b.conv(0, filters, 3, stride=stride, activation=_act(rng))
                kernels.append(_only(b, x))
        for kernel in (3, 5, 7):
            for stride in (1, 2):
                for _ in range(2):
                    b = GraphBuilder((1, size, size, _width(rng, low, high)))
                    x = b.depthwise(0, kernel, stride=stride, activation=_act(rng))
                    kernels.append(_only(b, x))
    for filters in (8, 16, 24, 32, 48):  # stems
        b = GraphBuilder((1, 224, 224, 3))
        kernels.append(_only(b, b.conv(0, filters, 3, stride=2, activation=_act(rng))))
    for _ in range(8):
        b = GraphBuilder((1, _width(rng, 64, 2048)))
        kernels.append(_only(b, b.fully_connected(0, _width(rng, 10, 2048))))
    return kernels


def _width(rng: np.random.Generator, low: int, high: int) -> int:
    """Draw a number of channels, uniform in its logarithm, a multiple of 8 as in real networks."""
    return 8 * max(1, round(float(np.exp(rng.uniform(np.log(low), np.log(high)))) / 8))


def _act(rng: np.random.Generator) -> Literal["none", "relu6"]:
    return "relu6" if rng.random() < 0.5 else "none"


def _only(b: GraphBuilder, value: int) -> Kernel:
    return Kernel.of(b.build(value))

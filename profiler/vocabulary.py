"""Kernels that every table should hold, whatever network it is made for.

The kernels of one search space resemble each other. A predictor that shall be right on other
networks needs a few of every operator, over the sizes that mobile networks have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from latlas.profiler.graph import GraphBuilder
from latlas.profiler.kernel import Kernel
from latlas.profiler.ops import from_text
from latlas.profiler.quantise import quantise_kernel

MAPS = ((112, 32), (56, 96), (28, 40), (28, 240), (14, 112), (14, 480), (7, 160), (7, 960))
"""Height (and width) and channels of feature maps as mobile networks have them."""

SQUEEZED = ((1, 40), (1, 240), (1, 960))
"""The 1x1 maps of squeeze-and-excitation."""

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
    lambda b: b.slice(0, (0, 1, 1, 0), (1, b.shape(0)[1] - 1, b.shape(0)[2] - 1, b.shape(0)[3])),
)

_ON_INT8: tuple[Callable[[GraphBuilder], int], ...] = (
    lambda b: b.quantize(0),
    lambda b: b.dequantize(0),
    lambda b: b.mul(0, b.logistic(0)),
)


def vocabulary_kernels(seed: int = 0, precision: str = "fp32") -> list[Kernel]:
    """Return kernels of every operator, about 300, without repeats.

    Args:
        seed: of the convolutions' sizes; the others are a fixed grid.
        precision: of the target; ``int8`` gives int8 kernels.

    >>> {kernel.dtype for kernel in vocabulary_kernels(precision="int8")} == {"int8", "float32"}
    True
    """
    kernels = [*_grid(), *_convolutions(np.random.default_rng(seed))]
    if precision == "int8":
        kernels = [*map(quantise_kernel, kernels), *_int8_only()]
    return list(dict.fromkeys(kernels))


def _int8_only() -> list[Kernel]:
    """Return what only int8 networks have: conversions, of which one reads float32, and tables."""
    kernels = []
    for size, channels in (*MAPS, (224, 3), *SQUEEZED):
        shape = (1, size, size, channels)
        b = GraphBuilder(shape)
        kernels.append(_only(b, b.quantize(0)))
        for append in _ON_INT8:
            b = GraphBuilder(shape, types=["int8"])
            kernels.append(_only(b, append(b)))
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
    graph = b.build(value)
    return Kernel(graph.inputs, graph.nodes, graph.input_types)

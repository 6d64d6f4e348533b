"""What a kernel predictor sees: quantities that mean something to the hardware.

Latency is learned as a ratio: microseconds per unit of `work`, in logarithms. The ratio varies far
less than the latency, so that trees, which cannot extrapolate, still predict kernels larger than
any that was measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.kernel import Kernel
from latlas.profiler.ops import Conv2D, DepthwiseConv2D, FullyConnected, Mean, Op, Pool, Shape

VERSION = 1
"""Changes whenever the columns do: a predictor file of another version is refused."""

NAMES = (
    "log_work",
    "log_input_bytes",
    "log_output_bytes",
    "log_weight_bytes",
    "log_intensity",
    "log_pixels",
    "log_width",
    "log_in_channels",
    "log_out_channels",
    "kernel_height",
    "kernel_width",
    "stride",
    "dilation",
    "padding",
    "out_channels_mod_4",
    "out_channels_mod_16",
    "pixels_mod_8",
    "inputs",
    "broadcast",
    "fused",
    "activation",
)
"""Columns of the matrix that `matrix` returns."""

_FLOAT_BYTES = 4
_ACTIVATIONS = {"none": 0, "relu": 1, "relu6": 2}


def work(kernel: Kernel) -> float:
    """Return the arithmetic that a kernel does: multiply-adds, or elements that it touches."""
    return _work(kernel.op, kernel.inputs, kernel.op.infer(_op_inputs(kernel)))


def _op_inputs(kernel: Kernel) -> tuple[Shape, ...]:
    return tuple([kernel.inputs[value] for value in kernel.nodes[0].inputs])


def _work(op: Op, inputs: tuple[Shape, ...], output: Shape) -> float:
    if isinstance(op, Conv2D | DepthwiseConv2D | FullyConnected):
        return float(op.madds(inputs[:1]))
    if isinstance(op, Pool):
        return float(math.prod(output) * math.prod(op.kernel))
    if isinstance(op, Mean):
        return float(math.prod(inputs[0]))
    return float(math.prod(output))


def row(kernel: Kernel) -> tuple[float, ...]:
    """Return the features of one kernel, in the order of `NAMES`."""
    op = kernel.nodes[0].op
    inputs = _op_inputs(kernel)
    output = op.infer(inputs)
    in_channels, out_channels = (shape[-1] if shape else 1 for shape in (inputs[0], output))
    read = sum([math.prod(shape) for shape in kernel.inputs])
    written = math.prod(output)
    weights = sum([math.prod(shape) for shape in op.weights(inputs).values()])
    amount = _work(op, inputs, output)
    pixels = written // out_channels
    window = getattr(op, "kernel", (1, 1))
    return (
        math.log(amount),
        math.log(read * _FLOAT_BYTES),
        math.log(written * _FLOAT_BYTES),
        math.log1p(weights * _FLOAT_BYTES),
        math.log(amount / ((read + written + weights) * _FLOAT_BYTES)),
        math.log(pixels),
        math.log(output[-2]) if len(output) > 2 else 0.0,
        math.log(in_channels),
        math.log(out_channels),
        window[0],
        window[1],
        getattr(op, "stride", (1, 1))[0],
        getattr(op, "dilation", (1, 1))[0],
        sum(getattr(op, "padding", ())),
        out_channels % 4,
        out_channels % 16,
        pixels % 8,
        len(kernel.inputs),
        float(any(shape != output for shape in inputs)),
        len(kernel.nodes) - 1,
        _ACTIVATIONS[getattr(op, "activation", "none")],
    )


def matrix(kernels: Sequence[Kernel]) -> NDArray[np.float32]:
    """Return the features of kernels, shape (kernels, len(NAMES)).

    >>> matrix([Kernel.from_text("1x8x8x4 | conv2d filters=8 kernel=1x1 @0 | @1")]).shape
    (1, 21)
    """
    rows = [row(kernel) for kernel in kernels]
    return np.asarray(rows, dtype=np.float32).reshape(len(rows), len(NAMES))

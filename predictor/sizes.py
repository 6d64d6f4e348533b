"""Kernels as columns of integers: everything about them that decides how long they take.

This is the one place that looks at kernels one by one; what is derived from the sizes is worked out
for all kernels at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.errors import GraphError
from latlas.profiler.kernel import Kernel
from latlas.profiler.ops import (
    Activation,
    BatchMatmul,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Mean,
    Op,
    Pool,
    Reduce,
    Shape,
)

NAMES = (
    *("batch", "in_height", "in_width", "in_channels"),
    *("out_height", "out_width", "out_channels"),
    *("kernel_height", "kernel_width", "stride_height", "stride_width"),
    *("dilation_height", "dilation_width", "padding", "groups"),
    *("read", "written", "weights", "madds"),
    *(
        "inputs",
        "broadcast",
        "fused",
        "fused_reads",
        "activation",
        "element_bytes",
        "operator",
        "kind",
    ),
)
"""Columns: sizes along axes, a window, elements, and counts. ``operator`` is one of those below,
``kind`` tells apart what is learned together."""

Sizes = dict[str, NDArray[np.int64]]
"""By name, a column of shape (kernels,)."""

OTHER, CONVOLUTION, DEPTHWISE, FULLY_CONNECTED, POOL, MEAN = range(6)

_ACTIVATIONS = {"none": 0, "relu": 1, "relu6": 2}
_KINDS = {"relu": 1, "relu6": 2, "hard_swish": 3, "hard_sigmoid": 4, "logistic": 5, "tanh": 6}
_ELEMENT_BYTES = {"float32": 4, "int8": 1}

Window = tuple[int, ...]
_NO_WINDOW = (1, 1, 1, 1, 1, 1, 0, 1)
"""Height and width of window, stride and dilation, padding and groups of what has none of them."""


def kernel_class(kernel: Kernel) -> str:
    """Return which kernels a kernel is learned with: its type, with few exceptions.

    A 1x1 convolution of a 1x1 map runs as a fully connected layer, and an average over the whole
    map as a mean. Grouped convolutions run by code of their own, and so do symmetric products of
    int8. Networks have few pools, which are alike: they are learned together.

    >>> kernel_class(Kernel.from_text("1x1x1x8 | conv2d filters=4 kernel=1x1 @0 | @1"))
    'fully_connected'
    """
    kind, colon, element = kernel.type.partition(":")
    op = kernel.op
    if isinstance(op, Conv2D):
        if op.groups > 1:
            kind = "grouped_conv2d"
        elif op.kernel == (1, 1) and kernel.inputs[0][1:3] == (1, 1):
            kind = "fully_connected"
    elif isinstance(op, Pool):
        whole = op.kind == "average" and op.kernel == kernel.inputs[0][1:3]
        kind = "mean" if whole else "pool"
    elif isinstance(op, BatchMatmul) and op.symmetric:
        kind = "symmetric_batch_matmul"
    return kind + colon + element


def sizes(kernels: Sequence[Kernel]) -> Sizes:
    """Return every column of `NAMES`, each of shape (kernels,).

    Raises:
        GraphError: a kernel computes more than 63 bits count: none that is measured does.
    """
    try:
        rows = np.asarray([_row(kernel) for kernel in kernels], np.int64).reshape(-1, len(NAMES))
    except OverflowError as problem:
        raise GraphError("a kernel is larger than any that can run: leave it out") from problem
    return dict(zip(NAMES, rows.T, strict=True))


def _row(kernel: Kernel) -> tuple[int, ...]:
    first = kernel.nodes[0]
    op = first.op
    inputs = tuple([kernel.inputs[value] for value in first.inputs])
    output = kernel.first_shape or op.infer(inputs)
    operator, window = _operator(op, inputs[0])
    written = math.prod(output)
    reads = [math.prod(shape) for shape in inputs]
    weights = sum([math.prod(shape) for shape in op.weights(inputs).values()])
    batch, *source = _nhwc(inputs[0])
    _, *result = _nhwc(output)
    fused = kernel.nodes[1:]
    return (
        batch,
        *source,
        *result,
        *window,
        sum(reads),
        written,
        weights,
        op.madds(inputs, output),
        len(inputs),
        reads.count(written) < len(reads),
        len(fused),
        len(kernel.inputs) - len(inputs),
        _activation(op, kernel),
        _ELEMENT_BYTES[kernel.dtype],
        operator,
        isinstance(op, Pool) and op.kind == "max",
    )


def _operator(op: Op, shape: Shape) -> tuple[int, Window]:
    if isinstance(op, Conv2D | DepthwiseConv2D):
        groups = op.groups if isinstance(op, Conv2D) else shape[3]
        kind = CONVOLUTION if isinstance(op, Conv2D) else DEPTHWISE
        if kind == CONVOLUTION and groups == 1 and op.kernel == (1, 1) and shape[1:3] == (1, 1):
            kind = FULLY_CONNECTED
        return kind, (*op.kernel, *op.stride, *op.dilation, sum(op.padding), groups)
    if isinstance(op, FullyConnected):
        return FULLY_CONNECTED, _NO_WINDOW
    if isinstance(op, Reduce):  # over any axes: what is read is what is computed
        return MEAN, _NO_WINDOW
    if isinstance(op, Mean):
        return MEAN, (*shape[1:3], 1, 1, 1, 1, 0, 1)
    if isinstance(op, Pool):
        whole = op.kind == "average" and op.kernel == shape[1:3]
        return MEAN if whole else POOL, (*op.kernel, *op.stride, 1, 1, sum(op.padding), 1)
    return OTHER, _NO_WINDOW


def _activation(op: Op, kernel: Kernel) -> int:
    """Return a number for the last function that a kernel applies to its result."""
    for node in reversed(kernel.nodes):
        if isinstance(node.op, Activation):
            return _KINDS.get(node.op.kind, len(_KINDS) + 1)
    return _ACTIVATIONS[getattr(op, "activation", "none")]


def _nhwc(shape: Shape) -> Shape:
    """Return a shape of any rank as one of four axes."""
    if len(shape) == 4:
        return shape
    if len(shape) < 3:
        batch, channels = (1, 1, *shape)[-2:]
        return batch, 1, 1, channels
    return math.prod(shape[:-3]), *shape[-3:]

"""What a kernel predictor sees: quantities that mean something to the hardware.

Latency is learned as a ratio: microseconds per unit of work, in logarithms. Work is what the
delegate really computes, multiplications by padding included. The ratio varies far less than the
latency, so that trees, which cannot extrapolate, still predict kernels larger than any that was
measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from latlas.predictor.implementation import implementation
from latlas.predictor.sizes import Sizes, sizes
from latlas.profiler.kernel import Kernel
from latlas.profiler.target import Target

VERSION = 5
"""Changes whenever the columns do: a predictor file of another version is refused."""

NAMES = (
    "log_work",
    "log_padding",
    "log_input_bytes",
    "log_output_bytes",
    "log_weight_bytes",
    "log_intensity",
    "log_pixels",
    "log_width",
    "log_in_height",
    "log_in_channels",
    "log_out_channels",
    "log_group_channels",
    "log_groups",
    "log_items",
    "log_imbalance",
    "slices_mod_2",
    "slices_mod_4",
    "columns_mod_2",
    "kernel_height",
    "kernel_width",
    "stride",
    "dilation",
    "padding",
    "inputs",
    "broadcast",
    "fused",
    "fused_reads",
    "activation",
    "variant",
    "kind",
)
"""Columns of the matrix that `matrix` returns; the first is what times are divided by."""

RANGED = tuple(
    NAMES.index(name)
    for name in (
        *("log_work", "log_input_bytes", "log_output_bytes", "log_weight_bytes"),
        *("log_in_channels", "log_out_channels", "log_groups"),
        *("kernel_height", "kernel_width", "stride", "dilation", "inputs"),
    )
)
"""Columns in which a kernel can lie outside the range of those that were learned from."""


def matrix(
    kernels: Sequence[Kernel], target: Target, c: Sizes | None = None
) -> NDArray[np.float32]:
    """Return the features of kernels on a target, shape (kernels, len(NAMES)).

    Args:
        kernels: the kernels.
        target: what they run on.
        c: their `sizes`, where these are known already.

    >>> cpu = Target("a phone", "litert 2.3.0", "cpu", "xnnpack")
    >>> matrix([Kernel.from_text("1x8x8x4 | conv2d filters=8 kernel=1x1 @0 | @1")], cpu).shape
    (1, 30)
    """
    c = sizes(kernels) if c is None else c
    run = implementation(kernels, c, target)
    whole = 2 if target.precision == "fp16" else 4
    element = np.where(c["element_bytes"] < 4, c["element_bytes"], whole)
    read, written, weights = (c[name] * element for name in ("read", "written", "weights"))
    pixels = c["batch"] * c["out_height"] * c["out_width"]
    slices = -(-c["out_channels"] // 4)
    plain = np.where(c["madds"] > 0, c["madds"], run.work)
    columns = (
        np.log(run.work),
        np.log(run.work / plain),
        np.log(read),
        np.log(written),
        np.log1p(weights),
        np.log(run.work / (read + written + weights)),
        np.log(pixels),
        np.log(c["out_width"]),
        np.log(c["in_height"]),
        np.log(c["in_channels"]),
        np.log(c["out_channels"]),
        np.log(c["in_channels"] / c["groups"]),
        np.log(c["groups"]),
        np.log(run.items),
        np.log(run.imbalance),
        slices % 2,
        slices % 4,
        run.columns % 2,
        c["kernel_height"],
        c["kernel_width"],
        np.sqrt(c["stride_height"]) * np.sqrt(c["stride_width"]),  # which is larger, sizes tell
        np.sqrt(c["dilation_height"]) * np.sqrt(c["dilation_width"]),
        c["padding"],
        c["inputs"],
        c["broadcast"],
        c["fused"],
        c["fused_reads"],
        c["activation"],
        run.variant,
        c["kind"],
    )
    return np.stack(columns, axis=1).astype(np.float32)


def work(kernel: Kernel, target: Target) -> float:
    """Return what a kernel computes on a target: multiplications, or elements that it touches."""
    return float(implementation([kernel], sizes([kernel]), target).work[0])


def size(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ln(work) and ln(bytes moved) of rows of `matrix`, shape (rows, 2)."""
    return np.stack([x[:, 0], x[:, 0] - x[:, NAMES.index("log_intensity")]], axis=1)

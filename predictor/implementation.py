"""How a delegate runs kernels: by which code, and how much that computes.

A GPU delegate works on slices of four channels. It chooses between Winograd's algorithm, weights in
constant memory and general convolutions, and has code of its own for 3x3 depthwise ones, by rules
that depend on the adapter (TFLite's ``convolution_selector.cc``, ``conv_constants.cc`` and
``dw_convolution_selector.cc``).

XNNPACK works on tiles of as many channels as its vectors hold. It has code for depthwise
convolutions of up to 25 taps; larger ones run as grouped convolutions of one channel each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latlas.predictor import sizes
from latlas.predictor.sizes import Sizes
from latlas.profiler.fusion import GpuDelegateRules
from latlas.profiler.kernel import Kernel
from latlas.profiler.target import Target

GENERIC, WINOGRAD, CONSTANTS, DEPTHWISE_3X3, POINTWISE, DEPTHWISE = range(6)
"""Codes of the two delegates."""

_CONSTANT_BYTES, _OLD_CONSTANT_BYTES, _OTHER_CONSTANT_BYTES = 3584, 2560, 1024
"""Weights of a convolution that an Adreno GPU keeps in constant memory, one of the 3xx to 5xx, and
others."""

_OLD_ADRENO = re.compile(r"adreno\D*[345]\d\d\b")

_NO_CONSTANTS = re.compile("mali|powervr|amd|radeon|xclipse|apple|intel")
_X86 = re.compile("intel|amd|xeon|epyc|core|x86")
_MAX_TAPS = 25
_TILE_PIXELS = 6


@dataclass(frozen=True)
class Implementation:
    """What was found, each of shape (kernels,).

    Attributes:
        variant: number of the code that runs.
        work: multiplications with those by padding, or elements touched, at least 1.
        items: pieces that are shared out to threads or to a GPU's cores.
        columns: tiles of output channels that vectors hold; XNNPACK has wider code for two at once,
            which it leaves where their number is odd. 0 on a GPU.
        imbalance: time until the last thread is done, over that of threads with equal shares.
    """

    variant: NDArray[np.int64]
    work: NDArray[np.int64]
    items: NDArray[np.int64]
    columns: NDArray[np.int64]
    imbalance: NDArray[np.float64]


def implementation(kernels: Sequence[Kernel], c: Sizes, target: Target) -> Implementation:
    """Return how kernels run on a target.

    Args:
        kernels: the kernels.
        c: their sizes.
        target: delegate, adapter, precision and threads decide.
    """
    return _on_gpu(kernels, c, target) if target.delegate == "gpu" else _on_cpu(c, target)


def _parts(value: NDArray[np.int64], unit: int) -> NDArray[np.int64]:
    """Return how many units hold a value."""
    return -(-value // unit)


def _on_gpu(kernels: Sequence[Kernel], c: Sizes, target: Target) -> Implementation:
    operator = c["operator"]
    convolution = operator == sizes.CONVOLUTION
    taps = c["kernel_height"] * c["kernel_width"]
    read = _parts(c["in_channels"] // c["groups"], 4)
    written = _parts(c["out_channels"], 4)
    matrix = 16 * read * written
    pixels = c["batch"] * c["out_height"] * c["out_width"]
    tiles = c["batch"] * _parts(c["out_height"], 4) * _parts(c["out_width"], 4)
    winograd = _winograd(kernels, c, target)
    cells = c["read"] // c["batch"]  # of a fully connected layer's example
    work = np.select(
        [
            winograd,
            convolution,
            operator == sizes.FULLY_CONNECTED,
            (operator == sizes.DEPTHWISE) | (operator == sizes.POOL),
            operator == sizes.MEAN,
        ],
        [
            36 * tiles * matrix,
            pixels * taps * matrix,
            c["batch"] * 16 * _parts(cells, 4) * written,
            pixels * taps * 4 * written,
            c["read"],
        ],
        np.maximum(c["written"], c["madds"]),
    )
    variant = np.select(
        [winograd, _constants(c, target), _depthwise_3x3(c)],
        [WINOGRAD, CONSTANTS, DEPTHWISE_3X3],
        GENERIC,
    )
    items = pixels * written
    nothing = np.zeros(len(items), np.int64)
    return Implementation(variant, np.maximum(work, 1), items, nothing, np.ones(len(items)))


def _winograd(kernels: Sequence[Kernel], c: Sizes, target: Target) -> NDArray[np.bool_]:
    rules = GpuDelegateRules(target.adapter)
    found = (c["operator"] == sizes.CONVOLUTION) & (c["kernel_height"] == 3) & _every_pixel(c)
    for index in np.flatnonzero(found).tolist():
        found[index] = rules.is_winograd(kernels[index])
    return np.asarray(found)


def _constants(c: Sizes, target: Target) -> NDArray[np.bool_]:
    adapter = target.adapter.lower()
    if _NO_CONSTANTS.search(adapter):
        return np.zeros(len(c["operator"]), bool)
    limit = _OTHER_CONSTANT_BYTES
    if "adreno" in adapter:
        limit = _OLD_CONSTANT_BYTES if _OLD_ADRENO.search(adapter) else _CONSTANT_BYTES
    element = 2 if target.precision == "fp16" else 4
    read, written = _parts(c["in_channels"], 4), _parts(c["out_channels"], 4)
    weights = 16 * read * written * c["kernel_height"] * c["kernel_width"] * element
    few = (c["groups"] == 1) & (written <= 8) & (weights <= limit)
    return np.asarray((c["operator"] == sizes.CONVOLUTION) & few)


def _depthwise_3x3(c: Sizes) -> NDArray[np.bool_]:
    small = (c["kernel_height"] == 3) & (c["kernel_width"] == 3) & (c["padding"] == 4)
    dense = (c["dilation_height"] == 1) & (c["dilation_width"] == 1)
    plain = _every_pixel(c) & dense & (c["in_channels"] == c["out_channels"])
    return np.asarray((c["operator"] == sizes.DEPTHWISE) & small & plain)


def _every_pixel(c: Sizes) -> NDArray[np.bool_]:
    """Return whether windows skip no row and no column."""
    return np.asarray((c["stride_height"] == 1) & (c["stride_width"] == 1))


def _on_cpu(c: Sizes, target: Target) -> Implementation:
    operator = c["operator"]
    lanes = 16 if _X86.search(target.device.lower()) else 8
    taps = c["kernel_height"] * c["kernel_width"]
    pixels = c["batch"] * c["out_height"] * c["out_width"]
    read, written = c["in_channels"] // c["groups"], c["out_channels"] // c["groups"]
    columns = _parts(written, lanes)
    matrix = operator == sizes.FULLY_CONNECTED
    convolution = operator == sizes.CONVOLUTION
    depthwise = (operator == sizes.DEPTHWISE) & (taps <= _MAX_TAPS)
    single = (operator == sizes.DEPTHWISE) & ~depthwise
    cells = c["read"] // c["batch"]
    work = np.select(
        [
            matrix,
            convolution | single,
            depthwise | (operator == sizes.POOL),
            operator == sizes.MEAN,
        ],
        [
            c["batch"] * cells * _parts(c["out_channels"], lanes) * lanes,
            pixels * taps * read * columns * lanes * c["groups"],
            pixels * taps * _parts(c["out_channels"], lanes) * lanes,
            c["read"],
        ],
        np.maximum(c["written"], c["madds"]),
    )
    rows = _parts(pixels, _TILE_PIXELS)
    items = np.where(
        convolution | single, rows * columns * c["groups"], _parts(c["written"], lanes)
    )
    items = np.where(matrix, _parts(c["batch"], _TILE_PIXELS) * columns, items)
    share = _parts(items, target.threads)
    variant = np.select(
        [convolution & (taps == 1) & _every_pixel(c), depthwise], [POINTWISE, DEPTHWISE], GENERIC
    )
    imbalance = share * target.threads / items
    return Implementation(variant, np.maximum(work, 1), items, columns, imbalance)

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from random_graphs import graphs

from latlas.predictor.features import NAMES, matrix, size, work
from latlas.profiler.errors import GraphError
from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Graph
from latlas.profiler.kernel import Kernel, split
from latlas.profiler.target import Delegate, Target
from latlas.profiler.vocabulary import vocabulary_kernels

CPU = Target("a phone", "litert 2.3.0", "cpu", "xnnpack")
GPU = Target("a phone", "litert 2.3.0", "gpu", "opencl", "Mali-G78", precision="fp16")


def named(text: str, target: Target = CPU) -> dict[str, float]:
    (row,) = matrix([Kernel.from_text(text)], target)
    return dict(zip(NAMES, row.tolist(), strict=True))


@pytest.mark.parametrize(("target", "element"), [(CPU, 4), (GPU, 2)])
def test_a_convolution_by_hand(target: Target, element: int) -> None:
    found = named(
        "1x8x6x6 | conv2d filters=16 kernel=3x5 stride=2x2 padding=1x1x2x2 activation=relu6 @0 "
        "| @1",
        target,
    )
    madds = 4 * 3 * 16 * 3 * 5 * 6
    padded = madds if target == CPU else madds * 8 / 6  # in slices of 4 channels
    read, written, weights = 8 * 6 * 6, 4 * 3 * 16, 16 * 3 * 5 * 6 + 16
    exact = {
        "log_work": math.log(padded),
        "log_padding": math.log(padded / madds),
        "log_input_bytes": math.log(element * read),
        "log_output_bytes": math.log(element * written),
        "log_weight_bytes": math.log1p(element * weights),
        "log_intensity": math.log(padded / (element * (read + written + weights))),
        "log_pixels": math.log(12),
        "log_width": math.log(3),
        "log_in_height": math.log(8),
        "log_in_channels": math.log(6),
        "log_out_channels": math.log(16),
        "log_group_channels": math.log(6),
        "log_groups": 0,
        "log_imbalance": 0,
        "kernel_height": 3,
        "kernel_width": 5,
        "stride": 2,
        "dilation": 1,
        "padding": 6,
        "inputs": 1,
        "broadcast": 1,
        "fused": 0,
        "activation": 2,
    }
    assert {name: found[name] for name in exact} == pytest.approx(exact, abs=1e-6)
    (row,) = matrix([Kernel.from_text("1x8x8x4 | mean @0 | @1")], target)
    moved = (8 * 8 * 4 + 4) * element
    assert size(row[None])[0] == pytest.approx([math.log(256), math.log(moved)], abs=1e-5)


def test_strides_and_dilations_that_differ() -> None:
    def strided(**words: str) -> list[float]:
        options = "".join(f" {name}={value}" for name, value in words.items())
        found = named(f"1x12x12x8 | conv2d filters=8 kernel=3x3{options} @0 | @1")
        return [found[name] for name in ("stride", "dilation", "log_in_height", "log_width")]

    assert strided(stride="2x2") == pytest.approx([2, 1, math.log(12), math.log(5)])
    assert strided(stride="1x2") == pytest.approx([2**0.5, 1, math.log(12), math.log(5)])
    assert strided(stride="2x1") == pytest.approx([2**0.5, 1, math.log(12), math.log(10)])
    assert strided(dilation="1x2") == pytest.approx([1, 2**0.5, math.log(12), math.log(8)])
    pool = named("1x8x8x4 | pool kind=max kernel=2x2 stride=1x2 @0 | @1")
    assert pool["stride"] == pytest.approx(2**0.5)


@pytest.mark.parametrize(
    ("text", "on_cpu", "on_gpu"),
    [
        ("1x8x8x4 | conv2d filters=8 kernel=1x1 @0 | @1", 8 * 8 * 8 * 4, 8 * 8 * 8 * 4),
        ("1x8x8x6 | conv2d filters=9 kernel=1x1 @0 | @1", 8 * 8 * 16 * 6, 8 * 8 * 12 * 8),
        ("1x8x8x8 | conv2d filters=8 kernel=1x1 groups=2 @0 | @1", 8 * 8 * 16 * 4, 8 * 8 * 8 * 4),
        ("1x1x1x6 | conv2d filters=9 kernel=1x1 @0 | @1", 16 * 6, 12 * 8),
        ("1x8x8x4 | depthwise_conv2d kernel=3x3 @0 | @1", 6 * 6 * 8 * 9, 6 * 6 * 4 * 9),
        ("1x8x8x4 | depthwise_conv2d kernel=7x7 @0 | @1", 2 * 2 * 4 * 49 * 8, 2 * 2 * 4 * 49),
        ("1x40 | fully_connected units=10 @0 | @1", 40 * 16, 40 * 12),
        ("1x8x8x4 | mean @0 | @1", 8 * 8 * 4, 8 * 8 * 4),
        ("1x8x8x4 | pool kind=average kernel=8x8 stride=1x1 @0 | @1", 8 * 8 * 4, 8 * 8 * 4),
        ("1x8x8x8 | pool kind=max kernel=2x2 stride=2x2 @0 | @1", 4 * 4 * 8 * 4, 4 * 4 * 8 * 4),
        ("1x8x8x4,1x1x1x4 | binary kind=mul @0,1 | @2", 8 * 8 * 4, 8 * 8 * 4),
    ],
)
def test_work(text: str, on_cpu: int, on_gpu: int) -> None:
    assert work(Kernel.from_text(text), CPU) == on_cpu
    assert work(Kernel.from_text(text), GPU) == on_gpu


def test_what_tells_kernels_apart() -> None:
    whole = named("1x8x8x4,1x8x8x4 | binary kind=add @0,1 | @2")
    gate = named("1x8x8x4,1x1x1x4 | binary kind=add @0,1 | @2")
    assert (whole["broadcast"], gate["broadcast"]) == (0, 1)
    fused = named(
        "1x8x8x4,1x8x8x4 | conv2d filters=4 kernel=1x1 @0 | binary kind=add @2,1 "
        "| activation kind=hard_swish @3 | @4"
    )
    assert (fused["fused"], fused["fused_reads"], fused["activation"]) == (2, 1, 3)
    most = named("1x8x8x4 | pool kind=max kernel=2x2 stride=2x2 @0 | @1")
    mean = named("1x8x8x4 | pool kind=average kernel=2x2 stride=2x2 @0 | @1")
    assert [name for name in NAMES if most[name] != mean[name]] == ["kind"]


@pytest.mark.parametrize("delegate", ["cpu", "gpu"])
@given(graph=graphs())
def test_every_kernel_has_finite_features(delegate: Delegate, graph: Graph) -> None:
    kernels = split(fold(graph), rules_for(delegate))
    found = matrix(kernels, CPU if delegate == "cpu" else GPU)
    assert found.shape == (len(kernels), len(NAMES))
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


def test_the_vocabulary_has_finite_features() -> None:
    assert np.isfinite(matrix(vocabulary_kernels(), CPU)).all()


def test_a_scalar_has_finite_features() -> None:
    kernel = Kernel.from_text("scalar | activation kind=relu @0 | @1")
    assert np.isfinite(matrix([kernel], CPU)).all()


def test_no_kernels() -> None:
    assert matrix([], CPU).shape == (0, len(NAMES))


def test_kernels_that_are_too_large_to_be_counted_are_refused() -> None:
    side, edge = (1 << 31) - 1, (1 << 30) - 1
    window = f"kernel={side}x{side} padding={edge}x{edge}x{edge}x{edge}"
    with pytest.raises(GraphError, match="larger than any"):
        named(f"1x1x1x4 | conv2d filters=4 {window} @0 | @1")

from __future__ import annotations

import pytest

from latlas.predictor.implementation import (
    CONSTANTS,
    DEPTHWISE,
    DEPTHWISE_3X3,
    GENERIC,
    POINTWISE,
    WINOGRAD,
    Implementation,
    implementation,
)
from latlas.predictor.sizes import sizes
from latlas.profiler.kernel import Kernel
from latlas.profiler.target import Target


def gpu(adapter: str, precision: str = "fp16") -> Target:
    return Target("a phone", "litert 2.3.0", "gpu", "opencl", adapter, precision=precision)


def cpu(threads: int = 1, device: str = "a phone") -> Target:
    return Target(device, "litert 2.3.0", "cpu", "xnnpack", threads=threads)


def run(text: str, target: Target) -> Implementation:
    kernels = [Kernel.from_text(text)]
    return implementation(kernels, sizes(kernels), target)


LARGE = "1x56x56x64 | conv2d filters=64 kernel=3x3 padding=1x1x1x1 @0 | @1"
SMALL = "1x8x8x8 | conv2d filters=16 kernel=3x3 @0 | @1"
CLOSE = "1x8x8x8 | conv2d filters=24 kernel=3x3 @0 | @1"  # 3,456 B of weights in fp16
DEPTH = "1x8x8x8 | depthwise_conv2d kernel=3x3 padding=1x1x1x1 @0 | @1"


@pytest.mark.parametrize(
    ("text", "adapter", "precision", "variant"),
    [
        (LARGE, "Mali-G78", "fp16", WINOGRAD),
        (LARGE, "Adreno (TM) 640", "fp16", GENERIC),
        (SMALL, "Mali-G78", "fp16", GENERIC),
        (SMALL, "Adreno (TM) 640", "fp16", CONSTANTS),
        (SMALL, "Adreno (TM) 640", "fp32", GENERIC),
        (CLOSE, "Adreno (TM) 640", "fp16", CONSTANTS),
        (CLOSE, "Adreno (TM) 6xx", "fp16", CONSTANTS),
        (CLOSE, "Adreno (TM) 740", "fp16", CONSTANTS),
        (CLOSE, "Adreno (TM) 540", "fp16", GENERIC),
        (CLOSE, "Adreno (TM) 330", "fp16", GENERIC),
        (SMALL, "Adreno (TM) 506", "fp16", CONSTANTS),
        (SMALL, "another GPU", "fp16", GENERIC),
        ("1x8x8x8 | conv2d filters=16 kernel=1x1 @0 | @1", "another GPU", "fp16", CONSTANTS),
        ("1x8x8x8 | conv2d filters=16 kernel=1x1 @0 | @1", "Intel(R) UHD", "fp16", GENERIC),
        (DEPTH, "Mali-G78", "fp16", DEPTHWISE_3X3),
        (DEPTH.replace("padding=1x1x1x1 ", ""), "Mali-G78", "fp16", GENERIC),
        (DEPTH.replace("padding", "stride=1x2 padding"), "Mali-G78", "fp16", GENERIC),
        (DEPTH.replace("padding", "stride=2x1 padding"), "Mali-G78", "fp16", GENERIC),
        (LARGE.replace("padding", "stride=1x2 padding"), "Mali-G78", "fp16", GENERIC),
    ],
)
def test_a_gpu_chooses_by_its_adapter(
    text: str, adapter: str, precision: str, variant: int
) -> None:
    assert run(text, gpu(adapter, precision)).variant.tolist() == [variant]


def test_winograd_multiplies_less() -> None:
    (direct,) = run(LARGE, gpu("Adreno (TM) 640")).work
    (winograd,) = run(LARGE, gpu("Mali-G78")).work
    assert winograd / direct == 36 / (9 * 16)


@pytest.mark.parametrize(
    ("text", "variant"),
    [
        ("1x8x8x8 | conv2d filters=16 kernel=1x1 @0 | @1", POINTWISE),
        ("1x8x8x8 | conv2d filters=16 kernel=1x1 stride=2x2 @0 | @1", GENERIC),
        ("1x8x8x8 | conv2d filters=16 kernel=1x1 stride=1x2 @0 | @1", GENERIC),
        (SMALL, GENERIC),
        (DEPTH, DEPTHWISE),
        ("1x8x8x8 | depthwise_conv2d kernel=7x7 @0 | @1", GENERIC),
    ],
)
def test_a_cpu_chooses_by_the_window(text: str, variant: int) -> None:
    assert run(text, cpu()).variant.tolist() == [variant]


def test_vectors_are_longer_on_a_pc() -> None:
    text = "1x8x8x8 | conv2d filters=24 kernel=1x1 @0 | @1"
    assert run(text, cpu()).work.tolist() == [8 * 8 * 8 * 24]
    assert run(text, cpu(device="Intel(R) Xeon(R)")).work.tolist() == [8 * 8 * 8 * 32]


def test_the_last_thread_is_waited_for() -> None:
    few = "1x1x5x8 | conv2d filters=24 kernel=1x1 @0 | @1"  # three tiles
    shares = [run(few, cpu(threads)).imbalance[0] for threads in (1, 2, 3, 4)]
    assert shares == pytest.approx([1, 4 / 3, 1, 4 / 3])

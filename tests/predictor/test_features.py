from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from random_graphs import graphs

from latlas.predictor.features import NAMES, matrix, row, work
from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Graph
from latlas.profiler.kernel import Kernel, split
from latlas.profiler.target import Delegate
from latlas.profiler.vocabulary import vocabulary_kernels


def named(text: str) -> dict[str, float]:
    return dict(zip(NAMES, row(Kernel.from_text(text)), strict=True))


def test_a_convolution_by_hand() -> None:
    found = named(
        "1x8x6x4 | conv2d filters=16 kernel=3x5 stride=2x2 padding=1x1x2x2 activation=relu6 @0 | @1"
    )
    madds = 4 * 3 * 16 * 3 * 5 * 4
    read, written, weights = 8 * 6 * 4, 4 * 3 * 16, 16 * 3 * 5 * 4 + 16
    assert found["log_work"] == pytest.approx(math.log(madds))
    assert found["log_input_bytes"] == pytest.approx(math.log(4 * read))
    assert found["log_output_bytes"] == pytest.approx(math.log(4 * written))
    assert found["log_weight_bytes"] == pytest.approx(math.log1p(4 * weights))
    assert found["log_intensity"] == pytest.approx(
        math.log(madds / (4 * (read + written + weights)))
    )
    assert math.exp(found["log_pixels"]) == pytest.approx(12)
    assert math.exp(found["log_in_channels"]) == pytest.approx(4)
    assert math.exp(found["log_out_channels"]) == pytest.approx(16)
    shown = ("kernel_height", "kernel_width", "stride", "padding", "pixels_mod_8", "activation")
    assert [found[name] for name in shown] == [3, 5, 2, 6, 4, 2]
    assert (found["inputs"], found["broadcast"], found["fused"]) == (1, 1, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1x8x8x4 | conv2d filters=8 kernel=1x1 @0 | @1", 8 * 8 * 8 * 4),
        ("1x8x8x4 | depthwise_conv2d kernel=3x3 @0 | @1", 6 * 6 * 4 * 9),
        ("1x40 | fully_connected units=10 @0 | @1", 400),
        ("1x8x8x4 | mean @0 | @1", 8 * 8 * 4),
        ("1x8x8x4 | pool kind=max kernel=2x2 stride=2x2 @0 | @1", 4 * 4 * 4 * 4),
        ("1x8x8x4,1x1x1x4 | binary kind=mul @0,1 | @2", 8 * 8 * 4),
    ],
)
def test_work(text: str, expected: int) -> None:
    assert work(Kernel.from_text(text)) == expected


def test_what_tells_kernels_apart() -> None:
    whole = named("1x8x8x4,1x8x8x4 | binary kind=add @0,1 | @2")
    gate = named("1x8x8x4,1x1x1x4 | binary kind=add @0,1 | @2")
    assert (whole["broadcast"], gate["broadcast"]) == (0, 1)
    fused = named("1x8x8x4 | conv2d filters=4 kernel=1x1 @0 | activation kind=hard_swish @1 | @2")
    assert fused["fused"] == 1


@pytest.mark.parametrize("delegate", ["cpu", "gpu"])
@given(graph=graphs())
def test_every_kernel_has_finite_features(delegate: Delegate, graph: Graph) -> None:
    kernels = split(fold(graph), rules_for(delegate))
    found = matrix(kernels)
    assert found.shape == (len(kernels), len(NAMES))
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


def test_the_vocabulary_has_finite_features() -> None:
    assert np.isfinite(matrix(vocabulary_kernels())).all()


def test_a_scalar_has_finite_features() -> None:
    kernel = Kernel.from_text("scalar | activation kind=relu @0 | @1")
    assert np.isfinite(matrix([kernel])).all()


def test_no_kernels() -> None:
    assert matrix([]).shape == (0, len(NAMES))

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from latlas.predictor.coverage import coverage_by_type, kernel_shares
from latlas.predictor.predictor import LatencyPredictor
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.kernel import Kernel


@pytest.fixture
def kernels(split_cpu: Any) -> tuple[Kernel, ...]:
    b = GraphBuilder((1, 33, 33, 3))
    x = b.conv(0, 9, 3)
    x = b.conv(x, 9, 3)
    return split_cpu(b.build(b.max_pool(x, 3)))  # type: ignore[no-any-return]


def test_shares_and_sources(predictor: LatencyPredictor, kernels: tuple[Kernel, ...]) -> None:
    known = {**predictor.table_us, kernels[0]: 7.0}
    forests = {kind: f for kind, f in predictor.forests.items() if kind != "pool"}
    less = replace(predictor, table_us=known, forests=forests)
    shares = kernel_shares(kernels, *less.kernels_us(kernels))
    assert [k.kernel for k in shares] == [k.text for k in kernels]
    assert [k.source for k in shares] == ["measured", "predicted", "unknown"]
    assert shares[0].latency_us == 7
    assert sum(k.share for k in shares) == pytest.approx(1)
    found = coverage_by_type(shares)
    assert set(found) == {"conv2d", "max_pool"}
    convolutions = found["conv2d"]
    assert (convolutions.measured, convolutions.predicted, convolutions.unknown) == (1, 1, 0)
    assert convolutions.measured_share == pytest.approx(shares[0].share)
    assert convolutions.share == pytest.approx(shares[0].share + shares[1].share)
    assert (found["max_pool"].unknown, found["max_pool"].unknown_share) == (1, shares[2].share)
    assert list(found) == sorted(found, key=lambda kind: -found[kind].share)


def test_a_network_without_kernels_or_of_free_ones(kernels: tuple[Kernel, ...]) -> None:
    import numpy as np

    assert kernel_shares((), np.array([]), np.array([], np.int8)) == ()
    assert coverage_by_type(()) == {}
    free = kernel_shares(kernels, np.zeros(len(kernels)), np.zeros(len(kernels), np.int8))
    assert {k.share for k in free} == {0.0}

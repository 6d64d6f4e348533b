"""The price of copies is learned from networks of kernels that were measured alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latlas.predictor.copies import FLOOR, copied_mb, fit_copies, without_copies
from latlas.predictor.fit import fit
from latlas.predictor.latencies import kernel_latencies
from latlas.predictor.observations import NetworkObservation, Observations
from latlas.profiler.count import count
from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.kernel import Kernel, split
from latlas.profiler.samples.networks import designed_networks
from latlas.profiler.target import Target

GPU = Target("device", "litert 2.3.0", "gpu", "webgpu")
RELU = Kernel.from_text("1x50x50x100 | activation kind=relu @0 | @1")
ADD = Kernel.from_text("1x50x50x100,1x50x50x100 | binary kind=add @0,1 | @2")


def inside_us(kernel: Kernel) -> float:
    """Return what a kernel takes in a network."""
    return 5 + count(kernel.graph).madds / 2000 + 100 * copied_mb(kernel)


def observed(price_us: float, networks: int = 24, target: Target = GPU) -> Observations:
    """Return observations of a device on which copying a MB takes `price_us`."""
    rules = rules_for(target.delegate)
    graphs = designed_networks(networks, seed=1)
    seen = [split(fold(graph), rules) for graph in graphs.values()]
    whole = tuple(
        NetworkObservation(name, kernels, sum(map(inside_us, kernels)))
        for name, kernels in zip(graphs, seen, strict=True)
    )
    # What is not measured has to be predicted, as in a real table.
    alone = sorted({kernel for kernels in seen for kernel in kernels}, key=lambda k: k.text)[::2]
    times_us = {kernel: inside_us(kernel) + price_us * copied_mb(kernel) for kernel in alone}
    return Observations(target, whole, times_us)


def test_what_is_copied() -> None:
    assert copied_mb(RELU) == pytest.approx(2.0)
    assert copied_mb(ADD) == pytest.approx(3.0)


@given(st.floats(1, 1e4), st.floats(0, 1e4))
def test_a_kernel_keeps_a_share(time_us: float, price_us: float) -> None:
    found = without_copies(time_us, RELU, price_us)
    assert FLOOR * time_us <= found <= time_us
    assert found == pytest.approx(max(time_us - 2 * price_us, FLOOR * time_us))


def test_the_price_is_learned() -> None:
    seen = observed(400.0)
    assert fit_copies(seen) == pytest.approx(400, rel=0.15)
    found = kernel_latencies(seen).latency_us
    small = [kernel for kernel in found if copied_mb(kernel) > 0.1]
    for kernel in small:
        assert found[kernel] == pytest.approx(inside_us(kernel), rel=0.35)
    without = replace(seen, target=replace(GPU, delegate="cpu"))
    assert fit(seen).calibration.error < 0.7 * fit(without).calibration.error


def test_where_nothing_is_copied_nothing_is_taken_off() -> None:
    assert fit_copies(observed(0.0)) == 0
    assert fit_copies(observed(400.0, networks=8)) == 0
    assert fit_copies(replace(observed(400.0), alone_us={})) == 0
    assert fit_copies(replace(observed(400.0), target=replace(GPU, delegate="cpu"))) == 0
    listed = observed(400.0)
    listed = replace(
        listed,
        networks=tuple(
            replace(n, listed_us=tuple(map(inside_us, n.kernels))) for n in listed.networks
        ),
    )
    assert fit_copies(listed) == 0

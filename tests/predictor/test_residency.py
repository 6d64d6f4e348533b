from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from latlas.predictor.evaluation import leave_out
from latlas.predictor.fit import fit
from latlas.predictor.genes import compile_genes
from latlas.predictor.observations import NetworkObservation, Observations
from latlas.predictor.predictor import LatencyPredictor
from latlas.predictor.residency import (
    LEAST,
    NO_SAVING,
    Residency,
    fit_residency,
    footprints_mb,
    nominal,
    remaining_us,
    saved_in,
    traffic,
)
from latlas.predictor.sizes import sizes
from latlas.profiler.fold import fold
from latlas.profiler.kernel import Kernel, split
from latlas.profiler.target import Target
from latlas.search.spaces import MogaSpace

PRICES_US = (0.2, 12.0, 6.0, 20.0, 1.0)
CACHE = Residency(12.0, 0.0, PRICES_US)
SHARED = Residency(24.0, 4.0, PRICES_US)
CPU = Target("a machine", "litert 2.3.0", "cpu", "xnnpack")
MB = st.floats(0.0, 1e3)
TRAFFIC = st.tuples(MB, MB, MB, MB, MB)
US = st.floats(0.0, 1e5)


def layer(inputs: int, units: int) -> Kernel:
    return Kernel.from_text(f"1x{inputs} | fully_connected units={units} @0 | @1")


def convolution(side: int, channels: int, filters: int) -> Kernel:
    return Kernel.from_text(
        f"1x{side}x{side}x{channels} | conv2d filters={filters} kernel=1x1 @0 | @1"
    )


def from_memory_us(kernel: Kernel) -> float:
    c = sizes([kernel])
    return float(25e-6 * 4 * c["weights"][0] + 2 + c["madds"][0] / 6e4)


def in_a_network_us(kernels: list[Kernel], cache: Residency) -> NDArray[np.float64]:
    """What kernels take when each finds in the cache what the network's duration leaves there."""
    base = np.array([from_memory_us(kernel) for kernel in kernels])
    times = base
    for _ in range(100):
        times = base - saved_in(kernels, cache, float(times.sum()))
    return times


def observed(cache: Residency, target: Target = CPU, networks: int = 60) -> Observations:
    """Networks of 1 to 60 MB on a target that works as the model has it, with 2% of noise."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(networks):
        kernels = []
        for _ in range(int(rng.integers(2, 9))):
            side, channels, filters = (int(n) for n in rng.integers([7, 16, 64], [28, 512, 900]))
            kernels += [convolution(side, channels, filters)]
        kernels += [layer(*(int(n) for n in rng.integers(256, 2048, 2))) for _ in range(3)]
        noise = rng.normal(1.0, 0.02, len(kernels))
        times = in_a_network_us(kernels, cache) * noise
        found.append(
            NetworkObservation(f"n{number}", tuple(kernels), times.sum() + 3, tuple(times.tolist()))
        )
    return Observations(target, tuple(found), {})


@given(moved=TRAFFIC, footprint=MB, more=MB, latency_us=US, longer=US)
def test_the_larger_or_slower_the_network_the_less_is_saved(
    moved: tuple[float, ...], footprint: float, more: float, latency_us: float, longer: float
) -> None:
    small, large, slow = SHARED.saved_us(
        np.array([moved] * 3),
        np.array([footprint, footprint + more, footprint]),
        np.array([latency_us, latency_us, latency_us + longer]),
    )
    assert 0 <= large <= small <= np.dot(moved, PRICES_US) * (1 + 1e-12)
    assert 0 <= slow <= small


def test_half_is_saved_at_the_capacity() -> None:
    moved, footprint = np.array([[0.0, 2.0, 0.0, 0.0, 4.0]] * 3), np.array([0.0, 12.0, 1e300])
    saved = CACHE.saved_us(moved, footprint, np.array([1e9] * 3))
    assert saved[:2] == pytest.approx([28.0, 14.0])
    assert saved[2] == pytest.approx(0.0, abs=1e-9)
    # 12 MB of one's own and 12 MB that others bring in the meantime.
    assert SHARED.saved_us(moved, footprint, np.array([0, 3000.0, 0])) == pytest.approx(
        [28.0, 14.0, 0.0], abs=1e-9
    )


@given(sum_us=US, moved=TRAFFIC, footprint=MB)
def test_saving_and_latency_agree(
    sum_us: float, moved: tuple[float, ...], footprint: float
) -> None:
    arrays = np.array([sum_us]), np.array([moved]), np.array([footprint])
    (found,) = SHARED.within_us(*arrays)
    assert sum_us * LEAST <= found <= sum_us
    # Never less than where what is saved would be consistent.
    saved = SHARED.saved_us(arrays[1], arrays[2], np.array([found]))
    assert found >= remaining_us(arrays[0], saved)[0] * (1 - 1e-12)


def test_a_saving_never_undercuts_a_share() -> None:
    assert remaining_us(np.array([10.0, 10.0]), np.array([4.0, 1e9])).tolist() == [6.0, 10 * LEAST]


def test_traffic_and_footprints() -> None:
    stem = Kernel.from_text(
        "1x32x32x3 | conv2d filters=8 kernel=3x3 stride=2x2 padding=0x1x0x1 @0 | @1"
    )
    kernels = [layer(1000, 500), stem, convolution(16, 4, 8), convolution(16, 8, 8)]
    dense, image, still_an_image, inner = traffic(sizes(kernels)).tolist()
    assert dense == pytest.approx([1, 4 * 0.5005, 0, 0, 4 * 0.0015])
    pixels, windows = 4e-6 * 32 * 32 * 3, 8e-6 * 16 * 16 * 9
    assert image == pytest.approx([1, 4e-6 * 224, windows, pixels, pixels + 4e-6 * 16 * 16 * 8])
    assert still_an_image[3] == pytest.approx(4e-6 * 16 * 16 * 4)
    assert inner[2:4] == [0, 0]  # a window of one pixel needs no pointers
    summed = np.array([[9.0, 1.0, 2.0, 7.0, 20.0], [1.0, 0.0, 0.0, 0.0, 3.0]])
    assert footprints_mb(summed, np.array([5.0, 3.0])).tolist() == [8.0, 3.0]


def test_it_is_learned_from_networks_of_all_sizes() -> None:
    found = fit_residency(observed(CACHE))
    assert found.prices_us[1] == pytest.approx(12.0, rel=0.3)
    assert 8 <= found.capacity_mb <= 18
    assert found.others_mb_per_ms <= 1


def test_what_others_bring_into_the_cache_is_learned() -> None:
    found = fit_residency(observed(SHARED))
    assert found.prices_us[1] == pytest.approx(12.0, rel=0.1)
    assert found.capacity_mb == pytest.approx(24.0, rel=0.2)
    assert found.others_mb_per_ms == 4.0


def test_where_nothing_is_saved_nothing_is_learned() -> None:
    found = fit_residency(observed(NO_SAVING))
    assert found == NO_SAVING
    assert fit_residency(observed(CACHE, networks=10)) == NO_SAVING
    gpu = replace(CPU, delegate="gpu")
    assert fit_residency(observed(CACHE, gpu)) == NO_SAVING
    unlisted = observed(CACHE)
    unlisted = replace(
        unlisted, networks=tuple(replace(n, listed_us=None) for n in unlisted.networks)
    )
    assert fit_residency(unlisted) == NO_SAVING
    assert not NO_SAVING.saves


def test_nominal_times_are_those_from_memory() -> None:
    seen = observed(CACHE)
    for network in nominal(seen, CACHE).networks:
        assert network.listed_us is not None
        truth = [from_memory_us(kernel) for kernel in network.kernels]
        np.testing.assert_allclose(network.listed_us, truth, rtol=0.1)
    assert nominal(seen, NO_SAVING) is seen


def test_networks_of_other_sizes_are_predicted() -> None:
    predictor = fit(observed(CACHE), trees=20)
    kernels = [layer(1280, 1000), convolution(14, 96, 128)]
    filler = [layer(3000 + index, 3000) for index in range(3)]
    small, large = (predictor.network_us(each)[0][0] for each in (kernels, kernels + filler))
    assert 0.35 < small / large < 0.75
    whole_ms = predictor.predict_kernels([kernels])[0].latency_ms
    truth = in_a_network_us(kernels, CACHE).sum()
    assert whole_ms * 1e3 == pytest.approx(truth, rel=0.15)


def test_chromosomes_and_graphs_save_alike(predictor: LatencyPredictor) -> None:
    space = MogaSpace(resolution=64, classes=10)
    genes = space.sample(5, seed=0)
    saving = replace(predictor, residency=Residency(10.0, 2.0, (0.1, 5.0, 3.0, 8.0, 1.0)))
    found = compile_genes(space, saving).latency_ms(genes)
    graphs = [space.decode(each) for each in genes]
    np.testing.assert_allclose(found, [p.latency_ms for p in saving.predict(graphs)], rtol=1e-9)
    assert (found < compile_genes(space, predictor).latency_ms(genes)).all()


def test_measured_kernels_of_networks_left_out_are_those_of_the_predictor_s_cache() -> None:
    """Too few networks remain to learn of the cache: then nothing may be added for it, either."""
    observations = observed(CACHE, networks=30)
    out = {network.name for network in observations.networks[:12]}
    found = leave_out(
        observations,
        lambda name: "out" if name in out else name,
        names=out,
        kernels="measured",
        fit=partial(fit, trees=5),
    )
    assert len(found.networks) == 12
    for network in found.networks:
        assert network.prediction.latency_ms == pytest.approx(network.measured_ms, rel=0.1)


def test_networks_that_stand_one_after_the_other_save_each_by_itself(
    predictor: LatencyPredictor,
) -> None:
    saving = replace(predictor, residency=Residency(10.0, 2.0, (0.1, 5.0, 3.0, 8.0, 1.0)))
    graphs = [MogaSpace(resolution=side, classes=10).decode((0,) * 14) for side in (32, 64, 32)]
    networks = [split(fold(graph), saving.rules) for graph in graphs]
    networks.insert(1, ())
    estimates = saving.estimate([kernel for kernels in networks for kernel in kernels])
    lengths = np.array([len(kernels) for kernels in networks])
    together = saving.within_us(estimates, lengths)
    apart = [saving.network_us(kernels)[0] for kernels in networks]
    np.testing.assert_allclose(together, np.concatenate(apart))
    sums = [times.sum() for times in apart]
    np.testing.assert_allclose(saving.sums_us(estimates, lengths), sums, rtol=0.01)

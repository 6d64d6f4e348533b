from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latlas.predictor.features import work
from latlas.predictor.fit import MIN_KERNELS, fit
from latlas.predictor.intervals import NO_INTERVALS
from latlas.predictor.observations import NetworkObservation, Observations, observe
from latlas.predictor.predictor import LatencyPredictor
from latlas.predictor.sizes import kernel_class
from latlas.profiler.errors import PredictorError
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.kernel import Kernel, split
from latlas.profiler.op_text import from_text
from latlas.profiler.table import Table
from latlas.profiler.vocabulary import vocabulary_kernels


def test_networks_of_the_space_are_predicted(simulation: Any, predictor: LatencyPredictor) -> None:
    networks = simulation.networks(24, seed=7)
    predicted = [p.latency_ms for p in predictor.predict(list(networks.values()))]
    truth = [simulation.network_us(graph) / 1e3 for graph in networks.values()]
    np.testing.assert_allclose(predicted, truth, rtol=0.03)
    assert predictor.calibration.error < 0.02


def test_kernels_that_were_not_measured_are_predicted(
    simulation: Any, predictor: LatencyPredictor
) -> None:
    kernels = [
        Kernel.from_text(f"1x16x16x{c} | conv2d filters={f} kernel=1x1 @0 | @1")
        for c, f in ((32, 48), (100, 20), (200, 150), (500, 90))
    ]
    assert not set(kernels) & set(predictor.table_us)
    found, _ = predictor.kernels_us(kernels)
    truth = [simulation.kernel_us(kernel) for kernel in kernels]
    np.testing.assert_allclose(found, truth, rtol=0.4)
    assert 0 < predictor.type_error["conv2d"] < 0.5


def test_larger_kernels_than_any_measured_are_predicted(
    simulation: Any, predictor: LatencyPredictor
) -> None:
    """Trees cannot extrapolate; time by work can."""
    kernel = Kernel.from_text("1x64x64x512 | conv2d filters=1024 kernel=3x3 @0 | @1")
    assert work(kernel, predictor.target) > 50 * max(
        work(k, predictor.target) for k in predictor.table_us if k.type == "conv2d"
    )
    found, _ = predictor.kernels_us([kernel])
    assert found[0] == pytest.approx(simulation.kernel_us(kernel), rel=0.5)


def test_fitting_is_reproducible(
    table: Table, predictor: LatencyPredictor, simulation: Any
) -> None:
    graphs = list(simulation.networks(12, seed=3).values())
    again = fit(observe(table), trees=20)
    assert again.predict(graphs) == predictor.predict(graphs)
    assert again.type_error == predictor.type_error
    other = fit(observe(table), trees=20, seed=1)
    assert other.type_error != predictor.type_error


def test_rare_types_are_looked_up_only(simulation: Any, tmp_path: Path) -> None:
    found = simulation.measurements(simulation.networks(12, seed=0))
    softmax = [m for m in found if m.name.partition("|")[2].startswith(" softmax")]
    rest = [m for m in found if m not in softmax]
    assert len(softmax) >= MIN_KERNELS
    table = simulation.write(tmp_path, [*rest, *softmax[: MIN_KERNELS - 1]])
    predictor = fit(observe(table), trees=4)
    assert "softmax" not in predictor.forests
    assert sum(k.type == "softmax" for k in predictor.table_us) == MIN_KERNELS - 1


def test_a_table_without_kernels(simulation: Any, tmp_path: Path) -> None:
    table = simulation.write(tmp_path, [])
    with pytest.raises(PredictorError, match=r"no measured kernels.*latlas profile"):
        fit(observe(table))


def test_a_table_with_too_few_networks(simulation: Any, tmp_path: Path) -> None:
    found = simulation.measurements(simulation.networks(4, seed=0))
    with pytest.raises(PredictorError, match="4 whole networks"):
        fit(observe(simulation.write(tmp_path / "four", found)), trees=2)
    found = [m for m in found if m.unit != "network"]
    with pytest.raises(PredictorError, match="0 whole networks"):
        fit(observe(simulation.write(tmp_path / "none", found)), trees=2)


def test_networks_count_although_some_of_their_kernels_were_not_measured(
    simulation: Any, tmp_path: Path
) -> None:
    """As on a GPU, where no kernel is known in context, in a table that was cut short."""
    measurements = [
        replace(m, ops=())
        for index, m in enumerate(simulation.measurements(simulation.networks(12, seed=0)))
        if m.unit != "kernel" or index % 3
    ]
    predictor = fit(observe(simulation.write(tmp_path, measurements)), trees=20)
    assert predictor.calibration.networks == 12
    graphs = list(simulation.networks(12, seed=1).values())
    for graph, prediction in zip(graphs, predictor.predict(graphs), strict=True):
        assert prediction.predicted_share > 0
        truth_ms = simulation.network_us(graph) / 1e3
        assert prediction.latency_ms == pytest.approx(truth_ms, rel=0.05)


def test_networks_of_unknown_kernels_are_no_calibration(table: Table) -> None:
    known = observe(table)
    networks = tuple(replace(network, listed_us=None) for network in known.networks)
    some = {k: us for k, us in known.alone_us.items() if not k.type.startswith("depthwise")}
    with pytest.raises(PredictorError, match=r"12 of 12 .* depthwise_conv2d \(\d+\).*--models"):
        fit(replace(known, networks=networks, alone_us=some), trees=5)
    # Too few networks, whatever is known of their kernels, are told as such.
    with pytest.raises(PredictorError, match="holds 0 whole networks"):
        fit(replace(known, networks=networks[:4], alone_us=some), trees=5)


def alike(simulation: Any, count: int, seed: int) -> tuple[NetworkObservation, ...]:
    """Return networks of one family: of the same kinds of kernels, one mean and one classifier."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(count):
        b = GraphBuilder((1, 64, 64, 3))
        x = b.conv(b.input, 8 * int(rng.integers(1, 9)), 3, stride=2)
        for filters in (*(8 * rng.integers(2, 20, 3)).tolist(), 64):
            x = b.conv(b.depthwise(x, 3, activation="relu6"), filters, 1)
        graph = b.build(b.fully_connected(b.mean(x), 10))
        kernels = split(graph, rules_for("cpu"))
        listed_us = tuple(simulation.kernel_us(k) * rng.lognormal(0, 0.2) for k in kernels)
        whole_us = 1.1 * sum(listed_us) + 30
        found.append(NetworkObservation(f"{seed}-{index}", kernels, whole_us, listed_us))
    return tuple(found)


def test_networks_of_one_family_have_honest_bounds(simulation: Any) -> None:
    predictor = fit(Observations(simulation.target, alike(simulation, 12, seed=0), {}), trees=10)
    assert not {"mean", "fully_connected"} & predictor.forests.keys()
    assert predictor.intervals.networks == 12
    assert 0 < predictor.intervals.doubt < 1
    new = alike(simulation, 20, seed=1)
    found = predictor.predict_kernels([network.kernels for network in new])
    held = [p.low_ms < n.latency_us / 1e3 < p.high_ms for p, n in zip(found, new, strict=True)]
    assert sum(held) >= 16
    assert all(p.high_ms < 2 * p.latency_ms for p in found)


def test_kernels_that_all_networks_share_say_something_of_bounds(simulation: Any) -> None:
    """Left out with any network, nothing would be left to learn from."""
    rng = np.random.default_rng(0)
    (network,) = alike(simulation, 1, seed=0)
    same = tuple(
        replace(network, name=str(i), latency_us=network.latency_us * rng.lognormal(0, 0.05))
        for i in range(6)
    )
    predictor = fit(Observations(simulation.target, same, {}), trees=10)
    assert predictor.intervals.networks > 0
    assert 0 < predictor.intervals.doubt < NO_INTERVALS.doubt


def test_without_a_network_predicted_bounds_are_wide(simulation: Any) -> None:
    networks = alike(simulation, 8, seed=0)
    whole = [network.latency_us for network in networks]
    first = networks[0].kernels[:3]  # so few of every class that they are looked up only
    few = tuple(
        NetworkObservation(str(i), first, us, (5.0,) * len(first)) for i, us in enumerate(whole)
    )
    predictor = fit(Observations(simulation.target, few, {}), trees=2)
    assert not predictor.forests
    assert predictor.intervals.doubt == NO_INTERVALS.doubt
    assert predictor.intervals.networks == 0
    assert predictor.intervals.measured > 0


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_operator_of_the_vocabulary_is_learned(precision: str) -> None:
    counts = Counter(map(kernel_class, vocabulary_kernels(precision=precision)))
    assert min(counts.values()) >= MIN_KERNELS


def test_what_few_networks_have_is_predicted(simulation: Any) -> None:
    """A decoder of a U-Net, and the activation of a YOLO, though no measured network has either."""
    alone_us = {kernel: simulation.kernel_us(kernel) for kernel in vocabulary_kernels()}
    seen = Observations(simulation.target, alike(simulation, 6, seed=0), alone_us)
    predictor = fit(seen, trees=5)
    b = GraphBuilder((1, 26, 26, 64))
    x = b.apply(from_text("activation kind=leaky_relu alpha=0.1"), b.conv(b.input, 64, 3))
    x = b.apply(from_text("transpose_conv2d filters=32 kernel=2x2 stride=2x2 size=52x52"), x)
    (found,) = predictor.predict([b.build(x)])
    assert found.predicted_share == pytest.approx(1)
    assert found.unknown == ()

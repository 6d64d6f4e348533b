from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latlas.predictor.features import work
from latlas.predictor.fit import MIN_KERNELS, fit
from latlas.predictor.observations import observe
from latlas.predictor.predictor import LatencyPredictor
from latlas.profiler.errors import PredictorError
from latlas.profiler.kernel import Kernel
from latlas.profiler.table import Table


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

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latlas.predictor.calibration import Calibration
from latlas.predictor.file import load, save
from latlas.predictor.fit import fit
from latlas.predictor.observations import observe
from latlas.predictor.oracle import PredictorOracle
from latlas.predictor.predictor import MEASURED, PREDICTED, UNKNOWN, LatencyPredictor
from latlas.profiler.errors import GraphError, UnknownKernelError
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph, GraphBuilder
from latlas.profiler.quantise import quantise
from latlas.profiler.workload import workload


def with_unknown() -> Graph:
    b = GraphBuilder((1, 64, 64, 3))
    x = b.conv(0, 8, 3)
    return b.build(b.max_pool(x, 3))


def without(predictor: LatencyPredictor, kind: str) -> LatencyPredictor:
    """Forget everything about a kernel type."""
    return replace(
        predictor,
        table_us={k: v for k, v in predictor.table_us.items() if k.type != kind},
        forests={k: v for k, v in predictor.forests.items() if k != kind},
    )


def test_a_measured_network_is_looked_up(simulation: Any, predictor: LatencyPredictor) -> None:
    graph = simulation.networks(12, seed=0)["0-3"]
    (found,) = predictor.predict([graph])
    assert found.latency_ms == pytest.approx(simulation.network_us(graph) / 1e3, rel=0.02)
    assert found.measured_share == pytest.approx(1)
    assert found.unknown == ()
    assert found.unknown_share == 0
    assert found.low_ms <= found.latency_ms <= found.high_ms


def test_both_forms_of_a_network_are_predicted_alike(
    simulation: Any, predictor: LatencyPredictor
) -> None:
    graph = simulation.networks(12, seed=5)["5-0"]
    one, other = predictor.predict([graph, fold(graph)])
    assert one == other


def test_networks_do_not_influence_each_other(simulation: Any, predictor: LatencyPredictor) -> None:
    graphs = list(simulation.networks(12, seed=6).values())
    together = predictor.predict(graphs)
    assert together == [predictor.predict([graph])[0] for graph in graphs]
    assert predictor.predict([]) == []
    assert PredictorOracle(predictor).latency_ms(graphs).tolist() == [
        p.latency_ms for p in together
    ]
    assert PredictorOracle(predictor).target == predictor.target


def test_shares_and_sources(simulation: Any, predictor: LatencyPredictor) -> None:
    b = GraphBuilder((1, 33, 33, 3))
    graph = b.build(b.max_pool(b.conv(0, 9, 3), 3))
    less = without(predictor, "max_pool")
    with pytest.raises(UnknownKernelError, match=r"1 kernel\(s\) of type max_pool.*profile"):
        less.predict([graph])
    (found,) = less.predict([graph], accept_unknown=True)
    assert len(found.unknown) == 1
    assert "max_pool" not in found.unknown[0]
    assert "pool kind=max" in found.unknown[0]
    assert found.measured_share == 0
    assert 0 < found.predicted_share < 1
    assert found.predicted_share + found.unknown_share == pytest.approx(1)
    conv, pool = predictor.forests["conv2d"], less.forests.get("max_pool")
    assert conv is not None
    assert pool is None


def test_an_unknown_kernel_counts_as_an_average_one(
    simulation: Any, predictor: LatencyPredictor, split_cpu: Any
) -> None:
    less = without(predictor, "max_pool")
    known = next(iter(less.table_us))
    kernels = [known, *split_cpu(with_unknown())]
    latency_us, source = less.kernels_us(kernels)
    assert source.tolist() == [MEASURED, PREDICTED, UNKNOWN]
    assert latency_us[0] == less.table_us[known]
    assert latency_us[2] == pytest.approx(np.mean(list(less.table_us.values())))


def test_less_known_means_wider_bounds(simulation: Any, predictor: LatencyPredictor) -> None:
    graph = with_unknown()
    noisy = replace(predictor, type_error=dict.fromkeys(predictor.type_error, 0.3))
    sure = replace(predictor, type_error=dict.fromkeys(predictor.type_error, 0.0))
    (wide,), (narrow,) = noisy.predict([graph]), sure.predict([graph])
    assert wide.high_ms - wide.low_ms > narrow.high_ms - narrow.low_ms
    assert wide.latency_ms == narrow.latency_ms
    hopeless = replace(predictor, calibration=replace(predictor.calibration, error=3.0))
    assert hopeless.predict([graph])[0].low_ms == 0


def test_errors_of_one_type_do_not_cancel(predictor: LatencyPredictor) -> None:
    exact = replace(
        predictor,
        table_us={},
        calibration=Calibration(1.0, 0.0, 0.0, 0.0, 9),
        type_error=dict.fromkeys(predictor.type_error, 0.1),
    )
    for others in (0, 3):
        b = GraphBuilder((1, 16, 16, 24))
        x = b.conv(0, 24, 1)
        for _ in range(others):
            x = b.conv(x, 24, 1)
        (found,) = exact.predict([b.build(x)])
        assert found.high_ms / found.latency_ms == pytest.approx(1 + 1.645 * 0.1)


def test_a_network_of_nothing_but_free_kernels(predictor: LatencyPredictor) -> None:
    free = replace(predictor, table_us=dict.fromkeys(predictor.table_us, 0.0), forests={})
    (found,) = free.predict([with_unknown()], accept_unknown=True)
    assert 0 < found.latency_ms <= found.high_ms


def test_a_network_without_kernels(predictor: LatencyPredictor) -> None:
    b = GraphBuilder((1, 4, 4, 4))
    calibration = Calibration(1.0, 1.0, 30.0, 0.1, 9)
    (found,) = replace(predictor, calibration=calibration).predict([b.build(b.reshape(0, (1, 64)))])
    assert found.latency_ms == pytest.approx(0.03)
    assert found.kernels == 0
    assert found.measured_share == 0


def test_a_target_of_int8_predicts_the_int8_form(simulation: Any, tmp_path: Path) -> None:
    networks = simulation.networks(12, seed=0)
    jobs = workload(networks, "cpu", precision="int8").jobs
    measurements = [
        simulation.measure(job.graph, job.unit, job.id.partition(":")[2] or job.name)
        for job in jobs
    ]
    target = replace(simulation.target, precision="int8")
    table = simulation.write(tmp_path / "table", measurements, target)
    predictor = fit(observe(table), trees=5)
    save(predictor, tmp_path / "int8.latlas")
    predictor = load(tmp_path / "int8.latlas")
    assert predictor.target.precision == "int8"
    graph = networks["0-3"]
    as_float, as_int8 = predictor.predict([graph, quantise(graph)])
    assert as_float == as_int8
    assert as_int8.measured_share == pytest.approx(1)
    (other,) = predictor.predict(list(simulation.networks(1, seed=9).values())[:1])
    assert other.unknown == ()


def test_int8_is_refused_by_a_target_of_float32(predictor: LatencyPredictor) -> None:
    with pytest.raises(GraphError, match="--precision int8"):
        predictor.predict([quantise(with_unknown())])

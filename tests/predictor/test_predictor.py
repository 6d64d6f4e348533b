from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latlas.predictor.calibration import Calibration
from latlas.predictor.file import load, save
from latlas.predictor.fit import fit
from latlas.predictor.intervals import Intervals
from latlas.predictor.observations import observe
from latlas.predictor.oracle import PredictorOracle
from latlas.predictor.predictor import MEASURED, PREDICTED, UNKNOWN, LatencyPredictor
from latlas.profiler.errors import GraphError, UnknownKernelError
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.quantise import quantise
from latlas.profiler.workload import workload


def with_unknown() -> Graph:
    b = GraphBuilder((1, 64, 64, 3))
    x = b.conv(0, 8, 3)
    return b.build(b.max_pool(x, 3))


def without(predictor: LatencyPredictor, kind: str) -> LatencyPredictor:
    """Forget everything about a kernel type, and its class."""
    learned = {"max_pool": "pool"}.get(kind, kind)
    return replace(
        predictor,
        table_us={k: v for k, v in predictor.table_us.items() if k.type != kind},
        forests={k: v for k, v in predictor.forests.items() if k != learned},
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
    conv, pool = predictor.forests["conv2d"], less.forests.get("pool")
    assert conv is not None
    assert pool is None


def test_an_unknown_kernel_counts_as_others_of_its_size(
    simulation: Any, predictor: LatencyPredictor, split_cpu: Any
) -> None:
    less = without(predictor, "max_pool")
    known = next(iter(less.table_us))
    kernels = [known, *split_cpu(with_unknown())]
    found = less.estimate(kernels)
    assert found.source.tolist() == [MEASURED, PREDICTED, UNKNOWN]
    assert found.latency_us[0] == less.table_us[known]
    b = GraphBuilder((1, 640, 640, 8))
    (large,) = split_cpu(b.build(b.max_pool(0, 3)))
    truth_us = simulation.kernel_us(kernels[2])
    assert truth_us / 10 < found.latency_us[2] < truth_us * 10
    assert less.kernels_us([large])[0][0] > 10 * found.latency_us[2]


def test_less_known_means_wider_bounds(simulation: Any, predictor: LatencyPredictor) -> None:
    def width(predictor: LatencyPredictor, graph: Graph) -> float:
        (found,) = predictor.predict([graph], accept_unknown=True)
        assert found.low_ms * found.high_ms == pytest.approx(found.latency_ms**2)
        return found.high_ms / found.latency_ms

    measured = width(predictor, simulation.networks(12, seed=0)["0-3"])
    predicted = width(predictor, with_unknown())
    unknown = width(without(predictor, "max_pool"), with_unknown())
    assert 1 <= measured < predicted < unknown
    hopeless = replace(predictor, intervals=Intervals(measured=0.1, doubt=1e9, networks=9))
    (found,) = hopeless.predict([with_unknown()])
    assert 0 < found.low_ms < 1e-9 < 1e9 < found.high_ms


def test_kernels_outside_what_was_learned_are_named(predictor: LatencyPredictor) -> None:
    b = GraphBuilder((1, 16, 16, 24))
    inside = b.build(b.conv(0, 50, 1))
    b = GraphBuilder((1, 16, 16, 24))
    beyond = b.build(b.conv(b.conv(0, 50, 1), 50, 11))
    near, far = predictor.predict([inside, beyond])
    assert near.extrapolated == ()
    assert [text.partition("kernel=")[2][:5] for text in far.extrapolated] == ["11x11"]
    assert far.unknown == ()


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

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tables import NETWORK, kernel, measured, write

from latlas.predictor.latencies import kernel_latencies
from latlas.predictor.observations import EMPTY, THROTTLED, listed_us, observe
from latlas.profiler.errors import PredictorError
from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.kernel import split
from latlas.profiler.measurement import Measurement
from latlas.profiler.runner import OpTime
from latlas.profiler.table import Table

RULES = rules_for("cpu")


def network() -> Graph:
    b = GraphBuilder((1, 16, 16, 8))
    x = b.conv(0, 8, 3, activation="relu6")
    x = b.add(0, x, activation="relu")
    return b.build(b.fully_connected(b.reshape(x, (1, 2048)), 10))


def test_listed_operators_are_matched_with_kernels(simulation) -> None:
    graph = network()
    kernels = split(graph, RULES)
    assert [RULES.operators(kernel) for kernel in kernels] == [1, 2, 1]
    measurement = simulation.measure(graph, "network", "n")
    listed = [
        *(OpTime("conv", 10.0), OpTime("add", 3.0), OpTime("clamp", 2.0)),
        *(OpTime("Static Reshape (NC)", 1.0), OpTime("fully connected", 7.0)),
    ]
    measurement = replace(measurement, ops=tuple(listed))
    # Half a microsecond for each that the profiler cut off; a reshape belongs to no kernel.
    assert listed_us(measurement, kernels, RULES) == (10.5, 6.0, 7.5)
    assert listed_us(replace(measurement, ops=tuple(listed[1:])), kernels, RULES) is None
    assert listed_us(replace(measurement, ops=()), kernels, RULES) is None


def test_networks_that_cannot_be_used_are_named(simulation: Any, tmp_path: Path) -> None:
    networks = simulation.networks(12, seed=0)
    found: list[Measurement] = []
    for i, (name, graph) in enumerate(networks.items()):
        measurement = simulation.measure(fold(graph), "network", name, scale=1.3 if i == 0 else 1)
        if i == 1:
            measurement = replace(measurement, ops=measurement.ops[1:])
        found.append(measurement)
    known = observe(simulation.write(tmp_path, found))
    assert set(known.left_out) == {"0-0", "0-1"}
    assert "does not agree" in known.left_out["0-0"]
    assert "do not match" in known.left_out["0-1"]
    assert len(known.networks) == 11  # the second still calibrates as a whole
    assert [n.name for n in known.networks if n.listed_us is None] == ["0-1"]


def test_a_network_that_is_a_lone_reshape_calibrates_nothing(tmp_path: Path) -> None:
    reshape = "1x4 | reshape shape=4 @0 | @1"
    networks = [measured("network", f"n{i}", NETWORK, 90.0) for i in range(2)]
    lone = [measured("network", f"r{i}", reshape, 0.5) for i in range(3)]
    known = observe(write(tmp_path / "both", [*networks, *lone]))
    assert [network.name for network in known.networks] == ["n0", "n1"]
    assert known.left_out == dict.fromkeys(["r0", "r1", "r2"], EMPTY)
    assert observe(write(tmp_path / "alone", lone)).networks == ()


def test_a_reference_of_no_time_scales_nothing(tmp_path: Path) -> None:
    """A hostile table says that the device was throttled without end."""
    slow = [
        replace(kernel(channels, 20.0, verdict="throttled", reason="hot"), reference_us=us)
        for channels, us in ((1, 1e-300), (2, 8.0))
    ]
    usual = [replace(kernel(channels, 10.0), reference_us=4.0) for channels in range(3, 9)]
    known = observe(write(tmp_path, [*slow, *usual]))
    assert sorted(known.alone_us.values()) == [10.0] * 7  # the first is left out


def slowed(m: Measurement, factor: float) -> Measurement:
    assert m.summary is not None
    return replace(
        m.judged("throttled", "hot"),
        summary=replace(m.summary, median_us=factor * m.summary.median_us),
        ops=tuple(replace(op, mean_us=factor * op.mean_us) for op in m.ops),
        reference_us=factor * m.reference_us,
    )


@pytest.mark.parametrize("throttled", [2, 9])
def test_throttled_networks_are_done_without_where_most_are_not(
    simulation: Any, tmp_path: Path, throttled: int
) -> None:
    found = [
        replace(simulation.measure(fold(graph), "network", name), reference_us=4.0)
        for name, graph in simulation.networks(16, seed=0).items()
    ]
    slow = [slowed(m, 1.5) for m in found[:throttled]]
    known = observe(simulation.write(tmp_path, [*slow, *found[throttled:]]))
    names = [network.name for network in known.networks]
    if throttled < 8:
        assert set(known.left_out.values()) == {THROTTLED}
        assert sorted([*names, *known.left_out]) == sorted(m.name for m in found)
        return
    assert not known.left_out
    times = {network.name: network.latency_us for network in known.networks}
    for m in found:
        assert m.summary is not None
        assert times[m.name] == pytest.approx(m.summary.median_us, rel=0.05)


@pytest.mark.parametrize("verdict", ["throttled", "failed", "not_delegated"])
def test_bad_measurements_are_not_used(simulation: Any, tmp_path: Path, verdict) -> None:
    good = simulation.measure(network(), "network", "good")
    bad = simulation.measure(network(), "network", "bad").judged(verdict, "because")
    known = observe(simulation.write(tmp_path, [good, bad]))
    assert [network.name for network in known.networks] == ["good"]


def test_everything_that_was_measured_is_observed(simulation: Any, table: Table) -> None:
    found = observe(table)
    networks = simulation.networks(12, seed=0)
    assert found.target == table.target
    assert [network.name for network in found.networks] == list(networks)
    for network in found.networks:
        assert network.kernels == split(fold(networks[network.name]), RULES)
        assert network.latency_us == pytest.approx(
            simulation.network_us(networks[network.name]), rel=0.01
        )
        truth = [simulation.kernel_us(kernel) for kernel in network.kernels]
        assert network.listed_us == pytest.approx(truth, rel=0.01)
    assert len(found.alone_us) == sum(m.unit == "kernel" for m in table.measurements)
    assert found.fixed_us == pytest.approx(30, rel=0.05)
    assert not found.left_out


def test_networks_are_left_out_with_the_times_that_they_list(table: Table) -> None:
    found = observe(table)
    gone = [f"0-{i}" for i in range(9)]
    less = found.without([*gone, "another"])
    assert [network.name for network in less.networks] == ["0-9", "0-10", "0-11"]
    assert less.alone_us == found.alone_us
    listed = kernel_latencies(replace(less, alone_us={})).latency_us
    assert set(listed) == {kernel for network in less.networks for kernel in network.kernels}
    assert len(listed) < len(kernel_latencies(replace(found, alone_us={})).latency_us)


def test_a_table_of_other_fusion_rules(simulation: Any, tmp_path: Path) -> None:
    found = simulation.measurements(simulation.networks(12, seed=0))
    table = simulation.write(tmp_path, found, rules="xnnpack-0")
    with pytest.raises(PredictorError, match=r"'xnnpack-0'.*'xnnpack-\d+'"):
        observe(table)

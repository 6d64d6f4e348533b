from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latlas.predictor.latencies import FLOOR, kernel_latencies
from latlas.predictor.observations import observe
from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.kernel import split
from latlas.profiler.runner import OpTime
from latlas.profiler.table import Table
from latlas.profiler.target import Target
from latlas.profiler.workload import workload

RULES = rules_for("cpu")
GPU = Target("a simulated phone", "litert 2.3.0", "gpu", "webgpu", adapter="a GPU")


def test_kernels_that_a_gpu_lists_count_in_context(simulation: Any, tmp_path: Path) -> None:
    """Through OpenCL a phone's GPU lists its kernels, a large convolution's as three."""
    target = replace(GPU, backend="opencl", adapter="Mali-G78")
    b = GraphBuilder((1, 32, 32, 64))
    graph = b.build(b.hard_swish(b.conv(b.conv(0, 64, 3), 8, 1)))
    winograd, pointwise = split(graph, rules_for("gpu", target.adapter))
    rows = (("winograd", 100.0), ("winograd", 300.0), ("winograd", 100.0), ("convolution", 50.0))
    whole = simulation.measure(graph, "network", "n")
    whole = replace(whole, ops=tuple(OpTime(name, us) for name, us in rows))
    found = kernel_latencies(observe(simulation.write(tmp_path, [whole], target)))
    assert found.latency_us == {winograd: 501.5, pointwise: 50.5}


def test_everything_that_was_measured_is_known(simulation: Any, table: Table) -> None:
    known = kernel_latencies(observe(table))
    networks = simulation.networks(12, seed=0)
    kernels = {k for graph in networks.values() for k in split(fold(graph), RULES)}
    assert kernels <= set(known.latency_us)
    for kernel in kernels:
        truth = simulation.kernel_us(kernel)
        assert known.latency_us[kernel] == pytest.approx(truth, rel=0.02, abs=0.02)


def test_time_in_context_counts_and_corrects_what_is_known_alone(
    simulation: Any, tmp_path: Path
) -> None:
    """Inside networks everything takes twice as long here as alone."""
    found = simulation.measurements(simulation.networks(12, seed=0))
    slow = [
        replace(m, ops=tuple(OpTime(op.name, 2 * op.mean_us + 0.5) for op in m.ops))
        if m.unit == "network"
        else m
        for m in found
    ]
    observed = observe(simulation.write(tmp_path, slow))
    known = kernel_latencies(observed)
    in_context = {kernel for network in observed.networks for kernel in network.kernels}
    for kernel in in_context:
        truth = 2 * simulation.kernel_us(kernel)
        assert known.latency_us[kernel] == pytest.approx(truth, rel=0.03, abs=0.05)
    alone = [k for k in known.latency_us if k not in in_context and k.type == "add"]
    assert alone
    assert known.context_ratio["conv2d"] == pytest.approx(2, rel=0.02)
    for kernel in alone:
        truth = 2 * simulation.kernel_us(kernel)
        assert known.latency_us[kernel] == pytest.approx(truth, rel=0.05)


def test_weights_count_networks(simulation: Any, table: Table) -> None:
    known = kernel_latencies(observe(table))
    uses = workload(simulation.networks(12, seed=0), "cpu").uses
    for kernel, weight in known.weight.items():
        expected = uses.get(f"kernel:{kernel.text}", 1)
        assert weight == max(1, expected)


def test_without_probes_the_smallest_kernel_is_the_fixed_cost(
    simulation: Any, tmp_path: Path
) -> None:
    found = simulation.measurements(simulation.networks(12, seed=0))
    found = [m for m in found if m.unit == "kernel"]
    observed = observe(simulation.write(tmp_path, found))
    known = kernel_latencies(observed)
    smallest = min(m.summary.median_us for m in found)
    assert observed.fixed_us == smallest
    assert not known.context_ratio
    for kernel, time_us in known.latency_us.items():
        whole = simulation.kernel_us(kernel) + 30
        assert time_us == pytest.approx(max(whole - smallest, FLOOR * whole), rel=0.01, abs=0.01)


def test_on_a_gpu_kernels_are_known_alone(simulation: Any, tmp_path: Path) -> None:
    jobs = workload(simulation.networks(12, seed=0), "gpu").jobs
    found = [
        replace(simulation.measure(job.graph, job.unit, job.id.partition(":")[2]), ops=())
        for job in jobs
    ]
    observed = observe(simulation.write(tmp_path, found, GPU))
    known = kernel_latencies(observed)
    assert known.latency_us
    assert observed.fixed_us == pytest.approx(30, rel=0.05)
    assert not observed.left_out
    assert all(time_us > 0 for time_us in known.latency_us.values())


def test_throttled_figures_count_at_the_speed_of_the_reference(
    simulation: Any, tmp_path: Path
) -> None:
    measurements = simulation.measurements(simulation.networks(12, seed=0))
    fresh = [replace(measurement, reference_us=200.0) for measurement in measurements]
    hot = [
        replace(m, reference_us=300.0, verdict="throttled", reason="it is hot")
        if m.unit == "kernel" and index % 2
        else m
        for index, m in enumerate(fresh)
    ]
    half = [m for m in hot if m.verdict == "throttled"]
    slower = {m.id: 1.5 * m.summary.median_us for m in half}
    hot = [
        replace(m, summary=replace(m.summary, median_us=slower[m.id])) if m.id in slower else m
        for m in hot
    ]
    usual = kernel_latencies(observe(simulation.write(tmp_path / "fresh", fresh)))
    known = kernel_latencies(observe(simulation.write(tmp_path / "hot", hot)))
    assert len(half) > 50
    for kernel, latency_us in usual.latency_us.items():
        assert known.latency_us[kernel] == pytest.approx(latency_us, rel=1e-3)


def test_throttled_figures_without_a_reference_are_not_used(
    simulation: Any, tmp_path: Path
) -> None:
    measurements = simulation.measurements(simulation.networks(12, seed=0))
    first, *others = [m for m in measurements if m.unit == "kernel"]
    for known_us, hot_us in ((0.0, 300.0), (200.0, 0.0)):
        hot = replace(first, verdict="throttled", reason="it is hot", reference_us=hot_us)
        mixed = [hot, *(replace(m, reference_us=known_us) for m in others)]
        known = kernel_latencies(observe(simulation.write(tmp_path / str(hot_us), mixed)))
        assert len(known.latency_us) == len(mixed) - 1
        assert min(known.latency_us.values()) > 0

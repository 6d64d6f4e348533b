from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.jobs import CampaignJob
from latlas.profiler.measurement import measurement_from
from latlas.profiler.plan import (
    CostModel,
    Coverage,
    KernelUse,
    Plan,
    PlannedJob,
    coverage,
    fit_budget,
    make_plan,
)
from latlas.profiler.runner import Effort, Result
from latlas.profiler.statistics import NoiseGate, judge


def conv(channels: int) -> Graph:
    b = GraphBuilder((1, 10, 10, 10))
    return b.build(b.conv(b.input, channels, 1))


def planned(name: str, weight: float, seconds: float, unit: str = "kernel") -> PlannedJob:
    return PlannedJob(CampaignJob(name, name, unit, conv(1)), weight, 0, seconds, 100)


def test_a_plan_adds_up_its_jobs() -> None:
    cost = CostModel(madds_per_s=1e9, invocation_us=50, job_overhead_s=0.01, watch_share=0.0)
    effort = Effort(min_runs=10, min_ms=20, max_ms=100, warmup_ms=5)
    small = CampaignJob("a", "a", "kernel", conv(10), effort)  # 10,000 multiply-adds: 10 us
    large = CampaignJob("b", "b", "network", conv(10_000), effort, profile=True)  # 10 ms
    plan = make_plan([(small, 1.0), (large, 2.0)], cost)
    assert [entry.madds for entry in plan.jobs] == [10_000, 10_000_000]
    assert plan.jobs[0].seconds == pytest.approx(0.010 + 0.005 + 0.020)
    assert plan.jobs[1].seconds == pytest.approx(0.010 + 0.01005 + 2 * 0.100)
    assert plan.minutes == pytest.approx(sum(entry.seconds for entry in plan.jobs) / 60)
    assert plan.storage_bytes > 1000
    assert plan.campaign_jobs == (small, large)


def test_time_is_bounded_by_the_effort_but_one_run_is_needed() -> None:
    cost = CostModel(madds_per_s=1e6, job_overhead_s=0, watch_share=0)
    job = CampaignJob("a", "a", "kernel", conv(1000), Effort(max_ms=100))  # a run of one second
    assert make_plan([(job, 1)], cost).seconds == pytest.approx(2, rel=0.01)


def test_costs_are_learned_from_a_table() -> None:
    """A device of 2e9 multiply-adds per second that takes 300 ms to prepare a model."""
    graph = conv(1000)  # 1e6 multiply-adds
    result = Result("job", samples_us=(500.0,) * 5, init_ms=300.0)
    measured = [
        measurement_from(
            result,
            judge(result, NoiseGate(1.0, 1.0)),
            attempt=1,
            unit="kernel",
            name="conv2d",
            graph=graph.to_text(),
            at_s=0.0,
        )
    ] * 30
    cost = CostModel.learn("gpu", measured)
    assert cost.madds_per_s == pytest.approx(2e9)
    assert cost.job_overhead_s == pytest.approx(0.3, rel=0.02)
    assert CostModel.learn("gpu", measured[:3]) == CostModel.learn("gpu")
    # Where nothing is known, a GPU is expected to compile for long.
    assert CostModel.learn("gpu").job_overhead_s > 10 * CostModel.learn("cpu").job_overhead_s


def test_what_a_table_holds_is_covered() -> None:
    plan = Plan((planned("a", 1, 1),))
    kernels = [KernelUse("a", 1, 100), KernelUse("b", 2, 100), KernelUse("c", 1, 100)]
    covered = coverage(plan, kernels, measured=["b"])
    assert covered == Coverage(by_count=0.75, by_madds=0.75)


@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_impossible_weights(weight: float) -> None:
    with pytest.raises(ValueError, match="weight"):
        make_plan([(CampaignJob("a", "a", "kernel", conv(1)), weight)])


def test_a_budget_goes_to_what_is_worth_most_per_second() -> None:
    plan = Plan((planned("dear", 5, 10), planned("cheap", 1, 1), planned("best", 8, 4)))
    kept, left = fit_budget(plan, 6)
    assert [entry.job.id for entry in kept.jobs] == ["cheap", "best"]
    assert [entry.job.id for entry in left] == ["dear"]


def test_networks_are_kept_for_calibration() -> None:
    kernels = [planned(f"k{i}", 100, 1) for i in range(20)]
    networks = [planned(f"n{i}", 1, 2, "network") for i in range(5)]
    kept, left = fit_budget(Plan((*kernels, *networks)), 20, min_networks=3)
    names = [entry.job.id for entry in kept.jobs]
    assert sum(name.startswith("n") for name in names) == 3
    assert sum(name.startswith("k") for name in names) == 14
    assert len(kept.jobs) + len(left) == 25
    kept, _ = fit_budget(Plan((*kernels, *networks)), 8)
    assert sum(entry.job.unit == "network" for entry in kept.jobs) == 2
    kept, _ = fit_budget(Plan((*kernels, *networks)), 3)
    assert sum(entry.job.unit == "network" for entry in kept.jobs) == 1


entries = st.lists(
    st.tuples(st.floats(0, 100), st.floats(0.1, 10), st.sampled_from(["kernel", "network"])),
    max_size=30,
)


@given(entries, st.floats(0, 60), st.integers(0, 4))
def test_budgets_hold(
    jobs: list[tuple[float, float, str]], seconds: float, min_networks: int
) -> None:
    plan = Plan(tuple(planned(f"j{i}", w, s, unit) for i, (w, s, unit) in enumerate(jobs)))
    kept, left = fit_budget(plan, seconds, min_networks=min_networks)
    assert kept.seconds <= seconds * (1 + 1e-9)
    assert sorted((*kept.jobs, *left), key=lambda p: p.job.id) == sorted(
        plan.jobs, key=lambda p: p.job.id
    )
    assert all(entry.seconds > seconds - kept.seconds - 1e-9 for entry in left)
    if min_networks and any(p.job.unit == "network" and p.seconds <= seconds for p in plan.jobs):
        assert any(entry.job.unit == "network" for entry in kept.jobs)


def test_coverage_counts_uses_and_multiply_adds() -> None:
    plan = Plan((planned("a", 1, 1), planned("b", 1, 1)))
    uses = [
        KernelUse("a", uses=3, madds=100),
        KernelUse("c", uses=1, madds=50),
        KernelUse("d", uses=2, madds=150),
        KernelUse("c", uses=4, madds=50),
    ]
    assert coverage(plan, uses) == Coverage(0.3, 300 / 850)
    assert coverage(plan, []) == Coverage(1.0, 1.0)
    assert coverage(plan, [KernelUse("b")]) == Coverage(1.0, 1.0)

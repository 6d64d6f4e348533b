"""Profiling in rounds, on a simulated device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from latlas.campaigns import Order, Planned, run_campaigns
from latlas.commands.profile import conclude
from latlas.profiler.errors import PredictorError, UsageError
from latlas.profiler.fusion import rules_for
from latlas.profiler.jobs import CampaignJob
from latlas.profiler.kernel import split
from latlas.profiler.measurement import measurement_from
from latlas.profiler.reference import reference_graph
from latlas.profiler.runner import OpTime, Result
from latlas.profiler.sampler import rough_us
from latlas.profiler.samples.networks import designed_networks
from latlas.profiler.statistics import NoiseGate, judge
from latlas.profiler.table import TableWriter
from latlas.profiler.target import Target
from latlas.profiler.workload import workload
from latlas.rounds import FEWEST_NETWORKS, RoundsPlan, candidates_of, plan_rounds, run_rounds
from latlas.targets import DeviceChoice

TARGET = Target("a phone", "litert 2.3.0", "cpu", "xnnpack")
RULES = rules_for("cpu")
FAMILIES = ("separable", "inverted", "basic")


def planned(listed: bool, networks: int = 16, samples: int | None = None) -> RoundsPlan:
    graphs = designed_networks(24 if listed else networks, 0, FAMILIES)
    work = workload(graphs, "cpu", listed=listed, samples=5 if listed else None)
    return plan_rounds(work, 2, RULES, networks=networks, samples=samples, listed=listed, seed=0)


def test_kernels_of_int8_are_candidates_as_such() -> None:
    graphs = designed_networks(12, 0, FAMILIES)
    work = workload(graphs, "cpu", precision="int8", listed=False, vocabulary=False)
    plan = plan_rounds(work, 2, RULES, networks=12, samples=None, listed=False, seed=0)
    kernels = {kernel for candidate in candidates_of(plan) for kernel in candidate.kernels}
    assert {kernel.dtype for kernel in kernels} == {"int8", "float32"}  # what converts reads floats
    assert kernels == set(plan.uses)


def write(folder: Path, jobs: Sequence[CampaignJob]) -> None:
    """Measure jobs into a table."""
    found = []
    for job in jobs:
        times = [rough_us(kernel) for kernel in split(job.graph, RULES)]
        ops = [
            OpTime(kernel.type, time_us / RULES.operators(kernel) - 0.5)
            for kernel, time_us in zip(split(job.graph, RULES), times, strict=True)
            for _ in range(RULES.operators(kernel))
        ]
        result = Result(job.id, (sum(times) + 30,) * 5, tuple(ops) if job.profile else ())
        verdict = judge(result, NoiseGate(1.0, 1.0))
        found.append(
            measurement_from(
                result,
                verdict,
                attempt=1,
                unit=job.unit,
                name=job.name,
                graph=job.graph.to_text(),
                at_s=0.0,
            )
        )
    with TableWriter(folder, TARGET, fusion_rules=RULES.version) as writer:
        for measurement in found:
            writer.append_provisional(measurement)
        writer.accept(found)


def test_networks_are_chosen_where_operators_are_listed() -> None:
    plan = planned(listed=True)
    assert plan.unit == "network"
    assert len(plan.held_out) == 4
    assert not plan.held_out & {job.name for job in plan.candidates}
    started = [job for job in plan.start.jobs if job.unit == "network"]
    assert len(started) == FEWEST_NETWORKS + 4
    assert {job.name for job in started} > plan.held_out
    assert (plan.most, len(plan.candidates), plan.batch) == (12, 20, 2)


def test_kernels_are_chosen_where_they_are_not() -> None:
    plan = planned(listed=False, samples=60)
    assert plan.unit == "kernel"
    assert (plan.most, plan.first, plan.batch) == (60, 20, 20)
    started = {job.id for job in plan.start.jobs}
    assert len(started & {job.id for job in plan.candidates}) == 20
    assert sum(job.unit == "network" for job in plan.start.jobs) == 16
    seen = {k for j in plan.start.jobs if j.name in plan.held_out for k in split(j.graph, RULES)}
    secret = seen - set(plan.uses)
    assert secret and not {f"kernel:{kernel.text}" for kernel in secret} & started


def test_too_few_networks_are_refused() -> None:
    with pytest.raises(UsageError, match=r"at least 10 networks.*not 6"):
        planned(listed=True, networks=6)


@pytest.mark.parametrize("listed", [True, False])
def test_rounds_fill_the_table(listed: bool, tmp_path: Path) -> None:
    plan = planned(listed, samples=60)
    write(tmp_path, plan.start.jobs)
    said: list[str] = []
    measured: list[CampaignJob] = []

    def measure(jobs: Sequence[CampaignJob]) -> bool:
        measured.extend(jobs)
        write(tmp_path, jobs)
        return True

    rounds = run_rounds(plan, tmp_path, measure, said.append)
    assert [each["measured"] for each in rounds] == ([8, 10, 12] if listed else [20, 40, 60])
    assert rounds[-1]["why_last"] == "all that was planned is measured"
    assert len(said) == 3 and "set aside off by" in said[0]
    assert len({job.id for job in measured}) == plan.most - plan.first


def test_what_fails_between_rounds_loses_no_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def rounds(*_: object) -> list[object]:
        raise PredictorError("nothing to learn from")

    jobs = [CampaignJob("reference kernel", "conv2d", "network", reference_graph())]
    order = Order(lambda runner, known: Planned(jobs, {}, "one job"), 0, None, rounds=rounds)
    outcomes, interrupted = run_campaigns(DeviceChoice(), tmp_path, order)
    assert [outcome.document["report"]["measured"] for outcome in outcomes] == [1]
    for count in (1, 2):
        assert conclude(outcomes * count, interrupted, budgeted=False, as_json=False) == 1
        printed = capsys.readouterr().out
        assert printed.count("1 measured") == printed.count("nothing to learn from") == count


def test_a_budget_that_is_spent_ends_the_rounds(tmp_path: Path) -> None:
    plan = planned(listed=True)
    write(tmp_path, plan.start.jobs)
    rounds = run_rounds(plan, tmp_path, lambda jobs: False, lambda text: None)
    assert len(rounds) == 2 and rounds[0]["chosen"]

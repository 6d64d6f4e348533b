from __future__ import annotations

import pytest

from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Graph
from latlas.profiler.kernel import split
from latlas.profiler.samples.networks import designed_networks
from latlas.profiler.workload import Workload, workload


@pytest.fixture(scope="module")
def networks() -> dict[str, Graph]:
    return designed_networks(3, seed=0)


def kernel_ids(work: Workload) -> set[str]:
    return {job.id for job in work.jobs if job.unit == "kernel"}


def test_every_distinct_kernel_is_a_job_by_default(networks: dict[str, Graph]) -> None:
    work = workload(networks, "cpu", vocabulary=False)
    kernels = [kernel for g in networks.values() for kernel in split(g, rules_for("cpu"))]
    assert kernel_ids(work) == {f"kernel:{kernel.text}" for kernel in kernels}
    assert sum(use.uses for use in work.used) == len(kernels)
    assert all(work.uses[f"network:{name}"] == 1 for name in networks)


def test_a_sample_leaves_the_rest_to_the_networks(networks: dict[str, Graph]) -> None:
    whole = workload(networks, "cpu", vocabulary=False)
    work = workload(networks, "cpu", vocabulary=False, samples=40)
    assert len(kernel_ids(work)) == 40
    assert kernel_ids(work) < kernel_ids(whole)
    assert {use.job_id for use in work.used} == kernel_ids(whole)
    for name in networks:
        shown = work.shown[f"network:{name}"]
        assert work.uses[f"network:{name}"] == 1 + len(shown - kernel_ids(work))
    assert set().union(*work.shown.values()) == kernel_ids(whole)
    assert kernel_ids(workload(networks, "cpu", vocabulary=False, samples=40, seed=1)) != (
        kernel_ids(work)
    )


def test_networks_show_nothing_where_operators_are_not_listed(networks: dict[str, Graph]) -> None:
    work = workload(networks, "gpu", samples=40)
    assert not any(work.shown.values())
    assert all(work.uses[f"network:{name}"] == 1 for name in networks)
    assert not any(job.profile for job in work.jobs)

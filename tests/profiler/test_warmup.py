"""The warm-up that is chosen from timings, and how they are taken."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latlas.profiler.count import count
from latlas.profiler.errors import NotDelegatedError, RunnerError
from latlas.profiler.graph import Graph
from latlas.profiler.runner import Effort, Job, Result
from latlas.profiler.target import Target
from latlas.profiler.warmup import (
    ENOUGH_S,
    ROUNDS,
    WARMUPS_MS,
    Warmup,
    WarmupTiming,
    choose_warmup,
    probe_graphs,
    time_warmups,
)


def timings(**kernels: list[float]) -> list[WarmupTiming]:
    """Return timings of kernels after 1, 5, 20 … ms."""
    return [
        WarmupTiming(kernel, warmup_ms, median_us)
        for kernel, medians in kernels.items()
        for warmup_ms, median_us in zip(WARMUPS_MS, medians, strict=False)
    ]


@pytest.mark.parametrize(
    ("found", "warmup_ms"),
    [
        (timings(a=[100, 100, 100]), 1),
        (timings(a=[150, 120, 101.9, 100]), 20),
        (timings(a=[150, 120, 102.1, 100]), 50),
        (timings(a=[101, 101, 101], b=[9000, 8000, 7000]), 20),
        (timings(a=[90, 80, 100]), 1),  # faster than after the longest is enough
        (timings(a=[100, 150, 100]), 1),
        (timings(a=[3, 2]), 1),  # a tool prints whole microseconds
        (timings(a=[3.1, 2]), 5),
        (timings(a=[100]), 1),
        # The best of several figures counts.
        ([*timings(a=[150, 100]), WarmupTiming("a", 1, 101)], 1),
        # A kernel without a figure after a warm-up has not been shown to need no more.
        ([*timings(a=[100, 100]), WarmupTiming("b", 5, 7)], 5),
    ],
)
def test_choice(found: list[WarmupTiming], warmup_ms: float) -> None:
    assert choose_warmup(found) == warmup_ms
    assert choose_warmup(reversed(found)) == warmup_ms


def test_nothing_to_choose_from() -> None:
    with pytest.raises(ValueError, match="at least one timing"):
        choose_warmup([])


some = st.builds(
    WarmupTiming, st.sampled_from("abc"), st.sampled_from(WARMUPS_MS), st.floats(0.1, 1e6)
)


@given(st.lists(some, min_size=1))
def test_the_choice_is_one_of_those_tried(found: list[WarmupTiming]) -> None:
    chosen = choose_warmup(found)
    assert chosen in {timing.warmup_ms for timing in found}
    # What is as fast as the longest stays enough when everything takes ten times as long.
    larger = [WarmupTiming(t.kernel, t.warmup_ms, t.median_us * 10) for t in found]
    assert choose_warmup(larger) >= chosen


def test_kernels_of_three_sizes() -> None:
    madds = {name: count(graph).madds for name, graph in probe_graphs().items()}
    assert list(madds) == ["small", "medium", "large"]
    assert 0.2e6 < madds["small"] < 0.5e6
    assert 5e6 < madds["medium"] < 20e6
    assert 50e6 < madds["large"] < 200e6


names = st.text(st.characters(exclude_categories=("Cs",)))
figures = st.floats(0, 1e6)


@given(figures, st.lists(st.builds(WarmupTiming, names, figures, figures)), figures)
def test_round_trip(warmup_ms: float, found: list[WarmupTiming], at_s: float) -> None:
    warmup = Warmup(warmup_ms, tuple(found), at_s)
    assert Warmup.from_json(json.loads(json.dumps(warmup.to_json()))) == warmup


class Probe:
    """A runner that answers with a function of the job and its round."""

    target = Target("simulated", "none 1.0", "cpu", "xnnpack")
    environment: Mapping[str, str] = {}
    fresh_process = True
    lists_operators = False

    def __init__(self, answer: Callable[[Job, int], Result]) -> None:
        self.answer = answer
        self.rounds: list[list[Job]] = []
        self.now = 0.0
        self.job_s = 0.01

    def unwell(self) -> str:
        return ""

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        self.rounds.append([])
        for job in jobs:
            self.rounds[-1].append(job)
            self.now += self.job_s
            yield self.answer(job, len(self.rounds))

    def close(self) -> None:
        pass


def time_with(
    probe: Probe, effort: Effort | None = None, kernels: tuple[str, ...] = ("small", "large")
) -> dict[tuple[str, float], float]:
    def write(graph: Graph) -> bytes:
        return graph.to_text().encode()

    warmups_ms = (1.0, 100.0, 500.0)
    found = time_warmups(
        probe, write, effort or Effort(), warmups_ms, kernels, seed=3, clock=lambda: probe.now
    )
    assert {(t.kernel, t.warmup_ms) for t in found} == {
        (kernel, warmup_ms) for kernel in kernels for warmup_ms in warmups_ms
    }
    assert len(found) == 3 * len(kernels)
    return {(t.kernel, t.warmup_ms): t.median_us for t in found}


def test_the_best_of_the_rounds() -> None:
    probe = Probe(lambda job, turn: Result(job.id, (100.0 + turn % 2 + len(job.model),) * 3))
    found = time_with(probe)
    small, large = (len(probe_graphs()[name].to_text()) for name in ("small", "large"))
    assert found["small", 1.0] == 100 + small
    assert found["large", 500.0] == 100 + large
    assert [len(jobs) for jobs in probe.rounds] == [6] * ROUNDS
    orders = [[(job.model, job.effort) for job in jobs] for jobs in probe.rounds]
    assert orders[0] != orders[1]
    again = Probe(probe.answer)
    time_with(again)
    assert again.rounds == probe.rounds
    ids = [job.id for jobs in probe.rounds for job in jobs]
    assert len(set(ids)) == len(ids)


def test_the_effort_is_the_campaigns_but_for_the_warm_up() -> None:
    probe = Probe(lambda job, turn: Result(job.id, (1.0,)))
    time_with(probe, Effort(min_runs=7, min_ms=3, max_ms=300, warmup_ms=9))
    efforts = {job.effort.warmup_ms: job.effort for job in probe.rounds[0]}
    assert efforts == {
        1.0: Effort(7, 3, 300, 1),
        100.0: Effort(7, 3, 300, 100),
        500.0: Effort(7, 3, 1000, 500),  # the maximum may hold for the warm-up as well
    }


def test_a_slow_device_is_asked_once() -> None:
    probe = Probe(lambda job, turn: Result(job.id, (1.0,)))
    probe.job_s = ENOUGH_S / 5
    time_with(probe)
    assert len(probe.rounds) == 1


def test_an_accident_is_made_good_by_another_round() -> None:
    def answer(job: Job, turn: int) -> Result:
        if turn == 1 and job.id.endswith(("-0", "-3")):
            return Result(job.id, error="it died", kind="crashed")
        return Result(job.id, (float(turn),))

    probe = Probe(answer)
    probe.job_s = ENOUGH_S  # long enough, but not all is known after the first round
    assert set(time_with(probe).values()) == {1.0, 2.0}
    assert len(probe.rounds) == 2


@pytest.mark.parametrize("kind", ["crashed", "timeout"])
def test_what_dies_every_time_is_an_error(kind: Any) -> None:
    probe = Probe(lambda job, turn: Result(job.id, error="it died", kind=kind))
    with pytest.raises(RunnerError, match="kernel that shows the warm-up cannot be measured: it"):
        time_with(probe)
    assert len(probe.rounds) == ROUNDS


@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (Result("", error="no such flag", kind="failed"), RunnerError, "no such flag"),
        (Result("", error="on the CPU", kind="not_delegated"), NotDelegatedError, "on the CPU"),
        (Result(""), RunnerError, "there are no samples"),
        (Result("", (float("nan"),)), RunnerError, "nan us is impossible"),
        (Result("", (-1.0,)), RunnerError, "impossible"),
    ],
)
def test_what_would_come_back_is_an_error_at_once(
    result: Result, error: type[Exception], message: str
) -> None:
    probe = Probe(lambda job, turn: replace(result, job_id=job.id))
    with pytest.raises(error, match=message):
        time_with(probe)
    assert len(probe.rounds) == 1


def test_a_runner_that_gives_no_or_other_results() -> None:
    probe = Probe(lambda job, turn: Result("another", (1.0,)))
    with pytest.raises(RunnerError, match="no result"):
        time_with(probe)

    class Silent(Probe):
        def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
            return iter(list(super().run(jobs))[:-1])

    silent = Silent(lambda job, turn: Result(job.id, (1.0,)))
    assert len(time_with(silent)) == 6  # another round had what one lacked

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import pytest

from latlas.predictor.oracle import DeviceOracle
from latlas.profiler.errors import DeviceError, RunnerError
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.quantise import quantise
from latlas.profiler.runner import Job, Result
from latlas.profiler.target import Target

QUIET = (1000.0, 1001.0, 999.0)
NOISY = (1000.0, 1500.0, 2500.0)
LESS_NOISY = (1000.0, 1200.0, 1500.0)


class Scripted:
    """Answers as a script says: for every network, what each attempt gives."""

    environment: Mapping[str, str] = {}
    fresh_process = False
    lists_operators = True
    target = Target("a phone", "litert 2.3.0", "cpu", "xnnpack")

    def __init__(self, *script: list[Result]) -> None:
        self.script, self.attempts, self.ill = script, [0] * len(script), 0

    def unwell(self) -> str:
        self.ill -= 1
        return "hot" if self.ill >= 0 else ""

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        for job in jobs:
            index = int(job.id)
            answers = self.script[index]
            answer = answers[min(self.attempts[index], len(answers) - 1)]
            self.attempts[index] += 1
            yield replace(answer, job_id=job.id)

    def close(self) -> None:
        pass


def network(channels: int = 8) -> Graph:
    b = GraphBuilder((1, 8, 8, 3))
    return b.build(b.conv(b.input, channels, 3))


def test_noisy_networks_are_measured_again() -> None:
    crashed = Result("", error="segmentation fault", kind="crashed")
    failed = Result("", error="no such operator", kind="failed")
    noisy = [Result("", NOISY), Result("", LESS_NOISY), Result("", NOISY)]
    runner = Scripted(
        [Result("", QUIET)], [Result("", NOISY), Result("", QUIET)], noisy,
        [crashed, Result("", QUIET)], [crashed], [failed],
    )  # fmt: skip
    figures = DeviceOracle(runner).measure([network()] * 6)
    assert runner.attempts == [1, 2, 3, 2, 3, 1]
    assert [figure.latency_ms for figure in figures[:4]] == [1.0, 1.0, 1.2, 1.0]
    assert [bool(figure.noise) for figure in figures[:4]] == [False, False, True, False]
    assert figures[2].noise.startswith("samples spread")
    assert figures[4].error == "crashed: segmentation fault"
    assert figures[5].error == "failed: no such operator"
    with pytest.raises(RunnerError, match="network 5 could not be measured"):
        DeviceOracle(Scripted(*runner.script[:4], [Result("", QUIET)], [failed])).latency_ms(
            [network()] * 6
        )


def test_a_figure_that_was_disturbed_gives_way_to_one_that_was_not() -> None:
    shared = Result("", (1000.0,) * 30, cpu_share=0.5)  # steady, but another program ran as well
    runner = Scripted([shared, Result("", QUIET)])
    (figure,) = DeviceOracle(runner).measure([network()])
    assert (runner.attempts, figure.noise) == ([2], "")


def test_a_runner_that_answers_otherwise_than_it_should() -> None:
    class Forgetful(Scripted):
        def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
            return (result for result in super().run(jobs) if result.job_id != "1")

    runner = Forgetful([Result("", QUIET)], [Result("", QUIET)])
    first, second = DeviceOracle(runner).measure([network(), network()])
    assert (first.latency_ms, second.error) == (1.0, "the runner gave no result")
    assert runner.attempts == [1, 3]

    class Inventive(Scripted):
        def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
            yield Result("another", QUIET)

    with pytest.raises(RunnerError, match="a result for no job: 'another'"):
        DeviceOracle(Inventive([])).measure([network()])


def test_what_cannot_be_written_is_that_networks_failure() -> None:
    runner = Scripted([Result("", QUIET)], [Result("", QUIET)])
    first, second = DeviceOracle(runner).measure([quantise(network()), network()])
    assert "cannot be written" in first.error and not second.error
    assert runner.attempts == [0, 1]


def test_an_unwell_device_is_waited_for_and_not_for_ever() -> None:
    slept = list[float]()
    runner = Scripted([Result("", QUIET)])
    runner.ill = 3
    DeviceOracle(runner, sleep=slept.append).measure([network()])
    assert slept == [10.0] * 3
    runner.ill = 1000
    with pytest.raises(DeviceError, match="no better after 60 s: hot"):
        DeviceOracle(runner, unwell_s=60, sleep=slept.append).measure([network()])

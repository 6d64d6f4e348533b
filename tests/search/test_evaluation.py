import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import pytest

from latlas.profiler.errors import DeviceError, SearchError
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.search.evaluation import Evaluator, InProcess, Measure, Outcome, Task, measure_with
from latlas.search.objectives import Constraint
from latlas.search.protocols import Genes

GENES = [(number,) for number in range(20)]


class Space:
    choices = (20,)

    def decode(self, genes: Sequence[int]) -> Graph:
        b = GraphBuilder((1, 4, 4, 3))
        return b.build(b.conv(b.input, 1 + genes[0], 3))


def sizes(genes: Genes) -> dict[str, float]:
    if genes == (7,):
        raise ValueError("no such network")
    return {"params": 100.0 * genes[0]}


class Log:
    """Measures, and remembers in which calls."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor, self.calls = factor, list[list[Genes]]()

    def __call__(self, genes: Sequence[Genes]) -> list[Outcome]:
        self.calls.append(list(genes))
        return [Outcome(self.factor * (1 + one[0]), seconds=0.5) for one in genes]


def evaluator(measures: dict[str, Measure], **other) -> Evaluator:
    return Evaluator(Space(), InProcess(measures), list(measures), sizes, **other)


def test_architectures_go_through_the_metrics_one_after_the_other() -> None:
    latency, accuracy = Log(), Log(0.01)
    trials = list(evaluator({"latency_ms": latency, "accuracy": accuracy}).evaluate(GENES, 3))
    assert {trial.genes for trial in trials} == set(GENES)
    by_genes = {trial.genes: trial for trial in trials}
    assert by_genes[4,].values == {"params": 400.0, "latency_ms": 5.0, "accuracy": 0.05}
    assert (by_genes[4,].generation, by_genes[4,].seconds, by_genes[4,].error) == (3, 1.0, "")
    # One whose network cannot be built is not asked about; the others come in growing numbers.
    assert by_genes[7,].error == "ValueError: no such network"
    assert [len(call) for call in accuracy.calls][:3] == [1, 2, 4]
    assert list(chain(*latency.calls)) == [genes for genes in GENES if genes != (7,)]


def test_slow_measures_are_asked_for_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(now)))
    accuracy = Log(0.01)
    assert len(list(evaluator({"accuracy": accuracy}).evaluate(GENES))) == 20
    assert {len(call) for call in accuracy.calls} == {1}


def test_what_works_side_by_side_gets_enough_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(now)))
    latency = Log()
    pool = InProcess({"latency_ms": latency}, {"latency_ms": 3})
    assert len(list(Evaluator(Space(), pool, ["latency_ms"], sizes).evaluate(GENES))) == 20
    assert [len(call) for call in latency.calls] == [12, 7]


def test_what_fails_is_found_out_and_goes_no_further() -> None:
    def latency(genes: Sequence[Genes]) -> list[float]:
        if (3,) in genes:
            raise RuntimeError("does not compile")
        return [-1.0 if one == (4,) else 1.0 for one in genes]

    accuracy = Log(0.1)
    measures = {"latency_ms": measure_with(latency, "latency_ms"), "accuracy": accuracy}
    trials = {trial.genes: trial for trial in evaluator(measures).evaluate(GENES)}
    assert trials[3,].error == "RuntimeError: does not compile"
    assert trials[4,].error == "latency_ms is -1.0, not a positive number"
    assert trials[19,].error == "the accuracy is 2.0, not a fraction"
    assert not {(3,), (4,)} & set(chain(*accuracy.calls))
    assert math.isnan(trials[3,].accuracy)


def test_what_concerns_all_is_raised() -> None:
    def gone(genes: Sequence[Genes]) -> list[float]:
        raise DeviceError("gone")

    with pytest.raises(DeviceError):
        list(evaluator({"latency_ms": measure_with(gone, "latency_ms")}).evaluate(GENES))
    with pytest.raises(SearchError, match="at least one metric"):
        evaluator({})


def test_a_wrong_number_of_numbers_is_every_ones_failure() -> None:
    measure = measure_with(lambda genes: [1.0, 2.0], "latency_ms")
    assert [outcome.error for outcome in measure(GENES[:1])] == [
        "SearchError: 1 numbers were expected for latency_ms, got (2,)"
    ]


def test_notes_and_screening() -> None:
    def noisy(genes: Sequence[Genes]) -> list[Outcome]:
        return [Outcome(10.0 * one[0] + 1, note="noisy") for one in genes]

    limits = [
        Constraint("accuracy", "min", 0.5),
        Constraint("latency_ms", "max", 90.0),
        Constraint("params", "max", 1000.0),
    ]
    accuracy = Log(0.01)
    screened = evaluator(
        {"latency_ms": noisy, "accuracy": accuracy}, constraints=limits, screen=True
    )
    trials = {trial.genes: trial for trial in screened.evaluate(GENES)}
    assert trials[1,].note == "latency_ms: noisy"
    assert trials[9,].note == (
        "latency_ms: noisy; accuracy left out, since latency_ms is 91, at most 90 is wanted"
    )
    assert trials[15,].note == (
        "latency_ms and accuracy left out, since params is 1500, at most 1000 is wanted"
    )
    assert list(chain(*accuracy.calls)) == [(i,) for i in range(9) if i != 7]


class Backwards:
    """A pool whose results come in the opposite order."""

    def __init__(self, measures: dict[str, Measure]) -> None:
        self.measures, self.tasks = measures, list[Task]()

    def submit(self, tasks: Iterable[Task]) -> None:
        self.tasks += tasks

    def finished(self) -> Iterator[tuple[Task, Outcome]]:
        while self.tasks:
            task = self.tasks.pop()
            yield task, self.measures[task.metric]([task.genes])[0]


def test_any_order_of_results_will_do() -> None:
    measures: dict[str, Measure] = {
        "latency_ms": Log(),
        "latency_ms@gpu": Log(2),
        "accuracy": Log(0.01),
    }
    found = Evaluator(Space(), Backwards(measures), list(measures), sizes).evaluate(GENES)
    order = [trial.genes for trial in found if not trial.error]
    assert order == [genes for genes in reversed(GENES) if genes != (7,)]

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latlas.profiler.errors import DeviceError, TargetMismatchError, UsageError
from latlas.profiler.target import Target
from latlas.search.evaluation import Outcome
from latlas.search.latency import Together, read_sources
from latlas.search.protocols import Genes

TARGET = Target("a phone", "benchmark_model 2.18.0", "gpu", "opencl")
GENES = [(number,) for number in range(12)]


class Phone:
    """Begins its first tasks with the other phone, so that both get something to do.

    Args:
        barrier: for both.
        target: its own.
        most: networks that it measures before it goes away.
        together: tasks that begin with one of the other phone.
    """

    def __init__(
        self,
        barrier: threading.Barrier,
        target: Target = TARGET,
        most: int = 99,
        together: int = 1,
    ) -> None:
        self.barrier, self.target, self.most, self.together = barrier, target, most, together
        self.measured = list[Genes]()

    @property
    def identity(self) -> dict[str, Any]:
        return {"kind": "device", "target": self.target.to_json()}

    def measure(self, genes: Sequence[Genes]) -> list[Outcome]:
        if len(self.measured) < self.together:
            self.barrier.wait(10)
        if len(self.measured) >= self.most:
            raise DeviceError("unplugged")
        self.measured += genes
        return [Outcome(1.0 + one[0]) for one in genes]


def test_several_phones_measure_as_one() -> None:
    barrier = threading.Barrier(2)
    phones = {"A": Phone(barrier), "B": Phone(barrier)}
    together = Together(phones, print)
    assert together.identity == phones["A"].identity
    values = [outcome.value for outcome in together.measure([*GENES, GENES[0]])]
    assert values == [*range(1, 13), 1]
    assert sorted(phones["A"].measured + phones["B"].measured) == GENES
    assert phones["A"].measured and phones["B"].measured


def test_a_phone_that_goes_away_leaves_its_networks_to_the_others() -> None:
    barrier, told = threading.Barrier(2), list[str]()
    phones = {"A": Phone(barrier, most=2, together=3), "B": Phone(barrier, together=3)}
    together = Together(phones, told.append)
    assert [outcome.value for outcome in together.measure(GENES)] == [*range(1, 13)]
    assert len(phones["B"].measured) == 10
    assert told == ["A is lost, the others go on without it: unplugged"]
    phones["B"].most = 0
    with pytest.raises(DeviceError, match="unplugged"):
        together.measure(GENES)


def test_phones_of_two_models_do_not_measure_as_one() -> None:
    barrier = threading.Barrier(1)
    other = Phone(barrier, replace(TARGET, device="another phone"))
    with pytest.raises(TargetMismatchError, match="another phone"):
        Together({"A": Phone(barrier), "B": other}, print)


def test_sources_have_metrics_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cpu=table").mkdir()
    first, second, third = read_sources(["cpu=table", "gpu=device:A, B,A/gpu", "b=x=y"])
    assert (first.metric, first.name, first.where) == ("latency_ms", "", "cpu=table")
    assert first.devices == ((), "")
    assert (second.metric, second.devices) == ("latency_ms@gpu", (("A", "B"), "gpu"))
    assert (third.metric, third.where) == ("latency_ms@b", "x=y")
    for texts in (["a", "b"], ["x=a", "x=b"]):
        with pytest.raises(UsageError, match="a name of its own"):
            read_sources(texts)
    with pytest.raises(UsageError, match="missing"):
        read_sources([])

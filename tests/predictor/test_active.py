from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from latlas.predictor.active import (
    Candidate,
    Round,
    active_rounds,
    choose,
    held_out_errors,
    no_longer_falls,
)
from latlas.predictor.fit import fit
from latlas.predictor.observations import NetworkObservation, Observations
from latlas.predictor.predictor import LatencyPredictor
from latlas.profiler.errors import UsageError
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.kernel import Kernel
from latlas.profiler.samples.networks import designed_networks

Split = Callable[[Graph], tuple[Kernel, ...]]


def pointwise(channels: int, filters: int) -> Kernel:
    b = GraphBuilder((1, 14, 14, channels))
    graph = b.build(b.conv(0, filters, 1))
    return Kernel(graph.inputs, graph.nodes)


def alone(kernel: Kernel) -> Candidate:
    return Candidate(f"kernel:{kernel.text}", (kernel,))


class Device:
    """Observes networks of a simulated device as they are measured."""

    def __init__(self, simulation: Any, split_cpu: Split) -> None:
        self.simulation = simulation
        graphs = designed_networks(24, seed=4, families=("inverted", "separable", "basic"))
        self.networks = {name: self.observation(name, split_cpu(g)) for name, g in graphs.items()}
        self.held_out = list(self.networks)[3::4]
        others = [n for name, n in self.networks.items() if name not in self.held_out]
        self.candidates = [Candidate(f"network:{n.name}", n.kernels) for n in others]
        self.uses = Counter(kernel for n in others for kernel in n.kernels)
        self.measured = [each.id for each in self.candidates[:6]]

    def observation(self, name: str, kernels: tuple[Kernel, ...]) -> NetworkObservation:
        listed = tuple(map(self.simulation.kernel_us, kernels))
        return NetworkObservation(name, kernels, 1.1 * sum(listed) + 30, listed)

    def observe(self) -> Observations:
        known = [name.removeprefix("network:") for name in self.measured]
        names = [*self.held_out, *known]
        networks = tuple(self.networks[name] for name in names)
        return Observations(self.simulation.target, networks, {})

    def measure(self, chosen: Sequence[Candidate]) -> None:
        self.measured += [candidate.id for candidate in chosen]

    def rounds(self, most: int = 14) -> list[Round]:
        return list(
            active_rounds(
                *(self.observe, self.measure, self.candidates, self.held_out, self.uses),
                first=6,
                batch=4,
                most=most,
                fit=lambda seen: fit(seen, trees=10),
            )
        )


@pytest.fixture
def device(simulation: Any, split_cpu: Split) -> Device:
    return Device(simulation, split_cpu)


def test_rounds_measure_until_all_that_was_planned_is_there(device: Device) -> None:
    rounds = device.rounds()
    assert [each.measured for each in rounds] == [6, 10, 14]
    assert [len(each.chosen) for each in rounds] == [4, 4, 0]
    assert [each.why_last for each in rounds] == ["", "", "all that was planned is measured"]
    assert len(set(device.measured)) == 14
    assert not {f"network:{name}" for name in device.held_out} & {*device.measured}
    assert all(set(each.errors) == {*device.held_out} for each in rounds)
    assert rounds[-1].error < rounds[0].error


def test_interrupted_rounds_are_finished(device: Device) -> None:
    device.measured += [candidate.id for candidate in device.candidates[6:7]]
    rounds = device.rounds()
    assert [(each.measured, len(each.chosen)) for each in rounds] == [(7, 3), (10, 4), (14, 0)]


def test_networks_set_aside_are_never_fitted_on(device: Device) -> None:
    seen: set[str] = set()

    def spy(observations: Observations) -> LatencyPredictor:
        seen.update(network.name for network in observations.networks)
        return fit(observations, trees=2)

    parts = (device.observe, device.measure, device.candidates, device.held_out, device.uses)
    list(active_rounds(*parts, first=6, batch=8, most=14, fit=spy))
    assert len(seen) == 14
    assert not seen & {*device.held_out}


def test_an_error_that_no_longer_falls_ends_the_rounds(device: Device) -> None:
    start = device.observe()
    parts = (lambda: start, device.measure, device.candidates, device.held_out, device.uses)
    *_, last = active_rounds(*parts, first=6, batch=2, most=18, fit=lambda seen: fit(seen, trees=2))
    assert last.why_last == "the error no longer falls"


def test_two_networks_set_aside_cannot_tell_chance_but_a_fall() -> None:
    falling = [{"a": 0.5 - 0.1 * i, "b": 0.4 - 0.1 * i} for i in range(4)]
    assert not no_longer_falls(falling)
    assert no_longer_falls(falling[::-1])
    assert no_longer_falls(falling[:1] * 4)


def test_nothing_set_aside_is_refused(device: Device) -> None:
    parts = (device.observe, device.measure, device.candidates, [], device.uses)
    with pytest.raises(UsageError, match="set aside"):
        list(active_rounds(*parts, first=6, batch=2, most=18))


def test_errors_are_those_of_kernels_where_they_are_listed(device: Device) -> None:
    seen = device.observe()
    predictor = fit(seen, trees=2)  # knows them all
    found = held_out_errors(predictor, seen, device.held_out)
    assert set(found) == {*device.held_out}
    assert max(found.values()) < 1e-6
    whole = replace(seen, networks=tuple(replace(n, listed_us=None) for n in seen.networks))
    errors = held_out_errors(predictor, whole, device.held_out)
    assert all(0 < error < 0.05 for error in errors.values())


def test_a_choice_is_uncertain_common_and_varied(device: Device) -> None:
    predictor = fit(device.observe(), trees=10)
    twins = [alone(pointwise(7000 + i, 7000)) for i in range(3)]
    other = alone(pointwise(3000, 20))
    assert other in choose(predictor, [*twins, other], {}, 2)
    known = [alone(kernel) for kernel in predictor.table_us][:3]
    (chosen,) = choose(predictor, [*known, other], {}, 1)
    assert chosen == other
    rare, common = pointwise(4000, 3000), pointwise(3000, 4000)
    uses = {rare: 1, common: 1000}
    assert choose(predictor, [alone(rare), alone(common)], uses, 1) == [alone(common)]


def test_a_network_is_worth_all_that_it_shows(device: Device) -> None:
    predictor = fit(device.observe(), trees=10)
    kernels = tuple(pointwise(40 * i, 30 * i) for i in range(1, 9))
    whole = Candidate("network:whole", kernels)
    assert choose(predictor, [*map(alone, kernels), whole], {}, 1) == [whole]
    assert len(choose(predictor, [whole], {}, 5)) == 1


def test_unknown_types_come_first(device: Device) -> None:
    predictor = fit(device.observe(), trees=10)
    b = GraphBuilder((1, 14, 14, 64))
    graph = b.build(b.resize(0, (28, 28)))
    strange = alone(Kernel(graph.inputs, graph.nodes))
    assert choose(predictor, [alone(pointwise(60, 60)), strange], {}, 1) == [strange]


@pytest.mark.parametrize(
    ("means", "over"),
    [
        ((0.5, 0.4, 0.3, 0.2), False),
        ((0.5, 0.5, 0.5), False),  # too early to say
        ((0.5, 0.5, 0.5, 0.5), True),
        ((0.2, 0.3, 0.4, 0.5), True),
        ((0.5, 0.2, 0.2, 0.2, 0.2), True),
    ],
)
def test_when_the_error_no_longer_falls(means: tuple[float, ...], over: bool) -> None:
    errors = [{f"{i}": mean * (1 + 0.1 * i) for i in range(8)} for mean in means]
    assert no_longer_falls(errors) is over

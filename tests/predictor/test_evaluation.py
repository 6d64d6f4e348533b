from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from latlas.predictor.evaluation import (
    Evaluation,
    evaluate,
    interval_coverage,
    kernel_metrics,
    leave_out,
    network_metrics,
    remaining,
)
from latlas.predictor.fit import fit
from latlas.predictor.latencies import kernel_latencies
from latlas.predictor.observations import NetworkObservation, Observations, observe
from latlas.predictor.predictor import LatencyPredictor
from latlas.profiler.errors import PredictorError, TargetMismatchError, UsageError
from latlas.profiler.kernel import Kernel
from latlas.profiler.table import Table

QUICK = partial(fit, trees=8)


def half(name: str) -> str:
    """Divide the simulated networks into two families."""
    return "even" if int(name.rpartition("-")[2]) % 2 == 0 else "odd"


@pytest.fixture(scope="session")
def observations(table: Table) -> Observations:
    return observe(table)


@pytest.fixture(scope="session")
def halves(observations: Observations) -> Evaluation:
    return leave_out(observations, half, fit=QUICK)


def kernels_of(networks: tuple[NetworkObservation, ...]) -> set[Kernel]:
    return {kernel for network in networks for kernel in network.kernels}


def test_every_network_is_predicted_once(halves: Evaluation, observations: Observations) -> None:
    measured = {n.name: n.measured_ms for n in halves.networks}
    assert measured == {n.name: n.latency_us / 1e3 for n in observations.networks}
    assert len(halves.networks) == len(observations.networks)
    assert halves.refused == ()
    assert network_metrics(halves.networks).mape < 0.05
    families = halves.by_family(half)
    assert list(families) == ["even", "odd"]
    assert [len(networks) for networks in families.values()] == [6, 6]


def test_left_out_networks_are_not_fitted_on(observations: Observations) -> None:
    seen = []

    def remember(rest: Observations) -> LatencyPredictor:
        seen.append(rest)
        return QUICK(rest)

    leave_out(observations, half, fit=remember)
    assert [{half(n.name) for n in rest.networks} for rest in seen] == [{"odd"}, {"even"}]
    for rest in seen:
        kept = kernels_of(rest.networks)
        gone = kernels_of(observations.networks) - kept
        assert gone
        assert not gone & set(kernel_latencies(rest).latency_us)
        # What is known of other networks' kernels, and of those of no network, stays.
        vocabulary = set(observations.alone_us) - kernels_of(observations.networks)
        assert vocabulary
        assert (kept | vocabulary) & set(observations.alone_us) == set(rest.alone_us)


def test_knowing_no_kernel_at_all(observations: Observations) -> None:
    names = [n.name for n in observations.networks if half(n.name) == "even"]
    rest = remaining(observations, names, "predicted")
    left_out = kernels_of(tuple([n for n in observations.networks if n.name in names]))
    assert not left_out & set(kernel_latencies(rest).latency_us)
    assert [n.name for n in rest.networks] == [
        n.name for n in observations.networks if n.name not in names
    ]
    evaluation = leave_out(observations, half, kernels="predicted", fit=QUICK)
    assert not any(kernel.looked_up for kernel in evaluation.kernels)
    assert all(network.prediction.measured_share == 0 for network in evaluation.networks)


def test_knowing_all_kernels_but_no_network(observations: Observations) -> None:
    evaluation = leave_out(observations, half, kernels="measured", fit=QUICK)
    assert all(kernel.looked_up for kernel in evaluation.kernels)
    assert all(k.predicted_us == pytest.approx(k.measured_us) for k in evaluation.kernels)
    assert network_metrics(evaluation.networks).mape < 0.02


def test_an_order_that_does_not_matter(observations: Observations, halves: Evaluation) -> None:
    turned = replace(observations, networks=observations.networks[::-1])
    names = [n.name for n in observations.networks if half(n.name) == "even"]
    assert set(remaining(turned, names).alone_us) == set(remaining(observations, names).alone_us)


def test_kernels_are_compared_where_they_were_predicted(halves: Evaluation) -> None:
    types = halves.by_type()
    assert {"conv2d", "depthwise_conv2d", "fully_connected"} <= set(types)
    assert all(k.kernel.type == kind for kind, kernels in types.items() for k in kernels)
    predicted = [k for k in halves.kernels if not k.looked_up]
    found = kernel_metrics(halves.kernels)
    assert found is not None
    assert found.n == len(predicted) > 0
    assert 0 < found.mape < 1
    assert kernel_metrics([replace(k, looked_up=True) for k in predicted]) is None


def test_what_the_simulation_measured_is_the_truth(simulation: Any, halves: Evaluation) -> None:
    for result in halves.kernels:
        if result.kernel.type == "conv2d":
            assert result.measured_us == pytest.approx(
                simulation.kernel_us(result.kernel), rel=1e-3
            )


def test_some_networks_only(observations: Observations) -> None:
    names = [n.name for n in observations.networks][:2]
    seen = []

    def remember(rest: Observations) -> LatencyPredictor:
        seen.append(len(rest.networks))
        return QUICK(rest)

    found = leave_out(
        observations, str, names=names, fit=remember, progress=lambda groups: groups[::-1]
    )
    assert [n.name for n in found.networks] == names[::-1]
    assert seen == [11, 11]


def test_the_worst(halves: Evaluation) -> None:
    worst = halves.worst(3)
    assert len(worst) == 3
    errors = sorted((abs(n.error) for n in halves.networks), reverse=True)
    assert [abs(n.error) for n in worst] == errors[:3]


def test_what_a_prediction_rests_on(halves: Evaluation) -> None:
    for network in halves.networks:
        prediction = network.prediction
        for source in ("measured", "predicted"):
            share = sum(getattr(each, f"{source}_share") for each in network.coverage.values())
            assert share == pytest.approx(getattr(prediction, f"{source}_share"))
        if network.least_known is None:
            assert prediction.measured_share == pytest.approx(1)
        else:
            kind, share = network.least_known
            assert share == max(c.predicted_share for c in network.coverage.values())
            assert network.coverage[kind].predicted > 0


def test_coverage_counts_bounds(halves: Evaluation) -> None:
    inside = sum(n.within_bounds for n in halves.networks)
    assert interval_coverage(halves.networks) == pytest.approx(inside / len(halves.networks))
    with pytest.raises(PredictorError):
        interval_coverage([])
    with pytest.raises(PredictorError):
        network_metrics([])


def test_networks_with_unknown_kernels_are_refused_or_accepted(
    observations: Observations, predictor: LatencyPredictor
) -> None:
    less = replace(
        predictor,
        table_us={k: v for k, v in predictor.table_us.items() if k.type != "mean"},
        forests={kind: forest for kind, forest in predictor.forests.items() if kind != "mean"},
    )
    refused = evaluate(less, observations)
    assert refused.networks == ()
    assert {name for name, _ in refused.refused} == {n.name for n in observations.networks}
    assert {kernel.type for _, kernels in refused.refused for kernel in kernels} == {"mean"}
    accepted = evaluate(less, observations, accept_unknown=True)
    assert accepted.refused == ()
    assert all(network.prediction.unknown for network in accepted.networks)


def test_a_predictor_is_evaluated_as_it_is(
    simulation: Any, predictor: LatencyPredictor, tmp_path: Any
) -> None:
    networks = simulation.networks(12, seed=9)
    held_out = observe(simulation.write(tmp_path, simulation.measurements(networks)))
    half_known = dict(list(predictor.table_us.items())[::2])
    found = evaluate(replace(predictor, table_us=half_known), held_out)
    assert [n.name for n in found.networks] == [n.name for n in held_out.networks]
    assert network_metrics(found.networks).mape < 0.2
    assert any(k.looked_up for k in found.kernels)
    assert not all(k.looked_up for k in found.kernels)
    other = replace(held_out, target=replace(held_out.target, threads=4))
    with pytest.raises(TargetMismatchError, match="threads"):
        evaluate(predictor, other)


def test_kernels_that_cost_nothing_are_not_compared(
    observations: Observations, predictor: LatencyPredictor
) -> None:
    network = observations.networks[0]
    assert network.listed_us is not None
    free = replace(network, listed_us=(0.0,) * len(network.listed_us))
    found = evaluate(predictor, replace(observations, networks=(free,)))
    assert (len(found.networks), found.kernels) == (1, ())


def test_a_time_that_is_not_to_be_used(observations: Observations) -> None:
    network = observations.networks[0]
    assert network.listed_us is not None
    masked = replace(network, listed_us=(math.nan, *network.listed_us[1:]))
    known = kernel_latencies(replace(observations, networks=(masked,), alone_us={})).latency_us
    assert set(known) == set(network.kernels[1:]) - {network.kernels[0]}


def test_what_cannot_be_left_out(observations: Observations) -> None:
    with pytest.raises(UsageError, match=r"all 12 networks.*--leave-out network"):
        leave_out(observations, lambda name: "all of them", fit=QUICK)
    with pytest.raises(UsageError, match="no measured networks"):
        leave_out(observations, str, names=["unheard of"], fit=QUICK)
    few = replace(observations, networks=observations.networks[:7])
    with pytest.raises(PredictorError, match=r"without 'even' \(4 networks\): .*whole networks"):
        leave_out(few, half, fit=QUICK)

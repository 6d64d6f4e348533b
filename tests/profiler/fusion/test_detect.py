"""Detection on delegates whose rules are known, because they are simulated."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_bench import SimulatedBench

from latlas.profiler.errors import RunnerError
from latlas.profiler.fold import fold
from latlas.profiler.fusion import GpuDelegateRules
from latlas.profiler.fusion.detect import (
    SIZES,
    Detection,
    DetectionSettings,
    decide,
    estimate,
    gap,
    probe_pair,
)
from latlas.profiler.fusion.detected import DetectedRules
from latlas.profiler.fusion.evidence import VERDICTS, Evidence, FusionEvidence
from latlas.profiler.fusion.probes import TYPES
from latlas.profiler.graph import Graph
from latlas.profiler.kernel import FusionRules
from latlas.search import zoo

FEW = ("conv2d", "add", "relu6", "hard_swish", "max_pool", "reshape")
PAIRS = tuple(product(FEW, FEW))


def detect(
    bench: SimulatedBench,
    pairs: tuple[tuple[str, str], ...] = PAIRS,
    plan: DetectionSettings | None = None,
) -> FusionEvidence:
    return Detection(bench, pairs, plan or DetectionSettings(elements=1 << 14)).run()


def truth(rules: FusionRules, pair: tuple[str, str]) -> bool:
    """Tell what a pair's joined model is by the rules: fewer kernels than it has operators."""
    probe = probe_pair(*pair, 1 << 14)
    assert probe is not None
    return len(rules.groups(probe.whole)) < len(probe.whole.nodes)


def test_every_pair_of_a_gpu() -> None:
    rules = GpuDelegateRules()
    found = detect(SimulatedBench(rules), tuple(product(TYPES, TYPES)))
    verdicts = {each.types: each.verdict for each in found.of("pair")}
    assert len(verdicts) > 300
    for (first, second), verdict in verdicts.items():
        assert verdict == ("fused" if truth(rules, (first, second)) else "not fused")
    assert found.rules.second_input and found.rules.chains
    assert not found.rules.several_readers and not found.rules.broadcast
    for name in zoo.names():
        graph = fold(zoo.build(name, 64))
        assert found.rules.groups(graph) == rules.groups(graph), name


fused_sets = st.frozensets(
    st.sampled_from([pair for pair in PAIRS if "slice" not in pair]), max_size=len(PAIRS)
)


def test_an_operator_that_costs_less_than_nothing_at_every_size() -> None:
    class Backwards(SimulatedBench):
        def times_us(self, graph: Graph) -> Sequence[float]:
            offset = 0.0 if "activation" in graph.to_text() else 2.0
            return [10.0 + offset + 0.1 * i for i in range(5)]

    bench = Backwards(GpuDelegateRules())
    assert Detection(bench).find_elements() in SIZES


@settings(max_examples=15)
@given(
    fused_sets,
    st.floats(0, 0.002),
    st.floats(0, 0.3),
    st.floats(0, 0.5),
    st.integers(0, 100),
)
def test_whatever_the_rules_are(
    fused: frozenset[tuple[str, str]], noise: float, kept: float, cache: float, seed: int
) -> None:
    """Under noise a verdict may be left open, but it is not wrong."""
    rules = DetectedRules(fused)
    bench = SimulatedBench(rules, noise=noise, kept=kept, cache=cache, seed=seed)
    plan = DetectionSettings(elements=1 << 14, significance=1e-6)
    found = detect(bench, plan=plan)
    open_ = 0
    for each in found.of("pair"):
        pair = each.types[0], each.types[1]
        open_ += each.verdict == "undecided"
        if each.verdict != "undecided":
            assert (each.verdict == "fused") == truth(rules, pair), each
    assert open_ <= len(PAIRS) / 4


@pytest.mark.parametrize("level", [0.1, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_core_that_is_shared_by_turns(level: float, seed: int) -> None:
    """Half of the rounds are slower: which level is the faster one, more rounds show."""
    rules = DetectedRules(frozenset({("conv2d", "relu6"), ("conv2d", "add")}))
    bench = SimulatedBench(rules, noise=0.002, level=level, seed=seed)
    found = detect(bench).of("pair")
    decided = [each for each in found if each.verdict != "undecided"]
    assert len(decided) > len(found) / 2
    for each in decided:
        assert (each.verdict == "fused") == truth(rules, (each.types[0], each.types[1])), each


def test_noise_is_answered_by_more_rounds_and_larger_values() -> None:
    rules = DetectedRules(frozenset({("conv2d", "relu6"), ("conv2d", "add")}))
    bench = SimulatedBench(rules, noise=0.03)
    detect(bench, plan=DetectionSettings(elements=1 << 13))
    (all_models, rounds), (again, more), (open_, most), *_ = bench.asked
    assert again < all_models and most > more > rounds
    assert open_ <= again


def test_models_that_take_no_time_at_all() -> None:
    """A phone prints whole microseconds."""

    class Coarse(SimulatedBench):
        def times_us(self, graph: Graph) -> Sequence[float]:
            return [max(time - 60, 0) // 1 for time in super().times_us(graph)]

    assert {e.verdict for e in detect(Coarse(GpuDelegateRules())).of("pair")} <= set(VERDICTS)


def test_all_noise_is_left_open() -> None:
    found = detect(SimulatedBench(DetectedRules(frozenset()), noise=0.5))
    assert not found.rules.fused
    open_ = [each for each in found.of("pair") if each.verdict == "undecided"]
    assert len(open_) > len(PAIRS) / 2
    assert all(each.reason for each in open_)


def test_what_cannot_be_run_is_reported() -> None:
    found = detect(SimulatedBench(GpuDelegateRules(), refused="hard_swish"))
    for each in found.of("pair"):
        if "hard_swish" in each.types:
            assert (each.verdict, each.reason) == ("undecided", "hard_swish is not supported")
        else:
            assert each.verdict != "undecided"


def test_several_readers_where_they_do_not_matter() -> None:
    rules = DetectedRules(frozenset({("conv2d", "relu6"), ("max_pool", "add")}), True)
    found = detect(SimulatedBench(rules))
    assert found.rules.several_readers
    assert {each.verdict for each in found.of("several readers")} == {"fused"}


def test_first_inputs_only() -> None:
    rules = DetectedRules(frozenset({("conv2d", "add"), ("max_pool", "add")}))
    found = detect(SimulatedBench(rules))
    assert {each.verdict for each in found.of("second input")} == {"not fused"}
    assert not found.rules.second_input


def test_two_at_a_time() -> None:
    pairs = frozenset({("conv2d", "relu6"), ("relu6", "hard_swish")})
    for chains in (False, True):
        found = detect(SimulatedBench(DetectedRules(pairs, chains=chains)))
        assert found.rules.fused == pairs
        assert found.rules.chains == chains


def test_the_size_of_values() -> None:
    rules = GpuDelegateRules()
    quiet = Detection(SimulatedBench(rules, noise=1e-4), PAIRS).find_elements()
    loud = Detection(SimulatedBench(rules, noise=0.02), PAIRS).find_elements()
    assert quiet < loud
    with pytest.raises(RunnerError, match="relu is not supported"):
        Detection(SimulatedBench(rules, refused="relu"), PAIRS).find_elements()


@given(st.lists(st.tuples(st.floats(-1, 2), st.floats(0, 0.5)), max_size=50))
def test_a_threshold_is_between_nothing_and_all(shares: list[tuple[float, float]]) -> None:
    assert 0.25 <= gap(shares) <= 0.85


def test_few_times_do_not_agree_by_chance() -> None:
    assert estimate([10.0, 10.0, 10.0]).error_us == 0
    assert estimate([10.0, 10.0, 10.0], noise=0.01).error_us == pytest.approx(0.1 / 3**0.5)


@given(st.floats(-2, 3), st.floats(0, 1))
def test_verdicts_follow_the_share(share: float, error: float) -> None:
    raw = Evidence("pair", ("a", "b"), 1.0, 1.0, 1.0, share, error, 1.0, "undecided")
    found = decide(raw, 0.5, 0.01)
    assert 0 <= found.p <= 1
    if found.verdict == "undecided":
        assert found.reason
    else:
        assert (found.verdict == "fused") == (share > 0.5)

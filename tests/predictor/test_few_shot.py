"""New devices from a few networks, on simulated devices whose latencies are known."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from latlas.predictor.coverage import coverage_by_type, kernel_shares
from latlas.predictor.few_shot import FewShotFit, _Common, fit_few, plan
from latlas.predictor.file import load, save
from latlas.predictor.fit import fit
from latlas.predictor.genes import compile_genes
from latlas.predictor.mixture import Mixture
from latlas.predictor.observations import EMPTY, NetworkObservation, Observations
from latlas.predictor.predictor import TRANSFERRED, UNKNOWN, LatencyPredictor
from latlas.predictor.residency import Residency
from latlas.profiler.errors import PredictorError
from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.kernel import Kernel, split
from latlas.profiler.target import Target
from latlas.search.cover import covering_genes
from latlas.search.spaces import MogaSpace

SPACE = MogaSpace(resolution=64, classes=10)
TARGET = Target("a new phone", "litert 2.3.0", "cpu", "xnnpack")
RULES = rules_for("cpu")


@dataclass(frozen=True)
class Device:
    """A device on which every kernel's latency is known.

    Attributes:
        rate: thousands of multiplications per microsecond.
        slow: by kernel type, how many times slower it runs that.
        launch_us: of a kernel.
        fixed_us: of an invocation.
    """

    target: Target
    rate: float
    slow: Mapping[str, float] = field(default_factory=dict)
    launch_us: float = 1.0
    fixed_us: float = 20.0

    def kernel_us(self, kernel: Kernel) -> float:
        inputs = tuple([kernel.inputs[value] for value in kernel.nodes[0].inputs])
        moved = sum(float(np.prod(shape)) for shape in (*inputs, kernel.op.infer(inputs)))
        work = kernel.op.madds(inputs) / (1e3 * self.rate) + moved / (4e3 * self.rate)
        return self.launch_us + work * self.slow.get(kernel.type, 1.0)

    def whole_us(self, kernels: Sequence[Kernel]) -> float:
        return sum(map(self.kernel_us, kernels)) + self.fixed_us

    def observe(
        self, networks: Mapping[str, Sequence[Kernel]], listed: bool, noise: float = 0.01
    ) -> Observations:
        rng = np.random.default_rng(len(networks))
        return Observations(
            self.target,
            tuple(
                NetworkObservation(
                    name,
                    tuple(kernels),
                    self.whole_us(kernels) * float(np.exp(noise * rng.normal())),
                    tuple(map(self.kernel_us, kernels)) if listed else None,
                )
                for name, kernels in networks.items()
            ),
            {},
        )


def device(name: str, rate: float, **slow: float) -> Device:
    return Device(replace(TARGET, device=name), rate, slow)


SOURCES = (
    device("a", 2.0, conv2d=1.2, depthwise_conv2d=1.5),
    device("b", 1.0, depthwise_conv2d=0.8, mean=2.0),
    device("c", 4.0, conv2d=0.9, fully_connected=3.0),
)
NEW = Device(TARGET, 0.7, {"depthwise_conv2d": 3.0}, launch_us=2.0, fixed_us=50.0)


def networks(count: int, seed: int) -> dict[str, tuple[Kernel, ...]]:
    genes = covering_genes(SPACE.choices, count, seed)
    return {f"{seed}-{i}": split(fold(SPACE.decode(each)), RULES) for i, each in enumerate(genes)}


@pytest.fixture(scope="module")
def pool() -> dict[str, tuple[Kernel, ...]]:
    return networks(40, seed=1)


@pytest.fixture(scope="module")
def sources() -> tuple[LatencyPredictor, ...]:
    seen = networks(12, seed=0)
    return tuple(fit(each.observe(seen, listed=True), trees=5) for each in SOURCES)


@pytest.fixture(scope="module")
def found(sources: tuple[LatencyPredictor, ...], pool: dict[str, tuple[Kernel, ...]]) -> FewShotFit:
    chosen = plan(sources, pool, 20).chosen
    measured = NEW.observe({name: pool[name] for name in chosen}, listed=False)
    return fit_few(measured, sources, pool)


def errors(predictor: LatencyPredictor, query: Mapping[str, Sequence[Kernel]]) -> np.ndarray:
    predictions = predictor.predict_kernels(list(query.values()))
    truth = [NEW.whole_us(kernels) for kernels in query.values()]
    return np.array([p.latency_ms * 1e3 / t - 1 for p, t in zip(predictions, truth, strict=True)])


def scaled_error(
    source: LatencyPredictor,
    measured: Mapping[str, Sequence[Kernel]],
    query: Mapping[str, Sequence[Kernel]],
) -> float:
    """Return the error of a source whose latencies are multiplied by one factor."""

    def ratios(networks: Mapping[str, Sequence[Kernel]]) -> np.ndarray:
        said = source.predict_kernels(list(networks.values()))
        truth = [NEW.whole_us(kernels) for kernels in networks.values()]
        return np.array([p.latency_ms * 1e3 / t for p, t in zip(said, truth, strict=True)])

    return float(np.abs(ratios(query) / np.median(ratios(measured)) - 1).mean())


def test_a_device_with_slow_depthwise_convolutions(
    found: FewShotFit,
    sources: tuple[LatencyPredictor, ...],
    pool: dict[str, tuple[Kernel, ...]],
) -> None:
    query = networks(30, seed=5)
    error = np.abs(errors(found.predictor, query)).mean()
    measured = {name: pool[name] for name in plan(sources, pool, 20).chosen}
    best = min(scaled_error(source, measured, query) for source in sources)
    assert error < 0.03
    assert error < 0.6 * best
    (depthwise, conv) = (found.predictor.mixture.weights[k] for k in ("depthwise_conv2d", "conv2d"))
    assert depthwise.sum() > 1.5 * conv.sum()


def test_it_says_how_good_it_expects_to_be(
    found: FewShotFit,
    sources: tuple[LatencyPredictor, ...],
    pool: dict[str, tuple[Kernel, ...]],
) -> None:
    real = np.abs(errors(found.predictor, networks(30, seed=5))).mean()
    planned = plan(sources, pool, 20).expected_error
    for expected in (planned, found.expected_error, found.left_out_error):
        assert real / 3 < expected < 8 * real


def test_bounds_hold(found: FewShotFit) -> None:
    query = networks(60, seed=6)
    predictions = found.predictor.predict_kernels(list(query.values()))
    truth = [NEW.whole_us(kernels) / 1e3 for kernels in query.values()]
    held = [p.low_ms <= t <= p.high_ms for p, t in zip(predictions, truth, strict=True)]
    assert np.mean(held) >= 0.85
    assert all(p.high_ms < 1.5 * p.latency_ms for p in predictions)


def test_kernels_are_transferred_and_not_measured(found: FewShotFit) -> None:
    predictor = found.predictor
    kernels = next(iter(networks(9, seed=7).values()))
    estimate = predictor.estimate(kernels)
    assert set(estimate.source.tolist()) == {TRANSFERRED}
    (prediction,) = predictor.predict_kernels([kernels])
    assert prediction.transferred_share == pytest.approx(1)
    assert (prediction.measured_share, prediction.predicted_share) == (0, 0)
    assert prediction.unknown_share == pytest.approx(0)
    shares = kernel_shares(kernels, estimate.latency_us, estimate.source)
    assert {each.source for each in shares} == {"transferred"}
    by_type = coverage_by_type(shares)
    assert sum(each.transferred for each in by_type.values()) == len(kernels)
    assert sum(each.share for each in by_type.values()) == pytest.approx(1)


def test_choice_is_seeded_goes_on_and_never_repeats(
    sources: tuple[LatencyPredictor, ...], pool: dict[str, tuple[Kernel, ...]]
) -> None:
    first = plan(sources, pool, 20)
    assert first == plan(sources, pool, 20)
    assert len(set(first.chosen)) == 20
    assert set(first.chosen) <= set(pool)
    more = plan(sources, pool, 5, measured=first.chosen)
    assert not set(more.chosen) & set(first.chosen)
    assert more.expected_error <= first.expected_error * 1.05
    with pytest.raises(PredictorError, match="choose fewer"):
        plan(sources, pool, len(pool) + 1)


def test_one_source_is_enough(
    sources: tuple[LatencyPredictor, ...], pool: dict[str, tuple[Kernel, ...]]
) -> None:
    one = sources[:1]
    measured = NEW.observe({n: pool[n] for n in plan(one, pool, 20).chosen}, listed=False)
    assert np.abs(errors(fit_few(measured, one, pool).predictor, networks(30, 5))).mean() < 0.05


def test_listed_operators_are_learned_from(
    sources: tuple[LatencyPredictor, ...], pool: dict[str, tuple[Kernel, ...]]
) -> None:
    chosen = {name: pool[name] for name in plan(sources, pool, 10).chosen}
    few = fit_few(NEW.observe(chosen, listed=True), sources, pool, trees=20)
    assert few.listed
    query = networks(30, seed=5)
    assert np.abs(errors(few.predictor, query)).mean() < 0.02
    shares = few.predictor.predict_kernels(list(query.values()))
    assert all(each.measured_share > 0.3 for each in shares)
    assert any(each.transferred_share > 0 for each in shares)
    alone = fit(NEW.observe(chosen, listed=True), trees=20)
    assert set(alone.forests) >= set(few.predictor.forests)


def test_the_file_holds_it_all(found: FewShotFit, tmp_path: Path) -> None:
    save(found.predictor, tmp_path / "p.latlas")
    read = load(tmp_path / "p.latlas", TARGET)
    graphs = [SPACE.decode(each) for each in covering_genes(SPACE.choices, 12, 8)]
    assert read.predict(graphs) == found.predictor.predict(graphs)
    assert read.digest == found.predictor.digest
    save(read, tmp_path / "again.latlas")
    assert (tmp_path / "again.latlas").read_bytes() == (tmp_path / "p.latlas").read_bytes()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("speeds", lambda array: -array),
        ("speeds", lambda array: array[:2]),
        ("weights", lambda array: array * np.nan),
        ("weights", lambda array: array[:, :2]),
        ("weights", lambda array: array.astype(str)),
        ("source1:table_us", lambda array: -1 - array),
        ("source1:ranges", lambda array: array[:-1]),
        ("source2:similar", None),
        ("weights", None),
    ],
)
def test_damaged_weights_and_sources(
    found: FewShotFit, tmp_path: Path, name: str, change: Callable[[np.ndarray], np.ndarray] | None
) -> None:
    path = tmp_path / "p.latlas"
    save(found.predictor, path)
    with np.load(path) as archive:
        arrays = dict(archive)
    before = arrays.pop(name)
    if change is not None:
        arrays[name] = change(before)
    with path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    with pytest.raises(PredictorError, match=r"p\.latlas"):
        load(path)


def test_sources_of_sources_are_not_read(found: FewShotFit, tmp_path: Path) -> None:
    path = tmp_path / "p.latlas"
    save(found.predictor, path)
    with np.load(path) as archive:
        arrays = dict(archive)
    header = json.loads(arrays["header"].tobytes())
    header["sources"][0]["sources"] = [dict(header["sources"][1])]
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    with pytest.raises(PredictorError, match="sources of its own"):
        load(path)


def test_genes_are_compiled(found: FewShotFit) -> None:
    compiled = compile_genes(SPACE, found.predictor)
    genes = covering_genes(SPACE.choices, 12, 8)
    predicted = found.predictor.predict([SPACE.decode(each) for each in genes])
    np.testing.assert_allclose(
        compiled.latency_ms(genes), [each.latency_ms for each in predicted], rtol=1e-9
    )


def test_sources_of_another_kind_are_refused(
    sources: tuple[LatencyPredictor, ...],
    found: FewShotFit,
    pool: dict[str, tuple[Kernel, ...]],
) -> None:
    chosen = {name: pool[name] for name in list(pool)[:20]}
    measured = NEW.observe(chosen, listed=False)

    def refuse(others: Sequence[LatencyPredictor], words: str) -> None:
        with pytest.raises(PredictorError, match=words):
            fit_few(measured, others, pool)

    a = sources[0]
    refuse([], "give --from")
    refuse([found.predictor], "was itself transferred")
    refuse([a, replace(a, target=replace(a.target, precision="int8"))], "of int8.*of fp32")
    gpu = replace(a.target, delegate="gpu", backend="opencl")
    other = replace(a, target=gpu, rules_version=rules_for("gpu").version)
    refuse([other], "fusion rules")


def pooling() -> tuple[Kernel, ...]:
    b = GraphBuilder((1, 64, 64, 3))
    return split(b.build(b.max_pool(b.conv(0, 8, 3), 3)), RULES)


def test_without_common_ground_nothing_is_learned(
    sources: tuple[LatencyPredictor, ...], pool: dict[str, tuple[Kernel, ...]]
) -> None:
    with pytest.raises(PredictorError, match=r"no common ground.*pool kind=max"):
        plan(sources, {"pooling": pooling()}, 1)
    with pytest.raises(PredictorError, match="no common ground"):
        plan(sources, {}, 1)
    assert list(plan(sources, pool | {"pooling": pooling()}, 5).left_out) == ["pooling"]
    few = {name: pool[name] for name in list(pool)[:4]} | {"pooling": pooling()}
    with pytest.raises(PredictorError, match=r"4 networks.*pooling has"):
        fit_few(NEW.observe(few, listed=False), sources, pool)


def test_unknown_kernels_stay_unknown(found: FewShotFit) -> None:
    estimate = found.predictor.estimate(pooling())
    assert estimate.source.tolist() == [TRANSFERRED, UNKNOWN]
    mixture = found.predictor.mixture
    assert mixture is not None
    said = [source.estimate(pooling()).latency_us[1] for source in mixture.sources]
    guesses = mixture.speeds * np.array(said)
    assert guesses.min() / 2 < estimate.latency_us[1] < guesses.max() * 2


def test_a_network_without_kernels_is_left_out(
    sources: tuple[LatencyPredictor, ...], pool: dict[str, tuple[Kernel, ...]]
) -> None:
    chosen = plan(sources, pool | {"nothing": ()}, 6)
    assert chosen.chosen == plan(sources, pool, 6).chosen
    assert chosen.left_out == {"nothing": EMPTY}
    with pytest.raises(PredictorError, match="no common ground"):
        plan(sources, {"nothing": ()}, 1)


def test_sources_stand_in_for_one_that_does_not_know_a_kernel(
    sources: tuple[LatencyPredictor, ...],
) -> None:
    a, b = sources[:2]
    known = next(k for k in a.table_us if k.type == "mean" or k.type == "softmax")
    less = replace(
        b,
        table_us={k: v for k, v in b.table_us.items() if k.type != known.type},
        forests={k: v for k, v in b.forests.items() if k != known.type},
    )
    weights = {known.type: np.array([0.5, 1.0])}
    mixed = Mixture((a, less), np.array([1.0, 2.0]), weights).estimate([known])
    # Half of a's, and for the other source as much as a says at its speed.
    assert mixed.known.tolist() == [True]
    assert mixed.latency_us[0] == pytest.approx(a.table_us[known] * (0.5 + 1.0 * 1.0 / 2.0))
    assert Mixture((less,), np.ones(1), {known.type: np.ones(1)}).estimate([known]).known[0] == 0


@pytest.fixture(scope="module")
def graph() -> Graph:
    return SPACE.decode(covering_genes(SPACE.choices, 9, 3)[0])


def test_weights_below_nothing_do_not_make_times_negative(
    sources: tuple[LatencyPredictor, ...], found: FewShotFit, graph: Graph
) -> None:
    assert found.predictor.mixture is not None
    weights = {name: np.array([1.0, -9.0, 0.0]) for name in found.predictor.mixture.weights}
    odd = replace(
        found.predictor, mixture=Mixture(tuple(sources), found.predictor.mixture.speeds, weights)
    )
    (prediction,) = odd.predict([graph])
    assert prediction.latency_ms > 0


def test_sources_say_of_networks_what_they_predict() -> None:
    query = networks(12, 0)
    source = fit(Device(TARGET, 4.0).observe(query, listed=True), trees=4)
    source = replace(source, residency=Residency(10.0, 0.0, (0.1, 20.0, 5.0, 20.0, 1.0)))
    common = _Common.of([source], query)
    predictions = source.predict_kernels(list(query.values()))
    np.testing.assert_allclose(
        common.whole_us[:, 0], [1e3 * each.latency_ms for each in predictions], rtol=1e-9
    )

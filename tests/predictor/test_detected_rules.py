"""Tables and predictors of detected fusion rules: the rules go with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latlas.predictor import features, file
from latlas.predictor.evaluation import evaluate, leave_out
from latlas.predictor.fit import fit
from latlas.predictor.genes import GeneLatency, gene_latency
from latlas.predictor.observations import Observations, observe
from latlas.predictor.oracle import PredictorOracle, TableOracle
from latlas.predictor.predictor import LatencyPredictor
from latlas.predictor.sizes import kernel_class
from latlas.profiler.errors import PredictorError, TableError
from latlas.profiler.fold import fold
from latlas.profiler.fusion import DetectedRules, rules_for
from latlas.profiler.fusion.probes import TYPES
from latlas.profiler.kernel import split
from latlas.profiler.table import Table, TableWriter
from latlas.profiler.workload import workload
from latlas.search.cover import covering_genes

ELEMENTWISE = ("relu6", "relu", "hard_swish", "add", "mul")
RULES = DetectedRules(frozenset(product(("conv2d", "depthwise_conv2d", "mul"), ELEMENTWISE)))
OTHERS = replace(RULES, chains=False)


def measurements(simulation: Any) -> list[Any]:
    jobs = workload(simulation.networks(12, seed=0), "cpu", rules=RULES, vocabulary=False).jobs
    assert not any(job.profile for job in jobs)
    found = [simulation.measure(job.graph, job.unit, job.id.partition(":")[2]) for job in jobs]
    return [replace(measurement, ops=()) for measurement in found]


@pytest.fixture(scope="module")
def table(simulation: Any, tmp_path_factory: pytest.TempPathFactory) -> Table:
    folder = tmp_path_factory.mktemp("detected") / "table"
    written: Table = simulation.write(folder, measurements(simulation), rules=RULES.version)
    return written


@pytest.fixture(scope="module")
def observations(table: Table) -> Observations:
    return observe(table)


@pytest.fixture(scope="module")
def predictor(observations: Observations) -> LatencyPredictor:
    return fit(observations, trees=10)


def test_from_a_table_to_predictions(
    simulation: Any, predictor: LatencyPredictor, tmp_path: Path
) -> None:
    assert predictor.rules == RULES
    path = tmp_path / "predictor.latlas"
    file.save(predictor, path)
    loaded = file.load(path)
    assert loaded.rules == RULES
    assert loaded.digest == predictor.digest
    graphs = list(simulation.networks(6, seed=1).values())
    predictions = loaded.predict(graphs)
    assert predictions == predictor.predict(graphs)
    for graph, prediction in zip(graphs, predictions, strict=True):
        kernels = split(fold(graph), RULES)
        assert prediction.kernels == len(kernels) < len(split(fold(graph), rules_for("cpu")))
        truth_ms = simulation.network_us(graph) / 1e3
        assert prediction.latency_ms == pytest.approx(truth_ms, rel=0.1)


def test_oracles(simulation: Any, predictor: LatencyPredictor) -> None:
    genes = covering_genes(simulation.space.choices, 8, seed=2)
    graphs = [simulation.space.decode(each) for each in genes]
    expected = [prediction.latency_ms for prediction in predictor.predict(graphs)]
    np.testing.assert_allclose(PredictorOracle(predictor).latency_ms(graphs), expected)
    np.testing.assert_allclose(TableOracle(predictor).latency_ms(graphs), expected)
    compiled = gene_latency(simulation.space, predictor)
    assert isinstance(compiled, GeneLatency)
    np.testing.assert_allclose(compiled.latency_ms(genes), expected)


def test_evaluation(observations: Observations, predictor: LatencyPredictor) -> None:
    assert len(evaluate(predictor, observations).networks) == 12
    groups: Callable[[str], str] = lambda name: str(int(name.partition("-")[2]) % 3)  # noqa: E731
    found = leave_out(observations, groups, fit=lambda rest: fit(rest, trees=5))
    assert len(found.networks) == 12
    assert max(abs(network.error) for network in found.networks) < 0.3


def test_rules_do_not_mix(
    table: Table, observations: Observations, predictor: LatencyPredictor
) -> None:
    for rules in (rules_for("cpu"), OTHERS):
        with pytest.raises(TableError, match=r"fusion rules 'detected-.*--fusion-rules"):
            TableWriter(table.folder, table.target, fusion_rules=rules.version)
        others = replace(predictor, rules_version=rules.version)
        assert others.digest != predictor.digest
        with pytest.raises(PredictorError, match=r"fusion rules .*'detected-"):
            evaluate(others, observations)
    with pytest.raises(PredictorError, match=r"fusion rules 'detected-.* are of 'xnnpack"):
        evaluate(predictor, replace(observations, rules_version=""))


NAMES = (
    *("", "xnnpack-0", "gpu-delegate-1", "detected-", "detected-4089ba8a chains conv2d>relu"),
    *("detected-" + "a>" * 100_000, "detected-0 " + "chains " * 100_000, "detected-\n\x00\u2028"),
    RULES.version.replace("mul>", "mal>"),
    RULES.version + " ",
)


def refused(simulation: Any, table: Table, predictor_path: Path, name: object) -> None:
    """Give a table and a predictor another name of their rules: both must be refused."""
    header = json.loads((table.folder / "journal.jsonl").read_text().partition("\n")[0])
    folder = predictor_path.parent / "table"
    folder.mkdir(exist_ok=True)
    (folder / "journal.jsonl").write_text(json.dumps(header | {"fusion_rules": name}) + "\n")
    with pytest.raises((PredictorError, TableError)) as problem:
        observe(Table.open(folder))
    assert len(str(problem.value)) < 1000
    with np.load(predictor_path) as saved:
        arrays = dict(saved)
    content = json.loads(arrays.pop("header").tobytes()) | {"rules": name}
    damaged = predictor_path.with_name("damaged.latlas")
    with damaged.open("wb") as stream:
        np.savez(stream, header=np.frombuffer(json.dumps(content).encode(), np.uint8), **arrays)
    with pytest.raises(PredictorError) as problem:
        file.load(damaged)
    assert len(str(problem.value)) < 1000


def test_names_of_no_rules(
    simulation: Any, table: Table, predictor: LatencyPredictor, tmp_path: Path
) -> None:
    path = tmp_path / "predictor.latlas"
    file.save(predictor, path)
    for name in (*NAMES, None, 3, ["detected-"], {"detected": 1}, 1e300):
        refused(simulation, table, path, name)


@given(name=st.text(alphabet="dect-0a>,; chainsé", max_size=40), prefix=st.booleans())
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_as_a_name(
    simulation: Any,
    table: Table,
    predictor: LatencyPredictor,
    tmp_path: Path,
    name: str,
    prefix: bool,
) -> None:
    path = tmp_path / "predictor.latlas"
    if not path.exists():
        file.save(predictor, path)
    refused(simulation, table, path, "detected-" * prefix + name)


pairs = st.frozensets(st.tuples(st.sampled_from(TYPES), st.sampled_from(TYPES)), max_size=60)


@given(pairs, st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=30)
def test_whatever_merges_has_features(
    simulation: Any, fused: frozenset[tuple[str, str]], readers: bool, second: bool, chains: bool
) -> None:
    rules = DetectedRules(fused, readers, second, second, chains)
    kernels = split(fold(simulation.space.decode((3,) * 14)), rules)
    assert all(kernel_class(kernel) for kernel in kernels)
    x = features.matrix(list(kernels), simulation.target)
    assert np.isfinite(x).all()

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from latlas.predictor.evaluation import Evaluation, NetworkResult, evaluate
from latlas.predictor.observations import observe
from latlas.predictor.plot import MOST_FAMILIES, drawn_families, plot_evaluation
from latlas.predictor.predictor import LatencyPredictor
from latlas.profiler.errors import PredictorError
from latlas.profiler.table import Table


@pytest.fixture(scope="module")
def evaluation(predictor: LatencyPredictor, table: Table) -> Evaluation:
    return evaluate(predictor, observe(table))


def test_a_picture(evaluation: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "new" / "p.png"
    plot_evaluation(path, evaluation.by_family(str), title="somewhere")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [each.name for each in path.parent.iterdir()] == ["p.png"]


@pytest.mark.parametrize("latency_ms", [1e-3, 1.0, 1e5])
def test_one_network_with_hopeless_bounds(
    evaluation: Evaluation, tmp_path: Path, latency_ms: float
) -> None:
    (network, *_) = evaluation.networks
    bounds = replace(network.prediction, latency_ms=latency_ms, low_ms=0.0, high_ms=1e6)
    one = NetworkResult("one", latency_ms, bounds, {})
    plot_evaluation(tmp_path / "p.png", {"alone": [one]}, title="")
    assert (tmp_path / "p.png").stat().st_size > 1000


def test_no_network(tmp_path: Path) -> None:
    with pytest.raises(PredictorError, match="no network to draw"):
        plot_evaluation(tmp_path / "p.png", {}, title="")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(evaluation: Evaluation, tmp_path: Path) -> None:
    with pytest.raises(PredictorError, match="cannot write"):
        plot_evaluation(tmp_path, evaluation.by_family(str), title="")


def test_more_families_than_can_be_told_apart(evaluation: Evaluation) -> None:
    networks = evaluation.networks
    families = {"big": networks} | {str(i): networks[:1] for i in range(MOST_FAMILIES + 3)}
    drawn = drawn_families(families)
    assert len(drawn) == MOST_FAMILIES + 1
    assert next(iter(drawn)) == "big"
    assert len(drawn["4 other families"]) == 4
    assert sum(map(len, drawn.values())) == sum(map(len, families.values()))
    assert drawn_families({"a": networks}) == {"a": networks}

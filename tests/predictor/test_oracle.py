from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from latlas.predictor.mixture import Mixture
from latlas.predictor.oracle import PredictorOracle, TableOracle
from latlas.predictor.predictor import LatencyPredictor
from latlas.profiler.errors import UnknownKernelError
from latlas.search.spaces import MogaSpace


def test_a_table_predicts_what_it_measured(predictor: LatencyPredictor, simulation) -> None:
    graphs = list(simulation.networks(4, seed=1).values())
    oracle = TableOracle(predictor)
    assert oracle.target == predictor.target
    # Every kernel of the space is in the table, so that nothing has to be predicted.
    np.testing.assert_allclose(
        oracle.latency_ms(graphs), PredictorOracle(predictor).latency_ms(graphs)
    )
    plain_us = TableOracle(predictor, calibrated=False).latency_ms(graphs) * 1e3
    expected = [(simulation.network_us(graph) - 30) / 1.1 for graph in graphs]
    np.testing.assert_allclose(plain_us, expected, rtol=0.02)


def test_a_table_predicts_nothing_else(predictor: LatencyPredictor) -> None:
    other = MogaSpace(resolution=96, classes=10).decode((0,) * 14)
    assert PredictorOracle(predictor).latency_ms([other])[0] > 0
    with pytest.raises(UnknownKernelError):
        TableOracle(predictor).latency_ms([other])


def test_what_other_devices_say_is_no_measurement(predictor: LatencyPredictor) -> None:
    other = MogaSpace(resolution=96, classes=10).decode((0,) * 14)
    weights = {name: np.ones(1) for name in predictor.forests}
    mixture = Mixture((predictor,), np.ones(1), weights)
    transferred = replace(predictor, mixture=mixture)
    assert PredictorOracle(transferred).latency_ms([other])[0] > 0
    with pytest.raises(UnknownKernelError):
        TableOracle(transferred).latency_ms([other])

"""A simulated device, and a table of what it would measure."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from simulated_device import Simulation

from latlas.predictor.fit import fit
from latlas.predictor.observations import observe
from latlas.predictor.predictor import LatencyPredictor
from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Graph
from latlas.profiler.kernel import Kernel, split
from latlas.profiler.table import Table


@pytest.fixture(scope="session")
def simulation() -> Simulation:
    return Simulation()


@pytest.fixture(scope="session")
def table(simulation: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Table:
    """A table of 12 networks with their kernels."""
    folder = tmp_path_factory.mktemp("table")
    return simulation.write(folder, simulation.measurements(simulation.networks(12, seed=0)))


@pytest.fixture(scope="session")
def predictor(table: Table) -> LatencyPredictor:
    return fit(observe(table), trees=20)


@pytest.fixture(scope="session")
def split_cpu() -> Callable[[Graph], tuple[Kernel, ...]]:
    return lambda graph: split(fold(graph), rules_for("cpu"))

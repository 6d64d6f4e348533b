from pathlib import Path

import pytest
from report_material import (
    NETWORKS,
    OTHER,
    trials,
    write_study,
    write_table,
    write_verified,
)

from latlas.predictor import file
from latlas.predictor.fit import fit
from latlas.predictor.observations import observe
from latlas.profiler.table import Table
from latlas.profiler.tflite.writer import to_tflite
from latlas.search.objectives import front_of


@pytest.fixture(scope="session")
def table_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "table"
    write_table(folder)
    return folder


@pytest.fixture(scope="session")
def other_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "other"
    write_table(folder, OTHER, 0.6, sensors=("battery", "cpu-0-0"))
    return folder


@pytest.fixture(scope="session")
def predictor_path(table_folder: Path) -> Path:
    path = table_folder.parent / "p.latlas"
    file.save(fit(observe(Table.open(table_folder)), trees=5), path)
    return path


@pytest.fixture(scope="session")
def model_path(table_folder: Path) -> Path:
    path = table_folder.parent / "plain_4.tflite"
    path.write_bytes(to_tflite(NETWORKS["plain_4"]))
    return path


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "study"
    tried = trials()
    study = write_study(folder, tried)
    write_verified(study, [trial.genes for trial in front_of(tried)[:5]])
    return folder

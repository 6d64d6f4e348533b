from pathlib import Path

import pytest

from latlas.predictor import file
from latlas.predictor.evaluation import Evaluation
from latlas.predictor.families import Families
from latlas.predictor.observations import observe
from latlas.profiler.errors import TargetMismatchError
from latlas.profiler.table import Table
from latlas.report.figure import Block, Chart, Facts, Grid, Section, Text
from latlas.report.predictor_report import (
    FOLDS,
    Grouping,
    evaluation_report,
    grouping,
    predictor_report,
)


def blocks(sections: list[Section]) -> list[Block]:
    return [block for section in sections for block in section.blocks]


def test_a_predictor_by_itself(predictor_path: Path) -> None:
    predictor = file.load(predictor_path)
    sections = predictor_report(predictor, "p", {})
    facts = dict(next(b for b in blocks(sections) if isinstance(b, Facts)).items)
    assert facts["kernels measured"].startswith(f"{len(predictor.table_us)} of ")
    assert facts["digest"] == predictor.digest[:16]


def test_a_predictor_with_its_table(predictor_path: Path, table_folder: Path) -> None:
    sections = predictor_report(
        file.load(predictor_path),
        "p",
        {"t": Table.open(table_folder)},
        Families.parse(["^wide=wide", ".*=other"]),
    )
    assert sections[1].title == "Predicted against measured"
    facts = dict(next(b for b in sections[1].blocks if isinstance(b, Facts)).items)
    (families,) = [b for b in blocks(sections) if isinstance(b, Grid) and b.header[0] == "family"]
    assert {row[0]: row[1] for row in families.rows} == {"wide": "6", "other": "7"}
    assert facts["networks"] == "13"
    assert facts["mean error"].endswith("%")
    scatter = next(b for b in blocks(sections) if isinstance(b, Chart) and b.title == "Networks")
    assert sum(len(one.x) for one in scatter.series) == 13
    assert all(len(one.low) == len(one.x) for one in scatter.series)


def test_one_family_is_left_out_in_parts(table_folder: Path) -> None:
    observations = observe(Table.open(table_folder))
    found = grouping(observations, Families.parse([".*=all"]))
    assert "all networks are of one family, all" in found.text
    assert len({found.of(network.name) for network in observations.networks}) == FOLDS
    by_family = grouping(observations, Families())
    assert by_family.of("wide_v2_4") == "wide_v2"


def test_a_table_of_another_target(predictor_path: Path, other_folder: Path) -> None:
    with pytest.raises(TargetMismatchError, match="threads is 2, not 1"):
        predictor_report(file.load(predictor_path), "p", {"t": Table.open(other_folder)})


def test_an_evaluation_of_nothing(table_folder: Path) -> None:
    observations = observe(Table.open(table_folder))
    found = Evaluation(observations.target, (), ())
    (section,) = evaluation_report(found, Grouping(str, "nothing"), "t")
    assert isinstance(section.blocks[-1], Text)
    assert section.blocks[-1].text == "Nothing was predicted."

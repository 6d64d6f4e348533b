from pathlib import Path

import pytest
from report_material import HOSTILE, TARGET, trials, write_study

from latlas.report.figure import Block, Chart, Drawing, Facts, Grid, Section, Text
from latlas.report.page import page
from latlas.report.study_report import hypervolume_curve, study_report, targets_of
from latlas.search.objectives import DEFAULT_OBJECTIVES, front_of
from latlas.search.study import Study


def blocks(sections: list[Section]) -> list[Block]:
    return [block for section in sections for block in section.blocks]


def charts(sections: list[Section]) -> dict[str, Chart]:
    return {block.title: block for block in blocks(sections) if isinstance(block, Chart)}


def test_a_study(study_folder: Path) -> None:
    sections = study_report(Study.open(study_folder), "s")
    facts = dict(next(b for b in blocks(sections) if isinstance(b, Facts)).items)
    assert facts["tried"] == "60, 3 of them failed"
    assert facts["latency_ms@gpu"] == str(TARGET)
    front = front_of(trials())
    assert facts["on the front"] == str(len(front))
    found = charts(sections)
    for title in ("Accuracy against latency", "Accuracy against latency on gpu"):
        tried, _, best = found[title].series
        assert len(tried.x) + len(best.x) == 57
        assert list(best.y) == [100 * trial.accuracy for trial in front]
        assert "genes " + ",".join(map(str, front[0].genes)) in best.texts[0]
    verified = found["Architectures found (latency_ms)"]
    assert sum(len(one.x) for one in verified.series) == 5
    drawings = [b for b in blocks(sections) if isinstance(b, Drawing)]
    assert 1 <= len(drawings) <= 6
    names = [layer.name for layer in drawings[0].layers]
    assert sum(name.startswith("MB") for name in names) == 14
    rows = next(b for b in blocks(sections) if isinstance(b, Grid) and b.header[1] == "accuracy")
    assert len(rows.rows) == len(front)


def test_hypervolume_never_falls() -> None:
    curve = hypervolume_curve(trials(), DEFAULT_OBJECTIVES)
    volumes = [volume for _, volume in curve]
    assert volumes == sorted(volumes)
    assert 0 <= volumes[0] < volumes[-1] <= 1
    assert curve[-1][0] == 60


def test_a_study_that_has_tried_nothing(tmp_path: Path) -> None:
    text = page("t", study_report(write_study(tmp_path / "s", []), "s"))
    assert "Nothing was tried yet." in text


def test_a_study_in_which_everything_failed(tmp_path: Path) -> None:
    failed = [trial for trial in trials() if trial.error]
    text = page("t", study_report(write_study(tmp_path / "s", failed), "s"))
    assert "No architecture is on the front" in text
    assert "No architecture was evaluated successfully." in text


def test_a_study_of_one_architecture(tmp_path: Path) -> None:
    sections = study_report(write_study(tmp_path / "s", trials()[:1]), "s")
    assert "Hypervolume of the front" not in charts(sections)
    page("t", sections)


@pytest.mark.parametrize("space", [None, HOSTILE, {"name": HOSTILE}, {"name": "moga"}])
def test_a_space_that_is_not_known(tmp_path: Path, space: object) -> None:
    sections = study_report(write_study(tmp_path / "s", trials()[:9], space=space), HOSTILE)
    warnings = [b.text for b in blocks(sections) if isinstance(b, Text) and b.warning]
    assert any(text.startswith("The architectures cannot be drawn") for text in warnings)
    text = page("t", sections)
    assert "<img" not in text
    assert text.count("<script") == 1


def test_settings_without_targets(tmp_path: Path) -> None:
    for number, latency in enumerate((None, [], {"target": TARGET.to_json()}, {"latency_ms": 3})):
        study = write_study(tmp_path / str(number), trials()[:5], latency=latency)
        assert list(targets_of(study)) == ["latency_ms"]
        study_report(study, "s")


def test_a_latency_cannot_lead_out_of_the_study(tmp_path: Path) -> None:
    metric = "latency_ms@/../../../table"
    study = write_study(tmp_path / "s", trials()[:5], latency={metric: {}})
    study_report(study, "s")

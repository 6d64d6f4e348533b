import re
from pathlib import Path

import pytest
from report_material import HOSTILE, TARGET, trials, write_study

from latlas.report.architecture_drawing import layers_of
from latlas.report.architecture_words import ArchitectureWords
from latlas.report.figure import Block, Chart, Drawing, Facts, Grid, Section, Text
from latlas.report.page import page
from latlas.report.study_report import hypervolume_curve, reward_of, study_report, targets_of
from latlas.search.objectives import DEFAULT_OBJECTIVES, front_of
from latlas.search.protocols import Trial
from latlas.search.rewards import (
    AbsoluteReward,
    AccuracyReward,
    MnasnetReward,
    Reward,
    identity_of,
)
from latlas.search.spaces import Space, open_space
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


def test_a_point_tells_its_architecture(study_folder: Path) -> None:
    found = charts(study_report(Study.open(study_folder), "s"))
    tried, _, best = found["Accuracy against latency"].series
    words = best.texts[0].split("\n")[-2]
    space = open_space("moga", resolution=32, classes=10)
    layers = [layer.name for layer in layers_of(space.decode(front_of(trials())[0].genes))]
    searched = [name for name in layers if name.startswith("MB")]
    told = [re.fullmatch(r"(.*?)(?: /2)?(?: \((\d) times\))?", word) for word in words.split(", ")]
    assert [m[1] for m in told if m for _ in range(int(m[2] or 1))] == searched
    # Once on either target, not in every chart, or the page would grow.
    text = page("t", study_report(Study.open(study_folder), "s"))
    assert text.count(words) == 2
    assert max(map(len, tried.texts)) < 400


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (open_space("nasnet", resolution=32, classes=10), "0 0 identity identity add, 0 0 "),
        (open_space("mnasnet", resolution=32, classes=10), "Conv 3×3"),
        (open_space("fairnas", resolution=32, classes=10), "MB3 3×3 /2, MB3 3×3 +, MB3"),
        (None, ""),
    ],
)
def test_words_of_every_space(space: Space | None, words: str) -> None:
    genes = (0,) * len(space.choices) if space else (0,)
    told = ArchitectureWords(space).of(genes)
    assert told.startswith(words)
    assert bool(told) == bool(words)
    assert ArchitectureWords(space).of((99,)) == ""


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


def test_the_reward_that_a_searcher_learns_from(tmp_path: Path) -> None:
    reward = AbsoluteReward(2.0)
    searcher = {"kind": "evolution", "reward": identity_of(reward)}
    study = write_study(tmp_path / "s", trials(), searcher=searcher)
    assert reward_of(study) == reward
    found = charts(study_report(study, "s"))["Reward"].series[0]
    expected = [reward(trial) for trial in trials() if not trial.error]
    assert list(found.y) == pytest.approx(expected)


@pytest.mark.parametrize(
    "reward", [MnasnetReward(75.0), MnasnetReward.hard(75.0), AccuracyReward()]
)
def test_rewards_are_read_from_settings(tmp_path: Path, reward: Reward) -> None:
    searcher = {"reward": identity_of(reward)}
    assert reward_of(write_study(tmp_path / "s", [], searcher=searcher)) == reward


@pytest.mark.parametrize(
    "identity",
    [None, 3, {}, {"kind": HOSTILE}, {"kind": "soft", "target": "x"}, {"kind": "soft", "a b": 1}],
)
def test_rewards_that_are_not_known(tmp_path: Path, identity: object) -> None:
    assert reward_of(write_study(tmp_path / "s", [], searcher={"reward": identity})) is None


@pytest.mark.parametrize("value", [1e308, -1e308, 1e-308, 0.0])
def test_impossible_figures_have_a_page(tmp_path: Path, value: float) -> None:
    good = trials()[:8]
    bad = [
        Trial(trial.genes, dict.fromkeys(trial.values, value), "", 0, 1e300)
        for trial in trials()[20:24]
    ]
    page("t", study_report(write_study(tmp_path / "s", good + bad), "s"))

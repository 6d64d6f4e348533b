"""``latlas fusion`` on this machine's CPU, whose rules are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from latlas.commands.fusion import main
from latlas.profiler.errors import UsageError
from latlas.profiler.fusion.bench import CampaignBench
from latlas.profiler.fusion.detect import Detection, DetectionSettings
from latlas.profiler.litert.local import LocalRunner
from latlas.profiler.progress import Progress
from latlas.profiler.runner import Effort

EXPECTED = {
    ("conv2d", "relu6"): "fused",
    ("conv2d", "hard_swish"): "not fused",
    ("depthwise_conv2d", "relu6"): "fused",
    ("add", "relu"): "not fused",
    ("pad", "conv2d"): "fused",
    ("conv2d", "reshape"): "fused",
    ("conv2d", "max_pool"): "not fused",
}


class Silent:
    """No display."""

    def update(self, n: int = 1) -> None: ...

    def set_postfix_str(self, text: str, refresh: bool = True) -> None: ...

    def close(self) -> None: ...


def silent(done: int, total: int) -> Progress:
    return Silent()


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words, catch_exceptions=False)


def test_xnnpack(tmp_path: Path) -> None:
    """No verdict is wrong, however busy the machine; benchmarks/fusion.py counts those found."""
    settings = DetectionSettings(rounds=5, more_rounds=5, elements=1 << 14, cases=1)
    effort = Effort(min_runs=20, min_ms=2.0, warmup_ms=1.0)
    with LocalRunner("cpu") as runner:
        bench = CampaignBench(runner, tmp_path / "table", effort=effort, progress=silent)
        found = Detection(bench, tuple(EXPECTED), settings).run()
    verdicts = {each.types: each.verdict for each in found.of("pair")}
    assert verdicts.keys() == EXPECTED.keys()
    decided = {pair: v for pair, v in verdicts.items() if v != "undecided"}
    assert decided
    assert decided == {pair: EXPECTED[pair] for pair in decided}  # type: ignore[index]
    assert {each.verdict for each in found.of("several readers")} <= {"not fused", "undecided"}


def test_detect_and_show(tmp_path: Path) -> None:
    path, table = tmp_path / "rules.toml", tmp_path / "table"
    words = ["detect", "--types", "conv2d,relu6", "--elements", "16384", "--rounds", "3"]
    words += ["--table", str(table), "-o", str(path), "--json"]
    document = json.loads(run(*words).stdout)
    assert document["target"]["backend"] == "xnnpack"
    pairs = {tuple(e["types"]) for e in document["evidence"] if e["case"] == "pair"}
    assert len(pairs) == 4
    shown: dict[str, Any] = json.loads(run("show", str(path), "--json").stdout)
    assert shown["version"] == document["version"]
    text = run("show", str(path)).stdout
    assert "conv2d" in text and document["version"].split()[0] in text


def test_unknown_types(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no sample of operators of type 'conv3d'"):
        run("detect", "--types", "conv2d,conv3d", "-o", str(tmp_path / "rules.toml"))

"""`latlas fusion detect` on a phone, and `latlas profile` by the rules that it found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from phone.conftest import LAST_CORE
from phone_lab.lab import LabPhone
from relaxed import relaxed

from latlas.cli import group
from latlas.profiler.fusion import rules_file
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.table import Table
from latlas.profiler.tflite.writer import to_tflite


def latlas(*arguments: object) -> None:
    assert not group.main([str(each) for each in arguments], standalone_mode=False)


@pytest.fixture(autouse=True)
def lenient() -> Iterator[None]:
    """How quiet this machine is is not tested here: verdicts are tests/cli/test_fusion.py's."""
    with relaxed():
        yield


def test_rules_that_were_found_on_a_phone(host_phone: LabPhone, tool: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    where = ("--device", host_phone.serial, "--cores", LAST_CORE, "--runner-binary", tool)
    little = ("--types", "conv2d,relu6", "--elements", 1 << 14, "--rounds", 3)
    latlas("fusion", "detect", *where, *little, "--table", tmp_path / "fusion", "-o", rules)
    found = rules_file.load(rules)
    assert (found.target.device, found.target.cores) == ("Google Pixel 6", LAST_CORE)
    pairs = {(a, b) for a in ("conv2d", "relu6") for b in ("conv2d", "relu6")}
    assert {each.types for each in found.of("pair")} == pairs

    b = GraphBuilder((1, 8, 8, 4))
    model = tmp_path / "m.tflite"
    model.write_bytes(to_tflite(b.build(b.conv(0, 8, 3, activation="relu6"))))
    command = ("profile", *where, "--fusion-rules", rules, "--models", model)
    short = ("--runs", 3, "--min-ms", 0.5, "--warmup-ms", 0, "--budget", "3s")
    latlas(*command, *short, "--table", tmp_path / "T")
    table = Table.open(tmp_path / "T" / f"cpu-{LAST_CORE}")
    assert table.header.fusion_rules == found.rules.version

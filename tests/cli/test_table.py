"""``latlas table`` as a user meets it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tables import TARGET, block, kernel, network, references, write

from latlas.commands.table import main
from latlas.profiler.errors import LatlasError, UsageError


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments], standalone_mode=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    noisy = kernel(2, 30.0, verdict="noisy", reason="shared")
    measurements = [kernel(1, 10.0), noisy, network("net", 90.0), *references(5.0, 5.1)]
    return write(tmp_path / "t", measurements, environment={"kernel": "6.18"}).folder


def test_show(folder: Path) -> None:
    text = run("show", folder).stdout
    for part in (str(TARGET), "kernel 6.18", "xnnpack-1", "reference kernel: 5.0 us", "2 conv2d"):
        assert part in text
    document = json.loads(run("show", folder, "--slowest", "1", "--json").stdout)
    assert document["units"] == {"kernel": {"stable": 1, "noisy": 1}, "network": {"stable": 1}}
    assert [each["median_us"] for each in document["slowest"]] == [30.0]
    assert document["target"] == TARGET.to_json()


def test_merge_and_diff(folder: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "u", [kernel(7, 10.0), *references(6.0)]).folder
    done = run("merge", folder, other, "-o", tmp_path / "both", "--json")
    assert json.loads(done.stdout)["measurements"] == 4
    assert "18.8% slower" in done.stderr or "18.7% slower" in done.stderr
    done = run("diff", folder, tmp_path / "both")
    assert done.return_value == 0
    assert "targets: the same" in done.stdout
    assert "compared: 3; only in the first table: 0; only in the second: 1" in done.stdout


def test_merging_two_targets_is_refused(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "u", [kernel(7, 10.0)], replace(TARGET, threads=2))
    done = run("merge", folder, tmp_path / "u", "-o", tmp_path / "both")
    assert isinstance(done.exception, LatlasError)
    assert "threads: 1 against 2" in str(done.exception)


def test_fail_above(tmp_path: Path) -> None:
    levels = references(*(100.0 + 0.1 * i for i in range(10)))
    networks = [network(f"n{i}", 100.0 * i) for i in range(1, 20)]
    worse = [network(f"n{i}", (110.0 if i == 7 else 100.0) * i) for i in range(1, 20)]
    write(tmp_path / "a", [*networks, *levels])
    write(tmp_path / "b", [*worse, *levels])
    done = run("diff", tmp_path / "a", tmp_path / "b", "--fail-above", "5%")
    assert done.return_value == 1
    assert "network n7 is +10.0% slower, more than 5.0%" in done.stderr
    assert "slower  before us  after us  change" in done.stdout
    assert run("diff", tmp_path / "a", tmp_path / "b", "--fail-above", "0.15").return_value == 0
    assert run("diff", tmp_path / "b", tmp_path / "a", "--fail-above", "5%").return_value == 0
    document = json.loads(run("diff", tmp_path / "a", tmp_path / "b", "--json").stdout)
    assert [each["name"] for each in document["slower"]] == ["n7"]
    assert document["relative"] is True


def test_blocks_are_told_apart(tmp_path: Path) -> None:
    levels = references(*(100.0 + 0.1 * i for i in range(10)))
    windows = range(3, 30, 2)
    write(tmp_path / "a", [*(block(100.0, window) for window in windows), *levels])
    failed = replace(block(1.0, 5, verdict="failed", reason="crashed"), summary=None, samples_us=())
    worse = [block(150.0 if window == 7 else 100.0, window) for window in windows if window != 5]
    write(tmp_path / "b", [*worse, failed, *levels])
    done = run("diff", tmp_path / "a", tmp_path / "b", "--fail-above", "5%")
    assert "block MB3 7×7, relu, 8×8×8 to 8×8×8 is +50.0% slower" in done.stderr
    assert "block:MB3 5×5, relu, 8×8×8 to 8×8×8 no longer runs: failed: crashed" in done.stderr
    (slower,) = json.loads(run("diff", tmp_path / "a", tmp_path / "b", "--json").stdout)["slower"]
    assert slower["name"] == block(1.0, 7).graph
    text = run("show", tmp_path / "b", "--slowest", "1").stdout
    assert "MB3 7×7, relu, 8×8×8 to 8×8×8" in text
    assert "block MB3 5×5, relu, 8×8×8 to 8×8×8: failed: crashed" in text


@pytest.mark.parametrize("share", ["much", "-5%", "nan", "5%%"])
def test_what_is_no_share(folder: Path, share: str) -> None:
    done = run("diff", folder, folder, "--fail-above", share)
    assert "5% or 0.05" in str(done.exception)


def test_export(folder: Path, tmp_path: Path) -> None:
    assert "wrote" in run("export", folder, "-o", tmp_path / "t.csv").stdout
    assert (tmp_path / "t.csv").read_text().count("\n") == 6
    done = run("export", folder, "-o", tmp_path / "lut.yaml", "--json")
    assert json.loads(done.stdout)["entries"] == 2
    assert "Conv_1-input:8x8x1-output:8x8x4" in json.loads((tmp_path / "lut.yaml").read_text())
    done = run("export", folder, "-o", tmp_path / "t.xml")
    assert isinstance(done.exception, UsageError)
    assert "proxylessnas" in str(done.exception)

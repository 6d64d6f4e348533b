"""``latlas report`` as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from report_material import HOSTILE, NETWORKS, trials, write_study, write_table

from latlas.profiler.tflite.writer import to_tflite


def latlas(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "latlas", "report", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=250)


def fail(*arguments: object) -> str:
    done = latlas(*arguments)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_page_and_figures_of_all_that_is_given(tmp_path: Path) -> None:
    write_table(tmp_path / "a")
    write_study(tmp_path / "s", trials()[:20])
    model = tmp_path / "m.tflite"
    model.write_bytes(to_tflite(NETWORKS["plain_4"]))
    page, figures = tmp_path / "out/report.html", tmp_path / "png"
    done = latlas(
        *(tmp_path / "a", tmp_path / "s", "--model", model),
        *("-o", page, "--png", figures, "--json"),
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["page"] == str(page)
    assert sorted(document["figures"]) == sorted(map(str, figures.iterdir()))
    text = page.read_text()
    for subject in (f"Model {model}", f"Study {tmp_path}/s", f"Table {tmp_path}/a"):
        assert subject in text
    assert HOSTILE not in text
    assert "<img" not in text


def test_what_cannot_be_reported(tmp_path: Path) -> None:
    table = tmp_path / "a"
    write_table(table)
    model = tmp_path / "m.tflite"
    model.write_bytes(to_tflite(NETWORKS["plain_4"]))
    page = tmp_path / "p.html"
    assert "-o PAGE.html" in fail(table)
    assert "is no table (journal.jsonl), no study" in fail(tmp_path, "-o", page)
    assert "give it with --model" in fail(model, "-o", page)
    assert "--table says what predictors are evaluated on" in fail(
        table, "--table", table, "-o", page
    )
    study = tmp_path / "s"
    write_study(study, [])
    assert "--model needs a table" in fail(study, "--model", model, "-o", page)
    assert not page.exists()

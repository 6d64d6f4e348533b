"""`latlas search` with a phone as its latency oracle, and `latlas verify` on it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from phone_lab.lab import LabPhone

from latlas.profiler.table import Table
from latlas.search.study import Study


def latlas(folder: Path, *arguments: object) -> Any:
    """Run a command in a folder; return its document."""
    command = [sys.executable, "-m", "latlas", *map(str, arguments), "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def search(folder: Path, tool: Path, latency: str) -> Any:
    (folder / "own.py").write_text("def accuracy(genes):\n    return sum(genes) / 200\n")
    return latlas(
        folder,
        *("search", "--resolution", 32, "--classes", 10, "--population", 4, "--evaluations", 6),
        *("--latency", latency, "--accuracy", "own:accuracy", "--runner-binary", tool),
        *("-o", folder / "study"),
    )


def test_a_phone_measures_every_candidate_and_what_was_found(
    host_phone: LabPhone, tool: Path, tmp_path: Path
) -> None:
    document = search(tmp_path, tool, f"device:{host_phone.serial}/cpu")
    assert document["targets"]["latency_ms"]["device"] == "Google Pixel 6"
    history = Study.open(tmp_path / "study").history
    assert len(history) == 6 and not any(trial.error for trial in history)
    assert all(trial.latency_ms > 0 and trial.seconds > 0 for trial in history)
    # Done already: the phone is asked for nothing.
    before = (tmp_path / "study" / "history.jsonl").read_bytes()
    search(tmp_path, tool, f"device:{host_phone.serial}/cpu")
    assert (tmp_path / "study" / "history.jsonl").read_bytes() == before
    # One of its front, measured as a whole.
    command = ("verify", tmp_path / "study", "--device", host_phone.serial, "--most", 1)
    (verified,) = latlas(tmp_path, *command, "--runner-binary", tool)["networks"]
    table = Table.open(tmp_path / "study" / "verify")
    assert table.target.to_json() == document["targets"]["latency_ms"]
    (measured,) = [m for m in table.measurements if m.unit == "network"]
    assert measured.id == "network:" + "-".join(map(str, verified["genes"]))
    assert measured.summary is not None and measured.summary.median_us > 0

"""`latlas search` with a phone as its latency oracle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from phone_lab.lab import LabPhone

from latlas.search.study import Study


def search(folder: Path, tool: Path, latency: str, *others: object) -> Any:
    (folder / "own.py").write_text("def accuracy(genes):\n    return sum(genes) / 200\n")
    command = [
        *(sys.executable, "-m", "latlas", "search", "--resolution", "32", "--classes", "10"),
        *("--latency", latency, "--accuracy", "own:accuracy", "--runner-binary", str(tool)),
        *("-o", str(folder / "study"), "--population", "4", "--evaluations", "6", "--json"),
    ]
    done = subprocess.run(
        [*command, *map(str, others)], cwd=folder, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_phone_measures_every_candidate(host_phone: LabPhone, tool: Path, tmp_path: Path) -> None:
    document = search(tmp_path, tool, f"device:{host_phone.serial}/cpu")
    assert document["targets"]["latency_ms"]["device"] == "Google Pixel 6"
    history = Study.open(tmp_path / "study").history
    assert len(history) == 6 and not any(trial.error for trial in history)
    assert all(trial.latency_ms > 0 and trial.seconds > 0 for trial in history)
    # Done already: the phone is asked for nothing.
    before = (tmp_path / "study" / "history.jsonl").read_bytes()
    search(tmp_path, tool, f"device:{host_phone.serial}/cpu")
    assert (tmp_path / "study" / "history.jsonl").read_bytes() == before

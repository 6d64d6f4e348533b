"""What docs/ shows for clusters runs, on a Ray cluster of this machine with the tests' phone.

Commands run one after the other in namespaces of their own, because `ray stop` ends every Ray that
it sees, and because Ray wants to be reached under an address of the network, where there is one.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import sys
from pathlib import Path

import pytest
from components import require
from phone.conftest import ABI
from phone_lab.apart import run_apart
from phone_lab.lab import best_daemon, missing
from pictures import write_cifar10
from running import COMMANDS, NEEDS_A_CLUSTER, Prototypes, command_text, read_by
from shown import ROOT, shell_commands

from latlas.profiler.litert.local import GpuProbe

GUIDE = ROOT / "docs" / "clusters.md"
RAY = "--node-ip-address 127.0.0.1 --num-cpus 2 --object-store-memory 80000000"
LITTLE = (
    # what a command begins with, options that make it short
    ("ray start", RAY),
    ("ray start --head", "--include-dashboard false"),
    ("ray start --address", "--num-gpus 2"),
    ("ray stop", "--force"),
    ("latlas search", "--workers 2 --evaluations 2 --epochs 1"),
    ("latlas search --ray", "--evaluations 1 --set N=1 --set F=8"),
)


def shown() -> list[str]:
    """Return the guide's commands but the installation, and before them those of other pages."""
    guide = [command_text(each) for each in shell_commands(GUIDE)]
    others = [text for text in COMMANDS if re.search(NEEDS_A_CLUSTER, text) and text not in guide]
    return others + [text for text in guide if not text.startswith("pip ")]


@pytest.mark.timeout(600)
def test_clusters(
    gpu: GpuProbe,
    runner: None,
    prototypes: Prototypes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require("Ray", importlib.util.find_spec("ray") is not None, "pip install 'latlas[cluster]'")
    reason = missing(best_daemon())
    require("a phone on this machine", not reason, reason)
    here = {
        "HOST": "127.0.0.1",
        "0A1B": "SERIAL",
        "/data/": f"{tmp_path}/data/",
        "/shared/": f"{tmp_path}/",
    }
    write_cifar10(tmp_path / "data" / "cifar10")
    lines = []
    for text in shown():
        prototypes.put(read_by(shlex.split(text)), tmp_path)
        more = [options for start, options in LITTLE if text.startswith(start)]
        for there, instead in here.items():
            text = text.replace(there, instead)
        lines.append(" ".join([text, *more]))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    done = run_apart("\n".join(lines), tmp_path, ABI)
    assert done.returncode == 0, f"{done.stderr[-3000:]}\n{done.stdout[-3000:]}"
    for study, count in (("many", 2), ("second", 1)):
        history = tmp_path / "studies" / study / "history.jsonl"
        assert history.read_text().count("\n") == count, study

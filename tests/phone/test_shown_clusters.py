"""What docs/ shows for clusters runs, on a Ray cluster of this machine with the tests' phone.

Commands run one after the other in namespaces of their own, because `ray stop` ends every Ray that
it sees, and because Ray wants to be reached under an address of the network, where there is one.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import pytest
from components import require_ray
from phone.conftest import ABI, require_phone
from phone_lab.apart import run_apart
from pictures import write_cifar10
from running import COMMANDS, NEEDS_A_CLUSTER, Prototypes, command_text, read_by
from shown import ROOT, shell_commands

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


def walked() -> list[str]:
    """Return the guide's commands but the installation, and before them those of other pages.

    Those of other pages need no cluster that is there already.
    """
    guide = [command_text(each) for each in shell_commands(GUIDE)]
    others = [text for text in COMMANDS if re.search(NEEDS_A_CLUSTER, text) and text not in guide]
    return others + [text for text in guide if not text.startswith("pip ")]


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("runner", "gpu")
def test_clusters(
    prototypes: Prototypes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_ray()
    require_phone()
    here = {
        "HOST": "127.0.0.1",
        "0A1B": "SERIAL",
        "/data/": f"{tmp_path}/data/",
        "/shared/": f"{tmp_path}/",
    }
    write_cifar10(tmp_path / "data" / "cifar10")
    lines = []
    for text in walked():
        prototypes.put(read_by(shlex.split(text)), tmp_path)
        more = [options for start, options in LITTLE if text.startswith(start)]
        line = " ".join([text, *more])
        for there, instead in here.items():
            line = line.replace(there, instead)
        lines.append(line)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    done = run_apart("\n".join(lines), tmp_path, ABI)
    assert done.returncode == 0, f"{done.stderr[-3000:]}\n{done.stdout[-3000:]}"
    for study, count in (("many", 2), ("second", 1)):
        history = tmp_path / "studies" / study / "history.jsonl"
        assert history.read_text().count("\n") == count, study

"""Every command of the docs that runs a benchmark runs, on little.

It is a process of its own, in a folder where small real things lie under the names that the docs
use: a table is TABLE or tables/…, a folder of models FOLDER, the recordings of phones DATA.
"""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import dropwhile
from pathlib import Path

import pytest
import relaxed
from components import require
from running import COMMANDS, Prototypes, read_by
from shown import ROOT

from latlas.profiler.litert.local import GpuProbe

DATA = ROOT.parent / "shared" / "phone_data"
LITTLE = {
    # by benchmark, options that make it short
    "accuracy": "--processes 1",
    "active": "--seeds 1 --rounds 1",
    "analytic": "--seeds 1 --front-seeds 1 --space moga",
    "campaign": "--kernels 10",
    "digits": "--latency any.latlas --space moga --evaluations 2 --seeds 1 --folds 2 1 --report 2 1"
    " --epochs 1",
    "few_shot": "--draws 1 --samples 10",
    "fronts": "--architectures 4 --resolution 32 --passes 1",
    "fusion": "--rounds 1",
    "granularity": "--resolution 32 --networks 6 --held-out 3 --runs 3 --min-ms 0.2",
    "keras_files": "--only mobilenet_v1_0.25",
    "keras_models": "--processes 1 --seconds 1",
    "kernel_tables": "--family mobilenet_v1 --draws 0",
    "nasbench201": "--draws 1 --cells 50",
    "phone": "--kernels 5 --kills 1",
    "phone_agreement": "--kernels 5",
    "phone_data": "",
    "prediction": "--graphs 20 --naive 4 --files 2 --genes 2000",
    "search_overhead": "",
    "startup": "--repeats 1",
    "supernet_ranking": "--architectures 2 --seeds 1 --epochs-alone 1 --epochs 1",
    "writing": "--repeats 1",
    "zdt": "--seeds 1",
}
SHOWN = {
    text: found[1]
    for text in COMMANDS
    if (found := re.search(r"python benchmarks/(\w+)\.py", text))
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("text", SHOWN)
def test_command(text: str, prototypes: Prototypes, tmp_path: Path, vulkan: GpuProbe) -> None:
    words = list(dropwhile(re.compile("[A-Z_]+=").match, COMMANDS[text].words))
    assert SHOWN[text] in LITTLE, "say in LITTLE which options make it short"
    words += LITTLE[SHOWN[text]].split()
    if "DATA" in words:
        require("phone_data", DATA.is_dir(), "put shared/ beside the checkout")
        words[words.index("DATA")] = str(DATA)
    prototypes.put(read_by(words[1:]), tmp_path)
    command = [sys.executable, relaxed.__file__, ROOT / words[1], *words[2:]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout

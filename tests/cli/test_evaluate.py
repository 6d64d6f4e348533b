"""``latlas evaluate`` as a user meets it, on a table of small made-up networks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from latlas.profiler.count import count
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.kernel import Kernel, split
from latlas.profiler.measurement import Measurement, measurement_from
from latlas.profiler.runner import OpTime, Result
from latlas.profiler.statistics import NoiseGate, judge
from latlas.profiler.table import TableWriter
from latlas.profiler.target import Target
from latlas.profiler.tflite.writer import to_tflite

TARGET = Target("a phone", "litert 2.3.0", "cpu", "xnnpack")
RULES = rules_for("cpu")
METRICS = {"n", "mape", "rmspe", "within5", "within10", "spearman", "bias"}


def network(width: int, *, window: int, pool: bool = False) -> Graph:
    b = GraphBuilder((1, 24, 24, 3))
    x = b.conv(0, width, window, stride=2, activation="relu6")
    for factor in (1, 2, 3):
        x = b.conv(x, factor * width, window, activation="relu6")
    if pool:
        x = b.max_pool(x, 3)
    return b.build(b.fully_connected(b.reshape(x, (1, 12 * 12 * 3 * width)), 10))


NETWORKS = {
    **{f"plain_{width}": network(width, window=3) for width in range(4, 16, 2)},
    **{f"wide_v2_{width}": network(width, window=5) for width in range(4, 16, 2)},
    "pooled": network(8, window=3, pool=True),
}


def kernel_us(kernel: Kernel) -> float:
    return 5 + count(kernel.graph).madds / 20_000


def measure(graph: Graph, unit: str, name: str) -> Measurement:
    kernels = split(graph, RULES)
    total_us = 1.1 * sum(map(kernel_us, kernels))
    ops = [OpTime(kernel.type, kernel_us(kernel)) for kernel in kernels if RULES.operators(kernel)]
    result = Result(f"{unit}:{name}", (total_us,) * 5, tuple(ops) if unit == "network" else ())
    verdict = judge(result, NoiseGate(spread=1.0, drift=1.0))
    return measurement_from(
        result, verdict, attempt=1, unit=unit, name=name, graph=graph.to_text(), at_s=0.0
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables") / "T"
    kernels = {k for graph in NETWORKS.values() for k in split(graph, RULES)}
    measurements = [
        *(measure(graph, "network", name) for name, graph in NETWORKS.items()),
        *(measure(k.graph, "kernel", k.text) for k in sorted(kernels, key=lambda k: k.text)),
    ]
    with TableWriter(folder, TARGET, fusion_rules=RULES.version) as writer:
        for measurement in measurements:
            writer.append_provisional(measurement)
        writer.accept(measurements)
    return folder


def latlas(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "latlas", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=250)


def succeed(*arguments: object) -> Any:
    done = latlas(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def fail(*arguments: object, status: int) -> str:
    done = latlas(*arguments)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_leaving_out_families(table: Path, tmp_path: Path) -> None:
    plot = tmp_path / "p.png"
    found = succeed("evaluate", table, "--family", "^wide=wide", "--plot", plot)
    assert plot.read_bytes()[1:4] == b"PNG"
    assert found["target"] == TARGET.to_json()
    assert found["leave_out"] == "family"
    assert found["kernels"] == "shared"
    assert found["predictor"] is None
    assert {name: each["n"] for name, each in found["families"].items()} == {"plain": 6, "wide": 6}
    assert all(set(each) == METRICS | {"coverage"} for each in found["families"].values())
    assert found["overall"]["n"] == len(found["networks"]) == 12
    assert found["overall"]["spearman"] > 0.5
    convolutions = found["kernel_types"]["conv2d"]
    assert set(convolutions["metrics"]) == METRICS
    assert convolutions["metrics"]["n"] == convolutions["predicted"] > 0
    for each in found["networks"]:
        assert each["error"] == pytest.approx(each["latency_ms"] / each["measured_ms"] - 1)
        assert each["family"] == each["name"].partition("_")[0]
    errors = [abs(each["error"]) for each in found["worst"]]
    assert len(errors) == 5
    assert errors == sorted(errors, reverse=True)
    # Only this one has a kernel of its type: without it nothing is known about pooling.
    (refused,) = found["refused"]
    assert refused["name"] == "pooled"
    assert len(refused["unknown"]) == 1
    assert "pool" in refused["unknown"][0]


def test_words_for_people(table: Path, tmp_path: Path) -> None:
    for name in ("wide_v2_4", "pooled"):
        (tmp_path / f"{name}.tflite").write_bytes(to_tflite(NETWORKS[name]))
    done = latlas(
        *("evaluate", table, "--leave-out", "network", "--models", tmp_path, "--worst", 1),
        *("--kernels", "predicted"),
    )
    assert done.returncode == 0, done.stderr
    assert "wide_v2 " in done.stdout
    assert "every network left out in turn" in done.stdout
    assert "none of its kernels known" in done.stdout
    assert "refused: pooled has 1 unknown kernel(s)" in done.stdout
    assert "conv2d" in done.stdout
    assert "~" not in done.stdout
    done = latlas(
        *("evaluate", table, "--leave-out", "network", "--models", tmp_path, "--worst", 2),
        *("--kernels", "predicted", "--accept-unknown"),
    )
    assert re.search(r"^pooled +\S+ +\S+ +~", done.stdout, re.MULTILINE)
    assert not re.search(r"^wide_v2_4 .*~", done.stdout, re.MULTILINE)
    assert "kernels of 1 network(s)" in done.stdout


def test_a_predictor_and_models(table: Path, tmp_path: Path) -> None:
    predictor = tmp_path / "p.latlas"
    succeed("fit", table, "-o", predictor)
    models = tmp_path / "models"
    models.mkdir()
    for name in ("plain_4", "pooled"):
        (models / f"any_name_of_{name}.tflite").write_bytes(to_tflite(NETWORKS[name]))
    found = succeed("evaluate", table, "--predictor", predictor, "--models", models)
    assert (found["leave_out"], found["kernels"]) == ("none", None)
    assert found["predictor"] == str(predictor)
    assert [each["name"] for each in found["networks"]] == ["plain_4", "pooled"]
    assert found["refused"] == []
    (models / "new.tflite").write_bytes(to_tflite(network(5, window=3)))
    line = fail("evaluate", table, "--models", models, status=2)
    assert "new.tflite" in line
    assert "latlas profile --models" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--family", "no rule"), "REGEX=NAME"),
        (("--family", ".*=all"), "--leave-out network"),
        (("--predictor", "p.latlas", "--leave-out", "family"), "as it is"),
        (("--leave-out", "none", "--kernels", "measured"), "--kernels"),
        (("--leave-out", "nobody"), "--leave-out"),
    ],
)
def test_wrong_usage(table: Path, arguments: tuple[str, ...], words: str) -> None:
    assert words in fail("evaluate", table, *arguments, status=2)


def test_what_is_no_table_or_no_predictor(table: Path, tmp_path: Path) -> None:
    assert "is not a latency table" in fail("evaluate", tmp_path, status=1)
    line = fail("evaluate", table, "--predictor", tmp_path / "none.latlas", status=1)
    assert "latlas fit" in line

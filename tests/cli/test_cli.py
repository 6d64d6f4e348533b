"""The command line as a user meets it: in a process of its own."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema
from click.testing import CliRunner
from edited_models import with_dynamic_axes

from latlas.cli import COMMANDS, group
from latlas.predictor import file
from latlas.predictor.calibration import Calibration
from latlas.predictor.predictor import LatencyPredictor
from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.kernel import split
from latlas.profiler.quantise import quantise
from latlas.profiler.table import JOURNAL, Table, TableWriter
from latlas.profiler.target import Target
from latlas.profiler.tflite.writer import to_tflite
from latlas.search import zoo

TARGET = Target("a phone", "litert 2.3.0", "cpu", "xnnpack")

# What a busy machine does to measurements is tested elsewhere; here every figure is good enough.
LENIENT = """
import functools, latlas.predictor.observations, latlas.profiler.campaign as campaign
latlas.predictor.observations.PASSES_AGREE = 1e9
campaign.CampaignSettings = functools.partial(
    campaign.CampaignSettings, max_attempts=1, patience_s=0.0, throttle=1e9, spread_floor=1e9,
    drift_floor=1e9, cpu_share=0.0, check_every_jobs=200,
)
from latlas.cli import main
main()
"""


def latlas(
    *arguments: object,
    cwd: Path | None = None,
    code: str = "",
    env: Mapping[str, str] | None = None,
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    start = ["-c", code] if code else ["-m", "latlas"]
    return subprocess.run(
        [sys.executable, *start, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        text=True,
        timeout=250,
        **({"capture_output": True} | options),
    )


def succeed(*arguments: object, **options: Any) -> Any:
    """Run a command with ``--json`` and return its document."""
    done = latlas(*arguments, "--json", **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def fail(*arguments: object, status: int = 1, **options: Any) -> str:
    """Run a command that must fail with one clear line; return it."""
    done = latlas(*arguments, **options)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("latlas: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "small.tflite"
    path.write_bytes(to_tflite(fold(zoo.build("mobilenet_v3_small", 32, 10))))
    return path


@pytest.fixture(scope="module")
def predictor(model: Path) -> Path:
    """A predictor that knows the kernels of the model, and nothing else."""
    graph = fold(zoo.build("mobilenet_v3_small", 32, 10))
    table_us = dict.fromkeys(split(graph, rules_for("cpu")), 10.0)
    calibration = Calibration(1.0, 0.0, 5.0, 0.1, 9)
    path = model.parent / "p.latlas"
    version = rules_for("cpu").version
    file.save(LatencyPredictor(TARGET, version, table_us, {}, {}, calibration), path)
    return path


def test_help_answers_without_the_heavy_libraries() -> None:
    heavy = "{'tensorflow', 'keras', 'numpy', 'sklearn', 'scipy', 'ai_edge_litert', 'matplotlib'}"
    code = f"""
import atexit, sys
atexit.register(lambda: print(sorted({heavy} & set(sys.modules)), file=sys.stderr))
from latlas.cli import main
main()
"""
    done = latlas("--help", code=code)
    assert done.returncode == 0
    assert done.stderr.strip() == "[]"
    assert all(name in done.stdout for name in COMMANDS)


def test_planning_and_predicting_do_not_load_tensorflow(model: Path, predictor: Path) -> None:
    code = """
import atexit, sys
atexit.register(lambda: print({'tensorflow', 'keras'} & set(sys.modules), file=sys.stderr))
from latlas.cli import main
main()
"""
    for arguments in (
        ("profile", "--models", model, "--plan"),
        ("predict", model, "--with", predictor),
    ):
        done = latlas(*arguments, code=code)
        assert done.returncode == 0, done.stderr
        assert done.stderr.strip() == "set()"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    done = latlas(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage:")
    assert f"\n  latlas {command}" in done.stdout  # an example
    assert not done.stderr


def test_every_command_shows_an_example() -> None:
    def walk(command: click.Command, words: str, context: click.Context) -> list[str]:
        if not isinstance(command, click.Group):
            return [words]
        found = [] if words == "latlas" else [words]
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            found += walk(below, f"{words} {name}", context)
        return found

    names = walk(group, "latlas", click.Context(group))
    assert {"latlas search export", "latlas fusion show", "latlas table diff"} <= set(names)
    for words in names:
        done = CliRunner().invoke(group, [*words.split()[1:], "--help"])
        assert re.search(rf"\n  {words}\b", done.stdout), f"{words} --help shows no example"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    code = "import sys; sys.argv = ['latlas']; from latlas.cli import main; main()"
    done = latlas(code=code, env={"_LATLAS_COMPLETE": f"{shell}_source"})
    assert "_LATLAS_COMPLETE" in done.stdout, done.stderr
    asked = {"COMP_WORDS": "latlas predi", "COMP_CWORD": "1"}
    done = latlas(code=code, env={**asked, "_LATLAS_COMPLETE": "bash_complete"})
    assert done.stdout == "plain,predict\n"


def test_what_is_no_terminal_gets_no_colours(model: Path, predictor: Path) -> None:
    for arguments in (("zoo",), ("predict", model, "--with", predictor), ("nonsense",)):
        for env in ({}, {"NO_COLOR": "1"}):
            done = latlas(*arguments, env=env)
            assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_what_is_a_terminal_gets_colours_unless_it_wants_none(
    no_color: str, coloured: bool
) -> None:
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "latlas", "zoo", "mobilenet_v9"]
    process = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=its, env=os.environ | {"NO_COLOR": no_color}
    )
    os.close(its)
    said = os.read(ours, 4096)
    os.close(ours)
    assert process.returncode == 2 and b"mobilenet_v9" in said
    assert (b"\x1b[31m" in said) == coloured and b"\x1b" not in process.stdout


def test_version() -> None:
    done = latlas("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("latlas ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("zoo", "--nonsense"),
        ("zoo", "mobilenet_v9"),
        ("zoo", "--tflite", "x.tflite"),
        ("zoo", "--resolution", "0"),
        ("bench",),
        ("predict", "x.tflite"),
        ("fit",),
        ("profile",),
        ("profile", "--space", "moga"),
        ("profile", "--space", "nothing", "--plan"),
        ("profile", "--space", "general", "--resolution", "96", "--plan"),
        ("profile", "--space", "moga", "--granularity", "block", "--rounds", "2", "--plan"),
        ("profile", "--space", "moga", "--granularity", "block", "--no-vocabulary", "--plan"),
        ("profile", "--space", "moga", "--plan", "--budget", "soon"),
        ("profile", "--space", "moga", "--plan", "--patience", "endless"),
        ("profile", "--models", ".", "--plan"),
        ("bench", "x.tflite", "--delegate", "npu"),
        ("search", "--latency", "x.latlas", "-o", "s", "--weights", "2:2"),
        ("search", "--latency", "x.latlas", "-o", "s", "--weights", "nan:1:1"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = latlas(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    assert not list(tmp_path.iterdir())


def test_a_phone_without_an_adb_server(model: Path) -> None:
    assert "apt-get install adb" in fail("bench", model, "--device", "pixel")


def test_zoo(tmp_path: Path) -> None:
    found = succeed("zoo")["networks"]
    assert [each["name"] for each in found] == list(zoo.names(variants=True))
    published = found[1].pop("published")
    assert (published[0]["params"], published[0]["madds"]) == (3_400_000, 300_000_000)
    assert found[1] | {"source": ""} == {
        "name": "mobilenet_v2",
        "params": 3_504_872,
        "madds": 300_774_272,
        "se_madds": 0,
        "resolution": 224,
        "classes": 1000,
        "source": "",
    }
    path = tmp_path / "new" / "m.tflite"
    arguments = ("zoo", "mobilenet_v2", "--tflite", path, "--resolution", 32, "--classes", 7)
    (one,) = succeed(*arguments)["networks"]
    assert (one["resolution"], one["classes"]) == (32, 7)
    assert path.read_bytes()[4:8] == b"TFL3"
    assert [p.name for p in path.parent.iterdir()] == ["m.tflite"]
    assert not one["published"]  # which is for another resolution


def test_zoo_by_name() -> None:
    found = succeed("zoo", "mnasnet_a1_*_96")["networks"]
    assert [each["name"] for each in found] == [
        f"mnasnet_a1_{width}_96" for width in ("1.4", "1.0", "0.75", "0.5", "0.35")
    ]
    (detector,) = succeed("zoo", "moga_a_ssdlite_320")["networks"]
    assert (detector["classes"], detector["published"]) == (90, [])
    text = latlas("zoo", "mobilenet_v3_small").stdout
    assert "TF-Slim's tables: 2,500,000 params, 56,000,000 multiply-adds, conflicting;" in text
    assert "no network of the zoo is like 'vgg*'" in fail("zoo", "vgg*", status=2)
    assert "takes one network" in fail(*("zoo", "mobilenet_v2*", "--tflite", "x.tflite"), status=2)


def test_bench(model: Path) -> None:
    document = succeed("bench", model, "--ops", "--runs", 3, "--min-ms", 1)
    assert set(document) == {"target", "environment", "results"}
    assert document["target"]["delegate"] == "cpu"
    (result,) = document["results"]
    assert set(result) == {
        *("model", "latency_ms", "p05_ms", "p95_ms", "min_ms", "runs", "init_ms", "cpu_share"),
        *("ops", "int8", "peak_memory_mb"),
    }
    assert result["peak_memory_mb"] > model.stat().st_size / 2**20
    assert result["model"] == str(model)
    assert result["runs"] >= 3
    assert 0 < result["min_ms"] <= result["latency_ms"] <= result["p95_ms"]
    assert all(set(op) == {"name", "mean_us"} for op in result["ops"])
    assert len(result["ops"]) > 20


def test_bench_of_a_folder_and_of_open_inputs(tmp_path: Path) -> None:
    b = GraphBuilder((1, 64, 64, 32))
    file = to_tflite(b.build(b.conv(b.conv(0, 32, 3), 32, 3)))
    folder = tmp_path / "m"
    (folder / "inner").mkdir(parents=True)
    paths = [folder / "a.tflite", folder / "inner" / "b.tflite"]
    paths[0].write_bytes(file)
    paths[1].write_bytes(with_dynamic_axes(file, (1, 2)))
    short = ("--runs", 3, "--min-ms", 1)
    assert "--input-shape 1,224,224,32" in fail("bench", folder, *short)
    large, small = (
        succeed("bench", path, *short, "--input-shape", f"1,{size},{size},32")["results"]
        for path, size in ((folder, 64), (paths[1], 8))
    )
    assert [each["model"] for each in large] == list(map(str, paths))
    assert small[0]["min_ms"] < large[1]["min_ms"] / 4
    wrong = fail("bench", folder, "--input-shape", "8,x", status=2)
    assert "--input-shape takes numbers" in wrong


def test_a_plan(model: Path) -> None:
    plan = succeed("profile", "--models", model, "--plan")["plan"]
    assert set(plan) == {
        *("measured", "jobs", "kernels", "minutes", "storage_bytes", "coverage", "left_out"),
    }
    assert plan["jobs"]["network"] == 1
    assert plan["coverage"] == {"by_count": 1.0, "by_madds": 1.0}
    assert plan["left_out"] == []
    own = succeed("profile", "--models", model, "--plan", "--no-vocabulary")["plan"]
    assert own["jobs"]["kernel"] < 100 < plan["jobs"]["kernel"]
    assert own["coverage"] == plan["coverage"]
    cut = succeed("profile", "--models", model, "--plan", "--budget", "1s")["plan"]
    assert cut["left_out"]
    assert cut["coverage"]["by_count"] == 1  # the network shows them all
    gpu = succeed("profile", "--models", model, "--plan", "--budget", "1s", "--delegate", "gpu")
    assert gpu["plan"]["coverage"]["by_count"] < 1
    none = succeed("profile", "--space", "moga", "--networks", 0, "--plan")["plan"]
    assert "network" not in none["jobs"]


def test_a_plan_of_general_networks() -> None:
    general = ("profile", "--space", "general", "--networks", 3, "--plan")
    plan = succeed(*general, "--samples", 20)["plan"]
    assert plan["jobs"]["network"] == 3
    assert plan["coverage"] == {"by_count": 1.0, "by_madds": 1.0}  # in context, if not alone
    more = succeed(*general, "--delegate", "cpu,gpu")["plans"]
    assert more["gpu"]["jobs"]["kernel"] > more["cpu"]["jobs"]["kernel"] > plan["jobs"]["kernel"]


def test_devices_and_doctor() -> None:
    devices = succeed("devices")["devices"]
    assert devices[0]["device"] == "local"
    assert devices[0]["cores"] >= 1
    done = latlas("doctor", "--json")
    checks = json.loads(done.stdout)["checks"]
    assert [set(check) for check in checks] == [{"name", "ok", "found", "mend"}] * len(checks)
    assert done.returncode == (0 if checks[0]["ok"] else 1)
    assert all(check["mend"] for check in checks if not check["ok"])


def test_predict(model: Path, predictor: Path) -> None:
    document = succeed("predict", model, model.parent, "--with", predictor)
    assert document["target"] == TARGET.to_json()
    (found,) = document["predictions"]
    assert set(found) == {
        *("model", "latency_ms", "low_ms", "high_ms", "kernels", "measured_share"),
        *("predicted_share", "unknown", "unknown_share", "stored_params", "madds", "se_madds"),
        *("estimate", "coverage", "extrapolated", "transferred_share"),
    }
    assert not found["estimate"]
    assert found["latency_ms"] == pytest.approx((10 * found["kernels"] + 5) / 1000)
    assert found["measured_share"] == pytest.approx(1)


def test_file_names_that_are_no_text(model: Path, predictor: Path, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.tflite")
    path.write_bytes(model.read_bytes())
    done = latlas("predict", path, "--with", predictor)
    assert done.returncode == 0, done.stderr
    assert r"caf\udce9.tflite" in done.stdout
    for arguments in (("bench", path, "--runs", 1), ("profile", "--models", path, "--plan")):
        assert succeed(*arguments)


def test_unknown_kernels_are_refused_or_accepted(
    model: Path, predictor: Path, tmp_path: Path
) -> None:
    b = GraphBuilder((1, 8, 8, 3))
    path = tmp_path / "other.tflite"
    path.write_bytes(to_tflite(b.build(b.conv(0, 4, 3))))
    line = fail("predict", model, path, "--with", predictor)
    assert "--accept-unknown" in line
    assert "1 kernel(s) of " in line
    assert "other.tflite" in line
    assert "small.tflite" not in line
    assert "1x8x8x3 | conv2d filters=4" in line
    done = latlas("predict", path, model, "--with", predictor, "--accept-unknown", "--json")
    found, other = json.loads(done.stdout)["predictions"]
    assert (found["estimate"], other["estimate"]) == (True, False)
    assert found["unknown_share"] == 1
    assert found["coverage"]["conv2d"]["unknown"] == 1
    assert "1 unknown kernel" in done.stderr
    done = latlas("predict", path, model, "--with", predictor, "--accept-unknown")
    assert f" ~{found['latency_ms']:.3f} " in done.stdout
    assert f" {other['latency_ms']:.3f} " in done.stdout
    assert "~ an estimate" in done.stdout


def test_kernels_of_a_prediction(model: Path, predictor: Path) -> None:
    (found,) = succeed("predict", model, "--with", predictor, "--kernels")["predictions"]
    kernels = found["kernel_list"]
    assert len(kernels) == found["kernels"]
    assert {k["latency_us"] for k in kernels} == {10.0}
    assert {k["source"] for k in kernels} == {"measured"}
    assert sum(k["share"] for k in kernels) == pytest.approx(1)
    of_type = found["coverage"]["depthwise_conv2d"]
    assert of_type["measured"] == sum(k["type"] == "depthwise_conv2d" for k in kernels)
    done = latlas("predict", model, "--with", predictor, "--kernels")
    assert all(k["kernel"] in done.stdout for k in kernels)


def test_predictions_as_comma_separated_values(model: Path, predictor: Path) -> None:
    done = latlas("predict", model, "--with", predictor, "--csv")
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert row["model"] == str(model)
    assert float(row["latency_ms"]) > 0
    done = latlas("predict", model, "--with", predictor, "--csv", "--kernels")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == int(row["kernels"])
    assert set(rows[0]) == {"model", "kernel", "type", "latency_us", "share", "source"}
    assert "not both" in fail("predict", model, "--with", predictor, "--csv", "--json", status=2)


def test_many_models_are_predicted_in_batches(model: Path, predictor: Path, tmp_path: Path) -> None:
    names = [f"{number:03}.tflite" for number in range(70)]
    b = GraphBuilder((1, 8, 8, 3))
    small = to_tflite(b.build(b.reshape(0, (1, 192))))
    for name in names:
        (tmp_path / name).write_bytes(small if name != "066.tflite" else model.read_bytes())
    found = succeed("predict", tmp_path, "--with", predictor)["predictions"]
    assert [Path(each["model"]).name for each in found] == names
    assert found[66]["kernels"] > found[65]["kernels"] == 0


def test_a_network_without_kernels_is_predicted(predictor: Path, tmp_path: Path) -> None:
    b = GraphBuilder((1, 8, 8, 3))
    path = tmp_path / "reshape.tflite"
    path.write_bytes(to_tflite(b.build(b.reshape(0, (1, 192)))))
    (found,) = succeed("predict", path, "--with", predictor)["predictions"]
    assert found["kernels"] == 0


def with_unknown_op(model: bytes) -> bytes:
    tree = schema.ModelT.InitFromPackedBuf(model, 0)
    for code in tree.operatorCodes:
        if code.builtinCode == schema.BuiltinOperator.HARD_SWISH:
            code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ROUND
    builder = flatbuffers.Builder(1024)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize(
    "kind", ["truncated", "text", "empty", "unknown operator", "missing", "folder", "pipe"]
)
def test_bad_models(kind: str, model: Path, predictor: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.tflite"
    data = model.read_bytes()
    match kind:
        case "truncated":
            path.write_bytes(data[: len(data) // 2])
        case "text":
            path.write_text("this is no model\n" * 20)
        case "empty":
            path.touch()
        case "unknown operator":
            path.write_bytes(with_unknown_op(data))
        case "folder":
            path.mkdir()
            (path / "inner.tflite").write_text("no model either")
        case "pipe":
            os.mkfifo(path)
    table = tmp_path / "T"
    for arguments in (
        ("predict", path, "--with", predictor),
        ("profile", "--models", path, "--table", table),
        ("bench", path, "--runs", 1, "--min-ms", 0),
    ):
        if kind == "unknown operator" and arguments[0] == "bench":
            continue  # the runtime can run what latlas cannot split into kernels
        line = fail(*arguments)
        assert "bad.tflite" in line
        if kind == "unknown operator":
            assert "ROUND" in line
    assert not table.exists()


def test_bad_predictors(model: Path, predictor: Path, tmp_path: Path) -> None:
    data = predictor.read_bytes()
    path = tmp_path / "bad.latlas"
    assert "latlas fit" in fail("predict", model, "--with", path)
    for damaged in (b"", b"hello", data[:-40], data[: len(data) // 2]):
        path.write_bytes(damaged)
        assert "bad.latlas" in fail("predict", model, "--with", path)


def make_table(folder: Path, target: Target = TARGET) -> Path:
    TableWriter(folder, target, fusion_rules=rules_for("cpu").version).close()
    return folder / JOURNAL


def test_bad_tables(tmp_path: Path) -> None:
    output = tmp_path / "p.latlas"
    assert "latlas profile" in fail("fit", make_table(tmp_path / "empty").parent, "-o", output)
    for folder in (tmp_path, tmp_path / "missing"):
        assert "is not a latency table" in fail("fit", folder, "-o", output)
    journal = make_table(tmp_path / "future")
    journal.write_text(journal.read_text().replace('"version":1', '"version":2', 1))
    assert "version 2" in fail("fit", journal.parent, "-o", output)
    journal = make_table(tmp_path / "damaged")
    journal.write_text(journal.read_text() + "garbage\n" + '{"type":"void"}\n')
    assert "line 2" in fail("fit", journal.parent, "-o", output)
    assert not output.exists()


def test_a_table_of_another_target_is_not_extended(model: Path, tmp_path: Path) -> None:
    journal = make_table(tmp_path / "T")
    before = journal.read_bytes()
    line = fail("profile", "--models", model, "--table", tmp_path / "T")
    assert "another target" in line
    assert journal.read_bytes() == before


@pytest.mark.parametrize("place", ["below a file", "a folder", "a device", "too long"])
def test_places_that_cannot_be_written(place: str, tmp_path: Path) -> None:
    blocker = tmp_path / "blocker"
    blocker.write_text("keep me")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    path = {
        "below a file": blocker / "m.tflite",
        "a folder": tmp_path,
        "a device": pipe,
        "too long": tmp_path / ("m" * 300),
    }[place]
    done = latlas("zoo", "mobilenet_v2", "--resolution", 32, "--tflite", path)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["blocker", "pipe"]
    assert blocker.read_text() == "keep me"
    assert pipe.is_fifo()


def test_a_disk_that_fills_up_leaves_nothing_half_written(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the full disk."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    path = tmp_path / "m.tflite"
    path.write_text("what was there before")
    arguments = ("zoo", "mobilenet_v2", "--resolution", 32, "--tflite", path)
    assert "nothing was written" in fail(*arguments, preexec_fn=limit)
    assert path.read_text() == "what was there before"
    assert [p.name for p in tmp_path.iterdir()] == ["m.tflite"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_output_that_cannot_be_printed() -> None:
    with Path("/dev/full").open("w") as full:
        done = latlas("zoo", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr.startswith("latlas: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_reader_that_leaves_early_gets_no_complaint() -> None:
    read, write = os.pipe()
    os.close(read)
    done = latlas("zoo", capture_output=False, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == ""


def test_without_a_gpu(model: Path, tmp_path: Path) -> None:
    nowhere = {"VK_DRIVER_FILES": "/nowhere.json", "VK_ICD_FILENAMES": "/nowhere.json"}
    table = tmp_path / "T"
    for arguments in (
        ("bench", model, "--delegate", "gpu"),
        ("profile", "--models", model, "--table", table, "--delegate", "gpu"),
    ):
        done = latlas(*arguments, env=nowhere)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "Vulkan" in done.stderr.splitlines()[-1]
    assert not table.exists()


def test_from_measuring_to_predicting(tmp_path: Path) -> None:
    profile = ("profile", "--space", "moga", "--resolution", 32, "--networks", 12)
    effort = ("--runs", 3, "--min-ms", 0.5, "--table", "T")
    document = succeed(*profile, *effort, cwd=tmp_path, code=LENIENT)
    assert set(document) == {"device", "name", "table", "target", "plan", "report", "failed"}
    assert document["failed"] == []
    report = document["report"]
    assert (report["failed"], report["left"], report["interrupted"]) == (0, 0, False)
    assert report["measured"] == sum(document["plan"]["jobs"].values())
    measured = Table.open(tmp_path / "T").measurements
    assert len(measured) == report["measured"]

    with (tmp_path / "T" / JOURNAL).open("a") as journal:
        journal.write('{"type":"measurement","id":"torn')  # as a crash would leave it
    fitted = succeed("fit", "T", "-o", "p.latlas", cwd=tmp_path, code=LENIENT)
    assert set(fitted) == {
        *("target", "fusion_rules", "types", "calibration", "intervals", "predictor", "bytes")
    }
    assert fitted["bytes"] == (tmp_path / "p.latlas").stat().st_size
    assert fitted["calibration"]["networks"] == 12

    again = succeed(*profile, *effort, cwd=tmp_path, code=LENIENT)["report"]
    assert (again["measured"], again["skipped"]) == (0, report["measured"])

    succeed("zoo", "moga_a", "--resolution", 32, "--tflite", "m/moga_a.tflite", cwd=tmp_path)
    found = succeed("predict", "m", "--with", "p.latlas", cwd=tmp_path)["predictions"][0]
    assert 0 < found["low_ms"] <= found["latency_ms"] <= found["high_ms"]
    assert found["measured_share"] > 0
    assert found["unknown"] == []
    assert found["se_madds"] == 1_015_200


def test_int8_models_make_a_plan_of_int8_and_do_not_mix(tmp_path: Path) -> None:
    b = GraphBuilder((1, 8, 8, 3))
    graph = fold(b.build(b.relu6(b.conv(0, 4, 3))))
    (tmp_path / "float.tflite").write_bytes(to_tflite(graph))
    (tmp_path / "int8.tflite").write_bytes(to_tflite(quantise(graph)))
    plan = ("profile", "--plan", "--json", "--models")
    found = latlas(*plan, tmp_path / "int8.tflite")
    assert "conv2d:int8" in json.loads(found.stdout)["plan"]["kernels"]
    found = latlas(*plan, tmp_path / "float.tflite", "--precision", "int8")
    assert "conv2d:int8" in json.loads(found.stdout)["plan"]["kernels"]
    assert "some of the models are float32" in latlas(*plan, tmp_path).stderr
    refused = latlas(*plan, tmp_path / "int8.tflite", "--delegate", "gpu")
    assert refused.returncode != 0
    assert "CPU only" in refused.stderr
    refused = latlas(*plan, tmp_path / "int8.tflite", "--precision", "fp32")
    assert "a target of their own" in refused.stderr

"""Whatever is read from outside is read, or refused with an error of the project's own, soon and
in little memory.

What readers' own tests throw at them is random bytes and damage to bytes. Here a document that is
right but for one thing reaches what lies behind the parser.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hostile import FEW, changed, damaged, refusing
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tables import TARGET, kernel, network, references, write

from latlas.predictor import file
from latlas.profiler.benchmark_model.output_parser import parse_output
from latlas.profiler.comparison import compare
from latlas.profiler.device_config_file import known_configs, parse_config, to_toml
from latlas.profiler.fold import fold
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.merging import merge
from latlas.profiler.quantise import quantise
from latlas.profiler.rows import to_csv
from latlas.profiler.table import JOURNAL, Table, TableWriter
from latlas.profiler.tflite.reader import read_tflite
from latlas.profiler.tflite.writer import to_tflite
from latlas.profiler.warmup import Warmup
from latlas.search.evaluation import InProcess, Task, measure_with
from latlas.search.memory import FILE as FINISHED
from latlas.search.memory import Remembering
from latlas.search.protocols import Trial
from latlas.search.recipe import parse_recipe
from latlas.search.spaces.definition_file import parse_definition
from latlas.search.study import Study, record_of

ROOT = Path(__file__).parents[1]


@cache
def journal() -> tuple[Any, ...]:
    """Return the records of a small table."""
    with TemporaryDirectory() as folder:
        where = Path(folder) / "t"
        write(where, [kernel(1, 10.0), network("n", 90.0), *references(5.0)])
        with TableWriter(where, TARGET, fusion_rules="xnnpack-1") as table:
            table.append_warmup(Warmup(50.0, (), 1.0))
        return tuple(map(json.loads, (where / JOURNAL).read_text().splitlines()))


@FEW
@given(st.data())
def test_tables(tmp_path: Path, data: st.DataObject) -> None:
    records = data.draw(changed(list(journal())))
    folder = tmp_path / "table"
    folder.mkdir(exist_ok=True)
    (folder / JOURNAL).write_text("".join(json.dumps(each) + "\n" for each in records))
    with refusing():
        table = Table.open(folder)
        to_csv(table)
        compare(table, table)
        (tmp_path / "merged" / JOURNAL).unlink(missing_ok=True)
        merge([table, table], tmp_path / "merged")
        assert Table.open(tmp_path / "merged").measurements


@FEW
@given(st.data())
def test_bytes_of_tables(tmp_path: Path, data: st.DataObject) -> None:
    text = "".join(json.dumps(each) + "\n" for each in journal())
    (tmp_path / JOURNAL).write_bytes(data.draw(damaged(text.encode())))
    with refusing():
        to_csv(Table.open(tmp_path))


@FEW
@given(st.data())
def test_what_was_finished(tmp_path: Path, data: st.DataObject) -> None:
    record = {"metric": "accuracy", "genes": [1, 2], "value": 0.5, "note": "", "seconds": 0.1}
    records = data.draw(changed([record, record | {"metric": "latency_ms"}]))
    text = "".join(json.dumps(each) + "\n" for each in records)
    raw = data.draw(st.one_of(st.just(text.encode()), damaged(text.encode() or b"{}")))
    (tmp_path / FINISHED).write_bytes(raw)
    asked = Task("accuracy", (1, 2))
    measures = {"accuracy": measure_with(lambda batch: [0.75 for _ in batch], "accuracy")}
    with refusing(), Remembering(InProcess(measures), tmp_path / FINISHED) as pool:
        pool.submit([asked])
        assert all(isinstance(outcome.value, float) for _, outcome in pool.finished())


@FEW
@given(st.data())
def test_histories(tmp_path: Path, data: st.DataObject) -> None:
    trials = [
        Trial((1, 2), {"accuracy": 0.5, "latency_ms": 3.0}, generation=i, seconds=0.5)
        for i in range(2)
    ]
    settings_of = {
        "space": "moga",
        "objectives": [{"metric": "accuracy", "direction": "max", "weight": 1.0}],
        "constraints": [{"metric": "latency_ms", "limit": 9.0, "bound": "max"}],
    }
    records = data.draw(changed([record_of(trial) for trial in trials]))
    (tmp_path / "study.json").write_text(json.dumps(data.draw(changed(settings_of))))
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    with refusing():
        study = Study.open(tmp_path)
        assert all(isinstance(trial, Trial) for trial in study.history)
    for name in ("objectives", "constraints"):
        with refusing():
            getattr(Study.open(tmp_path), name)


@cache
def model(*, int8: bool) -> bytes:
    """Return a .tflite file of few kilobytes with maps, a gate and tokens."""
    b = GraphBuilder((1, 8, 8, 3))
    x = b.conv(b.input, 8, 3, stride=2, activation="relu6")
    gate = b.hard_sigmoid(b.conv(b.relu(b.conv(b.mean(x), 4, 1)), 8, 1))
    x = b.hard_swish(b.depthwise(b.mul(x, gate), 3))
    x = b.concat([b.max_pool(x, 2, stride=2), b.average_pool(x, 2, stride=2)])
    x = b.reshape(x, (1, 4, 16))
    x = b.softmax(b.matmul(x, x, adj_y=True))
    graph = fold(b.build(b.fully_connected(b.reshape(x, (1, 16)), 3)))
    return to_tflite(quantise(graph) if int8 else graph)


@pytest.mark.parametrize("int8", [False, True])
def test_models_that_are_to_be_damaged_can_be_read(int8: bool) -> None:
    assert len(read_tflite(model(int8=int8)).nodes) > 10


@pytest.mark.parametrize("int8", [False, True])
@settings(FEW, max_examples=150)
@given(data=st.data())
def test_models(data: st.DataObject, int8: bool) -> None:
    with refusing():
        read_tflite(data.draw(damaged(model(int8=int8))))


OUTPUT = """STARTING!
INFO: Loaded model m.tflite
INFO: Applying 1 TensorFlow Lite delegate(s) lazily.
Inference timings in us: Init: 1504, First inference: 400, Warmup (avg): 390, Inference (avg): 385.5
count=50 first=380 curr=390 min=370 max=420 avg=385.5 std=9 p5=371 median=385 p95=410
"""


@FEW
@given(st.data())
@example(data=None)
def test_outputs_of_the_benchmark(data: st.DataObject | None) -> None:
    raw = OUTPUT.encode() if data is None else data.draw(damaged(OUTPUT.encode()))
    with refusing():
        found = parse_output(raw.decode("utf-8", "replace"))
        assert data is not None or found.kind == "ok", found.problem


def large_table(folder: Path) -> Callable[[], object]:
    """A line that never ends: a hole in a file, which takes no space."""
    write(folder, [kernel(1, 10.0)])
    os.truncate(folder / JOURNAL, 1 << 30)
    return lambda: Table.open(folder)


def large_predictor(folder: Path) -> Callable[[], object]:
    """A small zip that unpacks into a little more than a predictor may have."""
    with zipfile.ZipFile(folder / "p.latlas", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.npy", bytes(file.MAX_BYTES + 1))
    return lambda: file.load(folder / "p.latlas")


def large_output(folder: Path) -> Callable[[], object]:
    text = OUTPUT + "count=1 curr=2\n" * 10_000_000
    return lambda: parse_output(text)


def long_output(folder: Path) -> Callable[[], object]:
    """As long as it may be."""
    text = OUTPUT + "count=1 curr=2\n" * 150_000
    return lambda: parse_output(text)


def large_model(folder: Path) -> Callable[[], object]:
    data = model(int8=False) + bytes(200 << 20)
    return lambda: read_tflite(data)


@pytest.mark.parametrize(
    "make", [large_table, large_predictor, large_output, long_output, large_model]
)
def test_large_documents(make: Callable[[Path], Callable[[], object]], tmp_path: Path) -> None:
    read = make(tmp_path)
    with refusing():
        read()


@cache
def texts(kind: str) -> bytes:
    """Return a text that a reader takes."""
    if kind == "device":
        return to_toml(known_configs()[0]).encode()
    if kind == "space":
        return (ROOT / "examples" / "mobilenet_v3.toml").read_bytes()
    return (ROOT / "search" / "recipes" / "mnasnet_imagenet.toml").read_bytes()


def read_text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    """Return a reader of bytes that are text, in whatever encoding."""
    return lambda data: read(data.decode("utf-8", "surrogateescape"))


READERS: dict[str, Callable[[bytes], object]] = {
    "device": read_text(lambda text: parse_config(text, "mine")),
    "space": parse_definition,
    "recipe": read_text(parse_recipe),
}


@pytest.mark.parametrize("kind", READERS)
@FEW
@given(data=st.data())
def test_toml(kind: str, data: st.DataObject) -> None:
    with refusing():
        READERS[kind](data.draw(damaged(texts(kind))))


@pytest.mark.parametrize("kind", READERS)
@FEW
@given(data=st.data())
@example(data=None)
def test_values_of_toml(kind: str, data: st.DataObject | None) -> None:
    import tomllib

    import tomli_w

    document = tomllib.loads(texts(kind).decode())
    if data is None:
        READERS[kind](texts(kind))
        return
    try:
        text = tomli_w.dumps(data.draw(changed(document)))
        raw = text.encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, AttributeError):
        return  # TOML has no null, and tomli_w writes no such text
    with refusing():
        READERS[kind](raw)

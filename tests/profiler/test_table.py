from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latlas.profiler.errors import TableError, TargetMismatchError
from latlas.profiler.journal import MAX_LINE_BYTES
from latlas.profiler.measurement import LEAST_US, Measurement, measurement_from
from latlas.profiler.runner import OpTime, Result
from latlas.profiler.statistics import Judgement, NoiseGate, Verdict, judge, summarise
from latlas.profiler.table import JOURNAL, Table, TableWriter
from latlas.profiler.target import Target
from latlas.profiler.temperature import Temperature
from latlas.profiler.warmup import Warmup, WarmupTiming

TARGET = Target("a phone", "litert 2.3.0", "cpu", "xnnpack")
GATE = NoiseGate(spread=1.0, drift=1.0)
GRAPH = "1x8x8x3 | conv2d filters=4 kernel=1x1 @0 | @1"


def make(job: str = "k0", attempt: int = 1, **changes: Any) -> Measurement:
    result = Result(job, (10.0, 11.0, 12.5), (OpTime("Convolution", 9.5),), 1.5, 2.0)
    fields: dict[str, Any] = {"unit": "kernel", "name": "conv", "graph": GRAPH, "at_s": 1.0}
    return measurement_from(result, judge(result, GATE), attempt=attempt, **(fields | changes))


def write(folder: Path, *measurements: Measurement) -> Path:
    with TableWriter(folder, TARGET) as table:
        for measurement in measurements:
            table.append_provisional(measurement)
        table.accept(measurements)
    return folder / JOURNAL


def test_what_is_accepted_is_read_back(tmp_path: Path) -> None:
    first, second = make("k0"), make("k1", name="depthwise")
    with TableWriter(tmp_path / "new" / "table", TARGET, fusion_rules="xnnpack-1") as table:
        for measurement in (first, second):
            table.append_provisional(measurement)
        table.accept([second])
        table.accept([first.judged("throttled", "hot")])
    read = Table.open(tmp_path / "new" / "table", TARGET)
    assert read.measurements == (second, first.judged("throttled", "hot"))
    assert read.target == TARGET
    assert read.header.fusion_rules == "xnnpack-1"
    assert read.measurements[0].to_graph().to_text() == GRAPH


def test_a_summary_without_samples_is_read_back(tmp_path: Path) -> None:
    summary = replace(summarise([10.0, 11.0, 12.5]), iqr_us=None, mad_us=None)
    result = Result("k0", cpu_share=float("nan"), summary=summary)
    stored = measurement_from(
        result, judge(result, GATE), attempt=1, unit="kernel", name="conv", graph=GRAPH, at_s=1.0
    )
    path = write(tmp_path, stored)
    assert Table.open(tmp_path).measurements == (stored,)
    assert (stored.samples_us, stored.summary and stored.summary.mad_us) == ((), None)
    path.write_text(path.read_text().replace('"p95_us":', '"p95_us":null,"p95":'))
    with pytest.raises(TableError):
        Table.open(tmp_path)


@pytest.mark.parametrize("name", ["unit", "fingerprint", "runner"])
def test_another_phone_of_the_same_model_is_refused(tmp_path: Path, name: str) -> None:
    TableWriter(tmp_path, TARGET, environment={name: "one", "battery": "80%"}).close()
    TableWriter(tmp_path, TARGET, environment={name: "one", "battery": "70%"}).close()
    TableWriter(tmp_path, TARGET).close()
    with pytest.raises(TargetMismatchError, match=f"{name}: 'one' against 'other'"):
        TableWriter(tmp_path, TARGET, environment={name: "other"})


WARMUP = Warmup(50.0, (WarmupTiming("small", 1.0, 70.5), WarmupTiming("small", 50.0, 51.0)), 1.5)


def write_warmups(folder: Path, *warmups: Warmup) -> Path:
    with TableWriter(folder, TARGET) as table:
        for warmup in warmups:
            table.append_warmup(warmup)
        assert table.warmups[-len(warmups) :] == list(warmups)
    return folder / JOURNAL


def test_warmups_are_read_back(tmp_path: Path) -> None:
    second = Warmup(500.0, (), 99.0)
    write_warmups(tmp_path, WARMUP)
    write(tmp_path, make())
    write_warmups(tmp_path, second)
    read = Table.open(tmp_path)
    assert read.warmups == (WARMUP, second)
    assert [m.id for m in read.measurements] == ["k0"]
    with TableWriter(tmp_path, TARGET) as table:
        assert table.warmups == [WARMUP, second]


def test_a_table_without_warmups(tmp_path: Path) -> None:
    write(tmp_path, make())
    assert Table.open(tmp_path).warmups == ()


def test_a_torn_warmup_is_ignored(tmp_path: Path) -> None:
    path = write_warmups(tmp_path, WARMUP, WARMUP)
    data = path.read_bytes()
    for cut in (1, 20, 100):
        path.write_bytes(data[:-cut])
        assert Table.open(tmp_path).warmups == (WARMUP,)
    with TableWriter(tmp_path, TARGET) as table:
        assert table.warmups == [WARMUP]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("warmup_ms", value) for value in (None, "50", True, -1, 10**400, [], 1e300)),
        *(("at_s", value) for value in (None, "50", True, -1, 10**400)),
        *(("timings", value) for value in (None, 1, {}, "x", [1], [[]], [None], [{}])),
        ("timings", [{"kernel": "small", "warmup_ms": 1.0}]),
        ("timings", [{"kernel": 3, "warmup_ms": 1.0, "median_us": 1.0}]),
        ("timings", [{"kernel": "\ud800", "warmup_ms": 1.0, "median_us": 1.0}]),
        ("timings", [{"kernel": "small", "warmup_ms": 1.0, "median_us": 10**400}]),
        ("timings", [{"kernel": "small", "warmup_ms": 1.0, "median_us": 1.0}] * 10_001),
        ("type", "warmups"),
    ],
)
def test_damaged_warmups_are_table_errors(tmp_path: Path, field: str, value: Any) -> None:
    path = write_warmups(tmp_path, WARMUP)
    header, line = path.read_text().splitlines()
    record = json.loads(line)
    for changed in (record | {field: value}, {k: v for k, v in record.items() if k != field}):
        path.write_text(f"{header}\n{json.dumps(changed)}\n")
        before = path.read_bytes()
        with pytest.raises(TableError, match="line 2"):
            Table.open(tmp_path)
        with pytest.raises(TableError, match="line 2"):
            TableWriter(tmp_path, TARGET)
        assert path.read_bytes() == before


def test_a_device_that_does_not_say_which_it_is(tmp_path: Path) -> None:
    """Only what both sessions say is compared."""
    TableWriter(tmp_path, TARGET, environment={"unit": "one"}).close()
    TableWriter(tmp_path, TARGET, environment={"fingerprint": "a", "runner": "b"}).close()
    TableWriter(tmp_path, TARGET, environment={"unit": "one", "fingerprint": "c"}).close()
    with pytest.raises(TargetMismatchError, match=r"phone of the same model.*another folder"):
        TableWriter(tmp_path, TARGET, environment={"unit": "two", "fingerprint": "a"})


def test_provisional_and_void_records_are_not_measurements(tmp_path: Path) -> None:
    with TableWriter(tmp_path, TARGET) as table:
        for measurement in (make("k0"), make("k1"), make("k2")):
            table.append_provisional(measurement)
        table.void([("k0", 1)], "drift")
        table.accept([make("k1")])
    read = Table.open(tmp_path)
    assert [m.id for m in read.measurements] == ["k1"]
    assert (read.open_count, read.void_count) == (1, 1)


def test_what_was_interrupted_is_voided_and_may_be_measured_again(tmp_path: Path) -> None:
    with TableWriter(tmp_path, TARGET) as table:
        table.append_provisional(make("k0"))
    with TableWriter(tmp_path, TARGET) as table:
        assert table.next_attempt("k0") == 2
        table.append_provisional(make("k0", 2))
        table.accept([make("k0", 2)])
    read = Table.open(tmp_path)
    assert [(m.id, m.attempt) for m in read.measurements] == [("k0", 2)]
    assert read.void_count == 1
    lines = (tmp_path / JOURNAL).read_text().splitlines()
    assert json.loads(lines[2]) == {
        "type": "void",
        "id": "k0",
        "attempt": 1,
        "reason": "interrupted",
    }


def test_a_writer_refuses_what_the_journal_could_not_hold(tmp_path: Path) -> None:
    with TableWriter(tmp_path, TARGET) as table:
        table.append_provisional(make("k0"))
        with pytest.raises(ValueError, match="out of turn"):
            table.append_provisional(make("k0"))
        table.accept([make("k0")])
        with pytest.raises(ValueError, match="no open attempt 2"):
            table.accept([make("k0", 2)])
        with pytest.raises(ValueError, match="no open attempt"):
            table.accept([make("k9")])
        with pytest.raises(ValueError, match="no open attempt"):
            table.void([("k0", 1)], "again")


def test_an_accepted_measurement_is_replaced_and_judged_again(tmp_path: Path) -> None:
    path = write(tmp_path, make("k0").judged("throttled", "slow"), make("k1"))
    with TableWriter(tmp_path, TARGET) as table:
        table.append_provisional(make("k0", 2))
        table.accept([make("k0", 2), make("k1").judged("throttled", "slow in hindsight")])
        accepted = {name: (m.attempt, m.verdict) for name, m in table.accepted.items()}
    assert accepted == {"k0": (2, "stable"), "k1": (1, "throttled")}
    read = Table.open(tmp_path)
    assert {m.id: (m.attempt, m.verdict) for m in read.measurements} == accepted
    assert (read.measurements[1].reason, read.void_count) == ("slow in hindsight", 1)
    assert read.measurements[1].samples_us == make("k1").samples_us
    # Interrupted between two lines, the table holds one of the two.
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))
    verdicts = [m.verdict for m in Table.open(tmp_path).measurements]
    assert verdicts == ["throttled", "stable"]


@pytest.mark.parametrize("instead_of", [None, 2, 0, True, "1", [1]])
def test_what_replaces_an_accepted_measurement_says_so(tmp_path: Path, instead_of: Any) -> None:
    path = write(tmp_path, make("k0"))
    line = {"type": "accepted", "id": "k0", "attempt": 1, "instead_of": instead_of}
    if instead_of is None:
        del line["instead_of"]
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
    with pytest.raises(TableError, match=r"line 4: .*(accepted twice|instead_of)"):
        Table.open(tmp_path)


def test_two_writers_are_kept_apart(tmp_path: Path) -> None:
    with (
        TableWriter(tmp_path, TARGET),
        pytest.raises(TableError, match=f"{tmp_path.name}.*another process"),
    ):
        TableWriter(tmp_path, TARGET)
    TableWriter(tmp_path, TARGET).close()


def test_another_target_or_rules_are_refused(tmp_path: Path) -> None:
    write(tmp_path, make())
    other = Target("a phone", "litert 2.3.0", "cpu", "xnnpack", threads=4)
    with pytest.raises(TargetMismatchError, match="threads"):
        Table.open(tmp_path, other)
    with pytest.raises(TargetMismatchError, match="threads"):
        TableWriter(tmp_path, other)
    with pytest.raises(TableError, match="fusion rules"):
        TableWriter(tmp_path, TARGET, fusion_rules="xnnpack-2")


def test_a_folder_without_a_table(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="not a latency table"):
        Table.open(tmp_path)
    (tmp_path / JOURNAL).write_bytes(b"")
    with pytest.raises(TableError, match="empty"):
        Table.open(tmp_path)
    (tmp_path / JOURNAL).unlink()
    (tmp_path / JOURNAL).mkdir()
    with pytest.raises(TableError):
        Table.open(tmp_path)
    (tmp_path / JOURNAL).rmdir()
    os.mkfifo(tmp_path / JOURNAL)
    with pytest.raises(TableError, match="regular"):
        Table.open(tmp_path)


@pytest.mark.parametrize(("version", "advice"), [(2, "upgrade latlas"), (0, "measure it again")])
def test_another_format_version_says_what_to_do(tmp_path: Path, version: int, advice: str) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text().replace('"version":1', f'"version":{version}'))
    with pytest.raises(TableError, match=f"version {version}.*{advice}"):
        Table.open(tmp_path)


def test_a_line_torn_at_any_byte_is_ignored_then_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "whole", make("k0"))
    with TableWriter(path.parent, TARGET) as table:
        table.append_provisional(make("k1"))
    data = path.read_bytes()
    start = data.rstrip(b"\n").rfind(b"\n") + 1
    torn = tmp_path / "torn" / JOURNAL
    torn.parent.mkdir()
    for end in range(start, len(data)):
        torn.write_bytes(data[:end])
        read = Table.open(torn.parent)
        assert [m.id for m in read.measurements] == ["k0"]
        assert read.open_count == 0
        with TableWriter(torn.parent, TARGET) as table:
            assert torn.read_bytes() == data[:start]
            table.append_provisional(make("k1"))
            table.accept([make("k1")])
        assert [m.id for m in Table.open(torn.parent).measurements] == ["k0", "k1"]


def test_a_torn_header_is_written_again(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(TableError, match="empty"):
        Table.open(tmp_path)
    write(tmp_path, make())
    assert len(Table.open(tmp_path).measurements) == 1


def test_damage_elsewhere_names_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, make("k0"), make("k1"))
    lines = path.read_bytes().splitlines(keepends=True)
    for number in range(1, len(lines) + 1):
        damaged = [*lines[: number - 1], lines[number - 1][:20] + b"\n", *lines[number:]]
        path.write_bytes(b"".join(damaged))
        with pytest.raises(TableError, match=f"line {number}:"):
            Table.open(tmp_path)
        with pytest.raises(TableError, match=f"line {number}:"):
            TableWriter(tmp_path, TARGET)
        assert path.read_bytes() == b"".join(damaged)


HUGE = 10**400
HOSTILE: list[tuple[str, Any]] = [
    *((name, value) for name in ("id", "unit", "name", "graph", "reason") for value in (1, None)),
    *(("attempt", value) for value in (0, -1, 1.5, True, HUGE, "1", 1 << 60)),
    *(("samples_us", value) for value in (None, "x", [-1], [HUGE], ["1"], [True], [None], {})),
    *(("summary", value) for value in (None, [], 3, {}, {"n": 1})),
    *(("ops", value) for value in (None, [1], [["a"]], [["a", -1]], [[1, 1]], [["a", HUGE]])),
    *(("init_ms", value) for value in (-1, HUGE, "1", None, True)),
    *((name, HUGE) for name in ("at_s", "cpu_share", "reference_us", "drift")),
    ("verdict", "good"),
    ("verdict", []),
    ("name", "\ud800"),
    ("type", "other"),
    ("type", ["measurement"]),
]


@pytest.mark.parametrize(("field", "value"), HOSTILE)
def test_hostile_values_are_table_errors(tmp_path: Path, field: str, value: Any) -> None:
    path = write(tmp_path, make())
    lines = path.read_text().splitlines()
    record = json.loads(lines[1])
    for changed in ({**record, field: value}, {k: v for k, v in record.items() if k != field}):
        path.write_text("\n".join([lines[0], json.dumps(changed), *lines[2:]]) + "\n")
        with pytest.raises(TableError, match=r"line [23]"):
            Table.open(tmp_path)


OPTIONAL: list[tuple[str, Any]] = [
    *(("peak_memory_mb", value) for value in (-1, HUGE, "1", None, True)),
    *(("temperatures_c", value) for value in (None, [], 3, {"skin": "x"}, {"skin": 1e6})),
    *(("temperatures_c", {name: 30.0}) for name in ("\ud800", "a\nb", "x" * 1000)),
]


@pytest.mark.parametrize(("field", "value"), OPTIONAL)
def test_hostile_values_of_fields_that_older_tables_lack(
    tmp_path: Path, field: str, value: Any
) -> None:
    path = write(tmp_path, make())
    Table.open(tmp_path)
    lines = path.read_text().splitlines()
    record = json.loads(lines[1])
    assert field not in record
    path.write_text("\n".join([lines[0], json.dumps({**record, field: value}), *lines[2:]]) + "\n")
    with pytest.raises(TableError, match="line 2"):
        Table.open(tmp_path)


def test_memory_and_temperatures_are_read_back(tmp_path: Path) -> None:
    sensors = (Temperature("battery", 26.8), Temperature("skin", 31.5))
    kept = []
    for job, unit in (("net", "network"), ("reference-000001", "reference")):
        result = Result(job, (10.0, 11.0), peak_memory_mb=12.3456, temperatures_c=sensors)
        judged = judge(result, GATE)
        kept.append(
            measurement_from(result, judged, attempt=1, unit=unit, name=unit, graph=GRAPH, at_s=1.0)
        )
    write(tmp_path, *kept)
    read = Table.open(tmp_path)
    assert (*read.measurements, *read.references) == tuple(kept)
    assert read.measurements[0].peak_memory_mb == 12.35
    assert read.measurements[0].temperatures_c == ()  # of the reference alone
    assert read.references[0].temperatures_c == sensors


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none(tmp_path: Path, constant: str) -> None:
    path = write(tmp_path, make())
    path.write_text(path.read_text().replace('"init_ms":1.5', f'"init_ms":{constant}'))
    with pytest.raises(TableError, match="line 2"):
        Table.open(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b"9" * 5000,
        b"\xff\xfe",
        b"null",
        b"",
        b'{"type":"accepted","id":"k0","attempt":1}',
        b'{"type":"accepted","id":"k9","attempt":1}',
        b'{"type":"void","id":"k0","attempt":1,"reason":"x"}',
        b'{"type":"void","id":"k0"}',
    ],
)
def test_hostile_lines_are_table_errors(tmp_path: Path, line: bytes) -> None:
    path = write(tmp_path, make())
    with path.open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(TableError, match="line 4"):
        Table.open(tmp_path)


def test_a_giant_line_is_not_read_into_memory(tmp_path: Path) -> None:
    path = write(tmp_path, make())
    size = path.stat().st_size
    os.truncate(path, size + (100 << 20))  # sparse: a hundred megabytes of zeros
    with pytest.raises(TableError, match=f"line 4: longer than {MAX_LINE_BYTES}"):
        Table.open(tmp_path)


def test_a_giant_line_is_not_written(tmp_path: Path) -> None:
    path = write(tmp_path, make())
    before = path.read_bytes()
    with TableWriter(tmp_path, TARGET) as table:
        giant = make("k9", graph="x" * MAX_LINE_BYTES)
        with pytest.raises(TableError, match="longer than"):
            table.append_provisional(giant)
        table.append_provisional(make("k9"))
    assert path.read_bytes().startswith(before)
    assert Table.open(tmp_path).open_count == 1


def test_headers_of_something_else(tmp_path: Path) -> None:
    path = write(tmp_path)
    header = json.loads(path.read_text())
    for change in ({"format": "x"}, {"target": {}}, {"version": "1"}, {"environment": {"a": 1}}):
        path.write_text(json.dumps(header | change) + "\n")
        with pytest.raises(TableError, match="line 1"):
            Table.open(tmp_path)


names = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
figures = st.floats(0.01, 1e9)


@st.composite
def measurements(draw: st.DrawFn) -> Measurement:
    verdicts: tuple[Verdict, ...] = ("stable", "noisy", "throttled")
    result = Result(
        draw(names),
        tuple(draw(st.lists(figures, max_size=20))),
        tuple(OpTime(name, time) for name, time in draw(st.lists(st.tuples(names, figures)))),
        draw(st.floats()),
        cpu_share=draw(st.floats()),
    )
    judgement = Judgement("failed", draw(names))
    if result.samples_us:
        verdict, summary = draw(st.sampled_from(verdicts)), summarise(result.samples_us)
        judgement = Judgement(verdict, draw(names), summary)
    return measurement_from(
        result,
        judgement,
        attempt=1,
        unit=draw(names.filter(lambda unit: unit != "reference")),
        name=draw(names),
        graph=draw(names),
        at_s=draw(figures),
        reference_us=draw(figures),
        drift=draw(st.floats(-0.9, 9)),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(measurements(), max_size=4, unique_by=lambda m: m.id), st.integers(0, 400))
def test_journals_round_trip_and_survive_a_torn_tail(
    tmp_path: Path, written: list[Measurement], cut: int
) -> None:
    path = tmp_path / JOURNAL
    path.unlink(missing_ok=True)
    write(tmp_path, *written)
    read = Table.open(tmp_path).measurements
    assert read == tuple(written)
    data = path.read_bytes()
    kept = data[: max(len(data) - cut, data.index(b"\n") + 1)]
    path.write_bytes(kept)
    fewer = Table.open(tmp_path)
    assert fewer.measurements == read[: len(fewer.measurements)]
    write(tmp_path)
    assert path.read_bytes().startswith(kept[: kept.rindex(b"\n") + 1])
    assert Table.open(tmp_path).measurements == fewer.measurements
    assert Table.open(tmp_path).open_count == 0


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_table import TARGET, TableWriter, TableError, make
folder = Path({folder!r})
with TableWriter(folder, TARGET) as table:
    table.append_provisional(make("k0"))
    table.accept([make("k0")])
    size = table._journal.path.stat().st_size
    limit = size + {room}
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        table.append_provisional(make("k1"))
    except TableError as error:
        assert "cannot append" in str(error), error
    else:
        raise SystemExit("no error")
    assert table._journal.path.stat().st_size == size
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    table.append_provisional(make("k1"))
    table.accept([make("k1")])
"""


@pytest.mark.parametrize("room", [0, 1, 100])
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, room: int) -> None:
    here = str(Path(__file__).parent)
    code = FULL_DISK.format(here=here, folder=str(tmp_path), room=room)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [m.id for m in Table.open(tmp_path).measurements] == ["k0", "k1"]


def test_a_failed_fsync_accepts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    with TableWriter(tmp_path, TARGET) as table:
        table.append_provisional(make())
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            with pytest.raises(TableError, match="Input/output error"):
                table.accept([make()])
        assert table.accepted == {}
        table.accept([make()])
    assert len(Table.open(tmp_path).measurements) == 1


def test_a_writer_keeps_no_samples_of_what_it_resumes(tmp_path: Path) -> None:
    write(tmp_path, make())
    with TableWriter(tmp_path, TARGET) as table:
        assert table.accepted["k0"].samples_us == ()


def test_a_median_is_no_less_than_the_shortest_that_is_written(tmp_path: Path) -> None:
    result = Result("k0", (1e-9,))
    brief = measurement_from(
        result, judge(result, GATE), attempt=1, unit="kernel", name="conv", graph=GRAPH, at_s=1.0
    )
    path = write(tmp_path, brief)
    (found,) = Table.open(tmp_path).measurements
    assert found.summary is not None and found.summary.median_us == LEAST_US
    path.write_text(path.read_text().replace('"median_us":0.001', '"median_us":1e-300'))
    with pytest.raises(TableError, match=r"'median_us' must be at least 0\.001"):
        Table.open(tmp_path)

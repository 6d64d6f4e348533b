from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tables import TARGET, kernel, network, references, write

from latlas.profiler.errors import TableError, TargetMismatchError
from latlas.profiler.merging import merge
from latlas.profiler.table import JOURNAL, Table, TableWriter
from latlas.profiler.warmup import Warmup


def test_every_record_is_kept_once(tmp_path: Path) -> None:
    one = write(tmp_path / "1", [kernel(1, 10.0), kernel(2, 20.0), *references(5.0, 6.0)])
    two = write(tmp_path / "2", [kernel(2, 21.0, spread=0.001), network("n", 90.0), *references(7)])
    merged = merge([one, two], tmp_path / "both")
    read = Table.open(tmp_path / "both", TARGET)
    assert {m.id: m.summary and m.summary.median_us for m in read.measurements} == {
        kernel(1, 1.0).id: 10.0,
        kernel(2, 1.0).id: 21.0,  # it spreads less
        "network:n": 90.0,
    }
    assert [m.summary and m.summary.median_us for m in read.references] == [5.0, 6.0, 7.0]
    assert (merged.measurements, merged.references) == (3, 3)
    assert merged.duplicates == (kernel(2, 1.0).id,)
    assert merged.levels_us == (5.5, 7.0)


def test_verdicts_come_before_spread(tmp_path: Path) -> None:
    noisy = kernel(1, 10.0, spread=0.001, verdict="noisy", reason="shared")
    tables = [
        write(tmp_path / "1", [noisy]),
        write(tmp_path / "2", [kernel(1, 11.0, spread=0.1)]),
    ]
    merge(tables, tmp_path / "both")
    (kept,) = Table.open(tmp_path / "both").measurements
    assert (kept.verdict, kept.reason) == ("stable", "")


def test_merging_a_table_with_itself_changes_nothing(tmp_path: Path) -> None:
    table = write(tmp_path / "1", [kernel(1, 10.0), network("n", 90.0), *references(5.0)])
    with TableWriter(table.folder, TARGET, fusion_rules="xnnpack-1") as writer:
        writer.append_warmup(Warmup(50.0, (), 1.5))
    table = Table.open(table.folder)
    merge([table, table], tmp_path / "both")
    both = Table.open(tmp_path / "both")
    assert both.measurements == table.measurements
    assert both.references == table.references
    assert both.warmups == table.warmups
    assert both.header == table.header
    with TableWriter(tmp_path / "both", TARGET, fusion_rules="xnnpack-1") as writer:
        assert set(writer.accepted) == {m.id for m in (*both.measurements, *both.references)}


def begun(folder: Path, created: str, *times_s: float) -> Table:
    """Write a table of checks of the reference kernel at these times."""
    levels = references(*(100.0 + len(folder.name) + at_s for at_s in times_s))
    found = [replace(m, at_s=at_s) for m, at_s in zip(levels, times_s, strict=True)]
    last = replace(network(f"n-{folder.name}", 90.0), at_s=times_s[-1] + 10.0)
    table = write(folder, [*found, last])
    table.header = replace(table.header, created=created)
    return table


def test_times_go_on_where_the_earlier_table_ends(tmp_path: Path) -> None:
    tuesday = begun(tmp_path / "tuesday", "2026-11-24T09:00:00+00:00", 0.0, 50.0)
    monday = begun(tmp_path / "monday", "2026-11-23T18:00:00+01:00", 0.0, 20.0, 90.0)
    merge([tuesday, monday], tmp_path / "both")
    both = Table.open(tmp_path / "both")
    # Of the night between them, nothing was measured.
    assert [m.at_s for m in both.references] == [0.0, 20.0, 90.0, 100.0, 150.0]
    assert {m.name: m.at_s for m in both.measurements} == {"n-monday": 100.0, "n-tuesday": 160.0}
    # The latest warm-up is the last, and counts.
    tuesday.warmups = (Warmup(200.0, (), 1.0),)
    monday.warmups = (Warmup(50.0, (), 2.0), Warmup(100.0, (), 30.0))
    merge([tuesday, monday], tmp_path / "warm")
    warmups = Table.open(tmp_path / "warm").warmups
    assert [(w.warmup_ms, w.at_s) for w in warmups] == [(50, 2), (100, 30), (200, 101)]
    # What a merged table holds already is not held twice.
    merge([both, monday, tuesday], tmp_path / "again")
    assert Table.open(tmp_path / "again").references == both.references


def test_what_differs_is_named(tmp_path: Path) -> None:
    table = write(tmp_path / "1", [kernel(1, 10.0)])
    older = replace(TARGET, runtime="litert 2.2.0", threads=4)
    other = write(tmp_path / "2", [kernel(1, 10.0)], older)
    with pytest.raises(TargetMismatchError, match=r"runtime: 'litert 2.3.0' against.*threads"):
        merge([table, other], tmp_path / "both")
    other = write(tmp_path / "3", [kernel(1, 10.0)], rules="xnnpack-2")
    with pytest.raises(TableError, match="'xnnpack-2' against 'xnnpack-1'"):
        merge([table, other], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_other_phones_of_a_model_are_refused(tmp_path: Path) -> None:
    one = write(tmp_path / "1", [kernel(1, 10.0)], environment={"unit": "a"})
    two = write(tmp_path / "2", [kernel(2, 10.0)], environment={"unit": "b"})
    with pytest.raises(TargetMismatchError, match="unit: 'b' against 'a'"):
        merge([one, two], tmp_path / "both")


def test_the_first_table_may_not_know_what_two_others_disagree_about(tmp_path: Path) -> None:
    builds: list[dict[str, str]] = [{}, {"fingerprint": "a"}, {"fingerprint": "b"}]
    tables = [
        write(tmp_path / f"{i}", [network(f"n{i}", 90.0)], environment=build)
        for i, build in enumerate(builds)
    ]
    assert merge(tables[:2], tmp_path / "both").header.environment == {"fingerprint": "a"}
    with pytest.raises(TargetMismatchError, match="another build of Android"):
        merge(tables, tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_one_name_for_two_networks_is_refused(tmp_path: Path) -> None:
    one = write(tmp_path / "1", [network("n", 10.0)])
    changed = replace(network("n", 10.0), graph="1x8x8x3 | mean @0 | @1")
    two = write(tmp_path / "2", [changed])
    with pytest.raises(TableError, match="another network by 'network:n'"):
        merge([one, two], tmp_path / "both")


def test_a_table_is_never_overwritten(tmp_path: Path) -> None:
    table = write(tmp_path / "1", [kernel(1, 10.0)])
    before = (tmp_path / "1" / JOURNAL).read_bytes()
    with pytest.raises(TableError, match="is a table already"):
        merge([table], tmp_path / "1")
    assert (tmp_path / "1" / JOURNAL).read_bytes() == before


def test_a_time_that_is_none(tmp_path: Path) -> None:
    table = write(tmp_path / "1", [kernel(1, 10.0)])
    table.header = replace(table.header, created="yesterday")
    with pytest.raises(TableError, match="which is no time"):
        merge([table], tmp_path / "both")

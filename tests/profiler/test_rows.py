from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
from components import require
from tables import TARGET, kernel, network, references, write

from latlas.profiler.errors import UsageError
from latlas.profiler.rows import COLUMNS, rows, to_csv, write_parquet
from latlas.profiler.table import Table


@pytest.fixture
def table(tmp_path: Path) -> Table:
    name = 'a "network", on\ntwo lines'
    return write(tmp_path / "t", [kernel(3, 10.0), network(name, 90.0), *references(5.0)])


def test_rows(table: Table) -> None:
    first, second, third = rows(table)
    assert list(first) == list(COLUMNS)
    assert (first["unit"], first["type"], first["median_us"]) == ("kernel", "conv2d", 10.0)
    assert (first["madds"], first["params"]) == (8 * 8 * 3 * 4, 3 * 4 + 4)
    assert (first["inputs"], first["outputs"]) == ("1x8x8x3", "1x8x8x4")
    assert first["sigma_us"] == pytest.approx(1.4826 * 0.05)
    assert (second["type"], third["unit"]) == ("", "reference")
    assert (second["runtime"], second["threads"]) == (TARGET.runtime, 1)


def test_every_value_is_of_its_column(table: Table) -> None:
    for row in rows(table):
        for name, value in row.items():
            assert value is None or type(value) is COLUMNS[name], name


def test_csv_holds_any_text(table: Table) -> None:
    read = list(csv.DictReader(to_csv(table).splitlines(keepends=True)))
    assert [row["name"] for row in read] == [row["name"] for row in rows(table)]
    assert float(read[1]["median_us"]) == 90.0


def test_parquet(table: Table, tmp_path: Path) -> None:
    try:
        import pyarrow.parquet as parquet
    except ImportError as problem:
        require("pyarrow", False, str(problem))
    write_parquet(table, tmp_path / "t.parquet")
    read = parquet.read_table(tmp_path / "t.parquet")
    assert read.to_pylist() == list(rows(table))
    assert read.schema.metadata[b"latlas.target"].decode() == str(TARGET)


def test_a_data_frame(table: Table) -> None:
    try:
        import pandas
    except ImportError as problem:
        require("pandas", False, str(problem))
    frame = table.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == list(COLUMNS)
    assert frame[frame.unit == "network"].median_us.tolist() == [90.0]


@pytest.mark.parametrize(("module", "extra"), [("pyarrow", "parquet"), ("pandas", "pandas")])
def test_what_is_missing_is_told(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"needs {module} .*pip install 'latlas\[{extra}\]'"):
        if extra == "pandas":
            table.to_frame()
        else:
            write_parquet(table, tmp_path / "t.parquet")
    assert not (tmp_path / "t.parquet").exists()

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_material import NETWORKS, OTHER, RULES, TARGET, kernel_us, network

from latlas.predictor import file
from latlas.predictor.mixture import Mixture
from latlas.predictor.observations import TRUNCATION_US
from latlas.predictor.predictor import LatencyPredictor
from latlas.profiler.kernel import split
from latlas.profiler.table import Table, TableWriter
from latlas.report.figure import Bars, Chart, Drawing, Facts, Grid, Section, Text
from latlas.report.model_report import model_report
from latlas.report.predictor_report import predictor_report
from latlas.report.text import latency


def charts(sections: list[Section]) -> list[Chart]:
    return [b for section in sections for b in section.blocks if isinstance(b, Chart)]


def test_a_model_that_was_measured(table_folder: Path, other_folder: Path) -> None:
    tables = {"a": Table.open(table_folder), "b": Table.open(other_folder)}
    graph = NETWORKS["plain_4"]
    sections = model_report(graph, "m", tables, {})
    overview = next(b for b in sections[0].blocks if isinstance(b, Grid))
    assert [row[:2] for row in overview.rows] == [(str(TARGET), "a"), (str(OTHER), "b")]
    assert all({latency(1.5), "12.3 MB"} <= set(row) for row in overview.rows)
    kernels = split(graph, RULES)
    times = [kernel_us(k) / 1e3 for k in kernels if RULES.operators(k)]
    for factor, chart in zip((1.0, 0.6), charts(sections), strict=True):
        columns = sorted((x, y) for one in chart.series for x, y in zip(one.x, one.y, strict=True))
        found = [y for _, y in columns if y]
        assert found == pytest.approx([factor * t + TRUNCATION_US / 1e3 for t in times], abs=1e-5)
    (bars,) = [b for section in sections for b in section.blocks if isinstance(b, Bars)]
    for _, shares in bars.series:
        assert sum(share for share in shares if not math.isnan(share)) == pytest.approx(100)
    # A type has one colour on all targets.
    colours = [{one.name: one.colour for one in chart.series} for chart in charts(sections)]
    assert colours[0] == colours[1]


def test_a_model_that_was_not_measured(table_folder: Path, predictor_path: Path) -> None:
    graph = network(9)
    sections = model_report(
        graph, "m", {"t": Table.open(table_folder)}, {"p": file.load(predictor_path)}
    )
    warnings = [b.text for b in sections[0].blocks if isinstance(b, Text) and b.warning]
    assert len(warnings) == 1
    assert "are not in t" in warnings[0]
    overview = next(b for b in sections[0].blocks if isinstance(b, Grid))
    cells = [dict(zip(overview.header, row, strict=True)) for row in overview.rows]
    assert cells[0]["latency"] == "not measured"
    assert cells[1]["latency"].endswith("predicted")
    assert " to " in cells[1]["90% bounds"]
    assert any(isinstance(b, Drawing) for section in sections for b in section.blocks)


def test_a_model_with_kernels_that_nothing_is_known_about(predictor_path: Path) -> None:
    sections = model_report(network(9, pool=True), "m", {}, {"p": file.load(predictor_path)})
    overview = next(b for b in sections[0].blocks if isinstance(b, Grid))
    (cells,) = [dict(zip(overview.header, row, strict=True)) for row in overview.rows]
    assert cells["latency"].endswith("an estimate: it has unknown kernels")


def transferred(source: LatencyPredictor) -> LatencyPredictor:
    """Return a predictor of another device, on which every kernel takes twice as long."""
    weights = {kind: np.array([2.0]) for kind in source.forests}
    mixture = Mixture((source,), np.array([2.0]), weights)
    return replace(source, target=OTHER, table_us={}, forests={}, mixture=mixture)


def test_a_model_on_a_device_that_a_predictor_was_transferred_to(predictor_path: Path) -> None:
    source = file.load(predictor_path)
    sections = model_report(network(9), "m", {}, {"s": source, "few": transferred(source)})
    overview = next(b for b in sections[0].blocks if isinstance(b, Grid))
    shares = [dict(zip(overview.header, row, strict=True))["from kernels"] for row in overview.rows]
    assert "transferred" not in shares[0]
    assert shares[1] == "0% measured, 100% transferred, 0% predicted, 0% unknown"
    there, few = charts(sections)
    assert {t.rsplit(", ", 1)[1] for one in few.series for t in one.texts} == {"transferred"}
    for a, b in zip(there.series, few.series, strict=True):
        assert b.y == pytest.approx([2 * y for y in a.y])
    facts = predictor_report(transferred(source), "few", {})[0].blocks[1]
    assert isinstance(facts, Facts)
    assert dict(facts.items)["transferred from"] == str(TARGET)


def test_a_model_that_was_not_delegated(table_folder: Path) -> None:
    sections = model_report(network(8, pool=True), "m", {"t": Table.open(table_folder)}, {})
    found = [
        b for b in sections[0].blocks if isinstance(b, Grid) and b.header[0] == "not delegated"
    ]
    assert found[0].rows[0][0] == "pooled"
    assert "MAX_POOL_2D" in found[0].rows[0][1]


def test_an_empty_table_knows_no_kernel(tmp_path: Path) -> None:
    TableWriter(tmp_path / "empty", TARGET, fusion_rules=RULES.version).close()
    sections = model_report(network(4), "m", {"t": Table.open(tmp_path / "empty")}, {})
    assert not any(one.x for chart in charts(sections) for one in chart.series)

from dataclasses import replace
from pathlib import Path

from report_material import HOSTILE, NETWORKS, OTHER, TARGET, measured, network, write_table
from tables import block, write

from latlas.profiler.reference import reference_graph
from latlas.profiler.table import Table, TableWriter
from latlas.profiler.temperature import Temperature
from latlas.report.comparison_report import comparison_report
from latlas.report.figure import Block, Chart, Grid, Section, Text
from latlas.report.page import page
from latlas.report.table_report import SENSORS, foremost, table_report, timed


def blocks(sections: list[Section]) -> list[Block]:
    return [block for section in sections for block in section.blocks]


def chart(sections: list[Section], title: str) -> Chart:
    return next(b for b in blocks(sections) if isinstance(b, Chart) and b.title == title)


def grids(sections: list[Section]) -> list[Grid]:
    return [block for block in blocks(sections) if isinstance(block, Grid)]


def test_what_was_measured(table_folder: Path) -> None:
    table = Table.open(table_folder)
    sections = table_report(table, "T")
    (counts,) = [each for each in grids(sections) if each.header[0] == "unit"]
    assert counts.header[1:4] == ("measured", "stable", "noisy")
    rows = {row[0]: row[1:] for row in counts.rows}
    assert rows["network"] == (str(len(NETWORKS) + 1), str(len(NETWORKS)), "–", "–", "1", "–")
    networks = chart(sections, "Networks").series[0]
    assert sorted(networks.y) == sorted(one.latency_us / 1e3 for one in timed(table, "network"))
    (failures,) = [each for each in grids(sections) if each.header[0] == "reason"]
    assert "MAX_POOL_2D" in failures.rows[0][0]
    assert failures.rows[0][1:] == ("not delegated", "1", "network pooled")


def test_the_reference_is_one_line_over_the_time_of_measuring(table_folder: Path) -> None:
    (line,) = chart(table_report(Table.open(table_folder), "T"), "The reference kernel").series
    assert list(line.x) == [i * 9.0 / 60 for i in range(12)]


def test_temperatures_lie_under_the_reference(tmp_path: Path) -> None:
    found = [
        replace(
            measured(reference_graph(), "reference", f"r{i}", at_s=i * 9.0),
            temperatures_c=(
                Temperature("battery", 25.0 + i),
                *(Temperature(f"still {k}", 30.0) for k in range(SENSORS)),
            ),
        )
        for i in range(12)
    ]
    write(tmp_path, found)
    sections = table_report(Table.open(tmp_path), "T")
    (battery, *others) = chart(sections, "Temperature").series
    (line,) = chart(sections, "The reference kernel").series
    assert list(battery.x) == list(line.x)
    assert list(battery.y) == [25.0 + i for i in range(12)]
    assert len(others) == SENSORS - 1
    assert "1 more sensors" in chart(sections, "Temperature").note


def test_a_table_without_temperatures(table_folder: Path) -> None:
    sections = table_report(Table.open(table_folder), "T")
    assert any("not known" in b.text for b in blocks(sections) if isinstance(b, Text))


def test_two_tables_side_by_side(table_folder: Path, other_folder: Path) -> None:
    first, second = Table.open(table_folder), Table.open(other_folder)
    sections = comparison_report(first, second, ("A", "B"))
    found = chart(sections, "Networks")
    assert "Rank correlation 1.000" in found.note
    assert "the median of B over A is 0.60" in found.note
    assert len(found.series[0].x) == len(NETWORKS)
    kernels = chart(sections, "Kernels")
    assert sum(len(one.x) for one in kernels.series) == len(timed(first, "kernel"))
    texts = " ".join(block.text for block in blocks(sections) if isinstance(block, Text))
    assert "threads (1 against 2)" in texts


def test_tables_of_two_precisions_meet_by_kernel_and_name(tmp_path: Path) -> None:
    tables = []
    for precision, text in (("fp32", ""), ("int8", ":int8")):
        target = type(TARGET)("phone", "litert 2.3.0", "cpu", "xnnpack", precision=precision)
        with TableWriter(tmp_path / precision, target) as writer:
            kernel = measured(network(4), "kernel", "k")
            graph = f"1x8x8x4{text} | conv2d filters=8 kernel=1x1 @0 | @1"
            object.__setattr__(kernel, "graph", graph)
            found = [kernel, measured(network(4 if text else 6), "network", "same")]
            for each in found:
                writer.append_provisional(each)
            writer.accept(found)
        tables.append(Table.open(tmp_path / precision))
    sections = comparison_report(tables[0], tables[1], ("a", "b"))
    assert len(chart(sections, "Kernels").series[0].x) == 1
    assert len(chart(sections, "Networks").series[0].x) == 1


def test_tables_with_nothing_in_common(table_folder: Path, tmp_path: Path) -> None:
    TableWriter(tmp_path / "empty", OTHER).close()
    first, empty = Table.open(table_folder), Table.open(tmp_path / "empty")
    (section,) = comparison_report(first, empty, ("A", "B"))
    texts = [block.text for block in section.blocks if isinstance(block, Text)]
    assert texts[1:] == ["They have no kernel in common.", "They have no network in common."]


def blocks_of(folder: Path, *medians_us: float) -> Table:
    """Write a table of blocks: windows of 3, 5, 7 …, the last with another activation."""
    found = [block(time_us, 3 + 2 * i) for i, time_us in enumerate(medians_us[:-1])]
    found.append(block(medians_us[-1], act="relu6"))
    failed = block(1.0, 9, expanded=16, verdict="failed", reason="crashed")
    return write(folder, [*found, replace(failed, summary=None, samples_us=())])


def test_a_table_of_blocks(tmp_path: Path) -> None:
    sections = table_report(blocks_of(tmp_path, 100.0, 300.0, 200.0), "T")
    (points,) = chart(sections, "Blocks").series
    assert sorted(points.y) == [0.1, 0.2, 0.3]
    assert len({text.split("\n")[0] for text in points.texts}) == 3
    (noise,) = chart(sections, "How far samples spread").series
    assert noise.name == "blocks"
    assert len(noise.x) == 3
    slowest = next(each for each in grids(sections) if each.header[0] == "block")
    assert [row[:2] for row in slowest.rows] == [
        ("MB3 5×5, relu, 8×8×8 to 8×8×8", "300 µs"),
        ("MB3 3×3, relu6, 8×8×8 to 8×8×8", "200 µs"),
        ("MB3 3×3, relu, 8×8×8 to 8×8×8", "100 µs"),
    ]
    failures = next(each for each in grids(sections) if each.header[0] == "reason")
    assert failures.rows[0][3] == "block MB2 9×9, relu, 8×8×8 to 8×8×8"
    assert "Kernels" not in [section.title for section in sections]


def test_two_tables_of_blocks_side_by_side(tmp_path: Path) -> None:
    first = blocks_of(tmp_path / "a", 100.0, 300.0, 200.0)
    second = blocks_of(tmp_path / "b", 50.0, 150.0, 100.0)
    sections = comparison_report(first, second, ("A", "B"))
    found = chart(sections, "Blocks")
    assert "3 that both measured. Rank correlation 1.000" in found.note
    assert "the median of B over A is 0.50" in found.note
    assert "MB3 5×5, relu, 8×8×8 to 8×8×8\nA: 300 µs" in found.series[0].texts[1]


def test_an_empty_table_has_a_page(tmp_path: Path) -> None:
    TableWriter(tmp_path / "empty", TARGET).close()
    text = page("t", table_report(Table.open(tmp_path / "empty"), "T"))
    assert "Nothing was accepted into this table yet." in text
    assert HOSTILE not in text


def test_a_table_of_one_network_has_a_page(tmp_path: Path) -> None:
    with TableWriter(tmp_path / "one", TARGET) as writer:
        each = measured(network(4), "network", "n")
        writer.append_provisional(each)
        writer.accept([each])
    text = page("t", table_report(Table.open(tmp_path / "one"), "T"))
    assert "Rank correlation –" in text
    assert "No kernel was measured alone." in text


def test_hostile_names_stay_text(table_folder: Path) -> None:
    text = page("t", table_report(Table.open(table_folder), HOSTILE))
    assert "<img" not in text
    assert text.count("<script") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_many_types_share_grey() -> None:
    assert [name for name, _, _ in foremost({"a": [1]})] == ["a"]
    grey = foremost({str(i): [i, i] for i in range(20)})[0]
    assert grey == ("8 other types", None, [i for i in range(12, 20) for _ in range(2)])


def test_write_table_is_what_the_other_tests_rest_on(tmp_path: Path) -> None:
    assert len(write_table(tmp_path / "t").references) == 12

from pathlib import Path

import pytest
from report_material import HOSTILE

from latlas.profiler.errors import UsageError
from latlas.report.figure import Axis, Bars, Chart, Drawing, Figure, Layer, Section, Series, Text
from latlas.report.png import write_figures

NAN = float("nan")
FIGURES: list[Figure] = [
    Chart("Empty", Axis("x", log=True), Axis("y", log=True), []),
    Chart(
        f"$\\frac$ {HOSTILE}",
        Axis("$x"),
        Axis("y", log=True),
        [
            Series("$", [1, 2, NAN], [1, 2, 3], low=[0.5, 1, 2], high=[2, 3, 4], colour=None),
            Series("line", [1, 2], [3, 4], mark="line", colour=9),
            Series("", [1, 2], [3, 4], mark="column", colour=17),
        ],
        diagonal=True,
    ),
    Bars("Bars", "ms", [HOSTILE, "b"], [("$s", [1.0, NAN]), ("t", [2.0, 3.0])]),
    Bars("No bars", "ms", [], []),
    Drawing("Drawing", (Layer("MB6 5×5", "7×7×8", 5, 6.0, 2), Layer("FC", "8", 0, 1.0))),
]


def test_every_figure_is_a_file(tmp_path: Path) -> None:
    sections = [Section("s", [Text("t"), *FIGURES[:2]]), Section("s", FIGURES[2:])]
    paths = write_figures(tmp_path / "png", sections)
    assert [path.name[:9] for path in paths] == [
        *("01-empty.", "02-frac-s", "03-bars.p", "04-no-bar", "05-drawin"),
    ]
    assert all(path.read_bytes()[1:4] == b"PNG" for path in paths)
    assert sorted(paths) == sorted((tmp_path / "png").iterdir())


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "png").write_text("")
    with pytest.raises(UsageError, match="nothing was written"):
        write_figures(tmp_path / "png", [Section("s", FIGURES[:1])])

"""What thermal zones say, and what they say wrongly."""

from __future__ import annotations

from pathlib import Path

from latlas.profiler.temperature import Temperature, zone_temperatures


def zone(folder: Path, number: int, kind: str, temp: str) -> None:
    path = folder / f"thermal_zone{number}"
    path.mkdir()
    (path / "type").write_text(kind + "\n")
    (path / "temp").write_text(temp + "\n")


def test_zones(tmp_path: Path) -> None:
    zone(tmp_path, 10, "acpitz", "27800")
    zone(tmp_path, 2, "acpitz", "41000")
    zone(tmp_path, 0, "x86_pkg_temp", "53000")
    zone(tmp_path, 3, "", "1000")
    assert zone_temperatures(tmp_path) == (
        Temperature("x86_pkg_temp", 53.0),
        Temperature("acpitz", 41.0),
        Temperature("thermal_zone3", 1.0),
        Temperature("acpitz (10)", 27.8),
    )


def test_zones_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    zone(tmp_path, 0, "off", "-274000")
    zone(tmp_path, 1, "broken", "")
    zone(tmp_path, 2, "hot", "999999999999")
    (tmp_path / "thermal_zone3").mkdir()  # neither type nor temperature
    (tmp_path / "thermal_zone4").write_text("no folder")
    assert zone_temperatures(tmp_path) == ()


def test_a_machine_without_zones(tmp_path: Path) -> None:
    assert zone_temperatures(tmp_path / "none") == ()

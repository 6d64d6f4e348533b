"""How warm a device is, as its sensors say."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ZONES = Path("/sys/class/thermal")
"""Where Linux lists its thermal zones; virtual machines have none."""

MIN_C, MAX_C = -50.0, 150.0
"""Degrees beyond these are no temperature of a device: a sensor that is off says 0 K or so."""

_MAX_ZONES = 100
_MAX_NAME = 60


@dataclass(frozen=True, slots=True)
class Temperature:
    """What one sensor says.

    Attributes:
        name: of the sensor, e.g. ``VIRTUAL-SKIN``.
        celsius: degrees.
    """

    name: str
    celsius: float


def zone_temperatures(folder: Path = ZONES) -> tuple[Temperature, ...]:
    """Return what the thermal zones of this machine say; nothing where there are none.

    A zone that cannot be read, or whose figure is impossible, is left out. Zones of the same type
    are told apart by the zone's number: ``acpitz``, ``acpitz (2)``.

    Args:
        folder: of the zones, see Linux' Documentation/driver-api/thermal/sysfs-api.rst.
    """
    found: dict[str, float] = {}
    with suppress(OSError):
        zones = sorted(folder.glob("thermal_zone*"), key=_number)
        for zone in zones[:_MAX_ZONES]:
            with suppress(OSError, ValueError):
                celsius = int((zone / "temp").read_text()) / 1000
                text = (zone / "type").read_text(errors="replace").strip()[:_MAX_NAME]
                name = "".join(letter for letter in text if letter.isprintable()) or zone.name
                if MIN_C < celsius < MAX_C:
                    found[f"{name} ({_number(zone)})" if name in found else name] = celsius
    return tuple(Temperature(name, celsius) for name, celsius in found.items())


def _number(zone: Path) -> int:
    digits = zone.name.removeprefix("thermal_zone")
    return int(digits) if digits.isdecimal() else 0

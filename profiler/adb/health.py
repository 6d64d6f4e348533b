"""How a phone is doing: battery and heat."""

from __future__ import annotations

import re
from dataclasses import dataclass

from latlas.profiler.adb.text import clean, decimal_number, whole_number
from latlas.profiler.temperature import MAX_C, MIN_C, Temperature

_MAX_TEMPERATURES = 100
_CHARGING, _FULL = 2, 5  # android.os.BatteryManager's BATTERY_STATUS_…
_NO_DEGREES = {"6", "7", "8"}  # android.os.Temperature's TYPE_BCL_…: volts, amperes and per cent


@dataclass(frozen=True, slots=True)
class Battery:
    """A phone's battery; None where it says nothing.

    Attributes:
        percent: 0 to 100.
        temperature_c: degrees Celsius.
        charging: whether it is plugged in and takes power.
    """

    percent: float | None = None
    temperature_c: float | None = None
    charging: bool | None = None


@dataclass(frozen=True, slots=True)
class Thermal:
    """What Android's thermal service says.

    Attributes:
        status: 0 for cool, 1 light, 2 moderate, 3 severe … 6 shutdown; None if unknown, which
            includes a status that somebody has set by hand.
        overridden: whether the status was set by hand.
        temperatures: as the sensors have them now.
    """

    status: int | None = None
    overridden: bool = False
    temperatures: tuple[Temperature, ...] = ()


def parse_battery(text: str) -> Battery:
    """Return what ``dumpsys battery`` says.

    >>> parse_battery("  level: 87\\n  scale: 100\\n  temperature: 268\\n  USB powered: true")
    Battery(percent=87.0, temperature_c=26.8, charging=True)
    """
    fields = dict(re.findall(r"^ {0,4}([A-Za-z ]{1,40}): {1,4}([a-z0-9-]{1,20})\s*$", text, re.M))
    level, scale = whole_number(fields.get("level")), whole_number(fields.get("scale", "100"))
    tenths, status = whole_number(fields.get("temperature")), whole_number(fields.get("status"))
    plugged = [fields[key] == "true" for key in fields if key.endswith(" powered")]
    charging = any(plugged) if plugged else None
    if status is not None:
        charging = status in (_CHARGING, _FULL) and charging is not False
    known = level is not None and scale is not None and 0 <= level <= scale and scale > 0
    return Battery(
        percent=100.0 * level / scale if known and level is not None and scale else None,
        temperature_c=tenths / 10 if tenths is not None and -500 < tenths < 1500 else None,
        charging=charging,
    )


def parse_thermal(text: str) -> Thermal:
    """Return what ``dumpsys thermalservice`` says; what it says of the past is left out.

    >>> parse_thermal("IsStatusOverride: false\\nThermal Status: 2")
    Thermal(status=2, overridden=False, temperatures=())
    """
    overridden = re.search(r"^IsStatusOverride: true\s*$", text, re.M) is not None
    found = re.search(r"^Thermal Status: ([0-6])\s*$", text, re.M)
    now = re.search(r"^Current temperatures from HAL:\n((?:[ \t]+[^\n]*\n?)*)", text, re.M)
    sensors = re.findall(
        r"Temperature\{mValue=([^,\n]{1,30}), mType=([^,\n]{1,9}), mName=([^,\n]{1,60}),",
        now[1] if now else "",
    )
    temperatures = (
        Temperature(name, celsius)
        for value, kind, raw in sensors[:_MAX_TEMPERATURES]
        if kind not in _NO_DEGREES
        and (celsius := decimal_number(value)) is not None
        and MIN_C < celsius < MAX_C
        and (name := clean(raw)) is not None
    )
    return Thermal(
        status=int(found[1]) if found and not overridden else None,
        overridden=overridden,
        temperatures=tuple(temperatures),
    )

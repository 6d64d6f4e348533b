"""How a phone is doing, read from whatever it may print."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latlas.profiler.adb.health import Battery, Thermal, parse_battery, parse_thermal
from latlas.profiler.temperature import Temperature


@pytest.mark.parametrize(
    ("text", "battery"),
    [
        ("", Battery()),
        ("  level: 50\n  scale: 200\n", Battery(percent=25.0)),
        ("  level: 120\n  scale: 100\n", Battery()),
        ("  level: 5\n  scale: 0\n", Battery()),
        ("  level: -1\n  temperature: 99999\n", Battery()),
        ("  temperature: -15\n", Battery(temperature_c=-1.5)),
        ("  AC powered: true\n  USB powered: false\n", Battery(charging=True)),
        ("  AC powered: false\n  USB powered: false\n", Battery(charging=False)),
        ("  USB powered: true\n  status: 3\n", Battery(charging=False)),
        ("  USB powered: false\n  status: 5\n", Battery(charging=False)),
        ("  status: 2\n", Battery(charging=True)),
    ],
)
def test_battery(text: str, battery: Battery) -> None:
    assert parse_battery(text) == battery


def test_a_status_set_by_hand_is_unknown() -> None:
    assert parse_thermal("IsStatusOverride: true\nThermal Status: 0\n") == Thermal(None, True)


def test_only_temperatures_of_now_count() -> None:
    text = """Thermal Status: 1
Cached temperatures:
\tTemperature{mValue=99.0, mType=3, mName=OLD, mStatus=3}
Current temperatures from HAL:
\tTemperature{mValue=31.5, mType=3, mName=SKIN, mStatus=0}
\tTemperature{mValue=NaN, mType=0, mName=BROKEN, mStatus=0}
\tTemperature{mValue=4.2, mType=6, mName=VOLTS, mStatus=0}
\tTemperature{mValue=87.0, mType=8, mName=PERCENT, mStatus=0}
\tTemperature{mValue=-273.1, mType=0, mName=OFF, mStatus=0}
Temperature static thresholds from HAL:
\tTemperature{mValue=88.0, mType=3, mName=LATER, mStatus=3}
"""
    assert parse_thermal(text) == Thermal(1, False, (Temperature("SKIN", 31.5),))


@given(
    st.lists(
        st.one_of(
            st.builds("  {}: {}".format, st.sampled_from(["level", "scale"]), st.integers()),
            st.builds("  {}: {}".format, st.sampled_from(["temperature", "status"]), st.text()),
            st.builds("Thermal Status: {}".format, st.integers(-9, 99)),
            st.just("Current temperatures from HAL:"),
            st.builds(
                "\tTemperature{{mValue={}, mType=3, mName={},".format, st.floats(), st.text()
            ),
            st.text(),
        )
    ).map("\n".join)
)
def test_any_text(text: str) -> None:
    battery, thermal = parse_battery(text), parse_thermal(text)
    assert battery.percent is None or 0 <= battery.percent <= 100
    assert battery.temperature_c is None or -50 < battery.temperature_c < 150
    assert thermal.status is None or 0 <= thermal.status <= 6
    assert all(sensor.name.isprintable() for sensor in thermal.temperatures)

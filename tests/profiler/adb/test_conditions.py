"""What a phone is made for measuring, and how it is put back, whatever happens meanwhile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from phone_lab.lab import LabPhone, wait_for

from latlas.profiler.adb.conditions import (
    Affinity,
    BatteryLevel,
    Charging,
    Condition,
    Conditions,
    FixedPerformance,
    Problem,
    ScreenAwake,
    ThermalStatus,
    restore_quietly,
    usual_conditions,
)
from latlas.profiler.adb.phone import FOLDER, Phone
from latlas.profiler.errors import DeviceError, DeviceLost

NOTE = f"{FOLDER}/conditions"
GET = "settings get global stay_on_while_plugged_in"
PUT = "settings put global stay_on_while_plugged_in"
FIXED = "cmd power set-fixed-performance-mode-enabled"


@pytest.fixture
def lab(phone: LabPhone) -> Iterator[LabPhone]:
    """The phone of all tests, without notes and settings, before and after."""
    clean = f"rm -rf {FOLDER}; settings delete global stay_on_while_plugged_in"
    phone.sh(clean)
    yield phone
    phone.sh(clean)
    phone.set_property("ro.build.version.sdk", "34")
    phone.set_property("lab.power_hal", None)


def fixed(lab: LabPhone) -> list[str]:
    """Return every value that fixed performance mode was set to."""
    return [call.split()[-1] for call in lab.calls() if call.startswith(FIXED)]


@pytest.mark.parametrize("before", ["null", "0", "3"])
def test_what_is_written_is_put_back(lab: LabPhone, before: str) -> None:
    if before != "null":
        lab.sh(f"{PUT} {before}")
    conditions = usual_conditions(Phone(lab.serial))
    calls = len(lab.calls())
    conditions.write()
    assert lab.sh(GET) == "15\n"
    assert conditions.written == {"screen awake", "fixed performance mode"}
    assert conditions.refused == {}
    assert set(lab.sh(f"cat {NOTE}").splitlines()) == {
        f"screen awake={before}",
        "fixed performance mode=false",
    }
    shown = conditions.show()
    assert (shown["screen awake"], shown["fixed performance mode"]) == ("15", "true")
    assert (shown["battery"], shown["thermal status"]) == ("87%, 26.8 °C", "0")
    conditions.restore()
    assert lab.sh(GET) == f"{before}\n"
    assert lab.sh(f"ls {FOLDER}") == ""
    assert conditions.written == set()
    assert conditions.show()["fixed performance mode"] == "false"
    asked = [call for call in lab.calls()[calls:] if " get " not in call]
    assert asked[1:3] == ["input keyevent KEYCODE_WAKEUP", f"{FIXED} true"]
    assert asked[3] == f"{FIXED} false"
    if before == "null":
        assert asked[4] == "settings delete global stay_on_while_plugged_in"
    count = len(lab.calls())
    conditions.restore()
    assert len(lab.calls()) == count


def test_writing_twice_keeps_what_was_first(lab: LabPhone) -> None:
    """As when the phone went away meanwhile."""
    lab.sh(f"{PUT} 3")
    conditions = usual_conditions(Phone(lab.serial))
    conditions.write()
    conditions.write()
    conditions.restore()
    assert lab.sh(GET) == "3\n"


CRASHING = """
import os, sys
from latlas.profiler.adb.conditions import usual_conditions
from latlas.profiler.adb.phone import Phone
usual_conditions(Phone(sys.argv[1])).write()
os._exit(9)
"""


@pytest.mark.parametrize("fixed_performance", [True, False])
def test_what_a_crash_has_left_is_put_back(lab: LabPhone, fixed_performance: bool) -> None:
    """Also by a start that would not have set all of it."""
    lab.sh(f"{PUT} 5")
    done = subprocess.run([sys.executable, "-c", CRASHING, lab.serial], timeout=60)
    assert done.returncode == 9
    assert lab.sh(GET) == "15\n"
    conditions = usual_conditions(Phone(lab.serial), fixed_performance=fixed_performance)
    left = conditions.restore_left()
    assert set(left) == {"screen awake", "fixed performance mode"}
    assert lab.sh(GET) == "5\n"
    assert fixed(lab)[-1] == "false"
    assert lab.sh(f"ls {FOLDER}") == ""
    assert conditions.restore_left() == ()


def test_a_reboot_in_between(fragile_phone: LabPhone) -> None:
    conditions = usual_conditions(Phone(fragile_phone.serial))
    conditions.write()
    fragile_phone.reboot(down_s=0.1)
    with pytest.raises(DeviceError):
        while True:
            conditions.show()
    wait_for(lambda: fragile_phone.runs, "the phone to boot")
    fragile_phone.attach()
    assert conditions.restore_left() != ()
    assert fragile_phone.sh(GET) == "null\n"
    conditions.write()
    conditions.restore()
    assert fragile_phone.sh(GET) == "null\n"
    assert fixed(fragile_phone) == ["true", "false", "true", "false"]


NOTES = [
    "",
    "\n",
    "unknown=1",
    "screen awake",
    "screen awake=",
    "screen awake=15; settings put global hacked 1",
    "screen awake=$(settings put global hacked 1)",
    "screen awake=%0a1",
    "screen awake=%ff%zz",
    "=screen awake",
    "screen awake=" + "9" * 10_000,
    "fixed performance mode=maybe",
    "\x1b[2J" * 100,
    "screen awake=1\n" * 5000,
]


def put_note(lab: LabPhone, text: str) -> None:
    Phone(lab.serial).transport.push(text.encode(), NOTE, 10)


@pytest.mark.parametrize("text", NOTES)
def test_a_hostile_note(lab: LabPhone, text: str) -> None:
    put_note(lab, text)
    left = usual_conditions(Phone(lab.serial)).restore_left()
    assert set(left) <= {"screen awake", "fixed performance mode"}
    assert lab.sh("settings get global hacked") == "null\n"
    assert lab.sh(GET).strip() in ("null", "1")
    if text:
        assert lab.sh(f"ls {FOLDER}") == ""


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([*NOTES, "screen awake=", "\0", "ü"])).map("".join))
def test_any_note(lab: LabPhone, text: str) -> None:
    put_note(lab, text)
    usual_conditions(Phone(lab.serial)).restore_left()
    assert lab.sh("settings get global hacked") == "null\n"


def test_a_note_that_is_no_file(lab: LabPhone) -> None:
    lab.sh(f"mkdir -p {NOTE}/x")
    assert usual_conditions(Phone(lab.serial)).restore_left() == ()
    lab.sh(f"rm -r {NOTE} && mkfifo {NOTE}")
    assert usual_conditions(Phone(lab.serial, 2.0)).restore_left() == ()


class Odd:
    """A condition of a user, whose text is not simple."""

    name = "odd"
    writable = True

    def __init__(self, text: str) -> None:
        self.text = text

    def available(self) -> bool:
        return True

    def show(self) -> str:
        return self.text

    def problem(self) -> Problem | None:
        return None

    def write(self) -> None:
        self.text = "written"

    def restore(self, before: str) -> None:
        self.text = before


@pytest.mark.parametrize(
    "text", ["", "a\nscreen awake=7\nb", "a=b", "\\n\\c", "%41", "ü '\"$x", "x" * 1000]
)
def test_any_text_is_noted_and_put_back(lab: LabPhone, text: str) -> None:
    phone = Phone(lab.serial)
    lab.sh(f"{PUT} 3")
    first: list[Condition] = [Odd(text), ScreenAwake(phone)]
    Conditions(phone, first).write()
    odd = Odd("written")
    assert set(Conditions(phone, [odd]).restore_left()) == {"odd", "screen awake"}
    assert odd.text == text
    assert lab.sh(GET) == "3\n"


def test_a_phone_that_refuses(lab: LabPhone) -> None:
    lab.set_property("lab.power_hal", "none")
    conditions = usual_conditions(Phone(lab.serial))
    conditions.write()
    assert conditions.written == {"screen awake"}
    assert "Power HAL AIDL" in conditions.refused["fixed performance mode"]
    assert conditions.show()["fixed performance mode"] == "false"
    lab.set_property("lab.power_hal", None)
    conditions.write()
    assert "fixed performance mode" in conditions.written
    assert conditions.refused == {}
    lab.set_property("lab.power_hal", "none")
    conditions.write()
    assert "fixed performance mode" not in conditions.written
    conditions.restore()  # is refused too, which does not keep the rest from being put back
    assert lab.sh(GET) == "null\n"
    assert lab.sh(f"ls {FOLDER}") == ""


@pytest.mark.parametrize("sdk", ["29", None, "x"])
def test_a_phone_without_fixed_performance_mode(lab: LabPhone, sdk: str | None) -> None:
    lab.set_property("ro.build.version.sdk", sdk)
    before = fixed(lab)
    conditions = usual_conditions(Phone(lab.serial))
    conditions.write()
    assert conditions.written == {"screen awake"}
    assert conditions.refused == {}
    assert "fixed performance mode" not in conditions.show()
    conditions.restore()
    assert fixed(lab) == before


def test_what_is_not_wanted_is_not_written(lab: LabPhone) -> None:
    before = fixed(lab)
    conditions = usual_conditions(Phone(lab.serial), fixed_performance=False)
    conditions.write()
    assert conditions.written == {"screen awake"}
    assert fixed(lab) == before


def test_a_phone_that_is_gone(fragile_phone: LabPhone) -> None:
    conditions = usual_conditions(Phone(fragile_phone.serial))
    conditions.write()
    fragile_phone.detach()
    with pytest.raises(DeviceLost):
        conditions.restore()
    assert "not" in restore_quietly(conditions)
    fragile_phone.attach()
    assert restore_quietly(conditions) == ""
    assert fragile_phone.sh(GET) == "null\n"
    assert fixed(fragile_phone) == ["true", "false"]


def test_a_phone_that_is_full(fragile_phone: LabPhone) -> None:
    """What cannot be noted is not changed; what was noted can be put back."""
    phone = fragile_phone
    conditions = usual_conditions(Phone(phone.serial))
    fixed_only = Conditions(conditions.phone, [FixedPerformance(conditions.phone)])
    fixed_only.write()
    phone.fill(0)
    with pytest.raises(DeviceError, match="No space left"):
        conditions.write()
    assert phone.sh(GET) == "null\n"
    phone.free()
    assert usual_conditions(Phone(phone.serial)).restore_left() == ("fixed performance mode",)
    conditions.write()
    phone.fill(0)
    conditions.restore()
    assert phone.sh(GET) == "null\n"
    assert fixed(phone)[-1] == "false"
    phone.free()
    assert phone.sh(f"ls {FOLDER}") == ""


# What can only be looked at


def found(condition: Condition) -> str:
    problem = condition.problem()
    return problem.found if problem else ""


def test_affinity(lab: LabPhone) -> None:
    device = Phone(lab.serial)
    assert found(Affinity(device, "1")) == ""
    assert int(Affinity(device, "1").show(), 16) & 1
    problem = Affinity(device, "8000000000").problem()
    assert problem is not None
    assert "8000000000 is refused" in problem.found
    assert "latlas devices" in problem.mend
    assert usual_conditions(device, mask="8000000000").problems() == [problem]


@pytest.mark.parametrize(
    ("text", "limit", "problem"),
    [
        ("Thermal Status: 0", 0, ""),
        ("Thermal Status: 2", 0, "throttled, thermal status 2"),
        ("Thermal Status: 2", 2, ""),
        ("IsStatusOverride: true\nThermal Status: 0", 0, "its thermal status was set by hand"),
        ("nonsense", 0, ""),
        (None, 0, ""),
    ],
)
def test_heat(fragile_phone: LabPhone, text: str | None, limit: int, problem: str) -> None:
    fragile_phone.set_dumpsys("thermalservice", text)
    device = Phone(fragile_phone.serial)
    assert found(ThermalStatus(device, limit)) == problem
    conditions = usual_conditions(device, thermal_limit=limit)
    assert [p.found for p in conditions.problems()] == ([problem] if problem else [])
    if "hand" in problem:
        (mend,) = (p.mend for p in conditions.problems())
        assert mend.endswith("cmd thermalservice reset")
    assert ("thermal status" in conditions.show()) == bool(text and "Status" in text)


@pytest.mark.parametrize(
    ("text", "problem", "charging"),
    [
        ("  level: 12\n  scale: 100\n  USB powered: false", "battery at 12%", "no"),
        ("  level: 12\n  scale: 100\n  USB powered: true\n  status: 2", "", "yes"),
        ("  level: 80\n  scale: 100\n  temperature: 431", "battery at 43.1 °C", ""),
        ("", "", ""),
        (None, "", ""),
    ],
)
def test_battery(fragile_phone: LabPhone, text: str | None, problem: str, charging: str) -> None:
    fragile_phone.set_dumpsys("battery", text)
    device = Phone(fragile_phone.serial)
    assert found(BatteryLevel(device)) == problem
    assert Charging(device).show() == charging
    assert ("charging" in usual_conditions(device).show()) == bool(charging)

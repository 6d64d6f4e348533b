"""What a phone must be like while it is measured, and how it is put back afterwards.

Every condition can say whether a phone has it, show how it is, write what measuring needs, and
restore what was. Those that can only be looked at (heat, battery) say what is wrong instead; the
campaign waits until they are well.

What is changed is noted on the phone first. A start that finds such a note restores what an
interrupted one has left, even one from another computer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, unquote

from latlas.profiler.adb.phone import FOLDER, Phone
from latlas.profiler.adb.text import whole_number
from latlas.profiler.errors import DeviceCommandError, DeviceError

THERMAL_LIMIT = 0
"""Android's thermal status up to which a phone counts as cool: 0 none, 1 light, 2 moderate …"""
MIN_BATTERY_PERCENT = 20
"""Android saves power, at lower clocks, from about here on."""
MAX_BATTERY_C = 40.0
"""A battery warmer than this is in a phone that is about to be throttled."""

_NOTE = f"{FOLDER}/conditions"
_MAX_NOTE_BYTES = 4096
_STAY_ON = "stay_on_while_plugged_in"
_EVERY_PLUG = "15"  # AC, USB, wireless and dock: android.os.BatteryManager's BATTERY_PLUGGED_…
_FIXED_SDK = 30


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a condition does not hold.

    Attributes:
        found: what is wrong, e.g. ``battery at 12%``.
        mend: the command, or else the step, that mends it.
    """

    found: str
    mend: str


class Condition(Protocol):
    """One thing about a phone that figures depend on.

    Attributes:
        name: for people, and for the note on the phone.
        writable: whether `write` changes anything.
    """

    name: str
    writable: bool

    def available(self) -> bool:
        """Tell whether this phone has it."""
        ...

    def show(self) -> str:
        """Return how it is now, as text that `restore` takes; empty if the phone does not say."""
        ...

    def problem(self) -> Problem | None:
        """Return what is wrong with it now, as far as `write` cannot mend it."""
        ...

    def write(self) -> None:
        """Bring about what measuring needs; nothing where it can only be looked at."""
        ...

    def restore(self, before: str) -> None:
        """Put back what `show` had said before `write`."""
        ...


class _Shown:
    """A condition that can only be looked at, or ends with the process that has it."""

    writable = False

    def __init__(self, phone: Phone) -> None:
        self.phone = phone

    def available(self) -> bool:
        return bool(self.show())

    def show(self) -> str:
        return ""

    def problem(self) -> Problem | None:
        return None

    def write(self) -> None:
        return

    def restore(self, before: str) -> None:
        return


class Affinity(_Shown):
    """The cores that processes may use, as a hexadecimal mask.

    A batch sets it for its own shell and reads it back; here is tried whether that will work.

    Args:
        phone: the phone.
        mask: hexadecimal without 0x, as Android's taskset wants it.
    """

    name = "affinity"

    def __init__(self, phone: Phone, mask: str) -> None:
        super().__init__(phone)
        self.mask = mask

    def show(self) -> str:
        """Return the mask of a new process, e.g. ``ff``."""
        return self._mask("taskset -p $$")

    def problem(self) -> Problem | None:
        found = self._mask(f"taskset -p {int(self.mask, 16):x} $$ >/dev/null && taskset -p $$")
        if found and int(found, 16) == int(self.mask, 16):
            return None
        return Problem(
            f"the affinity mask {self.mask} is refused (it has {self.show() or '?'})",
            "choose other cores: `latlas devices --json` lists them",
        )

    def _mask(self, line: str) -> str:
        found = re.search(r": ([0-9a-f]{1,64})\s*$", self.phone.ask("sh", "-c", line))
        return found[1] if found else ""


class FixedPerformance(_Shown):
    """Android's fixed performance mode: a lower clock that can be held (Android 11 and later)."""

    name = "fixed performance mode"
    writable = True

    def __init__(self, phone: Phone) -> None:
        super().__init__(phone)
        self._value = "false"

    def available(self) -> bool:
        sdk = whole_number(self.phone.ask("getprop", "ro.build.version.sdk"))
        return (sdk or 0) >= _FIXED_SDK

    def show(self) -> str:
        """Return what was written last, at first ``false``: Android cannot be asked.

        Whoever else switches it on is measuring as well.
        """
        return self._value

    def write(self) -> None:
        self._set("true")

    def restore(self, before: str) -> None:
        self._set("false")

    def _set(self, value: str) -> None:
        self.phone.do("cmd", "power", "set-fixed-performance-mode-enabled", value)
        self._value = value


class ScreenAwake(_Shown):
    """The screen: some phones slow their GPU down while it is off."""

    name = "screen awake"
    writable = True

    def show(self) -> str:
        """Return the plugs that keep it on, as Android's setting has them; ``null`` for none."""
        found = self.phone.ask("settings", "get", "global", _STAY_ON).strip()
        return found if re.fullmatch(r"null|[0-9]{1,3}", found) else ""

    def write(self) -> None:
        self.phone.do("settings", "put", "global", _STAY_ON, _EVERY_PLUG)
        self.phone.do("input", "keyevent", "KEYCODE_WAKEUP")

    def restore(self, before: str) -> None:
        if not re.fullmatch(r"[0-9]{1,3}", before):
            self.phone.do("settings", "delete", "global", _STAY_ON)
        else:
            self.phone.do("settings", "put", "global", _STAY_ON, before)


class ThermalStatus(_Shown):
    """Android's own word on whether it slows down for heat (Android 10 and later).

    Args:
        phone: the phone.
        limit: the highest status that counts as cool.
    """

    name = "thermal status"

    def __init__(self, phone: Phone, limit: int = THERMAL_LIMIT) -> None:
        super().__init__(phone)
        self.limit = limit

    def show(self) -> str:
        thermal = self.phone.thermal()
        if thermal.overridden:
            return "set by hand"
        return "" if thermal.status is None else str(thermal.status)

    def problem(self) -> Problem | None:
        thermal = self.phone.thermal()
        if thermal.overridden:
            reset = self.phone.adb_command("cmd", "thermalservice", "reset")
            return Problem("its thermal status was set by hand", reset)
        if thermal.status is not None and thermal.status > self.limit:
            return Problem(f"throttled, thermal status {thermal.status}", "let it cool down")
        return None


class BatteryLevel(_Shown):
    """The battery: Android saves power when it is low, and a warm one is about to be throttled."""

    name = "battery"

    def show(self) -> str:
        battery = self.phone.battery()
        parts = [
            "" if battery.percent is None else f"{battery.percent:.0f}%",
            "" if battery.temperature_c is None else f"{battery.temperature_c:.1f} °C",
        ]
        return ", ".join(filter(None, parts))

    def problem(self) -> Problem | None:
        battery = self.phone.battery()
        percent, celsius = battery.percent, battery.temperature_c
        if percent is not None and percent < MIN_BATTERY_PERCENT and not battery.charging:
            return Problem(
                f"battery at {percent:.0f}%", "charge it: phones save power when they are low"
            )
        if celsius is not None and celsius > MAX_BATTERY_C:
            return Problem(f"battery at {celsius:.1f} °C", "let it cool down, out of its case")
        return None


class Charging(_Shown):
    """Whether the battery takes power, which warms the phone; a part of the environment."""

    name = "charging"

    def show(self) -> str:
        charging = self.phone.battery().charging
        return "" if charging is None else ("yes" if charging else "no")


class Conditions:
    """The conditions of one phone: written before a campaign, restored after it.

    Args:
        phone: the phone.
        conditions: in the order in which they are written.

    Attributes:
        written: names of the conditions that the phone took and has now.
        refused: by name, why it did not take a condition that it should have.
    """

    def __init__(self, phone: Phone, conditions: Sequence[Condition]) -> None:
        self.phone = phone
        self.conditions = conditions
        self.written: set[str] = set()
        self.refused: dict[str, str] = {}
        self._before: dict[str, str] = {}

    def problems(self) -> list[Problem]:
        """Return what is wrong with the phone now."""
        found = (condition.problem() for condition in self.conditions)
        return [problem for problem in found if problem is not None]

    def show(self) -> dict[str, str]:
        """Return how every condition is that the phone has."""
        return {c.name: c.show() for c in self.conditions if c.available()}

    def restore_left(self) -> tuple[str, ...]:
        """Put back what an interrupted start has left; return the names of it.

        That start may have kept other conditions than this one.
        """
        script = '[ -f "$1" ] && head -c "$2" "$1"'
        text = self.phone.ask("sh", "-c", script, "sh", _NOTE, str(_MAX_NOTE_BYTES))
        known = {condition.name for condition in self._restorable()}
        notes = (line.partition("=") for line in text.splitlines())
        noted = {name: unquote(before) for name, _, before in notes if name in known}
        self._before = noted | self._before
        left = tuple(self._before)
        self.restore()
        if text:
            self._note()  # whatever else it says is nothing that can be put back
        return left

    def write(self) -> None:
        """Bring about what measuring needs, having noted what was.

        A phone that refuses one is measured without it: see `refused`.

        Raises:
            DeviceError: the phone is gone, or has no room for the note.
        """
        for condition in self.conditions:
            if not condition.writable or not condition.available():
                continue
            if condition.name not in self._before:
                self._before[condition.name] = condition.show()
                self._note()
            try:
                condition.write()
                self.written.add(condition.name)
                self.refused.pop(condition.name, None)
            except DeviceCommandError as problem:
                self.refused[condition.name] = str(problem)
                self.written.discard(condition.name)

    def restore(self) -> None:
        """Put back what was; what the phone refuses is not tried again.

        Raises:
            DeviceError: the phone is gone; the note stays for the next start.
        """
        for condition in self._restorable():
            if condition.name in self._before:
                with suppress(DeviceCommandError):
                    condition.restore(self._before[condition.name])
                del self._before[condition.name]
                self.written.discard(condition.name)
                with suppress(DeviceCommandError):  # of a full disk: an old note does no harm
                    self._note()

    def _restorable(self) -> list[Condition]:
        """Return the conditions in the order in which they are put back."""
        own = list(reversed(self.conditions))
        names = {condition.name for condition in own}
        usual: list[Condition] = [FixedPerformance(self.phone), ScreenAwake(self.phone)]
        return own + [condition for condition in usual if condition.name not in names]

    def _note(self) -> None:
        lines = "\n".join(f"{name}={quote(before)}" for name, before in self._before.items())
        if lines:
            # Renamed, so that there is never half a note.
            script = 'mkdir -p "$1" && echo "$3" > "$2.new" && mv -f "$2.new" "$2"'
            self.phone.do("sh", "-c", script, "sh", FOLDER, _NOTE, lines)
        else:
            with suppress(DeviceCommandError):
                self.phone.do("rm", "-rf", _NOTE, f"{_NOTE}.new")


def usual_conditions(
    phone: Phone,
    *,
    mask: str = "",
    thermal_limit: int | None = None,
    fixed_performance: bool = True,
) -> Conditions:
    """Return the conditions that a campaign keeps.

    Args:
        phone: the phone.
        mask: of the cores that are measured, hexadecimal; empty for any.
        thermal_limit: the highest thermal status that counts as cool; None is `THERMAL_LIMIT`.
        fixed_performance: whether Android's fixed performance mode is wanted.
    """
    limit = THERMAL_LIMIT if thermal_limit is None else thermal_limit
    wanted: list[Condition] = [ScreenAwake(phone)]
    if mask:
        wanted.append(Affinity(phone, mask))
    if fixed_performance:
        wanted.append(FixedPerformance(phone))
    wanted += [ThermalStatus(phone, limit), BatteryLevel(phone), Charging(phone)]
    return Conditions(phone, wanted)


def restore_quietly(conditions: Conditions) -> str:
    """Restore at an end that may have another reason; return what went wrong instead of raising."""
    try:
        conditions.restore()
    except DeviceError as problem:
        return str(problem)
    return ""

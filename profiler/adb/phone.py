"""One phone: what it is, and how it is doing."""

from __future__ import annotations

import hashlib
import shlex
import time
from collections.abc import Iterable

from latlas.profiler.adb.health import Battery, Thermal, parse_battery, parse_thermal
from latlas.profiler.adb.identity import (
    PhoneIdentity,
    identify,
    parse_clusters,
    parse_gpu,
    parse_properties,
)
from latlas.profiler.adb.transport import AdbTransport
from latlas.profiler.temperature import Temperature

FOLDER = "/data/local/tmp/latlas"
"""Where latlas keeps its files on a phone; the shell may create and execute there."""

_CPU = "/sys/devices/system/cpu/cpu[0-9]*"
_SPEEDS = f"grep -Hs '' {_CPU}/cpu_capacity {_CPU}/cpufreq/cpuinfo_max_freq"
_GLES = "dumpsys SurfaceFlinger | grep -m 1 '^GLES:'"


class Phone:
    """A phone that adb can reach.

    Args:
        serial: what adb calls it.
        timeout_s: seconds that each of the methods may take in all.

    Attributes:
        transport: the way to it.
        temperatures_c: in degrees Celsius, as `battery` and `thermal` last found them.

    Example::

        phone = Phone("0A1B2C3D")
        print(phone.identity().model, phone.battery().percent)
    """

    def __init__(self, serial: str, timeout_s: float = 10.0) -> None:
        self.serial = serial
        self.timeout_s = timeout_s
        self.transport = AdbTransport(serial)
        self.temperatures_c: tuple[Temperature, ...] = ()

    def identity(self) -> PhoneIdentity:
        """Return which phone it is; what it does not say is None.

        Raises:
            DeviceLost: it is not there, not usable, or went away meanwhile.
            DeviceTimeout: it does not answer.
        """
        end = time.monotonic() + self.timeout_s
        properties = parse_properties(self._ask(end, "getprop"))
        speeds = self._ask(end, "sh", "-c", _SPEEDS)
        clusters = parse_clusters(speeds, self._ask(end, "cat", "/proc/cpuinfo"))
        gpu = parse_gpu(self._ask(end, "sh", "-c", _GLES))
        return identify(properties, gpu, clusters)

    def battery(self) -> Battery:
        """Return how full and how warm its battery is.

        Raises:
            DeviceLost: it is not there, not usable, or went away meanwhile.
            DeviceTimeout: it does not answer.
        """
        end = time.monotonic() + self.timeout_s
        battery = parse_battery(self._ask(end, "dumpsys", "battery"))
        if battery.temperature_c is not None:
            self._note_temperatures([Temperature("battery", battery.temperature_c)])
        return battery

    def thermal(self) -> Thermal:
        """Return whether it is throttled for heat; nothing is known before Android 10.

        Raises:
            DeviceLost: it is not there, not usable, or went away meanwhile.
            DeviceTimeout: it does not answer.
        """
        end = time.monotonic() + self.timeout_s
        thermal = parse_thermal(self._ask(end, "dumpsys", "thermalservice"))
        self._note_temperatures(thermal.temperatures)
        return thermal

    def unit(self) -> str:
        """Return what tells it from others of its model, without giving its serial number away.

        Raises:
            DeviceLost: it is not there, not usable, or went away meanwhile.
            DeviceTimeout: it does not answer.
        """
        number = self.ask("getprop", "ro.serialno").strip() or self.serial
        return hashlib.sha256(number.encode("utf-8", "replace")).hexdigest()[:12]

    def ask(self, *arguments: str) -> str:
        """Return what a command prints; one that the phone lacks prints nothing.

        Raises:
            DeviceLost: it is not there, not usable, or went away meanwhile.
            DeviceTimeout: it does not answer.
            DeviceCommandError: it answers without end.
        """
        return self._ask(time.monotonic() + self.timeout_s, *arguments)

    def do(self, *arguments: str) -> None:
        """Run a command that must succeed.

        Raises:
            DeviceLost: it is not there, not usable, or went away meanwhile.
            DeviceTimeout: it does not answer.
            DeviceCommandError: the command failed.
        """
        self.transport.run(arguments, self.timeout_s)

    def adb_command(self, *arguments: str) -> str:
        """Return what a user types to run a command on this phone.

        >>> Phone("0A1B").adb_command("cmd", "thermalservice", "reset")
        'adb -s 0A1B shell cmd thermalservice reset'
        """
        return f"adb -s {shlex.quote(self.serial)} shell {shlex.join(arguments)}"

    def _note_temperatures(self, found: Iterable[Temperature]) -> None:
        known = {one.name: one for one in (*self.temperatures_c, *found)}
        self.temperatures_c = tuple(known.values())

    def _ask(self, end: float, *arguments: str) -> str:
        """Return what a command prints; one that a phone lacks prints nothing."""
        left_s = max(end - time.monotonic(), 0.0)
        return self.transport.run(arguments, left_s, check=False).text

"""Attached phones, and what they say about themselves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latlas.profiler.adb.health import Battery, Thermal
    from latlas.profiler.adb.identity import PhoneIdentity

_PHONE_S = 8.0
"""Seconds that all phones together get to say what they are; a wedged one is listed without."""


@dataclass(frozen=True)
class FoundPhone:
    """A phone that adb knows, and what it says about itself.

    Attributes:
        serial: what adb calls it.
        state: ``device`` when it can be used.
        what_to_do: what makes it usable, or what may help if it does not answer.
        problem: why it says less than it should; empty when it does not.
        identity: None if it does not say.
        battery: None if it does not say.
        thermal: None if it does not say.
    """

    serial: str
    state: str
    what_to_do: str = ""
    problem: str = ""
    identity: PhoneIdentity | None = None
    battery: Battery | None = None
    thermal: Thermal | None = None

    @property
    def name(self) -> str:
        """The serial, safe to print."""
        from latlas.profiler.adb.text import clean

        return clean(self.serial) or "?"

    def to_json(self) -> dict[str, Any]:
        """Return a plain dictionary; what is unknown is None."""
        from latlas.profiler.adb.health import Battery
        from latlas.profiler.adb.identity import PhoneIdentity

        identity, battery = self.identity or PhoneIdentity(), self.battery or Battery()
        return {
            "device": self.serial,
            "kind": "phone",
            "state": self.state,
            "what_to_do": self.what_to_do or None,
            "problem": self.problem or None,
            "manufacturer": identity.manufacturer,
            "model": identity.model,
            "soc": identity.soc,
            "gpu": identity.gpu,
            "android": identity.android,
            "sdk": identity.sdk,
            "abi": identity.abi,
            "fingerprint": identity.fingerprint,
            "clusters": [
                {
                    "cores": cluster.cores,
                    "mask": cluster.mask,
                    "capacity": cluster.capacity,
                    "max_freq_khz": cluster.max_freq_khz,
                    "part": cluster.part,
                }
                for cluster in identity.clusters
            ],
            "battery_percent": battery.percent,
            "battery_temperature_c": battery.temperature_c,
            "charging": battery.charging,
            "thermal_status": self.thermal.status if self.thermal else None,
        }

    def row(self) -> tuple[str, ...]:
        """Return the cells of the table."""
        from latlas.profiler.adb.health import Battery
        from latlas.profiler.adb.identity import PhoneIdentity
        from latlas.profiler.adb.text import clean

        identity, battery = self.identity or PhoneIdentity(), self.battery or Battery()
        cores = "+".join(str(len(cluster.cores)) for cluster in identity.clusters)
        percent, celsius = battery.percent, battery.temperature_c
        return (
            self.name,
            clean(self.state) or "?",
            identity.model or "phone",
            identity.soc or "",
            f"{cores} cores" if cores else "",
            identity.gpu or "",
            identity.android or "",
            "" if percent is None else f"{percent:.0f}%{' charging' * bool(battery.charging)}",
            "" if celsius is None else f"{celsius:.1f} °C",
        )


def find_phones() -> tuple[list[FoundPhone], str]:
    """Return attached phones with what they say, and why there may be none.

    Takes little more than `_PHONE_S` seconds, however many phones do not answer.
    """
    from latlas.profiler.adb.server import list_phones
    from latlas.profiler.errors import DeviceError

    try:
        attached = list_phones()
    except DeviceError as problem:
        return [], str(problem)
    if not attached:
        return [], "no phone is attached"
    with ThreadPoolExecutor(len(attached)) as threads:
        end = time.monotonic() + _PHONE_S
        return list(
            threads.map(
                lambda phone: (
                    _ask(phone.serial, end)
                    if phone.ready
                    else FoundPhone(phone.serial, phone.state, phone.what_to_do)
                ),
                attached,
            )
        ), ""


def _ask(serial: str, end: float) -> FoundPhone:
    from latlas.profiler.adb.phone import Phone
    from latlas.profiler.errors import DeviceError

    what_to_do = problem = ""
    identity, battery, thermal = None, None, None
    try:
        identity = Phone(serial, end - time.monotonic()).identity()
        battery = Phone(serial, end - time.monotonic()).battery()
        thermal = Phone(serial, end - time.monotonic()).thermal()
    except DeviceError as error:
        problem = str(error)
        what_to_do = "unplug the phone and plug it in again; if that does not help, restart it"
    return FoundPhone(serial, "device", what_to_do, problem, identity, battery, thermal)


def notes(phones: Sequence[FoundPhone]) -> list[str]:
    """Return what to do about the phones that cannot be used, a line each."""
    from latlas.profiler.adb.text import clean

    return [
        f"{phone.problem or f'phone {phone.name} is {clean(phone.state)}'}: {phone.what_to_do}"
        for phone in phones
        if phone.what_to_do
    ]

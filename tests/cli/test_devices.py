"""`latlas devices` with phones attached, each time in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from phone_lab.lab import LabPhone, wait_for

from latlas.profiler.adb.server import list_phones


def latlas(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "latlas", *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def devices() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(latlas("devices", "--json"))["devices"]
    return found


def test_a_phone_says_what_it_is(phone: LabPhone) -> None:
    here, found = devices()
    assert here["device"] == "local"
    assert {key: value for key, value in found.items() if key != "clusters"} == {
        "device": phone.serial,
        "kind": "phone",
        "state": "device",
        "what_to_do": None,
        "problem": None,
        "manufacturer": "Google",
        "model": "Pixel 6",
        "soc": "Google Tensor",
        "gpu": "Mali-G78",
        "android": "14",
        "sdk": 34,
        "abi": "arm64-v8a",
        "fingerprint": "google/oriole/oriole:14/UQ1A.000000.000/1:user/release-keys",
        "battery_percent": 87.0,
        "battery_temperature_c": 26.8,
        "charging": True,
        "thermal_status": 0,
    }
    assert found["clusters"][2] == {
        "cores": [6, 7],
        "mask": "c0",
        "capacity": 1024,
        "max_freq_khz": 2802000,
        "part": "0xd44",
    }


def test_the_table(phone: LabPhone) -> None:
    line = latlas("devices").splitlines()[-1]
    assert line.split("  ")[0] == phone.serial
    for cell in ("Pixel 6", "Google Tensor", "4+2+2 cores", "Mali-G78", "87% charging", "26.8 °C"):
        assert cell in line


def test_a_frozen_phone_is_listed_in_time(fragile_phone: LabPhone) -> None:
    fragile_phone.link.frozen = True
    started = time.monotonic()
    found = devices()[1]
    assert time.monotonic() - started < 60  # 8 s for the phone, the rest for LiteRT
    assert (found["device"], found["state"]) == (fragile_phone.serial, "device")
    assert found["model"] is None
    assert "not done after" in found["problem"]
    assert "plug it in again" in found["what_to_do"]


def test_a_phone_that_has_not_accepted_this_computer(fragile_phone: LabPhone) -> None:
    fragile_phone.detach()
    fragile_phone.link.unauthorized = True
    fragile_phone.server.adb("connect", fragile_phone.serial)
    wait_for(lambda: [phone.state for phone in list_phones()] == ["unauthorized"], "its question")
    last = latlas("devices").splitlines()[-1]
    assert last.startswith(f"phone {fragile_phone.serial} is unauthorized: unlock the phone")

"""Waiting for a phone that went away: unplugged, rebooting, or forgotten by the adb server."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress

from latlas.profiler.adb.phone import Phone
from latlas.profiler.adb.server import list_phones, request_connection
from latlas.profiler.adb.text import clean
from latlas.profiler.errors import DeviceError, DeviceLost

POLL_S = 1.0
_ANSWER_S = 5.0
_SHORTEST_ANSWER_S = 1.0  # a phone that is there counts even where no time is left
_TCP = re.compile(r"[\w.-]+:[0-9]{1,5}|\[[0-9a-fA-F:]+\]:[0-9]{1,5}")


def phone_state(serial: str, timeout_s: float = _ANSWER_S) -> tuple[str, str]:
    """Return how a phone is attached, ``ready`` when it can be used, and what would help.

    Args:
        serial: what adb calls it.
        timeout_s: seconds that the adb server may take, and then the phone.

    Raises:
        DeviceError: there is no adb server, and none can be started.
    """
    listed = list_phones(timeout_s)
    phone = next((found for found in listed if found.serial == serial), None)
    if phone is None:
        return "not attached", "plug it in, or connect to it with: adb connect HOST:PORT"
    if not phone.ready:
        return phone.state, phone.what_to_do
    try:
        # Android answers adb long before it has finished booting.
        booted = Phone(serial, timeout_s).ask("getprop", "sys.boot_completed").strip() == "1"
    except DeviceError:
        return "not answering", "unplug the phone and plug it in again"
    return ("ready", "") if booted else ("booting", "wait a moment")


def wait_for_phone(
    serial: str,
    timeout_s: float,
    say: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return once a phone can be used.

    A phone over TCP is connected again when the adb server has forgotten it.

    Args:
        serial: what adb calls it.
        timeout_s: seconds to wait; a phone that is there already counts at once. The last look
            may take some seconds more, and 20 where the adb server has to be started for it.
        say: told the state whenever it changes, for people.
        clock: seconds, monotonic.
        sleep: rests for seconds.

    Raises:
        DeviceLost: it did not come back in time; the message has its last state and what helps.
    """
    end = clock() + timeout_s
    said = ""
    while True:
        answer_s = max(min(_ANSWER_S, end - clock()), _SHORTEST_ANSWER_S)
        try:
            state, what_to_do = phone_state(serial, answer_s)
        except DeviceError as problem:  # of the adb server, which the next call starts again
            state, what_to_do = "out of sight", str(problem)
        if state == "ready":
            return
        if clock() < end and state in ("not attached", "offline") and _TCP.fullmatch(serial):
            with suppress(DeviceError):  # the next look tells what came of it
                request_connection(serial, answer_s)
        if clock() >= end:
            raise DeviceLost(
                f"it did not come back within {timeout_s:.0f} s, it is {state}: {what_to_do}; "
                "then give the same command again to go on",
                serial=serial,
            )
        if state != said:
            say(f"waiting for the phone {clean(serial)}: {clean(state)} ({what_to_do})")
            said = state
        sleep(min(POLL_S, max(end - clock(), 0.0)))

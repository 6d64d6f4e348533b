"""Waiting for a phone, through all that keeps one away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from phone_lab.lab import ADB, LabPhone, wait_for

from latlas.profiler.adb import waiting
from latlas.profiler.adb.transport import AdbTransport
from latlas.profiler.adb.waiting import phone_state, wait_for_phone
from latlas.profiler.errors import DeviceError, DeviceLost

BOOTED = "sys.boot_completed"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_S", 0.1)


@contextmanager
def soon(action: Callable[[], object], after_s: float = 0.7) -> Iterator[None]:
    """Do something in a moment, while the block runs."""
    timer = threading.Timer(after_s, action)
    timer.start()
    try:
        yield
    finally:
        timer.join()


@contextmanager
def own_server(phone: LabPhone) -> Iterator[None]:
    """End the adb server that latlas starts in the block: it is not the lab's."""
    try:
        yield
    finally:
        phone.server.adb("kill-server")


def give_up(serial: str, timeout_s: float = 0.5) -> tuple[str, list[str]]:
    """Wait for a phone in vain; return the message, and what was said meanwhile."""
    said: list[str] = []
    started = time.monotonic()
    with pytest.raises(DeviceLost, match=f"did not come back within {timeout_s:.0f} s") as caught:
        wait_for_phone(serial, timeout_s, said.append)
    assert time.monotonic() - started < timeout_s + 3
    assert "give the same command again" in str(caught.value)
    assert caught.value.serial == serial
    return str(caught.value), said


def wait(serial: str, timeout_s: float = 15.0) -> list[str]:
    """Wait for a phone; return what was said meanwhile."""
    said: list[str] = []
    wait_for_phone(serial, timeout_s, said.append)
    assert AdbTransport(serial).run(["echo", "well"], 5).text == "well\n"
    return said


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, 10.0])
def test_a_phone_that_is_there(phone: LabPhone, timeout_s: float) -> None:
    assert phone_state(phone.serial) == ("ready", "")
    assert wait(phone.serial, timeout_s) == []


def test_a_phone_that_nobody_knows(phone: LabPhone) -> None:
    for serial in ("0A1B2C3D", "nobody:x", "ü", "a\0b", "", "\ud800"):
        message, said = give_up(serial, 0.2)
        assert "it is not attached: plug it in" in message
        assert len(said) == 1


def test_unplugged_and_back(fragile_phone: LabPhone) -> None:
    """A phone over TCP is connected again as soon as it can be."""
    fragile_phone.link.refuse = True
    fragile_phone.detach()

    def come_back() -> None:
        fragile_phone.link.refuse = False

    with soon(come_back):
        said = wait(fragile_phone.serial)
    assert said[0] == (
        f"waiting for the phone {fragile_phone.serial}: not attached (plug it in, or connect to "
        "it with: adb connect HOST:PORT)"
    )


def test_offline_and_back(fragile_phone: LabPhone) -> None:
    fragile_phone.offline()
    message, said = give_up(fragile_phone.serial)
    assert "it is offline: " in message
    assert len(said) == 1

    def come_back() -> None:
        fragile_phone.link.refuse = False

    with soon(come_back):
        said = wait(fragile_phone.serial)
    assert "offline" in said[0]


def test_a_cut_link(fragile_phone: LabPhone) -> None:
    fragile_phone.link.cut()
    wait(fragile_phone.serial)


def test_a_reboot(fragile_phone: LabPhone) -> None:
    fragile_phone.reboot(down_s=0.5)
    wait_for(lambda: not fragile_phone.runs, "the phone to go down")
    said = wait(fragile_phone.serial)
    assert said


def test_android_answers_before_it_has_booted(fragile_phone: LabPhone) -> None:
    for value in (None, "", "0"):
        fragile_phone.set_property(BOOTED, value)
        assert phone_state(fragile_phone.serial) == ("booting", "wait a moment")
    message, said = give_up(fragile_phone.serial)
    assert "it is booting: wait a moment" in message
    with soon(lambda: fragile_phone.set_property(BOOTED, "1")):
        said = wait(fragile_phone.serial)
    assert said == [f"waiting for the phone {fragile_phone.serial}: booting (wait a moment)"]


def test_the_adb_server_is_killed(fragile_phone: LabPhone) -> None:
    """It is started again, and the phone, which it has forgotten, connected."""
    fragile_phone.server.stop()
    with own_server(fragile_phone):
        wait(fragile_phone.serial)


def test_no_adb_server_can_be_started(
    fragile_phone: LabPhone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADBUTILS_ADB_PATH", "/bin/false")
    fragile_phone.server.stop()
    with pytest.raises(DeviceError):
        phone_state(fragile_phone.serial)
    message, said = give_up(fragile_phone.serial)
    assert "out of sight: no adb server answers" in message
    assert "apt-get install adb" in message
    assert len(said) == 1
    with soon(lambda: monkeypatch.setenv("ADBUTILS_ADB_PATH", str(ADB))), own_server(fragile_phone):
        wait(fragile_phone.serial)


def test_not_accepted(fragile_phone: LabPhone) -> None:
    fragile_phone.detach()
    fragile_phone.link.unauthorized = True
    message, said = give_up(fragile_phone.serial, 2.0)
    assert "it is unauthorized: unlock the phone and accept this computer" in message
    assert "unauthorized" in said[-1]
    assert len(said) == len(set(said)) <= 4

    def accept() -> None:
        fragile_phone.link.unauthorized = False
        fragile_phone.link.cut()

    with soon(accept):
        wait(fragile_phone.serial)


def test_a_frozen_phone(fragile_phone: LabPhone) -> None:
    fragile_phone.link.frozen = True
    message, said = give_up(fragile_phone.serial, 1.0)
    assert "it is not answering: unplug the phone" in message
    assert len(said) <= 1


def test_the_clock_and_the_rests_are_the_callers(phone: LabPhone) -> None:
    now, rests = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        rests.append(seconds)
        now[0] += seconds

    with pytest.raises(DeviceLost):
        wait_for_phone("nobody", 0.25, lambda text: None, clock=lambda: now[0], sleep=sleep)
    assert rests == pytest.approx([0.1, 0.1, 0.05])

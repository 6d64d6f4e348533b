"""Commands and files, through the real adb server and Google's adbd, on good and bad links."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from phone_lab.lab import LabPhone, wait_for

from latlas.profiler.adb import transport
from latlas.profiler.adb.transport import AdbTransport, AttachedPhone, list_phones
from latlas.profiler.errors import (
    DeviceCommandError,
    DeviceError,
    DeviceLost,
    DeviceTimeout,
)


@pytest.fixture
def adb(phone: LabPhone) -> AdbTransport:
    return AdbTransport(phone.serial)


@contextmanager
def soon(action: Callable[[], None], after_s: float = 0.5) -> Iterator[None]:
    """Do something in a moment, while the block runs."""
    timer = threading.Timer(after_s, action)
    timer.start()
    try:
        yield
    finally:
        timer.join()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


def running(adb: AdbTransport, text: str) -> bool:
    return text in adb.run(["ps", "-A", "-o", "args"], 5).text


def test_streams_and_exit_code_are_apart(adb: AdbTransport) -> None:
    done = adb.run(["sh", "-c", "echo out; echo err >&2; exit 3"], 5, check=False)
    assert (done.stdout, done.stderr, done.exit_code) == (b"out\n", b"err\n", 3)
    assert 0 < done.elapsed_s < 5


def test_output_comes_while_the_command_runs(adb: AdbTransport) -> None:
    seen: list[tuple[float, str, bytes]] = []
    started = time.monotonic()
    adb.run(
        ["sh", "-c", "echo one; sleep 1; echo two >&2"],
        5,
        lambda stream, data: seen.append((time.monotonic() - started, stream, data)),
    )
    assert [(stream, data) for _, stream, data in seen] == [
        ("stdout", b"one\n"),
        ("stderr", b"two\n"),
    ]
    assert seen[1][0] - seen[0][0] > 0.5


def test_standard_input_is_empty(adb: AdbTransport) -> None:
    assert adb.run(["cat"], 5).stdout == b""


@pytest.mark.parametrize(
    ("arguments", "exit_code", "meaning"),
    [
        (["/system/fixture/properties.txt"], 126, "cannot be executed"),
        (["no-such-command"], 127, "no such command"),
        (["sh", "-c", "kill -9 $$"], 137, "killed"),
        (["sh", "-c", "kill -11 $$"], 139, "crashed"),
        (["false"], 1, "failed"),
    ],
)
def test_exit_codes(adb: AdbTransport, arguments: list[str], exit_code: int, meaning: str) -> None:
    with pytest.raises(DeviceCommandError, match=meaning) as caught:
        adb.run(arguments, 5)
    assert caught.value.exit_code == exit_code
    assert caught.value.serial == adb.serial
    assert arguments[0] in caught.value.command
    assert f"exit code: {exit_code}" in str(caught.value)


@pytest.mark.parametrize(
    "argument",
    [
        "a b",
        "'",
        '"',
        "$HOME",
        "`id`",
        "; id",
        "a\nb",
        "\\",
        "*",
        "",
        "~",
        "ü",
        "\x1b[2J",
        "#",
        "&",
    ],
)
def test_no_argument_is_run_by_a_shell(adb: AdbTransport, argument: str) -> None:
    assert adb.run(["printf", "%s|", argument, "x"], 5).text == f"{argument}|x|"


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40))
def test_any_text_is_an_argument(adb: AdbTransport, argument: str) -> None:
    assert adb.run(["printf", "%s", argument], 5).stdout == argument.encode()


@pytest.mark.parametrize("argument", ["x" * 70_000, "a\0b", "\ud800"])
def test_commands_that_cannot_be_sent(adb: AdbTransport, argument: str) -> None:
    with pytest.raises(DeviceCommandError, match="at most 60000 bytes"):
        adb.run(["echo", argument], 5)


def test_a_timeout_is_a_total_and_ends_the_command(adb: AdbTransport) -> None:
    script = "while true; do echo chatter; sleep 0.2; done"
    with within(4), pytest.raises(DeviceTimeout, match="1 s") as caught:
        adb.run(["sh", "-c", script], 1)
    assert "chatter" in caught.value.output
    wait_for(lambda: not running(adb, "chatter"), "the command to end")


def test_too_much_output(adb: AdbTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_OUTPUT_BYTES", 1 << 20)
    with pytest.raises(DeviceCommandError, match="more than 1 MiB"):
        adb.run(["cat", "/dev/zero"], 20)


def test_a_callback_that_fails_ends_the_command(adb: AdbTransport) -> None:
    def give_up(stream: str, data: bytes) -> None:
        raise KeyboardInterrupt

    with within(3), pytest.raises(KeyboardInterrupt):
        adb.run(["sh", "-c", "echo begun; exec sleep 1234"], 60, give_up)
    wait_for(lambda: not running(adb, "1234"), "the command to end")


@pytest.mark.parametrize("size", [0, 1, 65_536, 3_000_001])
def test_push_and_pull(adb: AdbTransport, size: int) -> None:
    content = (b"latlas \xff\0" * (size // 9 + 1))[:size]
    path = "/data/local/tmp/new folder/a'b;$(id), 1\n.bin"
    assert adb.push(content, path, 20) == hashlib.sha256(content).hexdigest()
    assert adb.pull(path, 20) == content


def test_push_sets_the_mode(adb: AdbTransport) -> None:
    adb.push(b"#!/system/bin/sh\necho ran\n", "/data/local/tmp/program", 10, mode=0o755)
    assert adb.run(["/data/local/tmp/program"], 5).text == "ran\n"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/data/local/full/model", "No space left on device"),
        ("/system/model", "Permission denied"),
        ("/proc/model/x", ""),
        ("relative", ""),
        ("/" + "x" * 2000, ""),
        ("/a\0b", ""),
    ],
)
def test_push_says_why_it_failed(adb: AdbTransport, path: str, reason: str) -> None:
    with within(8), pytest.raises(DeviceCommandError) as caught:
        adb.push(bytes(1_000_000), path, 10)
    assert reason in caught.value.output
    assert caught.value.serial == adb.serial
    assert caught.value.command.startswith("push 1000000 bytes")


def test_pull_says_why_it_failed(adb: AdbTransport) -> None:
    with pytest.raises(DeviceCommandError, match="No such file"):
        adb.pull("/data/local/tmp/missing", 5)
    with pytest.raises(DeviceCommandError, match="Is a directory"):
        adb.pull("/data/local/tmp", 5)


def test_list_phones(phone: LabPhone) -> None:
    assert list_phones() == (AttachedPhone(phone.serial, "device"),)
    assert list_phones()[0].ready
    assert list_phones()[0].what_to_do == ""


def test_a_phone_that_is_not_there(phone: LabPhone) -> None:
    with within(3), pytest.raises(DeviceLost, match="'nobody' not found") as caught:
        AdbTransport("nobody").run(["true"], 5)
    assert caught.value.serial == "nobody"


def test_no_adb_server(phone: LabPhone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "1")
    monkeypatch.setenv("ADBUTILS_ADB_PATH", "/bin/false")
    with pytest.raises(DeviceError, match="apt-get install adb"):
        list_phones()


@pytest.mark.parametrize("fault", ["cable", "phone", "server"])
def test_link_lost_in_the_middle_of_a_command(fragile_phone: LabPhone, fault: str) -> None:
    faults = {
        "cable": fragile_phone.link.cut,
        "phone": fragile_phone.kill,
        "server": fragile_phone.server.stop,
    }
    adb = AdbTransport(fragile_phone.serial)
    with soon(faults[fault]), within(10), pytest.raises(DeviceLost) as caught:
        adb.run(["sh", "-c", "echo begun; sleep 60"], 30)
    assert caught.value.output == "begun\n"
    assert caught.value.serial == fragile_phone.serial


def test_link_lost_in_the_middle_of_a_push(fragile_phone: LabPhone) -> None:
    fragile_phone.link.frozen = True
    with soon(fragile_phone.link.cut), within(10), pytest.raises(DeviceLost):
        AdbTransport(fragile_phone.serial).push(bytes(30_000_000), "/data/local/tmp/a", 30)


def test_a_phone_that_comes_back(fragile_phone: LabPhone) -> None:
    fragile_phone.kill()
    wait_for(lambda: not any(phone.ready for phone in list_phones()), "the phone to go")
    fragile_phone.boot()
    fragile_phone.attach()
    assert AdbTransport(fragile_phone.serial).run(["echo", "back"], 5).text == "back\n"


def test_a_frozen_phone(fragile_phone: LabPhone) -> None:
    adb = AdbTransport(fragile_phone.serial)
    fragile_phone.link.frozen = True
    for call in (
        lambda: adb.run(["true"], 1),
        lambda: adb.push(bytes(30_000_000), "/data/local/tmp/a", 1),
        lambda: adb.pull("/data/local/tmp/a", 1),
    ):
        with within(3), pytest.raises(DeviceTimeout, match="1 s"):
            call()


def test_a_push_that_is_damaged_on_the_way(fragile_phone: LabPhone) -> None:
    adb = AdbTransport(fragile_phone.serial)
    fragile_phone.link.corrupt_after = 50_000
    with pytest.raises(DeviceCommandError, match="another sha256"):
        adb.push(bytes(100_000), "/data/local/tmp/a", 10)
    with pytest.raises(DeviceCommandError, match="No such file"):
        adb.pull("/data/local/tmp/a", 5)


def test_a_phone_that_has_not_accepted_this_computer(fragile_phone: LabPhone) -> None:
    fragile_phone.detach()
    fragile_phone.link.unauthorized = True
    fragile_phone.server.adb("connect", fragile_phone.serial)
    wait_for(lambda: [phone.state for phone in list_phones()] == ["unauthorized"], "its question")
    assert "accept this computer" in list_phones()[0].what_to_do
    with pytest.raises(DeviceLost, match="unauthorized"):
        AdbTransport(fragile_phone.serial).run(["true"], 5)

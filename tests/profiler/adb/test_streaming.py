"""Commands that are read while they run, and many files through one connection."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from phone_lab.lab import LabPhone, wait_for

from latlas.profiler.adb.server import list_phones, request_connection
from latlas.profiler.adb.transport import AdbTransport
from latlas.profiler.errors import (
    DamagedTransfer,
    DeviceCommandError,
    DeviceError,
    DeviceLost,
    DeviceTimeout,
)

pytestmark = pytest.mark.parametrize("running_phone", ["adbd", "python"], indirect=True)

FOLDER = "/data/local/tmp/streaming"


@pytest.fixture
def adb(phone: LabPhone) -> Iterator[AdbTransport]:
    yield AdbTransport(phone.serial)
    phone.sh(f"rm -rf {FOLDER}")


@contextmanager
def within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


def sh(line: str) -> list[str]:
    return ["sh", "-c", line]


def running(adb: AdbTransport, text: str) -> bool:
    return text in adb.run(["ps", "-A", "-o", "args"], 5).text


# Commands


def test_output_is_read_while_the_command_runs(adb: AdbTransport) -> None:
    with adb.start(sh("echo one; sleep 0.5; echo two >&2; exit 7"), 10) as command:
        output = command.output()
        assert next(output) == ("stdout", b"one\n")
        assert command.exit_code is None
        assert next(output) == ("stderr", b"two\n")
        assert list(output) == []
        assert command.exit_code == 7
        error = command.failure("so what")
    assert (error.exit_code, error.serial) == (7, adb.serial)
    assert "so what" in str(error)
    assert "one" in error.output
    assert "two" in error.output


def test_a_failure_says_what_the_exit_code_means(adb: AdbTransport) -> None:
    with adb.start(sh("kill -9 $$"), 10) as command:
        assert "it failed" in str(command.failure())
        assert all(stream == "stderr" for stream, _ in command.output())
        assert "it was killed" in str(command.failure())


@pytest.mark.parametrize("read", [True, False])
def test_leaving_the_block_ends_the_command(adb: AdbTransport, read: bool) -> None:
    with adb.start(sh("echo $$; exec sleep 4321"), 10) as command:
        if read:
            next(command.output())
        else:
            wait_for(lambda: running(adb, "sleep 4321"), "the command")
    wait_for(lambda: not running(adb, "sleep 4321"), "the command's end", 2)


def test_an_error_in_the_block_ends_the_command(adb: AdbTransport) -> None:
    with pytest.raises(ZeroDivisionError), adb.start(sh("echo; exec sleep 4321"), 10) as command:
        next(command.output())
        raise ZeroDivisionError
    wait_for(lambda: not running(adb, "sleep 4321"), "the command's end", 2)


def test_more_time_may_be_allowed(adb: AdbTransport) -> None:
    with within(5), adb.start(sh("echo; sleep 1; echo; sleep 9"), 0.6) as command:
        output = command.output()
        next(output)
        command.allow(3)
        next(output)
        command.allow(0.2)
        with pytest.raises(DeviceTimeout, match=r"not done after 0\.2 s"):
            next(output)


def test_a_deadline_holds_for_a_chatty_command(adb: AdbTransport) -> None:
    with (
        within(3),
        pytest.raises(DeviceTimeout) as caught,
        adb.start(sh("while :; do echo chat; done"), 0.5) as command,
    ):
        for _ in command.output():
            pass
    assert caught.value.output.endswith(("chat\n", "chat", "cha", "ch", "c"))
    assert len(caught.value.output) < 10_000


def test_a_lost_link(fragile_phone: LabPhone) -> None:
    adb = AdbTransport(fragile_phone.serial)
    with (
        pytest.raises(DeviceLost) as caught,
        adb.start(sh("echo last words; sleep 9"), 10) as command,
    ):
        for _ in command.output():
            fragile_phone.link.cut()
    assert "last words" in caught.value.output


# Files


def files(count: int, size: int = 100) -> dict[str, bytes]:
    return {f"{FOLDER}/sub/{i} it's; a file": bytes([i]) * size for i in range(count)}


@pytest.mark.parametrize(("count", "size"), [(1, 0), (3, 100_000), (50, 1000)])
def test_files_arrive(adb: AdbTransport, count: int, size: int) -> None:
    contents = files(count, size)
    expected = hashlib.sha256(b"".join(contents.values())).hexdigest()
    assert adb.push_files(contents, 20, mode=0o755) == expected
    for path, content in list(contents.items())[:3]:
        assert adb.pull(path, 10) == content
    listed = adb.run(["ls", "-l", f"{FOLDER}/sub"], 5).text
    assert listed.count("-rwxrwxrwx") == count  # adbd gives others what the owner has


def test_no_files(adb: AdbTransport) -> None:
    assert adb.push_files({}, 10) == hashlib.sha256().hexdigest()


def test_what_is_there_is_replaced(adb: AdbTransport) -> None:
    path = f"{FOLDER}/a"
    for content in (b"a longer one", b"short"):
        adb.push_files({path: content}, 10)
        assert adb.pull(path, 10) == content


@pytest.mark.parametrize("size", [3, 300_000, 5_000_000])
def test_the_second_of_three_is_refused(adb: AdbTransport, size: int) -> None:
    """Its own reason is given; nothing is half there, nothing comes after it."""
    contents = {
        f"{FOLDER}/1": b"a" * size,
        "/system/2": b"b" * size,
        f"{FOLDER}/3": b"c" * size,
    }
    with (
        within(10),
        pytest.raises(DeviceCommandError, match="refused to write '/system/2'") as caught,
    ):
        adb.push_files(contents, 20)
    assert "denied" in caught.value.output or "Read-only" in caught.value.output
    assert adb.run(["ls", FOLDER], 5).text == "1\n"
    assert adb.pull(f"{FOLDER}/1", 10) == b"a" * size
    assert adb.run(["echo", "well"], 5).text == "well\n"


def test_a_full_phone_says_which(adb: AdbTransport) -> None:
    full = "/data/local/full"  # 64 kB
    contents = {f"{full}/{i}": bytes(30_000) for i in range(4)}
    with pytest.raises(DeviceCommandError, match=rf"refused to write '{full}/[12]'") as caught:
        adb.push_files(contents, 20)
    assert "No space left" in caught.value.output
    listed = adb.run(["sh", "-c", f"cd {full} && wc -c *"], 5).text
    assert all(line.split()[0] in ("30000", "60000") for line in listed.splitlines())
    adb.run(["sh", "-c", f"rm -f {full}/*"], 5)


@pytest.mark.parametrize("path", ["relative", "", "/a\0b", "/" + "x" * 2000, "/\ud800"])
def test_one_impossible_path_sends_nothing(adb: AdbTransport, path: str) -> None:
    with pytest.raises(DeviceCommandError, match="a path on a phone"):
        adb.push_files({f"{FOLDER}/1": b"1", path: b"2"}, 10)
    assert adb.run(["ls", FOLDER], 5, check=False).text == ""


def test_damage_on_the_way(fragile_phone: LabPhone) -> None:
    adb = AdbTransport(fragile_phone.serial)
    contents = {f"{FOLDER}/{i}": bytes(100_000) for i in range(3)}
    fragile_phone.link.corrupt_after = 150_000
    with pytest.raises(DamagedTransfer, match="another cable"):
        adb.push_files(contents, 10)
    assert fragile_phone.sh(f"ls {FOLDER}") == ""
    adb.push_files(contents, 10)


def test_a_link_lost_in_the_middle(fragile_phone: LabPhone) -> None:
    adb = AdbTransport(fragile_phone.serial)
    contents = {f"{FOLDER}/{i}": bytes(3_000_000) for i in range(3)}
    fragile_phone.link.cut_after = 5_000_000
    with within(5), pytest.raises(DeviceLost):
        adb.push_files(contents, 10)
    fragile_phone.attach()
    sizes = f"cd {FOLDER} && stat -c %s *"
    wait_for(lambda: fragile_phone.sh(sizes) == "3000000\n", "no half a file", 5)
    adb.push_files(contents, 10)


def test_a_frozen_phone(fragile_phone: LabPhone) -> None:
    fragile_phone.link.frozen = True
    with within(4), pytest.raises(DeviceTimeout):
        AdbTransport(fragile_phone.serial).push_files(files(3, 1_000_000), 1)


# Connecting


def test_a_phone_is_connected_again(fragile_phone: LabPhone) -> None:
    fragile_phone.detach()
    assert list_phones() == ()
    assert "connected to" in request_connection(fragile_phone.serial)
    wait_for(lambda: [phone.ready for phone in list_phones()] == [True], "the phone")
    assert "already connected" in request_connection(fragile_phone.serial)


def test_an_address_where_nobody_is(phone: LabPhone) -> None:
    assert "refused" in request_connection("127.0.0.1:1")
    assert [attached.serial for attached in list_phones()] == [phone.serial]


@pytest.mark.parametrize("address", ["", "a\0b", "\ud800", "x" * 70_000, "nonsense:x", "a b:1"])
def test_an_impossible_address(phone: LabPhone, address: str) -> None:
    with within(6):
        try:
            answer = request_connection(address)
        except DeviceError as problem:
            assert len(str(problem)) < 1000
        else:
            assert "connected to" not in answer


@pytest.mark.parametrize("serial", ["a\0b", "\ud800", "x" * 70_000])
def test_an_impossible_serial(phone: LabPhone, serial: str) -> None:
    with within(2), pytest.raises(DeviceLost):
        AdbTransport(serial).run(["true"], 5)


def test_without_an_adb_server(phone: LabPhone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "1")
    monkeypatch.setenv("ADBUTILS_ADB_PATH", "/bin/false")
    with pytest.raises(DeviceError, match="no adb server answers"):
        request_connection("127.0.0.1:1")

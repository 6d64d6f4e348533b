"""Commands and files, through the real adb server and both daemons, on good and bad links."""

from __future__ import annotations

import errno
import hashlib
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from components import require
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from phone_lab.lab import ADB, DEBIAN_ADB, LabPhone, adb_server, lab_phone, wait_for

from latlas.profiler.adb import transport
from latlas.profiler.adb.server import AttachedPhone, list_phones
from latlas.profiler.adb.transport import AdbTransport
from latlas.profiler.errors import (
    DeviceCommandError,
    DeviceError,
    DeviceLost,
    DeviceTimeout,
)

pytestmark = pytest.mark.parametrize("running_phone", ["adbd", "python"], indirect=True)


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


def give_up(stream: str, data: bytes) -> None:
    time.sleep(0.2)  # mksh loses a SIGHUP that comes just before it waits for its child
    raise KeyboardInterrupt


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


def test_much_output_that_nobody_reads_leaves_the_phone_well(adb: AdbTransport) -> None:
    for _ in range(3):
        with within(3), pytest.raises(KeyboardInterrupt):
            adb.run(["sh", "-c", "cat /dev/zero & cat /dev/zero >&2"], 60, give_up)
        assert adb.run(["echo", "well"], 5).text == "well\n"
        wait_for(lambda: not running(adb, "/dev/zero"), "the command to end")


def test_a_callback_that_fails_ends_the_command(adb: AdbTransport) -> None:
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


@pytest.mark.parametrize("program", [ADB, DEBIAN_ADB], ids=["bundled", "debian"])
def test_both_adb_servers(
    running_phone: LabPhone, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("Debian's adb", program.exists(), "apt-get install adb")
    folders = [tmp_path / name for name in ("adb", "one", "two")]
    for folder in folders:
        folder.mkdir()
    with (
        adb_server(folders[0], program) as server,
        lab_phone(server, folders[1], running_phone.daemon) as one,
        lab_phone(server, folders[2], running_phone.daemon) as two,
    ):
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        assert {(phone.serial, phone.state) for phone in list_phones()} == {
            (one.serial, "device"),
            (two.serial, "device"),
        }
        adb, other = AdbTransport(one.serial), AdbTransport(two.serial)
        done = adb.run(["sh", "-c", "echo out; echo err >&2; exit 3"], 5, check=False)
        assert (done.stdout, done.stderr, done.exit_code) == (b"out\n", b"err\n", 3)
        adb.push(bytes(300_000), "/data/local/tmp/new/a", 20)
        assert adb.pull("/data/local/tmp/new/a", 20) == bytes(300_000)
        with pytest.raises(DeviceCommandError, match="No such file"):
            other.pull("/data/local/tmp/new/a", 5)
        with pytest.raises(DeviceCommandError, match="No space left on device"):
            adb.push(bytes(1_000_000), "/data/local/full/model", 10)
        with pytest.raises(DeviceLost, match="'nobody' not found"):
            AdbTransport("nobody").run(["true"], 5)
        with soon(one.link.cut), within(10), pytest.raises(DeviceLost):
            adb.run(["sleep", "60"], 30)
        assert other.run(["echo", "here"], 5).text == "here\n"
        one.offline()
        with within(8), pytest.raises(DeviceLost):
            adb.run(["true"], 5)


def test_a_link_that_is_lost_after_some_bytes(fragile_phone: LabPhone) -> None:
    adb = AdbTransport(fragile_phone.serial)
    fragile_phone.link.stay_cut = True
    fragile_phone.link.cut_after = 500_000
    with within(10), pytest.raises(DeviceLost):
        adb.push(bytes(1_000_000), "/data/local/tmp/half", 20)
    with within(8), pytest.raises(DeviceLost):
        adb.run(["true"], 5)
    fragile_phone.link.refuse = False
    fragile_phone.attach()
    with pytest.raises(DeviceCommandError, match="No such file"):
        adb.pull("/data/local/tmp/half", 5)


def test_a_phone_that_is_full(fragile_phone: LabPhone) -> None:
    adb = AdbTransport(fragile_phone.serial)
    fragile_phone.fill(100_000)
    with pytest.raises(DeviceCommandError, match="No space left on device"):
        adb.push(bytes(200_000), "/data/local/tmp/a", 10)
    adb.push(bytes(50_000), "/data/local/tmp/a", 10)
    fragile_phone.free()
    adb.push(bytes(200_000), "/data/local/tmp/b", 10)


def test_a_reboot_keeps_files_and_nothing_that_ran(fragile_phone: LabPhone) -> None:
    adb = AdbTransport(fragile_phone.serial)
    adb.push(b"kept", "/data/local/tmp/a", 10)
    adb.run(["sh", "-c", "nohup sleep 4321 >/dev/null 2>&1 &"], 5)
    assert running(adb, "4321")
    boot_id = "/proc/sys/kernel/random/boot_id"
    before = adb.run(["cat", boot_id], 5).text
    fragile_phone.reboot(down_s=0.3)
    wait_for(lambda: not any(phone.ready for phone in list_phones()), "the phone to go")
    wait_for(lambda: fragile_phone.runs, "the phone to boot")
    fragile_phone.attach()
    assert adb.run(["cat", boot_id], 5).text != before
    assert adb.pull("/data/local/tmp/a", 5) == b"kept"
    assert not running(adb, "4321")


def test_many_files_through_one_connection(phone: LabPhone, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for name in ("a", "b/c", "b/d e"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "a").chmod(0o755)
    phone.server.adb("-s", phone.serial, "push", str(folder), "/data/local/tmp/copy")
    listed = phone.sh("cd /data/local/tmp/copy && stat -c '%a %U %n' * b/*").splitlines()
    assert listed == ["777 shell a", "775 shell b", "666 shell b/c", "666 shell b/d e"]
    phone.server.adb("-s", phone.serial, "pull", "/data/local/tmp/copy", str(tmp_path / "back"))
    for name in ("a", "b/c", "b/d e"):
        assert (tmp_path / "back" / name).read_text() == name
    phone.sh("rm -r /data/local/tmp/copy")


def sync_exchange(phone: LabPhone, *requests: tuple[bytes, bytes]) -> bytes:
    """Return all that a phone answers to requests about files on one connection."""
    with socket.create_connection(("127.0.0.1", phone.server.port), 5) as connection:
        for service in (f"host:transport:{phone.serial}", "sync:"):
            connection.sendall(f"{len(service):04x}{service}".encode())
            assert connection.recv(4, socket.MSG_WAITALL) == b"OKAY"
        for name, argument in (*requests, (b"QUIT", b"")):
            connection.sendall(name + struct.pack("<I", len(argument)) + argument)
            if name == b"SEND":
                connection.sendall(b"DATA\3\0\0\0abc" + b"DONE\0\0\0\0")
        answer = bytearray()
        while data := connection.recv(1 << 16):
            answer += data
        return bytes(answer)


def test_both_daemons_speak_the_same_protocol_of_files(phone: LabPhone) -> None:
    folder = b"/data/local/tmp/sync/"
    okay, file = b"OKAY\0\0\0\0", (stat.S_IFREG | 0o666, 3)
    sends = [(b"SEND", folder + name + b",33206") for name in (b"a", b"a", b"c")]
    assert sync_exchange(phone, *sends) == 3 * okay
    phone.sh("cd /data/local/tmp/sync && ln -s a link")

    short = sync_exchange(phone, (b"STAT", folder + b"a"), (b"STAT", folder + b"none"))
    assert struct.unpack("<4sII4x4sII4x", short) == (b"STAT", *file, b"STAT", 0, 0)
    long = sync_exchange(
        phone, (b"STA2", folder + b"link"), (b"LST2", folder + b"link"), (b"LST2", folder + b"none")
    )
    fields = list(struct.iter_unpack("<4sI16xI4xIIQ24x", long))
    assert fields[0] == (b"STA2", 0, file[0], 2000, 2000, 3)
    assert fields[1] == (b"LST2", 0, stat.S_IFLNK | 0o777, 2000, 2000, 1)
    assert fields[2] == (b"LST2", errno.ENOENT, 0, 0, 0, 0)

    for name, entry, size in ((b"LIST", b"DENT", 20), (b"LIS2", b"DNT2", 76)):
        listed = sync_exchange(phone, (name, folder[:-1]))
        entries = [found[size - 4 :] for found in listed.split(entry)[1:]]
        assert {each[:1] for each in entries} == {b".", b"a", b"c", b"l"}
        assert listed[-size : -size + 4] == b"DONE"
        assert len(sync_exchange(phone, (name, folder + b"none"))) == size

    content = sync_exchange(phone, (b"RECV", folder + b"a"))
    assert content == b"DATA\3\0\0\0abcDONE\0\0\0\0"
    for request, reason in (
        ((b"RECV", folder + b"none"), b"No such file or directory"),
        ((b"RECV", folder), b"Is a directory"),
        ((b"SEND", b"/system/a,33206"), b"Permission denied"),
        ((b"SEND", folder + b"a"), b""),
        ((b"NOPE", b"x"), b""),
        ((b"STAT", bytes(2000)), b""),
    ):
        refused = sync_exchange(phone, request)
        assert refused[:4] == b"FAIL", request
        assert refused.endswith(reason)
    phone.sh("rm -r /data/local/tmp/sync")


def test_commands_see_a_phone(fragile_phone: LabPhone) -> None:
    phone = fragile_phone
    assert phone.sh("id -u; umask; pwd") == "2000\n000\n/\n"
    assert phone.sh("settings get global x; settings put global x 1; settings get global x") == (
        "null\n1\n"
    )
    phone.sh("svc power stayon true; input keyevent 26")
    assert phone.calls()[-2:] == ["svc power stayon true", "input keyevent 26"]
    power = phone.sh("dumpsys power")
    assert "mStayOn=true" in power
    assert "mWakefulness=Asleep" in power
    phone.set_property("ro.product.model", "Other")
    phone.set_dumpsys("battery", None)
    assert phone.sh("getprop ro.product.model; dumpsys battery 2>&1").splitlines() == [
        "Other",
        "Can't find service: battery",
    ]

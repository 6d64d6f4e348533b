"""Binaries that are brought to a phone; scripts stand in for them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from phone_lab.lab import LabPhone

from latlas.profiler.adb.phone import FOLDER, Phone
from latlas.profiler.adb.transport import AdbTransport
from latlas.profiler.benchmark_model import installation
from latlas.profiler.benchmark_model.binary import RunnerBinary
from latlas.profiler.benchmark_model.installation import install
from latlas.profiler.errors import DeviceCommandError, DeviceLost, RunnerError, UsageError

FLAGS = "\\t--graph=\\tstring\\trequired\\t\\n\\t--num_runs=50\\tint32\\toptional\\t\\n"
LITERT = FLAGS + "\\t--use_cpu=1\\tbool\\toptional\\t\\n\\t--use_npu=0\\tbool\\toptional\\t\\n"


def script(flags: str = FLAGS, exit_code: int = 1) -> str:
    return (
        f"#!/system/bin/sh\n[ \"$*\" = --help ] && printf 'usage: x\\n{flags}' >&2\n"
        f"exit {exit_code}\n"
    )


def make(folder: Path, content: str | bytes) -> RunnerBinary:
    data = content.encode() if isinstance(content, str) else content
    folder.mkdir(exist_ok=True)
    path = folder / "benchmark_model"
    path.write_bytes(data)
    return RunnerBinary(path, data, hashlib.sha256(data).hexdigest())


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are pushed from now on."""
    paths: list[str] = []
    original = AdbTransport.push

    def push(self: AdbTransport, content: bytes, path: str, *rest: float, mode: int) -> str:
        paths.append(path)
        return original(self, content, path, *rest, mode=mode)

    monkeypatch.setattr(AdbTransport, "push", push)
    return paths


@pytest.fixture
def device(phone: LabPhone) -> Phone:
    phone.sh(f"rm -rf {FOLDER}")
    return Phone(phone.serial)


def test_a_binary_is_brought_once(device: Phone, tmp_path: Path, pushed: list[str]) -> None:
    binary = make(tmp_path, script())
    first = install(device, binary)
    assert first.flags == {"graph", "num_runs"}
    assert (first.tool, first.sha256) == ("tflite", binary.sha256)
    assert pushed == [first.path]
    assert device.ask("cat", first.path) == script()
    assert install(device, binary) == first
    assert len(pushed) == 1
    other = install(device, make(tmp_path, script(LITERT, exit_code=0)))
    assert other.tool == "litert"
    assert other.path != first.path


@pytest.mark.parametrize(
    "damage",
    [
        'chmod 644 "$1"',
        'echo >> "$1"',
        ': > "$1"',
        'rm "$1"',
        'rm "$1" && ln -s /system/bin/sh "$1"',
    ],
)
def test_what_is_damaged_there_is_brought_again(
    device: Phone, tmp_path: Path, pushed: list[str], damage: str
) -> None:
    binary = make(tmp_path, script())
    first = install(device, binary)
    device.do("sh", "-c", damage, "sh", first.path)
    assert install(device, binary) == first
    assert len(pushed) == 2
    assert device.ask("cat", first.path) == script()


def test_libraries_go_along(device: Phone, tmp_path: Path, pushed: list[str]) -> None:
    alone = install(device, make(tmp_path, script()))
    name = "libLiteRt it's; touch hacked.so"
    (tmp_path / name).write_text("a")
    (tmp_path / "model.tflite").write_text("not sent")
    first = install(device, make(tmp_path, script()))
    folder = first.path.rpartition("/")[0]
    assert device.ask("ls", folder).splitlines() == ["benchmark_model", name]
    assert device.ask("cat", f"{folder}/{name}") == "a"
    (tmp_path / name).write_text("b")
    second = install(device, make(tmp_path, script()))
    # Each set has a folder of its own: what runs is what was recorded.
    assert len({alone.path, first.path, second.path}) == 3
    assert len(pushed) == 5
    (tmp_path / name).unlink()
    assert install(device, make(tmp_path, script())) == alone
    assert len(pushed) == 5


def test_libraries_that_cannot_be_sent(
    device: Phone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = make(tmp_path, script())
    (tmp_path / "libLiteRtX.so").mkdir()
    with pytest.raises(UsageError, match=r"libLiteRtX.so is no file.*folder of its own"):
        install(device, binary)
    (tmp_path / "libLiteRtX.so").rmdir()
    (tmp_path / "libLiteRtX.so").symlink_to("nowhere")
    with pytest.raises(UsageError, match="No such file"):
        install(device, binary)
    (tmp_path / "libLiteRtX.so").unlink()
    (tmp_path / "libLiteRtX.so").write_bytes(bytes(100))
    monkeypatch.setattr(installation, "MAX_BYTES", 99)
    with pytest.raises(UsageError, match="more than"):
        install(device, binary)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00" + bytes(44), "another processor"),
        ("#!/no/such/interpreter\n", "missing"),
        ("#!/system/bin/sh\necho broken >&2; kill -11 $$\n", r"not even print.*broken"),
        ("#!/system/bin/sh\nexit 3\n", "not even print"),
        ("#!/system/bin/sh\necho CANNOT LINK EXECUTABLE >&2; exit 1\n", "library of it is missing"),
    ],
)
def test_a_binary_that_does_not_run_there(
    device: Phone, tmp_path: Path, content: str | bytes, message: str
) -> None:
    with pytest.raises(DeviceCommandError, match=message) as caught:
        install(device, make(tmp_path, content))
    error = str(caught.value)
    assert device.serial in error
    assert str(tmp_path) in error
    assert "--fetch-runner" in error
    assert caught.value.exit_code


@pytest.mark.parametrize("content", ["#!/system/bin/sh\nexit 0\n", "#!/system/bin/toybox seq 3\n"])
def test_another_program(device: Phone, tmp_path: Path, content: str) -> None:
    with pytest.raises((RunnerError, DeviceCommandError)):
        install(device, make(tmp_path, content))


def test_a_phone_that_is_gone(phone: LabPhone, tmp_path: Path) -> None:
    with pytest.raises(DeviceLost):
        install(Phone("nobody"), make(tmp_path, script()))


def test_a_phone_without_room(fragile_phone: LabPhone, tmp_path: Path) -> None:
    fragile_phone.fill(20_000)
    device, binary = Phone(fragile_phone.serial), make(tmp_path, script() + "#" * 1_000_000)
    with pytest.raises(DeviceCommandError, match="No space left"):
        install(device, binary)
    fragile_phone.free()
    assert install(device, binary).flags == {"graph", "num_runs"}

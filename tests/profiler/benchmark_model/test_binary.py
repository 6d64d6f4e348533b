"""Where benchmark binaries are found, and which ones are refused."""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latlas.profiler.benchmark_model.binary import (
    MAX_BYTES,
    cache_folder,
    cached_path,
    elf_problem,
    find_binary,
)
from latlas.profiler.errors import UsageError

ARM64, ARM, X64, X86 = "arm64-v8a", "armeabi-v7a", "x86_64", "x86"


def elf(bits: int, machine: int, *, order: str = "<", padding: int = 100) -> bytes:
    """Return a header of an ELF file, some bytes, and two section headers."""
    ident = b"\x7fELF" + bytes([bits // 32, 1 if order == "<" else 2, 1]) + bytes(9)
    size = 64 if bits == 64 else 52
    word = "Q" if bits == 64 else "I"
    rest = struct.pack(
        f"{order}HHI3{word}IHHHHHH",
        3, machine, 1, 0, 0, size + padding, 0, size, 0, 0, 40, 2, 1,
    )  # fmt: skip
    assert len(ident + rest) == size
    return ident + rest + bytes(padding) + bytes(80)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LATLAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("LATLAS_CACHE", "/own")
    assert cache_folder() == Path("/own")
    monkeypatch.setenv("LATLAS_CACHE", "relative")
    assert cache_folder() == Path.cwd() / "relative"
    monkeypatch.setenv("LATLAS_CACHE", "")
    assert cache_folder() == Path("/xdg/latlas")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path("/home/someone/.cache/latlas")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("/home/someone/.cache/latlas")


def test_an_explicit_path_wins_over_the_cache_and_the_cache_prefers_the_classic(
    tmp_path: Path, cache: Path
) -> None:
    own = put(tmp_path / "own", b"#!/system/bin/sh\n")  # a wrapper is as good
    litert = put(cached_path(ARM64, "litert"), elf(64, 183))
    found = find_binary(ARM64)
    assert (found.path, found.tool, found.content) == (litert, "litert", elf(64, 183))
    assert found.sha256 == hashlib.sha256(found.content).hexdigest()
    classic = put(cached_path(ARM64, "tflite"), elf(64, 183, padding=7))
    assert (find_binary(ARM64).path, find_binary(ARM64).tool) == (classic, "tflite")
    assert find_binary(ARM64, "litert").path == litert
    found = find_binary(ARM64, path=own)
    assert (found.path, found.tool) == (own, None)
    assert find_binary(ARM64, "litert", own).tool == "litert"
    assert cache in classic.parents


def test_without_one_the_message_says_how_to_get_one() -> None:
    put(cached_path(ARM, "tflite"), elf(32, 40))
    for tool in (None, "tflite", "litert"):
        with pytest.raises(UsageError, match=r"--fetch-runner.*--runner-binary"):
            find_binary(ARM64, tool)  # type: ignore[arg-type]
    assert find_binary(ARM).tool == "tflite"


@pytest.mark.parametrize("abi", ["", "arm64", "../../etc", "arm64-v8a/..", "arm64-v8a\n"])
def test_an_unknown_abi_becomes_no_path(abi: str) -> None:
    for call in (lambda: find_binary(abi), lambda: cached_path(abi, "tflite")):
        with pytest.raises(UsageError, match="unknown ABI"):
            call()
    with pytest.raises(UsageError, match="unknown tool"):
        cached_path(ARM64, "../x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "abi", "words"),
    [
        (elf(64, 62), ARM64, "built for x86_64, not for arm64-v8a"),
        (elf(32, 40), ARM64, "built for armeabi-v7a"),
        (elf(64, 183), ARM, "built for arm64-v8a, not for armeabi-v7a"),
        (elf(32, 3), X64, "built for x86, not"),
        (elf(64, 243), ARM64, "64-bit processor of ELF machine number 243"),
        (elf(32, 62), X64, "32-bit processor of ELF machine number 62"),
        (elf(64, 183, order=">"), ARM64, "big-endian"),
        (elf(64, 183)[:12], ARM64, "header is damaged"),
        (b"\x7fELF\x07\x01" + bytes(60), ARM64, "header is damaged"),
        (elf(64, 183)[:-1], ARM64, "cut short"),
        (elf(32, 40)[:-1], ARM, "cut short"),
        (b"", ARM64, "is empty"),
    ],
)
def test_what_does_not_run_on_the_phone_is_refused(
    tmp_path: Path, content: bytes, abi: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        find_binary(abi, path=put(tmp_path / "own", content))
    with pytest.raises(UsageError, match=words):
        put(cached_path(abi, "tflite"), content)
        find_binary(abi)


@pytest.mark.parametrize(
    ("bits", "machine", "abi"), [(64, 183, ARM64), (32, 40, ARM), (64, 62, X64), (32, 3, X86)]
)
def test_each_abi_has_its_processor(bits: int, machine: int, abi: str) -> None:
    assert elf_problem(elf(bits, machine), abi) == ""
    others = {ARM64, ARM, X64, X86} - {abi}
    assert all(abi in elf_problem(elf(bits, machine), other) for other in others)


def test_this_machine_knows_a_real_program() -> None:
    shell = Path("/bin/sh").resolve().read_bytes()
    assert [abi for abi in (ARM64, ARM, X64, X86) if not elf_problem(shell, abi)]


def test_only_regular_files_of_a_sane_size_are_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    for path, words in (
        (pipe, "no regular file"),
        (tmp_path, "no regular file"),
        (Path("/dev/zero"), "no regular file"),
        (huge, "larger than 256 MiB"),
        (tmp_path / "absent", "cannot be read: No such file"),
        (Path("a\0b"), "cannot be read"),
    ):
        with pytest.raises(UsageError, match=words):
            find_binary(ARM64, path=path)
    link = tmp_path / "link"
    link.symlink_to(put(tmp_path / "own", elf(64, 183)))
    assert find_binary(ARM64, path=link).path == link


@given(st.binary(max_size=100), st.sampled_from([ARM64, ARM, X64, X86]))
def test_any_header_is_survived(tail: bytes, abi: str) -> None:
    assert elf_problem(tail, abi).isprintable()
    assert elf_problem(b"\x7fELF" + tail, abi).isprintable()

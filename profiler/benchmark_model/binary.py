"""The benchmark binaries on this machine: where they are, and which processor they are for.

A phone is measured with one of two programs of the same name: TFLite's classic
``benchmark_model`` and LiteRT's. `latlas.profiler.benchmark_model.download` fetches them.
ELF header: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from latlas.profiler.errors import UsageError

Tool = Literal["tflite", "litert"]
"""TFLite's classic benchmark_model, or LiteRT's."""

TOOLS: tuple[Tool, ...] = get_args(Tool)
"""In the order in which `find_binary` looks for them."""

MAX_BYTES = 256 << 20
"""A larger file is no benchmark binary."""

_HEADER_BYTES = 20
# Android's ABIs: bits, and e_machine of the ELF header.
_ABIS = {
    "arm64-v8a": (64, 183),
    "armeabi-v7a": (32, 40),
    "x86_64": (64, 62),
    "x86": (32, 3),
}


@dataclass(frozen=True, slots=True)
class RunnerBinary:
    """A benchmark binary on this machine.

    Attributes:
        path: of the file.
        content: of the file.
        sha256: of the content, in hexadecimal; the runtime's version in every record.
        tool: which one it is; None where only its ``--help`` can tell
            (`latlas.profiler.benchmark_model.help.tool_of`).
    """

    path: Path
    content: bytes = field(repr=False)
    sha256: str
    tool: Tool | None = None


def cache_folder() -> Path:
    """Return the folder of what latlas fetches; it need not exist.

    It is ``$LATLAS_CACHE``, else ``$XDG_CACHE_HOME/latlas``, else ``~/.cache/latlas``. A relative
    ``$XDG_CACHE_HOME`` is ignored, as the specification of that variable wants it:
    https://specifications.freedesktop.org/basedir-spec/latest/.

    Raises:
        UsageError: this user has no home folder, and no variable names another.
    """
    if own := os.environ.get("LATLAS_CACHE"):
        return Path(own).absolute()
    if (shared := Path(os.environ.get("XDG_CACHE_HOME", ""))).is_absolute():
        return shared / "latlas"
    try:
        return Path.home() / ".cache" / "latlas"
    except RuntimeError as problem:
        raise UsageError(
            "there is no home folder to keep benchmark binaries in: set LATLAS_CACHE to a folder"
        ) from problem


def cached_path(abi: str, tool: Tool) -> Path:
    """Return where the binary of a tool is kept for an ABI; it need not exist.

    >>> cached_path("arm64-v8a", "tflite").parts[-3:]
    ('runners', 'tflite-arm64-v8a', 'benchmark_model')

    Raises:
        UsageError: there is no such ABI or tool.
    """
    known_abi(abi)
    if tool not in TOOLS:
        raise UsageError(f"unknown tool {tool!r:.60}: it must be one of {', '.join(TOOLS)}")
    return cache_folder() / "runners" / f"{tool}-{abi}" / "benchmark_model"


def find_binary(abi: str, tool: Tool | None = None, path: Path | None = None) -> RunnerBinary:
    """Return the benchmark binary to use for a phone.

    Args:
        abi: Android's name of the phone's processor, e.g. ``arm64-v8a``.
        tool: the tool wanted; None takes the classic one where both are cached.
        path: a file to use instead of the cache's. What is no ELF file is allowed, since a
            wrapper script is as good.

    Raises:
        UsageError: there is no binary, it is no regular file, it is too large, or it is built for
            another processor.
    """
    known_abi(abi)
    if path is not None:
        return _read(path, abi, tool)
    tools = TOOLS if tool is None else (tool,)
    for each in tools:
        where = cached_path(abi, each)
        if _exists(where):
            return _read(where, abi, each)
    folders = " nor ".join(str(cached_path(abi, each).parent) for each in tools)
    raise UsageError(
        f"there is no benchmark_model for {abi}: neither --runner-binary was given, nor is there "
        f"one in {folders}; fetch it with `latlas doctor --fetch-runner`, or give your own with "
        "--runner-binary PATH"
    )


def known_abi(abi: str) -> str:
    """Return an ABI's name as it is.

    Raises:
        UsageError: latlas does not know it.
    """
    if abi not in _ABIS:
        raise UsageError(f"unknown ABI {abi!r:.60}: it must be one of {', '.join(_ABIS)}")
    return abi


def elf_problem(content: bytes, abi: str) -> str:
    """Return why a file is no ELF file for an ABI, or an empty string.

    >>> elf_problem(b"<!DOCTYPE html>", "arm64-v8a")
    "it is no ELF file, it begins with b'<!DOCTYPE html>'"
    >>> elf_problem(b"\\x7fELF\\x02\\x01" + bytes(12) + b"\\x3e\\x00", "arm64-v8a")
    'it is built for x86_64, not for arm64-v8a'

    Raises:
        UsageError: latlas does not know the ABI.
    """
    known_abi(abi)
    if not is_elf(content):
        return f"it is no ELF file, it begins with {content[:_HEADER_BYTES]!r}"
    if len(content) < _HEADER_BYTES or content[4] not in (1, 2) or content[5] not in (1, 2):
        return "its ELF header is damaged"
    bits, big = 32 * content[4], content[5] == 2
    machine = int.from_bytes(content[18:20], "big" if big else "little")
    found = next((name for name, built in _ABIS.items() if built == (bits, machine)), None)
    if big or found is None:  # every ABI of Android is little-endian
        order = "big-endian " if big else ""
        found = f"a {bits}-bit {order}processor of ELF machine number {machine}"
    if found != abi:
        return f"it is built for {found}, not for {abi}"
    end = _section_headers_end(content, bits)
    if len(content) < end:
        return f"it is cut short: it has {len(content)} bytes of at least {end}"
    return ""


def is_elf(content: bytes) -> bool:
    """Return whether a file says of itself that it is a program or library of Linux."""
    return content.startswith(b"\x7fELF")


def _section_headers_end(content: bytes, bits: int) -> int:
    """Return where the section headers of a little-endian ELF file end; linkers put them last."""
    offset_at, offset_size, sizes_at = (32, 4, 46) if bits == 32 else (40, 8, 58)
    if len(content) < sizes_at + 4:
        return 0
    offset = int.from_bytes(content[offset_at : offset_at + offset_size], "little")
    entry_size = int.from_bytes(content[sizes_at : sizes_at + 2], "little")
    entries = int.from_bytes(content[sizes_at + 2 : sizes_at + 4], "little")
    return offset + entry_size * entries


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # e.g. of a folder that this user may not look into: reading says so
        return True


def _read(path: Path, abi: str, tool: Tool | None) -> RunnerBinary:
    try:
        # A pipe without a writer would block for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(
                    f"the benchmark binary {path} is no regular file; "
                    "give the path of a benchmark_model"
                )
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(MAX_BYTES + 1) if status.st_size <= MAX_BYTES else None
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the path
        reason = getattr(problem, "strerror", None) or problem
        raise UsageError(
            f"the benchmark binary {str(path)!r} cannot be read: {reason}; give the path of a "
            "benchmark_model, or fetch one with `latlas doctor --fetch-runner`"
        ) from problem
    if content is None or len(content) > MAX_BYTES:
        raise UsageError(
            f"the benchmark binary {path} is larger than {MAX_BYTES >> 20} MiB: it is no "
            "benchmark_model"
        )
    if not content:
        raise UsageError(
            f"the benchmark binary {path} is empty; fetch one with `latlas doctor --fetch-runner`"
        )
    if is_elf(content) and (problem_text := elf_problem(content, abi)):
        raise UsageError(
            f"the benchmark binary {path} does not run on this phone: {problem_text}; fetch one "
            "with `latlas doctor --fetch-runner`, or give one for the phone with --runner-binary"
        )
    return RunnerBinary(path, content, hashlib.sha256(content).hexdigest(), tool)

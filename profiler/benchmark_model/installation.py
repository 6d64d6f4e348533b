"""A benchmark binary on a phone: brought there once, checked, and asked what it can do."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from latlas.profiler.adb.phone import FOLDER, Phone
from latlas.profiler.benchmark_model.binary import MAX_BYTES, RunnerBinary, Tool
from latlas.profiler.benchmark_model.help import parse_help, tool_of
from latlas.profiler.errors import DeviceCommandError, UsageError

_PUSH_S = 180.0
_ASK_S = 20.0
_USUAL_HELP_EXIT = (0, 1)
# What says why a binary was not started; shells and linkers give various exit codes, 1 too.
_REFUSALS = {
    "not executable: ": "it is built for another processor",
    "Exec format error": "it is built for another processor",
    "CANNOT LINK EXECUTABLE": "a library of it is missing",
    "No such file or directory": "a library or interpreter of it is missing",
    "Permission denied": "it may not be executed there",
}
# Only what can also be executed is there: a transfer may have ended before its mode was set.
_SUM = '[ -f "$1" ] && [ -x "$1" ] && sha256sum < "$1"'


@dataclass(frozen=True, slots=True)
class Installation:
    """A benchmark binary that a phone has, and has run.

    Attributes:
        path: on the phone.
        tool: which of the two tools it is.
        flags: that it knows.
        sha256: of the binary, checked on the phone.
        libraries: sha256 of each library that went along, by name; checked as well.
    """

    path: str
    tool: Tool
    flags: frozenset[str]
    sha256: str
    libraries: Mapping[str, str]


def install(phone: Phone, binary: RunnerBinary) -> Installation:
    """Bring a binary to a phone unless it is there already, and run it once.

    LiteRT's tool finds its accelerators in the folder that it is in: those beside the binary on
    this machine (``libLiteRt*.so``) go along. A binary with other libraries has another folder.

    Raises:
        UsageError: a library cannot be read, or they are too large.
        DeviceLost: the phone is not there, not usable, or went away meanwhile.
        DeviceTimeout: it was not done in time.
        DeviceCommandError: the phone cannot hold or cannot run the binary.
        RunnerError: the binary is no benchmark_model.
    """
    contents = {"benchmark_model": binary.content, **_libraries(binary.path)}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    listed = "".join(f"{each}  {name}\n" for name, each in sums.items())
    folder = f"{FOLDER}/bin/{hashlib.sha256(listed.encode('utf-8', 'replace')).hexdigest()[:16]}"
    path = f"{folder}/benchmark_model"
    for name, content in contents.items():
        where = f"{folder}/{name}"
        if phone.ask("sh", "-c", _SUM, "sh", where)[:64] != sums[name]:
            phone.transport.push(content, where, _PUSH_S, mode=0o755)
    asked = phone.transport.run([path, "--help"], _ASK_S, check=False)
    text = (asked.stdout + b"\n" + asked.stderr).decode("utf-8", "replace")
    refusals = (what for words, what in _REFUSALS.items() if words in text)
    refusal = "" if "usage:" in text else next(refusals, "")
    if refusal or asked.exit_code not in _USUAL_HELP_EXIT:
        what = refusal or "it does not even print its help"
        raise DeviceCommandError(
            f"the benchmark binary {binary.path} is no use: {what}; give another with "
            "--runner-binary, or fetch one with `latlas doctor --fetch-runner`",
            serial=phone.serial,
            command=asked.command,
            exit_code=asked.exit_code,
            output=text.strip(),
        )
    flags = parse_help(text)
    libraries = {name: each for name, each in sums.items() if name != "benchmark_model"}
    return Installation(path, tool_of(flags), flags, binary.sha256, libraries)


def _libraries(binary: Path) -> dict[str, bytes]:
    """Return the libraries beside a binary by name."""
    found: dict[str, bytes] = {}
    size = 0
    try:
        for path in sorted(binary.parent.glob("libLiteRt*.so")):
            size += path.stat().st_size
            if not path.is_file() or size > MAX_BYTES:
                raise UsageError(
                    f"what lies beside the benchmark binary goes to the phone with it, but {path} "
                    "is no file, or the libLiteRt*.so there have more than "
                    f"{MAX_BYTES >> 20} MiB: put the binary into a folder of its own, with its own "
                    "libraries only"
                )
            found[path.name] = path.read_bytes()
    except OSError as problem:
        raise UsageError(
            f"a library beside the benchmark binary {binary} cannot be read: {problem}; put the "
            "binary into a folder of its own"
        ) from problem
    return found

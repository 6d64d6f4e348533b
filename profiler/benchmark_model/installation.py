"""A benchmark binary on a phone: brought there once, checked, and asked what it can do."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from latlas.profiler.adb.phone import FOLDER, Phone
from latlas.profiler.benchmark_model.binary import RunnerBinary, Tool
from latlas.profiler.benchmark_model.help import parse_help, tool_of
from latlas.profiler.errors import DeviceCommandError

_PUSH_S = 180.0
_ASK_S = 20.0
_USUAL_HELP_EXIT = (0, 1)


@dataclass(frozen=True, slots=True)
class Installation:
    """A benchmark binary that a phone has, and has run.

    Attributes:
        path: on the phone.
        tool: which of the two tools it is.
        flags: that it knows.
        sha256: of the binary, checked on the phone.
    """

    path: str
    tool: Tool
    flags: frozenset[str]
    sha256: str


def install(phone: Phone, binary: RunnerBinary) -> Installation:
    """Bring a binary to a phone unless it is there already, and run it once.

    LiteRT's tool finds its accelerators in the folder that it is in: libraries beside the binary
    on this machine go along.

    Raises:
        DeviceLost: the phone is not there, not usable, or went away meanwhile.
        DeviceTimeout: it was not done in time.
        DeviceCommandError: the phone cannot hold or cannot run the binary.
        RunnerError: the binary is no benchmark_model.
    """
    folder = f"{FOLDER}/bin/{binary.sha256[:16]}"
    path = f"{folder}/benchmark_model"
    contents = {path: binary.content}
    for library in sorted(binary.path.parent.glob("lib*.so")):
        contents[f"{folder}/{library.name}"] = library.read_bytes()
    for where, content in contents.items():
        found = phone.ask("sh", "-c", 'sha256sum < "$1"', "sh", where)
        if found[:64] != hashlib.sha256(content).hexdigest():
            phone.transport.push(content, where, _PUSH_S, mode=0o755)
    asked = phone.transport.run([path, "--help"], _ASK_S, check=False)
    text = (asked.stdout + b"\n" + asked.stderr).decode("utf-8", "replace")
    if asked.exit_code not in _USUAL_HELP_EXIT:
        what = {
            126: "it cannot be executed there (built for another processor?)",
            127: "it cannot be executed there (a library or interpreter of it is missing)",
        }.get(asked.exit_code, "it does not even print its help")
        raise DeviceCommandError(
            f"the benchmark binary {binary.path} is no use: {what}; give another with "
            "--runner-binary, or fetch one with `latlas doctor --fetch-runner`",
            serial=phone.serial,
            command=asked.command,
            exit_code=asked.exit_code,
            output=text.strip(),
        )
    flags = parse_help(text)
    return Installation(path, tool_of(flags), flags, binary.sha256)

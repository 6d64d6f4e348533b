"""A shell script that runs a batch of commands on a phone, and the reader of what it prints.

A batch costs one connection, not one per kernel, and between two kernels nothing but the start of a
process: the script sets the affinity of its own shell, which its children inherit, and takes the
time from the shell's ``EPOCHREALTIME``. The output of the commands goes straight to the two
streams; after each command the script writes a mark to both. A mark holds a random word, so that
nothing that a command prints can pass for one.
"""

from __future__ import annotations

import base64
import re
import secrets
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from latlas.profiler.adb.text import clean
from latlas.profiler.benchmark_model.output import MAX_CHARS
from latlas.profiler.errors import DeviceCommandError

NO_AFFINITY = 97
"""The script's exit code where the phone refuses the affinity mask."""

# $1 is the random word, $2 the mask, $3 the folder, $4 the file that a command may write. A child
# runs in the background only so that a signal, which adbd sends when the link is lost, reaches the
# shell at once and the child with it. A command's last words are complete once both streams have
# their mark.
_FRAME = """\
word=$1 result=$4 child=
end() { [ -z "$child" ] || kill -9 "$child"; exit 129; }
trap end HUP INT TERM PIPE
run() {
  began=$EPOCHREALTIME
  "$@" & child=$!
  wait "$child"; code=$?
  ended=$EPOCHREALTIME child=
  if [ -n "$result" ] && [ -f "$result" ]; then
    echo; echo "$word file"; base64 "$result"; rm -f "$result"
  fi
  echo; echo "$word end $code $began $ended"
  echo >&2; echo "$word end" >&2
}
if [ -n "$2" ]; then taskset -p "$2" $$ >/dev/null || exit 97; fi
echo "$word mask $(taskset -p $$ 2>/dev/null)"
cd "$3" || exit 1
"""


@dataclass(frozen=True, slots=True)
class CommandOutput:
    """What one command of a batch gave.

    Attributes:
        exit_code: 0 to 255; 128 + n where signal n ended it.
        stdout: what it printed.
        stderr: what it complained about.
        result_file: what it wrote into the batch's result file; empty if nothing.
        spent_s: seconds from before its start to after its end by the phone's clock; None where
            its shell has no clock.
    """

    exit_code: int
    stdout: str
    stderr: str
    spent_s: float | None
    result_file: bytes = b""


def new_word() -> str:
    """Return a random word for a batch's marks."""
    return secrets.token_hex(12)


def batch_command(
    word: str,
    mask: str,
    folder: str,
    commands: Sequence[Sequence[str]],
    result_file: str = "",
) -> list[str]:
    """Return the command that runs commands one after the other.

    Args:
        word: of the marks, from `new_word`.
        mask: affinity as a hexadecimal number without 0x; empty for no wish.
        folder: where the commands run; it is removed after the last.
        commands: each with its arguments; nothing in them is interpreted by a shell.
        result_file: that every command may write, and that is brought back; empty for none.
    """
    lines = [f"run {shlex.join(command)}" for command in commands]
    lines.append('cd / && rm -rf "$3"')
    return ["sh", "-c", _FRAME + "\n".join(lines), "sh", word, mask, folder, result_file]


@dataclass
class BatchReader:
    """Takes the output of a batch apart, as it comes.

    Args:
        word: of the batch's marks.
        mask: the affinity that was asked for, empty for none.

    Attributes:
        mask_found: the affinity that the phone says the batch has; None where it does not say.
    """

    word: str
    mask: str
    mask_found: int | None = None
    _stdout: bytearray = field(default_factory=bytearray)
    _stderr: bytearray = field(default_factory=bytearray)
    _ended: list[CommandOutput] = field(default_factory=list)
    _complaints: list[str] = field(default_factory=list)
    _printed: str | None = None  # by a command whose result file comes now

    def feed(self, stream: Literal["stdout", "stderr"], data: bytes) -> Iterator[CommandOutput]:
        """Yield the commands that have ended with this piece of output.

        Raises:
            DeviceCommandError: the affinity is another one than was asked for, a command printed
                too much, or the marks are damaged.
        """
        buffer = self._stdout if stream == "stdout" else self._stderr
        # Only what is new can hold a mark, or the end of one.
        start = max(len(buffer) - len(self.word) - 200, 0)
        buffer += data
        if len(buffer) > MAX_CHARS:
            raise DeviceCommandError(f"a command of a batch printed more than {MAX_CHARS} bytes")
        pattern = rb"(?:^|\n)%s (mask|file|end)([^\n]*)\n" % self.word.encode()
        while found := re.compile(pattern).search(buffer, start):
            text = bytes(buffer[: found.start()]).decode("utf-8", "replace")
            rest = found[2].decode("utf-8", "replace")
            kind = found[1]
            del buffer[: found.end()]
            start = 0
            if kind == b"mask":
                self._check_mask(rest)
            elif stream == "stderr":
                self._complaints.append(text)
            elif kind == b"file":
                self._printed = text
            else:
                exit_code, spent_s = _times(rest)
                printed, content = text, b""
                if self._printed is not None:
                    printed, content, self._printed = self._printed, _decoded(text), None
                self._ended.append(CommandOutput(exit_code, printed, "", spent_s, content))
        while self._ended and self._complaints:
            yield replace(self._ended.pop(0), stderr=self._complaints.pop(0))

    def _check_mask(self, text: str) -> None:
        # "pid 4242's current affinity mask: f0"
        found = re.search(r": ([0-9a-f]{1,64})\s*$", text)
        self.mask_found = int(found[1], 16) if found else None
        if self.mask and self.mask_found != int(self.mask, 16):
            raise DeviceCommandError(
                f"the phone does not keep to the cores of the mask {self.mask}: it says "
                f"{clean(text) or 'nothing'!r}; choose other --cores (`latlas devices --json`)",
                command=f"taskset -p {self.mask}",
            )


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as problem:
        raise DeviceCommandError(f"the result file of a command is damaged: {problem}") from None


def _times(text: str) -> tuple[int, float | None]:
    """Read e.g. `` 0 1700000000.123456 1700000000.234567``."""
    found = re.fullmatch(r" ([0-9]{1,3})(?: (\d{1,12}\.\d{1,9}) (\d{1,12}\.\d{1,9}))?\s*", text)
    if found is None:
        raise DeviceCommandError(f"a mark of the batch is damaged: {clean(text)!r}")
    if found[2] is None:
        return int(found[1]), None
    return int(found[1]), max(float(found[3]) - float(found[2]), 0.0)

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
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from latlas.profiler.adb.text import clean
from latlas.profiler.benchmark_model.output_parser import MAX_CHARS
from latlas.profiler.errors import DeviceCommandError, RunnerError

NO_AFFINITY = 97
"""The script's exit code where the phone refuses the affinity mask."""

_REST_CHARS = 200
"""What follows a mark's kind is shorter: times, or what taskset says."""
_MAX_AHEAD = 1000
"""Commands whose end only one of the streams has told yet."""

# $1 is the random word, $2 the mask, $3 the folder, $4 the file that a command may write. A child
# runs in the background only so that a signal, which adbd sends when the link is lost, reaches the
# shell at once and the child with it. The shell knows a child as $! before it can take a signal. A
# command's last words are complete once both streams have their mark.
_FRAME = """\
word=$1 result=$4 busy=
end() { [ -z "$busy" ] || kill -9 $!; exit 129; }
trap end HUP INT TERM PIPE
run() {
  began=$EPOCHREALTIME busy=1
  "$@" &
  wait $!; code=$?
  ended=$EPOCHREALTIME busy=
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
    _ended: deque[CommandOutput] = field(default_factory=deque)
    _complaints: deque[str] = field(default_factory=deque)
    _printed: str | None = None  # by a command whose result file comes now

    def feed(self, stream: Literal["stdout", "stderr"], data: bytes) -> Iterator[CommandOutput]:
        """Yield the commands that have ended with this piece of output.

        Raises:
            DeviceCommandError: the affinity is another one than was asked for.
            RunnerError: a command printed too much, or disturbed the marks or its result file.
        """
        buffer = self._stdout if stream == "stdout" else self._stderr
        pattern = rb"(?:^|\n)%s (mask|file|end)([^\n]{0,%d})\n" % (self.word.encode(), _REST_CHARS)
        longest = len(self.word) + _REST_CHARS + len("\n mask\n")
        # Only what is new can hold a mark, or the end of one.
        start = max(len(buffer) - longest, 0)
        buffer += data
        while found := re.compile(pattern).search(buffer, start):
            if found.start() > MAX_CHARS:
                raise _too_much()
            text = bytes(buffer[: found.start()]).decode("utf-8", "replace")
            kind, rest = found[1].decode(), found[2].decode("utf-8", "replace")
            del buffer[: found.end()]
            start = 0
            self._take(stream, kind, rest, text)
            while self._ended and self._complaints:
                yield replace(self._ended.popleft(), stderr=self._complaints.popleft())
        if len(buffer) > MAX_CHARS + longest:
            raise _too_much()

    def _take(self, stream: str, kind: str, rest: str, text: str) -> None:
        """Take a mark, and the text before it."""
        if kind == "mask" and stream == "stdout":
            self._check_mask(rest)
        elif kind == "end" and stream == "stderr":
            self._complaints.append(text)
        elif kind == "file" and stream == "stdout" and self._printed is None:
            self._printed = text
        elif kind == "end":
            exit_code, spent_s = _times(rest)
            printed, content = text, b""
            if self._printed is not None:
                printed, content, self._printed = self._printed, _decoded(text), None
            self._ended.append(CommandOutput(exit_code, printed, "", spent_s, content))
        else:
            raise RunnerError(f"a mark of the batch is where none belongs: {kind!r}")
        if max(len(self._ended), len(self._complaints)) > _MAX_AHEAD:
            raise RunnerError(
                f"one stream of the batch is more than {_MAX_AHEAD} commands ahead of the other"
            )

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


def _too_much() -> RunnerError:
    return RunnerError(f"a command of a batch printed more than {MAX_CHARS} bytes")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as problem:
        raise RunnerError(f"the result file of a command is damaged: {problem}") from None


def _times(text: str) -> tuple[int, float | None]:
    """Read e.g. `` 0 1700000000.123456 1700000000.234567``."""
    time = r"([0-9]{1,12}\.[0-9]{1,9})"
    found = re.fullmatch(rf" ([0-9]{{1,3}})(?: {time} {time})? *", text)
    if found is None or int(found[1]) > 255:
        raise RunnerError(f"a mark of the batch is damaged: {clean(text)!r}")
    if found[2] is None:
        return int(found[1]), None
    return int(found[1]), max(float(found[3]) - float(found[2]), 0.0)

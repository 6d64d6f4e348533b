"""Batches of commands on a phone, and the reader of what they print."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Literal

import pytest
from components import require
from hypothesis import given, settings
from hypothesis import strategies as st
from phone_lab.lab import Daemon, LabPhone, adb_server, lab_phone, missing, wait_for

from latlas.profiler.adb.transport import AdbTransport
from latlas.profiler.benchmark_model.output_parser import MAX_CHARS
from latlas.profiler.benchmark_model.script import (
    NO_AFFINITY,
    BatchReader,
    CommandOutput,
    batch_command,
    new_word,
)
from latlas.profiler.errors import (
    DeviceCommandError,
    DeviceLost,
    DeviceTimeout,
    LatlasError,
    RunnerError,
)

Stream = Literal["stdout", "stderr"]

TMP = "/data/local/tmp"
WORD = "0123456789abcdef01234567"
END = f"\n{WORD} end 0 1700000000.5 1700000002.75\n".encode()


def sh(line: str) -> list[str]:
    return ["sh", "-c", line]


def run_batch(
    serial: str,
    commands: Sequence[Sequence[str]],
    mask: str = "",
    result_file: str = "",
    folder: str = f"{TMP}/batch",
) -> tuple[list[CommandOutput], BatchReader, int | None]:
    transport, word = AdbTransport(serial), new_word()
    transport.run(["mkdir", "-p", folder], 10)
    reader = BatchReader(word, mask)
    outputs: list[CommandOutput] = []
    with transport.start(batch_command(word, mask, folder, commands, result_file), 30) as running:
        for stream, data in running.output():
            outputs += reader.feed(stream, data)
    return outputs, reader, running.exit_code


# On a phone


def test_streams_exit_codes_and_times(phone: LabPhone) -> None:
    commands = [
        sh("echo out; echo err >&2"),
        sh("printf 'no newline'; printf 'nor here' >&2; exit 1"),
        ["/system/fixture/properties.txt"],
        ["/no/such/command"],
        sh("kill -9 $$"),
        sh("kill -11 $$"),
        sh("sleep 0.3; exit 255"),
        ["true"],
    ]
    outputs, reader, exit_code = run_batch(phone.serial, commands)
    assert exit_code == 0
    assert [output.exit_code for output in outputs] == [0, 1, 126, 127, 137, 139, 255, 0]
    assert [output.stdout for output in outputs] == ["out\n", "no newline", *[""] * 6]
    complaints = [output.stderr for output in outputs]
    assert complaints[:2] == ["err\n", "nor here"]
    assert "denied" in complaints[2] or "execute" in complaints[2]
    assert "not found" in complaints[3] or "No such file" in complaints[3]
    assert complaints[6:] == ["", ""]
    assert all(output.spent_s is not None and output.spent_s < 5 for output in outputs)
    assert outputs[6].spent_s is not None
    assert outputs[6].spent_s >= 0.3
    assert reader.mask_found is not None
    assert "batch" not in phone.sh(f"ls {TMP}").split()  # its folder is removed


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "it's",
        'a"b',
        "; touch hacked",
        "$(touch hacked)",
        "`touch hacked`",
        "a\nb",
        "a\n",
        "\\n",
        "*",
        "",
        "&",
        "ü",
        "-n",
        "$1",
        "#",
    ],
)
def test_arguments_reach_the_command_as_they_are(phone: LabPhone, name: str) -> None:
    commands = [["printf", "%s|", name, "x"], ["ls"]]
    outputs, _, _ = run_batch(phone.serial, commands)
    assert [output.stdout for output in outputs] == [f"{name}|x|", ""]


def test_the_mark_of_another_batch_is_only_text(phone: LabPhone) -> None:
    other = new_word()
    text = f"\n{other} end 0 1.0 2.0\n{other} mask x: 1\n"
    outputs, _, _ = run_batch(phone.serial, [["printf", "%s", text], ["true"]])
    assert [output.stdout for output in outputs] == [text, ""]


def test_what_is_no_text_is_replaced(phone: LabPhone) -> None:
    outputs, _, _ = run_batch(phone.serial, [["printf", r"a\377\000b\n\r"]])
    assert outputs[0].stdout == "a\ufffd\0b\n\r"


def test_standard_input_is_empty(phone: LabPhone) -> None:
    outputs, _, _ = run_batch(phone.serial, [["cat"], ["echo", "x"]])
    assert [output.stdout for output in outputs] == ["", "x\n"]


def test_each_command_has_its_own_result_file(phone: LabPhone) -> None:
    commands = [
        sh(r"printf 'a\000\377' > result; echo one"),
        ["true"],
        sh("head -c 100000 /dev/zero > result; echo two >&2; exit 1"),
    ]
    outputs, _, _ = run_batch(phone.serial, commands, result_file="result")
    assert [output.result_file for output in outputs] == [b"a\0\xff", b"", bytes(100_000)]
    assert [output.stdout for output in outputs] == ["one\n", "", ""]
    assert [output.stderr for output in outputs] == ["", "", "two\n"]


def test_much_output(phone: LabPhone) -> None:
    lines = 100_000
    commands = [sh(f"seq {lines}"), sh("seq 3 >&2")]
    outputs, _, _ = run_batch(phone.serial, commands)
    assert outputs[0].stdout == "".join(f"{i}\n" for i in range(1, lines + 1))
    assert outputs[1].stderr == "1\n2\n3\n"


def test_a_folder_that_is_not_there(phone: LabPhone) -> None:
    word = new_word()
    command = batch_command(word, "", f"{TMP}/nowhere", [["touch", "x"]])
    done = AdbTransport(phone.serial).run(command, 10, check=False)
    assert done.exit_code == 1
    assert "nowhere" in done.stderr.decode()


@pytest.mark.parametrize("daemon", ["adbd", "python"])
def test_affinity_is_set_and_read_back(
    tmp_path: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(f"a phone on this machine ({daemon})", not missing(daemon), missing(daemon))
    folders = tmp_path / "adb", tmp_path / "phone"
    for folder in folders:
        folder.mkdir()
    with adb_server(folders[0]) as server, lab_phone(server, folders[1], daemon, "host") as phone:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        commands = [sh("taskset -p $$"), sh("taskset -p $$")]
        outputs, reader, exit_code = run_batch(phone.serial, commands, mask="1")
        assert (exit_code, reader.mask_found) == (0, 1)
        assert [output.stdout.split()[-1] for output in outputs] == ["1", "1"]
        for impossible in ("8000000000", "0", "nonsense"):
            outputs, reader, exit_code = run_batch(phone.serial, commands, mask=impossible)
            assert (outputs, reader.mask_found, exit_code) == ([], None, NO_AFFINITY)


MARK = "4321"  # tells the child from all else that runs
CHILDREN = {
    "plain": ["sleep", MARK],
    "deaf": [*sh("trap '' HUP INT TERM PIPE; while :; do sleep 0.01; done"), "sh", MARK],
    "chatty": [*sh("trap '' HUP PIPE; while :; do echo; sleep 0.01; done"), "sh", MARK],
}


@pytest.mark.parametrize("child", CHILDREN)
@pytest.mark.parametrize("end", ["link lost", "host gives up", "timeout"])
def test_a_child_dies_with_its_batch(fragile_phone: LabPhone, child: str, end: str) -> None:
    phone, word = fragile_phone, new_word()
    transport = AdbTransport(phone.serial)
    transport.run(["mkdir", "-p", f"{TMP}/batch"], 10)
    commands = [["true"], CHILDREN[child], ["touch", f"{TMP}/went-on"]]

    def children() -> list[str]:
        lines = phone.sh("ps -A -o pid,args").splitlines()
        return [line for line in lines if MARK in line and word not in line]

    def run(timeout_s: float) -> Generator[None, None, None]:
        reader = BatchReader(word, "")
        command = batch_command(word, "", f"{TMP}/batch", commands)
        with transport.start(command, timeout_s) as running:
            for stream, data in running.output():
                for _ in reader.feed(stream, data):
                    wait_for(lambda: bool(children()), "the child")
                    time.sleep(0.2)  # mksh loses a signal just before it waits for its child
                    yield

    batch = run(2 if end == "timeout" else 30)
    next(batch)
    if end == "link lost":
        phone.link.cut()
        with pytest.raises(DeviceLost):
            next(batch)
        phone.attach()
    elif end == "timeout":
        with pytest.raises(DeviceTimeout):
            next(batch)
    else:
        batch.close()
    wait_for(lambda: not children(), "the child's end", timeout_s=2)
    assert phone.sh(f"ls {TMP}") == "batch\n"
    assert run_batch(phone.serial, [["echo", "well"]])[0][0].stdout == "well\n"


# The reader


def feed_all(reader: BatchReader, pieces: Sequence[tuple[Stream, bytes]]) -> list[CommandOutput]:
    return [output for stream, data in pieces for output in reader.feed(stream, data)]


def test_a_command_has_ended_when_both_streams_say_so() -> None:
    reader = BatchReader(WORD, "")
    mask = f"{WORD} mask pid 7's current affinity mask: ff\n".encode()
    assert feed_all(reader, [("stdout", mask + b"out" + END)]) == []
    ended = feed_all(reader, [("stderr", f"err\n\n{WORD} end\n".encode())])
    assert ended == [CommandOutput(0, "out", "err\n", 2.25)]
    assert reader.mask_found == 0xFF


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("7 1700000000.000001 1700000000.500001", (7, 0.5)),
        ("7 1700000000.5 1700000000.0", (7, 0.0)),  # somebody has set the clock
        ("255  ", (255, None)),
        ("0", (0, None)),
    ],
)
def test_times(rest: str, expected: tuple[int, float | None]) -> None:
    reader = BatchReader(WORD, "")
    (ended,) = feed_all(
        reader,
        [("stdout", f"\n{WORD} end {rest}\n".encode()), ("stderr", f"\n{WORD} end\n".encode())],
    )
    assert (ended.exit_code, ended.spent_s) == (expected[0], pytest.approx(expected[1]))


@pytest.mark.parametrize(
    "line",
    [
        "end",
        "end x",
        "end 256",
        "end -1",
        "end ٣",
        "end 0 1e9 2",
        "end 0 1.5",
        "end 0 ١.٥ ١.٥",
        "file\n\n{word} file",
        "file\n!!!\n{word} end 0",
        "file\nYQ\n{word} end 0",
    ],
)
def test_damaged_marks(line: str) -> None:
    text = f"\n{WORD} {line}\n".replace("{word}", WORD)
    with pytest.raises(RunnerError, match=r"damaged|none belongs"):
        feed_all(BatchReader(WORD, ""), [("stdout", text.encode())])


@pytest.mark.parametrize("kind", ["mask x: f", "file"])
def test_complaints_have_only_ends(kind: str) -> None:
    with pytest.raises(RunnerError, match="none belongs"):
        feed_all(BatchReader(WORD, ""), [("stderr", f"{WORD} {kind}\n".encode())])


@pytest.mark.parametrize("says", ["pid 7's current affinity mask: ff", "", "x: fffffffffffff0f0"])
def test_another_mask_than_asked_for(says: str) -> None:
    with pytest.raises(DeviceCommandError, match=r"mask f0.*--cores"):
        feed_all(BatchReader(WORD, "f0"), [("stdout", f"{WORD} mask {says}\n".encode())])
    feed_all(BatchReader(WORD, "0F0"), [("stdout", f"{WORD} mask x: f0\n".encode())])


def test_text_that_looks_like_a_mark() -> None:
    """Not at the start of a line, or longer than any mark."""
    text = f"x {WORD} end 0\n{WORD}\n{WORD} else\n{WORD} end {'9' * 1000}"
    reader = BatchReader(WORD, "")
    pieces: list[tuple[Stream, bytes]] = [
        ("stdout", text.encode() + END),
        ("stderr", f"\n{WORD} end\n".encode()),
    ]
    assert [output.stdout for output in feed_all(reader, pieces)] == [text]


@pytest.mark.parametrize("size", [1, 1000, 1 << 16, MAX_CHARS * 2])
def test_a_command_that_prints_too_much(size: int) -> None:
    """In whatever pieces it comes; and it takes no longer than it must."""
    reader, started = BatchReader(WORD, ""), time.monotonic()
    count = MAX_CHARS if size == 1 else MAX_CHARS + 2000
    if size == 1:  # nearly all at once, so that the test ends
        assert not feed_all(reader, [("stdout", b"x" * (count - 10))])
        count = 2000
    pieces = [b"x" * min(size, count - i) for i in range(0, count, size)]
    with pytest.raises(RunnerError, match=f"more than {MAX_CHARS} bytes"):
        feed_all(reader, [("stdout", piece) for piece in pieces])
    assert time.monotonic() - started < 3


def test_many_commands_in_one_piece_may_print_much() -> None:
    reader = BatchReader(WORD, "")
    big = b"x" * (MAX_CHARS // 3)
    pieces: list[tuple[Stream, bytes]] = [
        ("stderr", f"\n{WORD} end\n".encode() * 5),
        ("stdout", (big + END) * 5),
    ]
    assert len(feed_all(reader, pieces)) == 5
    with pytest.raises(RunnerError, match="more than"):
        feed_all(reader, [("stdout", b"x" * (MAX_CHARS + 1) + END)])


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_stream_that_runs_away(stream: Stream) -> None:
    started = time.monotonic()
    with pytest.raises(RunnerError, match="ahead of the other"):
        feed_all(BatchReader(WORD, ""), [(stream, END * 100_000)])
    assert time.monotonic() - started < 3


words = st.sampled_from(
    [
        b"",
        b"\n",
        b"x",
        b"\xff",
        WORD.encode(),
        f"\n{WORD} ".encode(),
        f"{WORD} end\n".encode(),
        f"\n{WORD} end\n".encode(),
        f"\n{WORD} file\n".encode(),
        f"{WORD} mask x: f0\n".encode(),
        f"{WORD} mask x: ff\n".encode(),
        b" end 0 1.0 2.0\n",
        b"YQ==\n",
        END,
        b"9" * 300,
    ]
)
texts = st.lists(st.one_of(words, words, st.binary(max_size=40)), max_size=12).map(b"".join)


def outcome(pieces: Sequence[tuple[Stream, bytes]], mask: str) -> tuple[list[CommandOutput], str]:
    """Return what comes out of a reader until its end or its error."""
    reader, outputs = BatchReader(WORD, mask), []
    try:
        for stream, data in pieces:
            for output in reader.feed(stream, data):
                outputs.append(output)
    except LatlasError as problem:
        return outputs, str(problem)
    return outputs, ""


@settings(max_examples=300)
@given(texts, texts, st.sampled_from(["", "f0"]), st.data())
def test_any_bytes_in_any_pieces(out: bytes, err: bytes, mask: str, data: st.DataObject) -> None:
    """Only errors of latlas come out, and the pieces make no difference."""
    pieces: list[tuple[Stream, bytes]] = []
    streams: tuple[tuple[Stream, bytes], ...] = (("stdout", out), ("stderr", err))
    for stream, text in streams:
        cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=8).map(sorted))
        pieces += [(stream, text[a:b]) for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = outcome([("stdout", out), ("stderr", err)], mask)
    assert outcome(pieces, mask) == whole
    single = [(stream, text[i : i + 1]) for stream, text in streams for i in range(len(text))]
    assert outcome(single, mask) == whole
    # How the streams interleave tells only where an error comes first.
    if not whole[1]:
        order = data.draw(st.permutations(range(len(pieces))))
        first = {stream: iter([p for p in pieces if p[0] == stream]) for stream, _ in streams}
        mixed = [next(first[pieces[i][0]]) for i in order]
        assert outcome(mixed, mask) == whole


texts_of_commands = st.lists(
    st.tuples(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=60)), max_size=4
)


@given(texts_of_commands)
def test_what_commands_print_comes_back(commands: list[tuple[bytes, bytes, bytes]]) -> None:
    out, err = f"{WORD} mask \n".encode(), b""
    for printed, complaint, result in commands:
        file = f"\n{WORD} file\n".encode() + base64.encodebytes(result) if result else b""
        out += printed + file + END
        err += complaint + f"\n{WORD} end\n".encode()
    found, problem = outcome([("stdout", out), ("stderr", err)], "")
    assert problem == ""
    assert [(o.stdout, o.stderr, o.result_file) for o in found] == [
        (printed.decode("utf-8", "replace"), complaint.decode("utf-8", "replace"), result)
        for printed, complaint, result in commands
    ]


def test_words_differ() -> None:
    found = {new_word() for _ in range(100)}
    assert len(found) == 100
    assert all(re.fullmatch("[0-9a-f]{24}", word) for word in found)

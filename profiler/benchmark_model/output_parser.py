"""Reads what ``benchmark_model`` prints. Pure functions; nothing in the text is trusted.

Known are the classic TFLite tool, its older versions (no ``INFO:``, no percentiles) and LiteRT's.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from latlas.profiler.benchmark_model.failures import failure
from latlas.profiler.benchmark_model.output import (
    Delegation,
    Extent,
    Kind,
    Memory,
    OpRow,
    Output,
    Replacement,
    Timing,
    short,
)
from latlas.profiler.errors import RunnerError
from latlas.profiler.statistics import MAX_US

MAX_CHARS = 1 << 23
"""More text than this is no output of a benchmark."""
MAX_LINES = 200_000
MAX_OPS = 50_000

_MAX_NOTES = 50
_MAX_COUNT = 1 << 53


def parse_output(stdout: str, stderr: str = "", exit_code: int = 0, profile: str = "") -> Output:
    """Return what a run of the tool says.

    Args:
        stdout: what it printed there, or both streams together.
        stderr: what it printed there; the runtime's own lines and the errors.
        exit_code: of the process: 128 + n, or -n, where signal n killed it.
        profile: the file of per-operator times, where they do not go to stdout.

    >>> parse_output("", "ERROR: Could not open 'a.tflite'.", exit_code=1).problem
    "the model is not on the device (exit code 1): Could not open 'a.tflite'."

    Raises:
        RunnerError: the text is too long, contradicts itself or has impossible figures.
    """
    texts = (stdout, stderr, profile)
    if sum(map(len, texts)) > MAX_CHARS or sum(text.count("\n") for text in texts) > MAX_LINES:
        raise RunnerError(
            f"benchmark_model printed more than {MAX_CHARS} characters or {MAX_LINES} lines"
        )
    reader = _Reader()
    for text in texts:
        reader.read(text)
    return reader.result(exit_code)


_LEVEL = re.compile(
    r"(?:(VERBOSE|DEBUG|INFO|WARN|WARNING|ERROR|FATAL): )?(?:\[[\w./+-]{1,100}:\d{1,9}\] )?"
)
_SESSION = re.compile(r"Initialized session in (\S+?) ?ms\.?$")
_TIMINGS = re.compile(
    r"Inference timings in us: Init: (\S+), First inference: (\S+), "
    r"Warmup \(avg\): (\S+), Inference \(avg\): (\S+)$"
)
_MEMORY = re.compile(
    r"(?:Memory footprint delta from the start of the tool|Peak memory footprint) "
    r"\(MB\): init=(\S+) overall=(\S+)$"
)
_PEAK = re.compile(r"Overall peak memory footprint \(MB\) via periodic monitoring: (\S+)$")
_APPLIED = re.compile(
    r"Explicitly applied (.{1,100}) delegate, and the model graph will be "
    r"(completely|partially) executed by the delegate(?: w/ (\d{1,9}) delegate kernels)?"
)
_NOT_APPLIED = re.compile(
    r"Though (.{1,100}) delegate is explicitly applied, the model graph will not be executed by"
)
_REPLACED = re.compile(
    r"Replacing (\d{1,9}) out of (\d{1,9}) node\(s\) with delegate \((.{0,100}?)\) node, yielding "
)
_NODES = re.compile(r"Number of nodes executed: (\d{1,9})$")
_API = re.compile(r"Initialized (Open[CG]L)-based API")
_LITERT = re.compile(
    r"(Model initialization|Warmup \((?:first|avg)\)|Inference \((?:avg|min|max|std)\)"
    r"|Init footprint|Overall footprint): +(\S+)(?: (?:ms|MB))?(?: \((\d{1,16}) runs\))?$"
)
_STATISTICS = {
    "first": "first_us",
    "curr": "last_us",
    "min": "min_us",
    "max": "max_us",
    "avg": "mean_us",
    "std": "std_us",
    "p5": "p05_us",
    "median": "median_us",
    "p95": "p95_us",
}


@dataclass
class _Reader:
    """Collects what the lines say, in their order."""

    passes: list[Timing] = field(default_factory=list)
    awaiting: bool = False
    timings_us: tuple[float, float] | None = None  # mean of the warm-up, of the timed runs
    session_ms: float | None = None
    init_mb: float | None = None
    overall_mb: float | None = None
    peak_mb: float | None = None
    litert: dict[str, tuple[float, int | None]] = field(default_factory=dict)
    profiled: bool = False
    torn: bool = False
    tables: list[tuple[bool, list[OpRow]]] = field(default_factory=list)  # of a delegate?, rows
    row_count: int = 0
    node_counts: list[int] = field(default_factory=list)  # of the tables, as stated below each
    delegations: list[Delegation] = field(default_factory=list)
    replaced: list[Replacement] = field(default_factory=list)
    gpu_api: str = ""
    unsupported: list[str] = field(default_factory=list)
    unconsumed: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    # Where the reader is
    regular: bool = False  # among the tables of the regular runs, not of the initialisation
    internal: bool = False  # among those of a delegate's own operators
    ordered: bool = False  # in the table in execution order
    columns: int = 0  # of that table: 0 before its header
    csv: bool = False
    listing: bool = False  # among the operators that the GPU refuses

    def read(self, text: str) -> None:
        self.regular = self.internal = self.ordered = self.listing = False
        # Not splitlines(): it also breaks at characters that a tensor's name may hold.
        for line in text.split("\n"):
            self.line(line.rstrip("\r"))

    def line(self, line: str) -> None:
        prefix = _LEVEL.match(line)
        assert prefix is not None  # every part is optional
        level, message = prefix[1] or "", line[prefix.end() :]
        if self.ordered and not level and self.row(line):
            return
        if self.listing and not level and self.refusal(message):
            return
        self.listing = False
        self.message(message)
        if level in ("ERROR", "FATAL"):
            _note(self.errors, message)
        elif level not in ("INFO", "VERBOSE", "DEBUG") and message.strip():
            # What the shell, the linker or the C++ runtime say comes last.
            _note(self.others, message, last=True)

    def message(self, text: str) -> None:
        if text.startswith("count="):
            self.statistics(text)
        elif text.startswith("Running benchmark for "):
            self.awaiting = True
        elif found := _SESSION.match(text):
            self.session_ms = _time("the initialisation", found[1])
        elif text.startswith("Inference timings in us:"):
            self.timings(text)
        elif found := _MEMORY.match(text):
            self.init_mb, self.overall_mb = (_number("memory", part) for part in found.groups())
        elif found := _PEAK.match(text):
            self.peak_mb = _number("memory", found[1])
        elif text.startswith("Unconsumed cmdline flags:"):
            flags = text.partition(":")[2].split()[:_MAX_NOTES]
            self.unconsumed += [short(flag) for flag in flags]
        elif found := _APPLIED.match(text):
            kernels = None if found[3] is None else int(found[3])
            self.delegated(found[1], "complete" if found[2] == "completely" else "partial", kernels)
        elif found := _NOT_APPLIED.match(text):
            self.delegated(found[1], "none")
        elif found := _REPLACED.match(text):
            replacement = Replacement(short(found[3]), int(found[1]), int(found[2]))
            if replacement not in self.replaced:
                if len(self.replaced) == _MAX_NOTES:
                    raise RunnerError("the runtime speaks of more delegates than there are")
                self.replaced.append(replacement)
        elif found := _API.match(text):
            self.gpu_api = found[1]
        elif text.startswith("Following operations are not supported by "):
            self.listing = True
        elif found := _LITERT.match(text):
            runs = None if found[3] is None else int(found[3])
            self.litert[found[1]] = (_time(found[1], found[2]), runs)
        else:
            self.profile_message(text)

    def profile_message(self, text: str) -> None:
        if text.startswith("Enable op profiling: ["):
            self.profiled = text == "Enable op profiling: [1]"
        elif "Dropping ProfileBuffer event" in text:
            self.torn = True
        elif text.startswith("Profiling Info for Benchmark Initialization"):
            self.profiled, self.regular, self.internal = True, False, False
        elif text.startswith("Operator-wise Profiling Info for Regular Benchmark Runs"):
            self.profiled, self.regular, self.internal = True, True, False
        elif text.startswith("Delegate internal:"):
            self.internal = True
        elif self.regular and (found := _NODES.match(text)):
            self.node_counts.append(int(found[1]))
        elif text.startswith("====="):
            self.ordered = self.regular and " Run Order " in text[:120]
            self.columns = 0

    def delegated(self, delegate: str, extent: Extent, kernels: int | None = None) -> None:
        found = Delegation(short(delegate), extent, kernels)
        if found not in self.delegations:
            if len(self.delegations) == _MAX_NOTES:
                raise RunnerError("benchmark_model speaks of more delegates than there are")
            self.delegations.append(found)

    def statistics(self, text: str) -> None:
        """Read the statistics line that follows the announcement of a pass."""
        if not self.awaiting or len(self.passes) == 2:
            raise RunnerError(
                f"statistics where none belong (two processes in one output?): {short(text)!r}"
            )
        self.awaiting = False
        self.passes.append(_timing(text))

    def timings(self, text: str) -> None:
        found = _TIMINGS.match(text)
        if found is None:
            raise RunnerError(f"the summary of benchmark_model is torn: {short(text)!r}")
        init, _, warmup, mean = (_time("a summary", part) for part in found.groups())
        if self.session_ms is None:
            self.session_ms = init / 1e3
        self.timings_us = (warmup, mean)

    def refusal(self, text: str) -> bool:
        """Take a line of the GPU's list of refused operators; False at its end."""
        if not text.strip() or "operations will run on the " in text:
            return False
        _note(self.unsupported, text)
        return True

    def row(self, line: str) -> bool:
        """Take a line of the table in execution order; False at its end."""
        if not line.strip():
            self.ordered = False
            return False
        if not self.columns:
            self.csv = "\t" not in line
            self.columns = len(line.split(",")) if self.csv else len(line.strip("\t").split("\t"))
            known = ("node type" in line.lower()) and self.columns in (8, 9)
            if not known:
                raise RunnerError(f"unknown columns of operator times: {short(line)!r}")
            self.tables.append((self.internal, []))
            return True
        self.row_count += 1
        if self.row_count > MAX_OPS:
            raise RunnerError(f"benchmark_model lists more than {MAX_OPS} operators")
        self.tables[-1][1].append(_op_row(line, self.columns, self.csv))
        return True

    def result(self, exit_code: int) -> Output:
        warmup, timing = self.two_passes()
        kind, problem = self.verdict(exit_code, timing)
        init = self.session_ms
        if init is None and "Model initialization" in self.litert:
            init = self.litert["Model initialization"][0]
        return Output(
            exit_code=exit_code,
            kind=kind,
            problem=problem,
            timing=timing,
            warmup=warmup,
            init_ms=init,
            memory=Memory(
                self.footprint(self.init_mb, "Init"),
                self.footprint(self.overall_mb, "Overall"),
                self.peak_mb,
            ),
            ops=self.ops(),
            profiled=self.profiled or bool(self.tables),
            profile_torn=self.torn,
            tool="litert" if "Inference (avg)" in self.litert else "tflite",
            delegations=tuple(self.delegations),
            replaced=tuple(self.replaced),
            gpu_api=self.gpu_api,
            unsupported_ops=tuple(self.unsupported),
            unconsumed=tuple(self.unconsumed),
            errors=tuple(self.errors),
        )

    def footprint(self, classic: float | None, name: str) -> float | None:
        if classic is not None:
            return classic
        return self.litert.get(f"{name} footprint", (None, None))[0]

    def two_passes(self) -> tuple[Timing | None, Timing | None]:
        """Return the warm-up and the timed runs; of an unfinished run, only what is there."""
        warmup = self.passes[0] if self.passes else self.litert_pass("Warmup")
        timing = self.passes[1] if len(self.passes) == 2 else self.litert_pass("Inference")
        if self.timings_us is not None:
            for what, mean, found in zip(
                ("warm-up", "timed runs"), self.timings_us, (warmup, timing), strict=True
            ):
                # A torn or mixed output: the tool prints the same figure twice.
                if found is not None and not _same(found.mean_us or 0.0, mean):
                    raise RunnerError(
                        f"two means of the {what}: {found.mean_us} us and {mean} us "
                        "(two processes in one output?)"
                    )
        return warmup, timing

    def litert_pass(self, name: str) -> Timing | None:
        """Return a pass of LiteRT's tool, which prints milliseconds to 0.01 ms."""
        mean_ms, runs = self.litert.get(f"{name} (avg)", (None, None))
        if mean_ms is None or runs is None:
            return None
        figures = {
            part: None if (found := self.litert.get(f"{name} ({part})")) is None else found[0] * 1e3
            for part in ("first", "min", "max", "std")
        }
        return _checked(
            Timing(
                runs,
                first_us=figures["first"],
                min_us=figures["min"],
                max_us=figures["max"],
                mean_us=mean_ms * 1e3,
                std_us=figures["std"],
            ),
            f"{name} of LiteRT's benchmark_model",
        )

    def ops(self) -> tuple[OpRow, ...]:
        """Return the operators, those inside a delegate that runs all instead of its one row."""
        if [len(rows) for _, rows in self.tables] != self.node_counts:
            raise RunnerError(
                f"benchmark_model's list of operators is torn: {self.row_count} rows, "
                f"{sum(self.node_counts)} stated"
            )
        graph = [row for internal, rows in self.tables if not internal for row in rows]
        inside = [row for internal, rows in self.tables if internal for row in rows]
        return tuple(inside if inside and len(graph) <= 1 else graph)

    def verdict(self, exit_code: int, timing: Timing | None) -> tuple[Kind, str]:
        if exit_code:
            return failure(exit_code, self.errors, self.others)
        if self.unconsumed:
            flags = " ".join(self.unconsumed)
            return "failed", short(
                f"this benchmark_model does not know {flags}: what it measured is not what was "
                "asked for; use a newer one, or one built with what the flags need"
            )
        # The last word of either tool: before it, the text may end in the midst of a figure.
        ended = self.timings_us is not None or "Inference (avg)" in self.litert
        if timing is None or not ended:
            last = (*self.errors, *self.others)[-1:]
            told = f": {last[0]}" if last else ""
            return "failed", short(
                f"the output has no statistics of timed runs, or is cut short{told}"
            )
        if not timing.count:
            return "failed", "there was no timed run"
        return "ok", ""


def _timing(text: str) -> Timing:
    """Read e.g. ``count=50 first=40 curr=39 min=38 … p95=40``."""
    # Of runs that all took the same time, the tool prints only one: ``curr=2(all same)``.
    text, same = re.subn(r"(curr=[0-9.]{1,30})\(all same\)", r"\1", text, count=1)
    parts = [part.partition("=") for part in text.split()]
    figures = {name: value for name, _, value in parts}
    if len(figures) != len(parts) or len(parts) > 50:
        raise RunnerError(f"statistics that repeat themselves: {short(text)!r}")
    count = _count("the number of runs", figures.pop("count"))
    times = {name: _time(key, figures[key]) for key, name in _STATISTICS.items() if key in figures}
    if not count:
        return Timing(0)
    if (count == 1 or same) and "last_us" in times:
        # A single run is printed once as well; it is its own minimum, mean and maximum.
        only = times["last_us"]
        names = ("first_us", "min_us", "max_us", "mean_us", "p05_us", "median_us", "p95_us")
        times = {**dict.fromkeys(names, only), "std_us": 0.0} | times
    return _checked(Timing(count, **times), text)


def _checked(timing: Timing, text: str) -> Timing:
    """Return a timing whose figures are in order, or raise."""
    order = (timing.min_us, timing.p05_us, timing.median_us, timing.p95_us, timing.max_us)
    known = [value for value in order if value is not None]
    within = [
        value
        for value in (timing.first_us, timing.last_us, timing.mean_us)
        if value is not None and known
    ]
    # The mean is rounded to six digits.
    low, high = (known[0] * (1 - 1e-5), known[-1] * (1 + 1e-5)) if known else (0.0, 0.0)
    bounded = timing.min_us is not None and timing.max_us is not None
    if known != sorted(known) or (bounded and not all(low <= v <= high for v in within)):
        raise RunnerError(f"statistics that contradict themselves: {short(text)!r}")
    return timing


def _op_row(line: str, columns: int, csv: bool) -> OpRow:
    """Read one operator; the columns before the name are type, (start,) first, avg ms, %, …, calls.

    In CSV nothing is quoted: a type may hold commas, a name holds tabs in their place, so the row
    is read from the right. In the table a name may hold tabs, and a type does not.
    """
    if csv:
        cells = line.rsplit(", ", columns - 1)
    else:
        cells = line.removeprefix("\t").split("\t", columns - 1)
    if len(cells) != columns:
        raise RunnerError(f"a row of operator times cannot be read: {short(line)!r}")
    return OpRow(
        type=short(cells[0].strip()),
        mean_us=_time("an operator", cells[-6].strip()) * 1e3,
        times_called=_count("an operator's calls", cells[-2].strip()),
        name=short(cells[-1].strip()),
    )


def _number(what: str, text: str) -> float:
    try:
        # Python also reads digits of other scripts, underscores, and "nan".
        value = float(text) if len(text) <= 40 and text.isascii() and "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not -MAX_US < value < MAX_US:
        raise RunnerError(f"benchmark_model: the figure of {what} is impossible: {text!r:.60}")
    return value


def _time(what: str, text: str) -> float:
    value = _number(what, text)
    if value < 0:
        raise RunnerError(f"benchmark_model: the figure of {what} is negative: {text!r:.60}")
    return value


def _count(what: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= _MAX_COUNT):
        raise RunnerError(f"benchmark_model: {what} is impossible: {text!r:.60}")
    return int(text)


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-3)


def _note(notes: list[str], text: str, *, last: bool = False) -> None:
    """Keep a message: the first ones, or the last ones."""
    if last and len(notes) == _MAX_NOTES:
        del notes[0]
    if len(notes) < _MAX_NOTES:
        notes.append(short(text))

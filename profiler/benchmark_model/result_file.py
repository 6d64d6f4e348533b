"""The file that ``--result_file_path`` makes either tool write: a message of protobuf.

Its definition: tensorflow/lite/tools/benchmark/proto/benchmark_result.proto in
https://github.com/tensorflow/tensorflow, since October 2025. Both tools set every latency and both
counts. Wire format: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from latlas.profiler.benchmark_model.output import Memory, Output, Timing
from latlas.profiler.errors import RunnerError
from latlas.profiler.statistics import MAX_US

MAX_BYTES = 1 << 20
"""A larger file is no result of a benchmark; real ones have some 100 bytes."""

_LATENCY, _MEMORY, _MISC = 2, 3, 4  # fields of BenchmarkResult
_VARINT, _I64, _LENGTH, _I32 = 0, 1, 2, 5  # wire types
_MAX_KB = 1 << 40
_MAX_RUNS = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class ResultFile:
    """The figures of one run of the tool: single-precision milliseconds of whole microseconds.

    Attributes:
        runs: number of timed runs.
        warmup_runs: number of untimed runs before them.
        mean_ms: arithmetic mean of the timed runs.
        min_ms: the fastest one.
        max_ms: the slowest one.
        std_ms: standard deviation.
        median_ms: median.
        p05_ms: 5th percentile.
        p95_ms: 95th percentile.
        init_ms: loading, compiling and allocating.
        first_ms: the first run of the warm-up.
        warmup_mean_ms: arithmetic mean of the warm-up.
        init_kb: resident memory after initialisation, over that at the tool's start; None where
            the system does not tell.
        overall_kb: resident memory at the end, over that at the tool's start.
        peak_mb: the largest that was seen; None unless it was watched.
    """

    runs: int
    warmup_runs: int
    mean_ms: float
    min_ms: float
    max_ms: float
    std_ms: float
    median_ms: float
    p05_ms: float
    p95_ms: float
    init_ms: float
    first_ms: float
    warmup_mean_ms: float
    init_kb: int | None = None
    overall_kb: int | None = None
    peak_mb: float | None = None


# Numbers of the fields.
_LATENCIES = {
    "mean_ms": 1,
    "min_ms": 2,
    "max_ms": 3,
    "std_ms": 4,
    "median_ms": 5,
    "p05_ms": 6,
    "p95_ms": 7,
    "init_ms": 8,
    "first_ms": 9,
    "warmup_mean_ms": 10,
}
_COMPARED = tuple(each.name for each in fields(Timing))
_INIT_KB, _OVERALL_KB, _PEAK_MB = 1, 2, 3
_RUNS, _WARMUP_RUNS = 2, 3


def parse_result_file(content: bytes) -> ResultFile:
    """Return the figures of a result file.

    Raises:
        RunnerError: the file is too large, damaged or cut short, or has impossible figures.
    """
    if len(content) > MAX_BYTES:
        raise RunnerError(
            f"the result file has {len(content)} bytes: benchmark_model writes no more than "
            f"{MAX_BYTES}"
        )
    result = _Message(content)
    latency, memory, misc = (_Message(result.message(n)) for n in (_LATENCY, _MEMORY, _MISC))
    times = {name: _time(name, latency.single(n)) for name, n in _LATENCIES.items()}
    known = {name: value for name, value in times.items() if value is not None}
    runs, warmup_runs = misc.integer(_RUNS), misc.integer(_WARMUP_RUNS)
    if len(known) < len(times) or runs is None or warmup_runs is None:
        missing = ", ".join([*(times.keys() - known.keys())] or ["the number of runs"])
        raise RunnerError(
            f"the result file lacks {missing}: it is cut short, or written by another tool"
        )
    for count in (runs, warmup_runs):
        if not 0 <= count <= _MAX_RUNS:
            raise RunnerError(f"the result file has an impossible number of runs: {count}")
    peak = memory.single(_PEAK_MB)
    if peak is not None and not 0 <= peak < _MAX_KB:
        raise RunnerError(f"the result file has an impossible peak of memory: {peak}")
    found = ResultFile(
        runs,
        warmup_runs,
        **known,
        init_kb=_kilobytes(memory.integer(_INIT_KB)),
        overall_kb=_kilobytes(memory.integer(_OVERALL_KB)),
        peak_mb=peak,
    )
    order = [found.min_ms, found.p05_ms, found.median_ms, found.p95_ms, found.max_ms]
    # Each is rounded to single precision; so is the mean, which may round past an extreme.
    within = found.min_ms * (1 - 1e-6) <= found.mean_ms <= found.max_ms * (1 + 1e-6)
    if runs and (order != sorted(order) or not within):
        raise RunnerError(f"the result file contradicts itself: mean {found.mean_ms}, {order} ms")
    return found


def merge(output: Output, file: ResultFile) -> Output:
    """Return an output with the figures that only the file has.

    What the tool prints without percentiles, LiteRT's to 0.01 ms, is replaced by the file's
    figures. An output without timed runs stays as it is.

    Args:
        output: what a run of the tool printed.
        file: what the same run wrote.

    Raises:
        RunnerError: the two contradict each other, as those of two runs would.
    """
    printed = output.timing
    if printed is None:
        return output
    timing = Timing(
        file.runs,
        min_us=_whole_us(file.min_ms),
        max_us=_whole_us(file.max_ms),
        mean_us=file.mean_ms * 1e3,
        std_us=file.std_ms * 1e3,
        p05_us=_whole_us(file.p05_ms),
        median_us=_whole_us(file.median_ms),
        p95_us=_whole_us(file.p95_ms),
    )
    _compare("timed", printed, timing)
    warmup = Timing(
        file.warmup_runs, first_us=_whole_us(file.first_ms), mean_us=file.warmup_mean_ms * 1e3
    )
    if output.warmup is not None:
        _compare("warm-up", output.warmup, warmup)
    if printed.median_us is not None:
        timing = printed
    else:
        timing = replace(timing, first_us=printed.first_us, last_us=printed.last_us)
    return replace(
        output,
        timing=timing,
        warmup=output.warmup or warmup,
        init_ms=file.init_ms if output.init_ms is None else output.init_ms,
        memory=Memory(
            _known(output.memory.init_mb, _megabytes(file.init_kb)),
            _known(output.memory.overall_mb, _megabytes(file.overall_kb)),
            _known(output.memory.peak_mb, file.peak_mb),
        ),
    )


class _Message:
    """The fields of one message: numbers, wire types and values, bounds-checked."""

    def __init__(self, content: bytes) -> None:
        self.fields: dict[int, list[tuple[int, int | bytes]]] = {}
        for number, wire_type, value in _read_fields(content):
            self.fields.setdefault(number, []).append((wire_type, value))

    def message(self, number: int) -> bytes:
        """Return a message within; what is there more than once is merged, as protobuf wants."""
        values = self._values(number, _LENGTH)
        return b"".join(value for value in values if isinstance(value, bytes))

    def single(self, number: int) -> float | None:
        """Return a number of single precision."""
        values = self._values(number, _I32)
        if not values:
            return None
        assert isinstance(values[-1], bytes)
        (value,) = struct.unpack("<f", values[-1])
        return float(value)

    def integer(self, number: int) -> int | None:
        """Return a signed number of 64 bits."""
        values = self._values(number, _VARINT)
        if not values:
            return None
        assert isinstance(values[-1], int)
        return values[-1] - (1 << 64) if values[-1] >> 63 else values[-1]

    def _values(self, number: int, wire_type: int) -> list[int | bytes]:
        found = self.fields.get(number, [])
        if any(each != wire_type for each, _ in found):
            raise RunnerError(f"the result file is damaged: field {number} has another type")
        return [value for _, value in found]


def _read_fields(content: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Yield the number, the wire type and the value of each field."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        number, wire_type = key >> 3, key & 7
        if not 1 <= number < 1 << 29:
            raise RunnerError(f"the result file is damaged: there is no field {number}")
        if wire_type == _VARINT:
            value, at = _varint(content, at)
            yield number, wire_type, value
            continue
        if wire_type == _LENGTH:
            size, at = _varint(content, at)
        elif wire_type in (_I32, _I64):
            size = 4 if wire_type == _I32 else 8
        else:
            raise RunnerError(f"the result file is damaged: there is no wire type {wire_type}")
        if size > len(content) - at:
            raise RunnerError("the result file is cut short, or damaged")
        yield number, wire_type, content[at : at + size]
        at += size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return an unsigned number of at most 64 bits, and where it ends."""
    value = 0
    for index, byte in enumerate(content[at : at + 10]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if value >> 64:
                break
            return value, at + index + 1
    raise RunnerError("the result file is cut short, or damaged: a number does not end")


def _time(name: str, value: float | None) -> float | None:
    if value is not None and not 0 <= value < MAX_US / 1e3:  # NaN, too
        raise RunnerError(f"the result file has an impossible {name}: {value}")
    return value


def _kilobytes(value: int | None) -> int | None:
    if value is not None and abs(value) >= _MAX_KB:
        raise RunnerError(f"the result file has an impossible memory: {value} kB")
    return value


def _megabytes(value: int | None) -> float | None:
    return None if value is None else value / 1024


def _known(printed: float | None, filed: float | None) -> float | None:
    return filed if printed is None else printed


def _whole_us(value_ms: float) -> float:
    """Return what the tool had before it divided by 1000 and rounded to single precision."""
    return float(round(value_ms * 1e3))


def _compare(what: str, printed: Timing, filed: Timing) -> None:
    """Raise unless both are of the same runs; a figure that one of them lacks is not compared."""
    # LiteRT's summary has 0.01 ms; otherwise the deviation is cut to whole microseconds.
    coarse_us = 5.1 if printed.median_us is None else 1.1
    for name in _COMPARED:
        one, other = getattr(printed, name), getattr(filed, name)
        if one is None or other is None:
            continue
        slack_us = 0.0 if name == "count" else coarse_us
        if not math.isclose(one, other, rel_tol=1e-5 if slack_us else 0.0, abs_tol=slack_us):
            raise RunnerError(
                f"benchmark_model's result file is of another run than its output: {name} of the "
                f"{what} runs is {other:g} there, and {one:g} in the output"
            )

"""The result file: read against protobuf's own encoder, and merged with what was printed."""

from __future__ import annotations

import math
import struct
from dataclasses import asdict, replace
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from latlas.profiler.benchmark_model.output import Memory, Output, Timing
from latlas.profiler.benchmark_model.output_parser import parse_output
from latlas.profiler.benchmark_model.result import to_result
from latlas.profiler.benchmark_model.result_file import (
    MAX_BYTES,
    ResultFile,
    merge,
    parse_result_file,
)
from latlas.profiler.errors import RunnerError

# The definition as its makers wrote it: message -> field -> number, type.
MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "LatencyMetrics": {
        "avg_ms": (1, "FLOAT"),
        "min_ms": (2, "FLOAT"),
        "max_ms": (3, "FLOAT"),
        "stddev_ms": (4, "FLOAT"),
        "median_ms": (5, "FLOAT"),
        "p5_ms": (6, "FLOAT"),
        "p95_ms": (7, "FLOAT"),
        "init_ms": (8, "FLOAT"),
        "first_inference_ms": (9, "FLOAT"),
        "average_warm_up_ms": (10, "FLOAT"),
    },
    "MemoryMetrics": {
        "init_footprint_kb": (1, "INT64"),
        "overall_footprint_kb": (2, "INT64"),
        "peak_mem_mb": (3, "FLOAT"),
    },
    "MiscMetrics": {
        "model_size_mb": (1, "FLOAT"),
        "num_runs": (2, "INT32"),
        "num_warmup_runs": (3, "INT32"),
        "model_throughput_in_mb_per_sec": (4, "FLOAT"),
    },
    "BenchmarkResult": {
        "name": (1, "STRING"),
        "latency_metrics": (2, "LatencyMetrics"),
        "memory_metrics": (3, "MemoryMetrics"),
        "misc_metrics": (4, "MiscMetrics"),
    },
}
LATENCY = {
    "avg_ms": 7.4302,
    "min_ms": 7.401,
    "max_ms": 7.512,
    "stddev_ms": 0.0312,
    "median_ms": 7.428,
    "p5_ms": 7.402,
    "p95_ms": 7.5,
    "init_ms": 237.4473,
    "first_inference_ms": 9.041,
    "average_warm_up_ms": 8.5205,
}
MISC = {"model_size_mb": 13.9, "num_runs": 10, "num_warmup_runs": 2}
MEMORY = {"init_footprint_kb": 2048, "overall_footprint_kb": -512}
PRINTED = """\
INFO: [benchmark_litert_model.h:94] Model initialization: 237.45 ms
INFO: [benchmark_litert_model.h:96] Warmup (first):       9.04 ms
INFO: [benchmark_litert_model.h:98] Warmup (avg):         8.52 ms (2 runs)
INFO: [benchmark_litert_model.h:100] Inference (avg):      7.43 ms (10 runs)
INFO: [benchmark_litert_model.h:104] Inference (min):      7.40 ms
INFO: [benchmark_litert_model.h:106] Inference (max):      7.51 ms
INFO: [benchmark_litert_model.h:108] Inference (std):      0.03
"""
CLASSIC = """\
INFO: Running benchmark for at least 1 iterations and at least 0.001 seconds but so on.
INFO: count=2 first=9041 curr=8000 min=8000 max=9041 avg=8520.5 std=520 p5=8000 median=9041 p95=9041
INFO: Running benchmark for at least 10 iterations and at least 0.001 seconds but so on.
INFO: count=10 first=7428 curr=7429 min=7401 max=7512 avg=7430.2 std=31 p5=7402 median=7428 p95=7500
INFO: Inference timings in us: Init: 237447, First inference: 9041, Warmup (avg): 8520.5, Inference (avg): 7430.2
"""  # noqa: E501


def _factory() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="result.proto", package="p", syntax="proto2")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, type_name) in fields.items():
            added = message.field.add(name=field, number=number, label=1)
            if type_name in MESSAGES:
                added.type, added.type_name = 11, f".p.{type_name}"
            else:
                added.type = getattr(added, f"TYPE_{type_name}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("p.BenchmarkResult"))


RESULT = _factory()


def encode(
    latency: dict[str, float] | None = None,
    memory: dict[str, float] | None = None,
    misc: dict[str, float] | None = None,
    name: str = "",
) -> bytes:
    given_or = [
        LATENCY if latency is None else latency,
        MEMORY if memory is None else memory,
        MISC if misc is None else misc,
    ]
    parts = zip(("latency_metrics", "memory_metrics", "misc_metrics"), given_or, strict=True)
    encoded: bytes = RESULT(name=name, **dict(parts)).SerializeToString()
    return encoded


def test_what_protobuf_writes_is_read() -> None:
    found = parse_result_file(encode(name="a run"))
    assert (found.runs, found.warmup_runs) == (10, 2)
    assert (found.init_kb, found.overall_kb, found.peak_mb) == (2048, -512, None)
    names = ["mean", "min", "max", "std", "median", "p05", "p95", "init", "first", "warmup_mean"]
    values = [asdict(found)[f"{name}_ms"] for name in names]
    assert values == pytest.approx(list(LATENCY.values()), rel=1e-7)
    assert parse_result_file(encode(memory={"peak_mem_mb": 9.5})).peak_mb == 9.5


times = st.floats(0, 1e6, width=32)


@given(st.lists(times, min_size=5, max_size=5), times, times, st.integers(1, 2**31 - 1))
def test_any_real_figures_are_read(order: list[float], init: float, std: float, runs: int) -> None:
    low, p5, median, p95, high = sorted(order)
    latency = LATENCY | {
        "min_ms": low, "p5_ms": p5, "median_ms": median, "p95_ms": p95, "max_ms": high,
        "avg_ms": median, "init_ms": init, "stddev_ms": std,
    }  # fmt: skip
    found = parse_result_file(encode(latency, misc={"num_runs": runs, "num_warmup_runs": 0}))
    assert (found.min_ms, found.p05_ms, found.median_ms, found.p95_ms, found.max_ms) == (
        low, p5, median, p95, high,
    )  # fmt: skip
    assert (found.init_ms, found.std_ms, found.runs) == (init, std, runs)


def test_unknown_fields_are_skipped_and_parts_are_merged() -> None:
    whole = parse_result_file(encode())
    unknown = b"".join(
        [
            bytes([15 << 3 | 0, 0xFF, 0x01]),
            bytes([15 << 3 | 1]) + bytes(8),
            bytes([15 << 3 | 2, 3]) + b"abc",
            bytes([15 << 3 | 5]) + bytes(4),
        ]
    )
    assert parse_result_file(unknown + encode() + unknown) == whole
    half = encode({name: LATENCY[name] for name in list(LATENCY)[:4]}, misc={})
    rest = encode({name: LATENCY[name] for name in list(LATENCY)[4:]}, memory={})
    assert parse_result_file(half + rest) == whole


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "lacks"),
        (encode({}), "lacks"),
        (encode(misc={"num_runs": 1}), "lacks the number of runs"),
        (bytes(MAX_BYTES + 1), "bytes"),
        (encode(LATENCY | {"median_ms": math.nan}), "impossible median_ms"),
        (encode(LATENCY | {"init_ms": -1}), "impossible init_ms"),
        (encode(LATENCY | {"max_ms": math.inf}), "impossible max_ms"),
        (encode(LATENCY | {"p5_ms": 7.45}), "contradicts itself"),
        (encode(LATENCY | {"avg_ms": 8}), "contradicts itself"),
        (encode(misc={"num_runs": -1, "num_warmup_runs": 1}), "number of runs"),
        (encode(memory={"init_footprint_kb": 1 << 60}), "memory"),
        (encode(memory={"peak_mem_mb": math.nan}), "memory"),
        (b"\x00\x00", "no field 0"),
        (b"\x13" + encode(), "wire type 3"),
        (b"\x10\x01" + encode(), "another type"),
        (b"\x12\x80\x80\x80\x80\x10" + encode(), "cut short"),
        (b"\x80" * 20, "does not end"),
        (b"\x08" + b"\xff" * 9 + b"\x7f" + encode(), "does not end"),
    ],
)
def test_damaged_files_are_refused(content: bytes, words: str) -> None:
    with pytest.raises(RunnerError, match=words):
        parse_result_file(content)


def test_a_cut_file_is_refused() -> None:
    content = encode(memory={})
    for end in range(len(content)):
        with pytest.raises(RunnerError):
            parse_result_file(content[:end])


@given(st.data())
def test_any_bytes_are_survived(data: st.DataObject) -> None:
    content = bytearray(encode())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    for some in (bytes(content), data.draw(st.binary(max_size=60))):
        try:
            found = parse_result_file(some)
        except RunnerError:
            continue
        assert all(value >= 0 for value in (found.min_ms, found.init_ms, found.runs))


# Merging


def test_litert_gets_its_percentiles_from_the_file() -> None:
    printed = parse_output("", PRINTED)
    assert to_result("a", printed, delegate="cpu").kind == "failed"
    merged = merge(printed, parse_result_file(encode()))
    timing, warmup = merged.timing, merged.warmup
    assert timing is not None and warmup is not None
    assert (timing.count, timing.min_us, timing.p05_us, timing.median_us, timing.p95_us) == (
        10, 7401, 7402, 7428, 7500,
    )  # fmt: skip
    assert (timing.mean_us, timing.std_us) == pytest.approx((7430.2, 31.2), rel=1e-6)
    assert warmup == printed.warmup
    assert merged.memory == Memory(2, -0.5, None)
    result = to_result("a", merged, delegate="cpu")
    assert result.summary is not None and result.summary.median_us == 7428
    assert (result.kind, result.init_ms) == ("ok", 237.45)


def test_what_the_text_has_stays() -> None:
    printed = parse_output(CLASSIC)
    merged = merge(printed, parse_result_file(encode(memory={"peak_mem_mb": 3.0})))
    assert merged == replace(printed, memory=Memory(None, None, 3.0))
    failed = parse_output("", "ERROR: Benchmarking failed.", 1)
    assert merge(failed, parse_result_file(encode())) is failed


def test_an_older_text_lacks_the_warm_up() -> None:
    bare = Output(0, timing=Timing(10, mean_us=7430.2))
    merged = merge(bare, parse_result_file(encode()))
    assert merged.warmup is not None and merged.init_ms is not None
    assert (merged.warmup.count, merged.warmup.first_us) == (2, 9041)
    assert merged.init_ms == pytest.approx(237.4473)


@pytest.mark.parametrize("text", [PRINTED, CLASSIC])
@pytest.mark.parametrize(
    "change",
    [
        {"runs": 11},
        {"warmup_runs": 3},
        {"mean_ms": 7.45},
        {"min_ms": 7.38},
        {"max_ms": 7.53},
        {"std_ms": 0.05},
        {"first_ms": 9.06},
        {"warmup_mean_ms": 8.6},
    ],
)
def test_the_file_of_another_run_is_refused(text: str, change: dict[str, float]) -> None:
    file: ResultFile = replace(parse_result_file(encode()), **change)  # type: ignore[arg-type]
    with pytest.raises(RunnerError, match="another run"):
        merge(parse_output(text), file)


def test_figures_are_single_precision() -> None:
    (single,) = struct.unpack("<f", struct.pack("<f", 7430.201))
    latency = dict.fromkeys(LATENCY, single) | {"stddev_ms": 0.0}
    file = parse_result_file(encode(latency, misc={"num_runs": 1, "num_warmup_runs": 1}))
    merged = merge(Output(0, timing=Timing(1, mean_us=7430200)), file)
    assert merged.timing is not None and merged.timing.median_us == 7430201

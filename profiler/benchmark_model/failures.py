"""Why a run of ``benchmark_model`` failed, from its exit code and its messages."""

from __future__ import annotations

import signal

from latlas.profiler.benchmark_model.output import Kind, short

NOT_THERE = "the model is not on the device"
"""How the problem of an output begins whose model was not found."""

# What the errors mean, the most telling first. Sort of failure, words in the message, reason.
_CAUSES: tuple[tuple[Kind, str, str], ...] = (
    ("not_delegated", "Disallowed CPU fallback detected", "the delegate does not run all of it"),
    (
        "not_delegated",
        "Some ops are not accelerated",
        "LiteRT's accelerator does not run all of it, or its library is not beside the binary",
    ),
    ("not_delegated", "No GPU detected", "there is no GPU that OpenCL can use"),
    (
        "not_delegated",
        "Can not open OpenCL library",
        "OpenCL is not found; LD_LIBRARY_PATH=/vendor/lib64 may help",
    ),
    ("not_delegated", "Failed to apply GPU delegate", "the GPU delegate does not take the model"),
    ("failed", "Failed to parse flag", "a flag has an impossible value"),
    ("failed", "Please specify the name of your TF Lite input file", "no model was given"),
    ("failed", "Could not open '", NOT_THERE),
    ("failed", "mmap of size 0", "the model on the device is empty"),
    ("failed", "not a valid Flatbuffer", "the model on the device is damaged, or is no model"),
    ("failed", "is not supported. Supported values are", "a flag has an impossible value"),
    ("failed", "usage: ", "the flags were not understood"),
    ("failed", "Failed to load model", "the model cannot be loaded"),
    ("failed", "CANNOT LINK EXECUTABLE", "benchmark_model misses a library"),
    ("failed", "Exec format error", "benchmark_model is built for another processor"),
    ("failed", "not executable: ", "benchmark_model is built for another processor"),
    ("failed", "No space left on device", "the device's storage is full"),
    ("failed", "Permission denied", "benchmark_model may not be executed there"),
    ("failed", "not found", "benchmark_model is not on the device"),
    ("failed", "No such file or directory", "benchmark_model is not on the device"),
)


def failure(exit_code: int, errors: list[str], others: list[str]) -> tuple[Kind, str]:
    """Return the sort of failure and its reason, from the exit code and the messages."""
    number = -exit_code if exit_code < 0 else exit_code - 128
    last = (*errors, *others)
    if exit_code < 0 or 0 < number < 65:
        told = f"; its last words: {last[-1]}" if last else ""
        return "crashed", short(f"benchmark_model was killed by {_signal(number)}{told}")
    if exit_code == 124:  # of `timeout`, on a phone as elsewhere
        return "timeout", "benchmark_model did not end in time (exit code 124)"
    for kind, words, reason in _CAUSES:
        for message in (*errors, *others):
            if words in message:
                return kind, short(f"{reason} (exit code {exit_code}): {message}")
    told = next((m for m in last if not m.startswith("Benchmarking failed")), "it says nothing")
    return "failed", short(f"benchmark_model failed with exit code {exit_code}: {told}")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

"""What a benchmark binary says about itself with ``--help``: the flags that it knows.

Which flags there are tells which of the two tools it is, and what it was built with. Known are
the lists of both tools, ``--name=default``, a type, ``optional`` or ``required``, an explanation.
"""

from __future__ import annotations

import re

from latlas.profiler.benchmark_model.binary import Tool
from latlas.profiler.errors import RunnerError

MAX_CHARS = 1 << 20
"""More text than this is no list of flags."""
MAX_FLAGS = 2_000

_FLAG = re.compile(r"\s*--([A-Za-z0-9][\w-]{0,99})=[^\t\n]{0,2000}\t")


def parse_help(text: str) -> frozenset[str]:
    """Return the names of the flags that a binary knows, without their dashes.

    Args:
        text: what ``--help`` prints on stderr. Both streams together are as good: what LiteRT's
            tool says of vendors' flags on stdout is not read. The exit code, 1 or 0, means nothing.

    >>> flags = "\\t--graph=\\tstring\\trequired\\t\\n\\t--num_runs=50\\tint32\\toptional\\t\\n"
    >>> sorted(parse_help(f"ERROR: usage: ./benchmark_model <flags>\\nFlags:\\n{flags}"))
    ['graph', 'num_runs']

    Raises:
        RunnerError: it is no list of a benchmark_model's flags.
    """
    if len(text) > MAX_CHARS:
        raise RunnerError(
            f"the binary answers --help with more than {MAX_CHARS} characters: it is no "
            "benchmark_model; fetch one with `latlas doctor --fetch-runner`"
        )
    _, announced, listed = text.partition("usage:")
    flags = frozenset(found[1] for found in map(_FLAG.match, listed.split("\n")) if found)
    if not announced or "graph" not in flags or "num_runs" not in flags:
        raise RunnerError(
            f"the binary is no benchmark_model: --help should list its flags, got "
            f"{text.strip()[:300]!a}; fetch one with `latlas doctor --fetch-runner`"
        )
    if len(flags) > MAX_FLAGS:
        raise RunnerError(
            f"the binary lists {len(flags)} flags, more than {MAX_FLAGS}: it is no benchmark_model"
        )
    return flags


def tool_of(flags: frozenset[str]) -> Tool:
    """Return which tool knows these flags: only LiteRT's chooses its accelerators one by one.

    >>> tool_of(frozenset({"graph", "num_runs", "use_cpu", "use_gpu", "use_npu"}))
    'litert'
    """
    return "litert" if {"use_cpu", "use_npu"} <= flags else "tflite"


def has_gpu(flags: frozenset[str]) -> bool:
    """Return whether the binary can be told to use the GPU.

    The classic tool has the flag only when its GPU delegate is built in; LiteRT's always has it,
    and needs its accelerator library beside it.
    """
    return "use_gpu" in flags


def has_result_file(flags: frozenset[str]) -> bool:
    """Return whether the binary can write its figures to a file (since October 2025)."""
    return "result_file_path" in flags


def can_profile(flags: frozenset[str]) -> bool:
    """Return whether the binary lists the times of a model's operators as latlas reads them.

    LiteRT's tool does so in no form that is known here.
    """
    return {"enable_op_profiling", "op_profiling_output_mode"} <= flags and (
        tool_of(flags) == "tflite"
    )

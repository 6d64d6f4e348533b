"""Documents that are damaged, and what a reader may do with them."""

from __future__ import annotations

import copy
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from latlas.profiler.errors import LatlasError

SECONDS = 5.0
"""No reader may take longer, on any machine: a document here is a few kilobytes."""

MEMORY = 32 << 20
"""Nor more bytes, whatever sizes a document claims, or has."""

FEW = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

HOSTILE = st.one_of(
    st.sampled_from(
        [None, True, 0, -1, 1, 0.5, 1e308, -1e308, 10**400, 2**63, "", "x", "\ud800", "\0", [], {}]
        + [[[]], [None], {"": None}, "1" * 5000, "9" * 400, [0] * 1000, "../../x", "1x" * 500]
    ),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
)


@contextmanager
def refusing() -> Iterator[None]:
    """Let errors of the project pass and nothing else; insist on an early end, in little memory."""
    # Else what is imported when it is needed would count, which is no reader's.
    import_module("scipy.special")
    start = time.monotonic()
    tracemalloc.start()
    try:
        yield
    except LatlasError as problem:
        assert len(str(problem)) < 3000
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MEMORY
    assert time.monotonic() - start < SECONDS


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value inside a JSON document."""
    pairs: Any = ()
    if isinstance(document, dict):
        pairs = document.items()
    elif isinstance(document, list):
        pairs = enumerate(document[:20])
    for key, value in pairs:
        yield (*path, key)
        yield from places(value, (*path, key))


@st.composite
def changed(draw: st.DrawFn, document: Any) -> Any:
    """Return a document with one or two values replaced, removed or added."""
    document = copy.deepcopy(document)
    hostile = HOSTILE.map(copy.deepcopy)  # or the lists that are drawn would end in themselves
    for _ in range(draw(st.integers(1, 2))):
        *path, last = draw(st.sampled_from(sorted(places(document), key=repr)))
        inside = document
        for key in path:
            inside = inside[key]
        match draw(st.sampled_from(("replace", "replace", "remove", "add"))):
            case "replace":
                inside[last] = draw(hostile)
            case "remove":
                del inside[last]
            case _ if isinstance(inside, dict):
                inside[draw(st.text(max_size=5))] = draw(hostile)
            case _:
                inside.append(draw(hostile))
        if not document:
            break
    return document


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Return bytes with a few overwritten, a piece cut out, and a piece repeated."""
    raw = bytearray(data)
    for _ in range(draw(st.integers(0, 4))):
        raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
    start, length = draw(st.integers(0, len(raw))), draw(st.integers(0, 40))
    piece = bytes(raw[start : start + length])
    match draw(st.sampled_from(("keep", "cut", "repeat"))):
        case "cut":
            del raw[start : start + length]
        case "repeat":
            raw[start:start] = piece * draw(st.integers(1, 50))
    return bytes(raw)

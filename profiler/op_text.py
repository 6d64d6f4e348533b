"""Operators as text and back: what names kernels in tables, and networks in journals.

An operator is its name and the fields that differ from their defaults. What is read may be hostile:
time and memory are bounded by the length of the text.
"""

from __future__ import annotations

import math
import re
from dataclasses import MISSING, fields

from latlas.profiler.errors import GraphError
from latlas.profiler.ops import MAX_RANK, OPS, Op, Shape

_SCHEMAS: dict[str, tuple[tuple[str, str, object], ...]] = {
    name: tuple((f.name, str(f.type), f.default) for f in fields(op)) for name, op in OPS.items()
}
"""By operator, the name, annotation and default of every field."""

_INTEGER = re.compile(r"-?[0-9]{1,10}")
_NUMBER = re.compile(r"-?[0-9.]{1,24}(e[-+]?[0-9]{1,3})?")
_WORDS: dict[str, frozenset[str]] = {
    "FusedActivation": frozenset({"none", "relu", "relu6"}),
}


def _format(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, tuple):
        return format_shape(value)
    return repr(float(value)) if isinstance(value, float) else str(value)


def format_shape(shape: Shape) -> str:
    """Write sizes as `parse_shape` reads them.

    >>> format_shape((1, 8, 8, 3)), format_shape(())
    ('1x8x8x3', 'scalar')
    """
    return "x".join(map(str, shape)) or "scalar"


def parse_integer(text: str) -> int:
    """Read an integer of at most ten plain digits.

    Raises:
        ValueError: the text is anything else, such as what else `int` would read.
    """
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"{text[:20]!r} is no integer")
    return int(text)


def parse_number(text: str) -> float:
    """Read a finite number.

    Raises:
        ValueError: the text is anything else, such as ``nan``.
    """
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise ValueError(f"{text[:20]!r} is no number")
    return float(text)


def parse_shape(text: str) -> Shape:
    """Read sizes such as ``1x8x8x3``, or ``scalar``.

    Raises:
        ValueError: the text is anything else.
    """
    sizes = [] if text == "scalar" else text.split("x")
    if len(sizes) > MAX_RANK:
        raise ValueError(f"more than {MAX_RANK} axes")
    return tuple([parse_integer(size) for size in sizes])


def to_text(op: Op) -> str:
    """Write an operator as its name and the fields that differ from their defaults.

    >>> from latlas.profiler.ops import Conv2D
    >>> to_text(Conv2D(16, (3, 3), (2, 2), activation="relu6"))
    'conv2d filters=16 kernel=3x3 stride=2x2 activation=relu6'
    """
    words = [op.name]
    for name, _, default in _SCHEMAS[op.name]:
        value = getattr(op, name)
        if value != default:
            words.append(f"{name}={_format(value)}")
    return " ".join(words)


def _parse(kind: str, text: str) -> object:
    """Read one field's text by the annotation of the field."""
    if kind == "bool":
        if text not in ("0", "1"):
            raise ValueError(text)
        return text == "1"
    if kind == "int":
        return parse_integer(text)
    if kind.startswith("float"):
        return parse_number(text)
    if kind.startswith(("Pair", "Padding", "Shape")):
        value = parse_shape(text)
        if len(value) != {"Pair": 2, "Padding": 4}.get(kind, len(value)):
            raise ValueError(text)
        return value
    if kind == "FusedActivation" or kind.startswith("Literal"):
        words = _WORDS.get(kind) or frozenset(re.findall(r"\w+", kind[7:]))
        if text not in words:
            raise ValueError(text)
        return text
    raise AssertionError(f"no reader for fields of type {kind}")


def from_text(text: str) -> Op:
    """Read what `to_text` wrote.

    >>> from_text("softmax")
    Softmax()

    Raises:
        GraphError: the text names no operator, or a field is unknown, missing or malformed.
    """
    name, *words = text.split() or [""]
    op = OPS.get(name)
    if op is None:
        raise GraphError(f"unknown operator {name[:80]!r}; known are {', '.join(OPS)}")
    given = dict(word.partition("=")[::2] for word in words)
    if len(given) != len(words):
        raise GraphError(f"{name}: a field is given twice in {text[:80]!r}")
    values: dict[str, object] = {}
    for field, kind, default in _SCHEMAS[name]:
        if field in given:
            try:
                values[field] = _parse(kind, given.pop(field))
            except ValueError as error:
                raise GraphError(f"{name}: cannot read {field} in {text[:80]!r}") from error
        elif default is MISSING:
            raise GraphError(f"{name}: {field} is missing in {text[:80]!r}")
    if given:
        raise GraphError(f"{name}: unknown field(s) {', '.join(given)[:80]} in {text[:80]!r}")
    return op(**values)

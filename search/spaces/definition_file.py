"""The TOML file of a block space, checked. docs/spaces.md is its reference.

A file is input from outside: whatever it holds, reading it takes bounded time and memory, and
raises `SearchError` alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from latlas.profiler.errors import SearchError
from latlas.profiler.files import read_bounded
from latlas.profiler.toml_text import read_toml, shown
from latlas.search.spaces.definition import (
    CHOICES,
    DECISIONS,
    Block,
    Decision,
    Definition,
    Options,
    Tail,
)

MAX_BYTES = 64 * 1024
"""Largest definition that is read."""

MAX_BLOCKS, MAX_LAYERS, MAX_FILTERS = 200, 400, 16384
"""Blocks of a space, layers of its deepest network, channels of a layer."""

MAX_VALUES, MAX_CHOICES = 64, 1024
"""Values of a key, and choices of a gene."""

_OPERATOR = re.compile(r"conv|separable|identity|mbconv([0-9]{1,2}(?:\.[0-9]{1,3})?)?")
_NAME = re.compile("[a-z][a-z0-9_]{0,39}")
_ACTIVATIONS = ("none", "relu", "relu6", "hard_swish", "hard_sigmoid", "logistic", "tanh", "elu")
_GATES = ("hard_sigmoid", "logistic")
_SKIPS = ("none", "identity", "pool")
_SE_OF = ("gated", "input")


def load_definition(path: str | Path) -> Definition:
    """Read a definition from a file.

    Raises:
        SearchError: the file cannot be read, or `parse_definition` refuses it.
    """
    data = read_bounded(Path(path), "the TOML file of a search space", MAX_BYTES, SearchError)
    return parse_definition(data, _printable(str(path)))


def parse_definition(data: bytes, where: str = "space") -> Definition:
    """Read a definition. Everything is checked; an unknown key is an error, since a typo may be.

    Args:
        data: TOML in UTF-8, at most 64 KiB.
        where: what messages call it.

    >>> blocks = '[[blocks]]\\noperator = "mbconv6"\\nfilters = 24\\nkernel = [3, 5]'
    >>> definition = parse_definition(b'name = "mine"\\n' + blocks.encode())
    >>> [block.counts for block in definition.blocks]
    [(2,)]

    Raises:
        SearchError: it is no definition; the message names the key, what was expected and what
            was got.
    """
    try:
        text = data.decode()
    except ValueError as problem:
        raise SearchError(f"{where}: not TOML: {ascii(str(problem))[1:200]}") from problem
    return check_definition(read_toml(text, where, MAX_BYTES, SearchError), where)


def check_definition(document: object, where: str = "space") -> Definition:
    """Read a definition that is a dictionary, as TOML or JSON give it.

    Args:
        document: the dictionary.
        where: what messages call it.

    Raises:
        SearchError: as of `parse_definition`.
    """
    table = _table(document, where, ("name", "notes", "defaults", "blocks", "tail"))
    if not isinstance(table.get("name"), str) or not _NAME.fullmatch(table["name"]):
        raise _wrong(where, "name", "small letters, digits and _, at most 40", table)
    if not isinstance(table.get("notes", ""), str):
        raise _wrong(where, "notes", "text", table)
    defaults = _fixed(table.get("defaults", {}), f"{where}: defaults")
    rows = table.get("blocks")
    if not isinstance(rows, list) or not rows:
        raise _wrong(where, "blocks", "tables, each [[blocks]]", table)
    blocks: list[Block] = []
    for number, row in enumerate(rows, 1):
        blocks += _blocks(row, defaults, blocks, f"{where}: block {number}")
        if len(blocks) > MAX_BLOCKS:
            raise SearchError(f"{where}: more than {MAX_BLOCKS} blocks")
    depth = sum(block.depth for block in blocks)
    if depth > MAX_LAYERS:
        raise SearchError(f"{where}: up to {depth} layers, more than {MAX_LAYERS}")
    if not any(block.decisions for block in blocks):
        raise SearchError(
            f"{where}: nothing is to be chosen: give a key of a block several values, e.g. "
            "kernel = [3, 5]"
        )
    tail = _tail(table.get("tail", {}), f"{where}: tail")
    kept = {key: value for key, value in table.items() if key != "notes"}
    return Definition(table["name"], tuple(blocks), tail, json.dumps(kept, sort_keys=True))


class _Kind(NamedTuple):
    """What the value of a key may be."""

    fits: Callable[[Any], bool]
    expected: str


def _integer(low: int, high: int) -> _Kind:
    return _Kind(
        lambda value: type(value) is int and low <= value <= high, f"an integer, {low} to {high}"
    )


def _number(low: float, high: float) -> _Kind:
    return _Kind(
        lambda value: type(value) in (int, float) and low <= value <= high,
        f"a number, {low:g} to {high:g}",
    )


def _word(known: Sequence[str]) -> _Kind:
    return _Kind(
        lambda value: isinstance(value, str) and value in known, f"one of {', '.join(known)}"
    )


_SWITCH = _Kind(lambda value: isinstance(value, bool), "true or false")

_KINDS: dict[str, _Kind] = {
    "operator": _Kind(
        lambda value: isinstance(value, str) and _OPERATOR.fullmatch(value) is not None,
        "conv, separable, mbconv, mbconv with its expansion (mbconv6) or identity",
    ),
    "kernel": _Kind(
        lambda value: type(value) is int and 1 <= value <= 31 and value % 2 == 1,
        "an odd integer, 1 to 31",
    ),
    "expansion": _number(0.1, 32),
    "se": _number(0, 1),
    "skip": _word(_SKIPS),
    "filters": _integer(1, MAX_FILTERS),
    "layers": _integer(1, 64),
    "activation": _word(_ACTIVATIONS),
    "stride": _integer(1, 4),
    "se_of": _word(_SE_OF),
    "se_divisor": _integer(1, 64),
    "se_activation": _word(_ACTIVATIONS),
    "gate": _word(_GATES),
    "pointwise_activation": _word(_ACTIVATIONS),
    "scale": _SWITCH,
}
_TAIL_KINDS: dict[str, _Kind] = {
    "features": _integer(0, MAX_FILTERS),
    "bias": _SWITCH,
    "activation": _word(_ACTIVATIONS),
    "scale": _SWITCH,
    "dropout": _number(0, 0.99),
}
BLOCK_KEYS = (*_KINDS, CHOICES, "repeat", "genes")
"""Keys of a block."""

TAIL_KEYS = tuple(_TAIL_KINDS)
"""Keys of the tail."""

_MAY_REPEAT = ("filters", "layers")
"""Choices that may be the same twice: rounding makes narrow widths coincide."""


def _printable(text: str) -> str:
    return ascii(text[:200])[1:-1]


def _wrong(where: str, key: str, expected: str, table: Mapping[str, Any]) -> SearchError:
    got = shown(table[key]) if key in table else "nothing"
    return SearchError(f"{where}: {key} must be {expected}, got {got}")


def _table(value: object, where: str, known: Sequence[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SearchError(f"{where}: must be a table, got {shown(value)}")
    for key in value:
        if key not in known:
            raise SearchError(f"{where}: unknown key {shown(key)}; known are {', '.join(known)}")
    return value


def _fixed(value: object, where: str, kinds: Mapping[str, _Kind] = _KINDS) -> dict[str, Any]:
    """Return a table in which every key has one value."""
    table = _table(value, where, tuple(kinds))
    for key in table:
        if not kinds[key].fits(table[key]):
            raise _wrong(where, key, kinds[key].expected, table)
    return table


def _tail(value: object, where: str) -> Tail:
    return Tail(**_fixed(value, where, _TAIL_KINDS))


def _blocks(
    value: object, defaults: Mapping[str, Any], before: Sequence[Block], where: str
) -> list[Block]:
    """Return a block as often as it repeats, checked against those before it."""
    table = _table(value, where, BLOCK_KEYS)
    repeat, genes = table.get("repeat", 1), table.get("genes", "separate")
    if not _integer(1, MAX_BLOCKS).fits(repeat):
        raise _wrong(where, "repeat", f"an integer, 1 to {MAX_BLOCKS}", table)
    if genes not in ("separate", "joint"):
        raise _wrong(where, "genes", "separate or joint", table)
    if not isinstance(table.get(CHOICES, []), list):
        raise _wrong(where, CHOICES, "a list of tables", table)
    decisions = tuple([_decision(key, table, where) for key in DECISIONS if _chosen(key, table)])
    decided = {key for key in _KINDS for decision in decisions if decision.decides(key)}
    fixed = _fixed(
        {key: value for key, value in table.items() if key in _KINDS and not _chosen(key, table)},
        where,
    )
    for decision in decisions:
        if decision.key == CHOICES:
            for key in table:
                if key in _KINDS and decision.decides(key):
                    raise SearchError(f"{where}: {key} is in choices and beside them: remove one")
    options = dict(defaults) | fixed
    _require_everywhere("operator", options, decisions, where)
    _require_everywhere("filters", options, decisions, where)
    for key in decided:  # a placeholder: whatever is decided replaces it
        options.setdefault(key, {"operator": "conv", "filters": 1}.get(key))
    plain = {key: value for key, value in options.items() if value is not None}
    first = Block(Options(**plain), decisions, genes == "joint")
    if max(first.counts, default=1) > MAX_CHOICES:
        raise SearchError(
            f"{where}: a gene of {max(first.counts)} choices, more than {MAX_CHOICES}: write "
            'genes = "separate", or fewer choices'
        )
    left_out = _check_operators(first, where)
    blocks: list[Block] = []
    for number in range(repeat):
        block = first if number == 0 else replace(first, options=replace(first.options, stride=1))
        if left_out:
            _check_identity(block, left_out, [*before, *blocks], where)
        blocks.append(block)
    return blocks


def _chosen(key: str, table: Mapping[str, Any]) -> bool:
    return key in DECISIONS and isinstance(table.get(key), list)


def _decision(key: str, table: Mapping[str, Any], where: str) -> Decision:
    values: list[Any] = table[key]
    if not 1 <= len(values) <= MAX_VALUES:
        raise SearchError(f"{where}: {key} has 1 to {MAX_VALUES} values, not {len(values)}")
    if key == CHOICES:
        tables = [_fixed(one, f"{where}: choice {n}") for n, one in enumerate(values, 1)]
        for number, one in enumerate(tables, 1):
            if "stride" in one or "scale" in one:
                raise SearchError(
                    f"{where}: choice {number}: stride and scale cannot be chosen; write them "
                    "beside choices"
                )
        values = [tuple(sorted(one.items())) for one in tables]
    else:
        for value in values:
            if not _KINDS[key].fits(value):
                raise SearchError(
                    f"{where}: every {key} must be {_KINDS[key].expected}, got {shown(value)}"
                )
    if len(set(values)) < len(values) and key not in _MAY_REPEAT:
        raise SearchError(f"{where}: {key} has a value twice: {shown(table[key])}")
    return Decision(key, tuple(values))


def _require_everywhere(
    key: str, options: Mapping[str, Any], decisions: Sequence[Decision], where: str
) -> None:
    """Raise unless a key has a value whatever is chosen."""
    for decision in decisions:
        if decision.key == key or (
            decision.key == CHOICES and all(key in dict(table) for table in decision.values)
        ):
            return
    if key not in options:
        raise SearchError(f"{where}: {key} is missing")


def _check_operators(block: Block, where: str) -> set[tuple[int, bool]]:
    """Raise unless operators and expansions fit together.

    Returns:
        The filters, and whether they are scaled, with which the block may be an identity.
    """
    expands = any(decision.key == "expansion" for decision in block.decisions)
    chosen = any(decision.key == "filters" for decision in block.decisions)
    operators = [op for each in block.decisions if each.key == "operator" for op in each.values]
    left_out: set[tuple[int, bool]] = set()
    for options in block.alternatives:
        given = expands or options.expansion is not None
        for operator in operators or (options.operator,):
            _check_expansion(operator, given, where)
            if operator == "identity":
                left_out |= block.all_filters() if chosen else {(options.filters, options.scale)}
    return left_out


def _check_expansion(operator: str, given: bool, where: str) -> None:
    """Raise unless an operator has one expansion, or none where it needs none."""
    suffix = operator.removeprefix("mbconv")
    if not suffix and not given:
        raise SearchError(
            f"{where}: expansion is missing: mbconv needs it, or write it behind, as mbconv6"
        )
    if suffix[:1].isdigit() and given:
        raise SearchError(f"{where}: {operator} says its expansion: remove the key expansion")
    if suffix[:1].isdigit() and not _KINDS["expansion"].fits(float(suffix)):
        expected = _KINDS["expansion"].expected
        raise SearchError(f"{where}: expansion of {operator} must be {expected}")


def _check_identity(
    block: Block, writes: set[tuple[int, bool]], before: Sequence[Block], where: str
) -> None:
    """Raise unless a block may be left out: it would write what it reads."""
    if block.options.stride != 1:
        raise SearchError(f"{where}: an identity has stride 1, not {block.options.stride}")
    reads = before[-1].all_filters() if before else set()
    if writes != reads or len(reads) != 1:
        raise SearchError(
            f"{where}: the filters of an identity must be those of the block before, "
            f"{sorted(reads) or 'but there is none'}, not {sorted(writes)} (filters, scale)"
        )

"""Files of detected fusion rules: TOML with the target, every pair's evidence and its verdict.

Who knows better may change a verdict: the rules follow what the file says.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tomli_w

from latlas import __version__
from latlas.profiler.errors import LatlasError, UsageError
from latlas.profiler.files import read_bounded, write_atomically
from latlas.profiler.fusion.evidence import CASES, VERDICTS, Evidence, FusionEvidence
from latlas.profiler.journal import Fields
from latlas.profiler.statistics import MAX_US
from latlas.profiler.target import Target
from latlas.profiler.toml_text import read_toml

FORMAT = "latlas fusion rules"
VERSION = 1

MAX_BYTES = 1 << 20
"""A file is no longer: 400 pairs take an eighth of it."""

_MAX_EVIDENCE = 4000
_TYPE = re.compile("[a-z][a-z0-9_]{0,59}")
_WRITE_IT = "`latlas fusion detect` writes one"
_HEADER = (
    "# Which operators are run as one, found out by measuring.\n"
    '# A verdict ("fused", "not fused", "undecided") may be changed by whoever knows better.\n'
)


def to_toml(found: FusionEvidence) -> str:
    """Write evidence as `from_toml` reads it."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "latlas": __version__,
        "threshold": round(found.threshold, 4),
        "elements": found.elements,
        "target": found.target.to_json(),
        "evidence": [_rounded(each) for each in found.evidence],
    }
    return _HEADER + tomli_w.dumps(document)


def _rounded(evidence: Evidence) -> dict[str, Any]:
    values = asdict(evidence)
    values["types"] = list(evidence.types)
    for name in ("first_us", "last_us", "joined_us"):
        values[name] = round(values[name], 3)
    for name in ("share", "error"):
        values[name] = round(values[name], 4)
    values["p"] = float(f"{evidence.p:.2g}")
    return values


def from_toml(text: str, where: str = "fusion rules") -> FusionEvidence:
    """Read what `to_toml` wrote; everything is checked.

    Args:
        text: the content of a file.
        where: what messages call it.

    Raises:
        UsageError: the text is no rule file; the message says what was expected and what was got.
    """
    data = read_toml(text, where, MAX_BYTES, UsageError)
    try:
        return _evidence(data)
    except RecursionError as problem:
        raise UsageError(f"{where}: nested too deeply; {_WRITE_IT}") from problem
    except LatlasError as problem:
        raise UsageError(f"{where}: {problem}") from problem


def _evidence(data: dict[str, Any]) -> FusionEvidence:
    get = Fields(data, UsageError)
    if data.get("format") != FORMAT:
        raise get.fail("format", repr(FORMAT))
    version = get.integer("version", 0, 1 << 31)
    if version != VERSION:
        raise UsageError(
            f"format version {version}; this is latlas {__version__}, which reads version "
            f"{VERSION}: " + ("upgrade latlas" if version > VERSION else "detect them again")
        )
    rows = get.items("evidence")
    if len(rows) > _MAX_EVIDENCE:
        raise UsageError(f"more than {_MAX_EVIDENCE} pieces of evidence; {_WRITE_IT}")
    evidence = tuple(_one(row, number) for number, row in enumerate(rows, 1))
    keys = [(each.case, each.types) for each in evidence]
    if len(set(keys)) < len(keys):
        twice = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise UsageError(f"{twice[0]} of {' and '.join(twice[1])} is there twice: remove one")
    return FusionEvidence(
        target=Target.from_json(get.mapping("target")),
        threshold=get.number("threshold", 0, 1),
        elements=get.integer("elements", 1, 1 << 31),
        evidence=evidence,
    )


def _one(row: object, number: int) -> Evidence:
    try:
        if not isinstance(row, dict):
            raise UsageError("must be a table")
        get = Fields(row, UsageError)
        case = next((case for case in CASES if case == row.get("case")), None)
        verdict = next((verdict for verdict in VERDICTS if verdict == row.get("verdict")), None)
        if case is None:
            raise get.fail("case", f"one of {', '.join(CASES)}")
        if verdict is None:
            raise get.fail("verdict", f"one of {', '.join(VERDICTS)}")
        types = get.items("types")
        count = 3 if case == "chain" else 2
        if len(types) != count or not all(isinstance(t, str) and _TYPE.fullmatch(t) for t in types):
            raise get.fail("types", f"{count} names of types such as conv2d")
        return Evidence(
            case=case,
            types=tuple(types),
            first_us=get.number("first_us", -MAX_US, MAX_US),
            last_us=get.number("last_us", -MAX_US, MAX_US),
            joined_us=get.number("joined_us", -MAX_US, MAX_US),
            share=get.number("share", -MAX_US, MAX_US),
            error=get.number("error", 0, MAX_US),
            p=get.number("p", 0, 1),
            verdict=verdict,
            reason=get.text("reason"),
        )
    except UsageError as problem:
        raise UsageError(f"evidence {number}: {problem}") from problem


def save(found: FusionEvidence, path: Path) -> None:
    """Write a rule file; it is there whole or not at all.

    Raises:
        UsageError: it cannot be written.
    """
    with write_atomically(path, UsageError) as file:
        file.write(to_toml(found).encode())


def load(path: Path) -> FusionEvidence:
    """Read a rule file.

    Raises:
        UsageError: it cannot be read, or is no rule file.
    """
    data = read_bounded(path, f"a file of fusion rules; {_WRITE_IT}", MAX_BYTES, UsageError)
    return from_toml(data.decode("utf-8", "replace"), f"fusion rules {str(path)!r}")

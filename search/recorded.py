"""Accuracies that are known already: a recorded table, or a callable of the user's own."""

from __future__ import annotations

import csv
import hashlib
import importlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.errors import SearchError, UsageError
from latlas.search.protocols import Genes

MAX_TABLE_BYTES = 1 << 28
"""No table of accuracies is longer."""

_MAX_GENES = 10_000


class TableOracle:
    """Accuracies from a file; what it does not list is NaN.

    A ``.csv`` file has the columns ``genes`` (integers with blanks or dashes between them) and
    ``accuracy`` (a fraction). Any other file has a JSON object on every line, with the keys
    ``genes`` (a list of integers) and ``accuracy``. Further columns and keys are for the reader.

    Args:
        path: the file.
        choices: number of choices of every gene of the space; None where they are not checked.
        standard_error: of one accuracy, as a fraction; 0 where accuracies are exact.

    Attributes:
        accuracies: by genes.

    Raises:
        SearchError: the file is not such a table, lists an architecture twice with different
            accuracies, or one that is not of the space.
    """

    def __init__(
        self, path: Path, choices: Sequence[int] | None = None, standard_error: float = 0.0
    ) -> None:
        self.path = path
        self.standard_error = standard_error
        data = _read(path)
        self._digest = hashlib.sha256(data).hexdigest()
        rows = _csv_rows if path.suffix.lower() == ".csv" else _json_rows
        self.accuracies: dict[Genes, float] = {}
        for line, genes, accuracy in rows(data, path):
            _check(genes, accuracy, choices, f"{path}, line {line}")
            if self.accuracies.setdefault(genes, accuracy) != accuracy:
                raise SearchError(f"{path}, line {line}: {genes} stands there with two accuracies")
        if not self.accuracies:
            raise SearchError(f"{path} lists no architecture")

    @property
    def identity(self) -> dict[str, Any]:
        """What the accuracies depend on, as plain values."""
        return {"kind": "table", "sha256": self._digest, "standard_error": self.standard_error}

    def evaluate(self, genes: Sequence[Genes]) -> NDArray[np.float64]:
        """Return accuracies as fractions, shape (genes,)."""
        return np.array([self.accuracies.get(one, math.nan) for one in genes], dtype=np.float64)


class CallableOracle:
    """Accuracies from a function of the user's: genes in, a fraction out.

    A class is called without arguments first, and what it makes is the function. It may have the
    attributes ``standard_error`` and ``identity``, as every oracle.

    Args:
        spec: ``package.module:Name``, importable from where latlas runs.

    Raises:
        UsageError: there is no such callable.
    """

    def __init__(self, spec: str) -> None:
        self.spec = spec
        self.function = _imported(spec)
        self.errors: dict[Genes, str] = {}

    @property
    def standard_error(self) -> float:
        """Standard error of one accuracy, if the callable says one, and 0 otherwise."""
        return float(getattr(self.function, "standard_error", 0.0))

    @property
    def identity(self) -> dict[str, Any]:
        """What the accuracies depend on: the callable's name, and its ``identity`` if any."""
        return {
            "kind": "module",
            "callable": self.spec,
            "identity": getattr(self.function, "identity", None),
        }

    def evaluate(self, genes: Sequence[Genes]) -> NDArray[np.float64]:
        """Return accuracies as fractions, shape (genes,).

        NaN stands for what the callable raised on or did not answer with a fraction; `errors` says
        why.
        """
        return np.array([self._accuracy(one) for one in genes], dtype=np.float64)

    def _accuracy(self, genes: Genes) -> float:
        try:
            accuracy = float(self.function(genes))
        except Exception as problem:
            self.errors[genes] = f"{self.spec} raised {type(problem).__name__}: {problem}"[:300]
            return math.nan
        if not 0 <= accuracy <= 1:
            self.errors[genes] = f"{self.spec} returned {accuracy}; expected a fraction, 0 to 1"
            return math.nan
        return accuracy


def _imported(spec: str) -> Callable[[Genes], float]:
    module, _, name = spec.partition(":")
    if not module or not name:
        raise UsageError(f"{spec!r} is no callable; expected package.module:Name")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as problem:
        raise UsageError(
            f"cannot import {spec!r} ({problem}): its folder must be on Python's path, such as by "
            "PYTHONPATH"
        ) from problem
    if isinstance(found, type):
        found = found()
    if not callable(found):
        raise UsageError(f"{spec!r} is a {type(found).__name__} and cannot be called")
    return found  # type: ignore[no-any-return]


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TABLE_BYTES + 1)
    except OSError as problem:
        raise SearchError(f"cannot read {path}: {problem.strerror}") from problem
    if len(data) > MAX_TABLE_BYTES:
        raise SearchError(f"{path} is longer than {MAX_TABLE_BYTES >> 20} MiB")
    return data


def _text(data: bytes, path: Path) -> list[str]:
    try:
        return data.decode().splitlines()
    except ValueError as problem:
        raise SearchError(f"{path} is no text: {problem}") from problem


def _csv_rows(data: bytes, path: Path) -> Iterable[tuple[int, Genes, float]]:
    reader = csv.DictReader(_text(data, path))
    try:
        if not {"genes", "accuracy"} <= set(reader.fieldnames or ()):
            raise SearchError(f"{path} lacks the columns genes and accuracy in its first line")
        for row in reader:
            where = reader.line_num
            try:
                words = (row["genes"] or "").replace("-", " ").split()
                yield where, tuple([int(word) for word in words]), float(row["accuracy"])
            except (TypeError, ValueError) as problem:
                raise SearchError(f"{path}, line {where}: {str(problem)[:100]}") from problem
    except csv.Error as problem:
        raise SearchError(f"{path} is no CSV: {problem}") from problem


def _json_rows(data: bytes, path: Path) -> Iterable[tuple[int, Genes, float]]:
    for where, line in enumerate(_text(data, path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            genes, accuracy = row["genes"], row["accuracy"]
        except (ValueError, KeyError, TypeError, RecursionError) as problem:
            raise SearchError(
                f"{path}, line {where} is no JSON object with genes and accuracy"
            ) from problem
        if not isinstance(genes, list) or any(type(gene) is not int for gene in genes):
            raise SearchError(f"{path}, line {where}: genes are a list of integers")
        if type(accuracy) not in (int, float):
            raise SearchError(f"{path}, line {where}: the accuracy is a number")
        yield where, tuple(genes), float(accuracy) if accuracy in (0, 1) else accuracy


def _check(genes: Genes, accuracy: float, choices: Sequence[int] | None, where: str) -> None:
    if not 0 <= accuracy <= 1:
        raise SearchError(f"{where}: an accuracy is a fraction, 0 to 1, not {str(accuracy)[:40]}")
    if not 0 < len(genes) <= _MAX_GENES or min(genes) < 0:
        raise SearchError(f"{where}: genes are integers from 0, not {str(genes)[:80]}")
    if choices is None:
        return
    if len(genes) != len(choices) or any(a >= b for a, b in zip(genes, choices, strict=True)):
        raise SearchError(
            f"{where}: {str(genes)[:80]} is not of the space, which has {len(choices)} genes"
        )

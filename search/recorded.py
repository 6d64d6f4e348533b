"""Accuracies that were recorded: a table of architectures."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latlas.profiler.errors import SearchError
from latlas.profiler.files import read_bounded
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
        data = read_bounded(
            path, "a CSV or JSON Lines file of accuracies", MAX_TABLE_BYTES, SearchError
        )
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

"""An accuracy is found out once."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from latlas.profiler.errors import SearchError
from latlas.search.kept import kept_accuracy


def test_an_accuracy_is_found_out_once(tmp_path: Path) -> None:
    path = tmp_path / "study" / "kept.jsonl"
    path.parent.mkdir()
    asked: list[float] = []

    def finds(value: float) -> float:
        asked.append(value)
        return value

    for _ in range(2):
        assert kept_accuracy(path, {"genes": [1, 2], "seed": 0}, lambda: finds(0.5)) == 0.5
        assert kept_accuracy(path, {"genes": [1, 2], "seed": 1}, lambda: finds(0.7)) == 0.7
        assert math.isnan(kept_accuracy(path, {"genes": [3]}, lambda: finds(math.nan)))
    assert asked[:2] == [0.5, 0.7]
    assert len(asked) == 4  # a failure is tried again
    path.write_text('{"key": "x", "accuracy": 7}\n')
    with pytest.raises(SearchError):
        kept_accuracy(path, {}, lambda: 0.5)

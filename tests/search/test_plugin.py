"""Code that a user names is imported, code that a file names is not."""

from __future__ import annotations

import fractions
import sys
from pathlib import Path

import pytest

from latlas.profiler.errors import UsageError
from latlas.search.plugin import imported, plugin


def test_what_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "broken_code.py").write_text("1 / 0")
    for name in ("absent:Name", "json:absent", "json:", "broken_code:Name", ":x"):
        with pytest.raises(UsageError, match="cannot import"):
            plugin(name)
    with pytest.raises(UsageError, match="nothing that can be called"):
        plugin("math:pi")


def test_what_is_imported_already_is_found_and_nothing_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert imported("fractions:Fraction.from_float") is vars(fractions.Fraction)["from_float"]
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "code_from_elsewhere.py").write_text("Name = 1")
    for name in ("code_from_elsewhere:Name", "fractions:absent", "fractions:Fraction.x.y", ":", ""):
        assert imported(name) is None
    assert "code_from_elsewhere" not in sys.modules

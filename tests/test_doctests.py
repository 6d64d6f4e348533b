"""Every example in a docstring runs."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"src/latlas": "latlas"} | {
    folder: f"latlas.{folder}" for folder in ("device_configs", "profiler", "predictor", "search")
}


def modules() -> list[str]:
    found = []
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            if parts[-1] != "__main__" and ">>>" in path.read_text():
                found.append(".".join([package, *parts]).removesuffix(".__init__"))
    return found


@pytest.mark.parametrize("name", modules())
def test_examples(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # an example that writes, writes there
    failed, attempted = doctest.testmod(importlib.import_module(name))
    assert attempted
    assert not failed, capsys.readouterr().out

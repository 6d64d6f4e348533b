"""Folders import only what stands to their left, and always by the full name."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("device_configs", "profiler", "predictor", "search", "src/latlas")


def imported(path: Path) -> list[tuple[int, str]]:
    """Return line and full name of everything that a module imports, anywhere in it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} imports relatively"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_point_to_the_left(folder: str) -> None:
    forbidden = {Path(right).name for right in FOLDERS[FOLDERS.index(folder) + 1 :]}
    forbidden |= {"cli", "console", "commands"} if folder != "src/latlas" else set()
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths
    for path in paths:
        for line, name in imported(path):
            first, *rest = name.split(".")
            place = f"{path.relative_to(ROOT)}:{line} imports {name}"
            assert first not in FOLDERS, f"{place}: say latlas.{first}"
            if first == "latlas":
                assert not forbidden.intersection(rest[:1]), place


def test_commands_are_no_library() -> None:
    """A command is imported when it runs, by what looks its name up."""
    for path in sorted((ROOT / "src/latlas").rglob("*.py")):
        for line, name in imported(path):
            assert not name.startswith("latlas.commands."), (
                f"{path.relative_to(ROOT)}:{line}: {name}"
            )


def test_every_folder_is_packaged() -> None:
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packaged = set(settings["tool"]["setuptools"]["packages"])
    for folder in FOLDERS:
        prefix = "latlas" if folder == "src/latlas" else f"latlas.{folder}"
        for path in (ROOT / folder).rglob("*.py"):
            inside = path.parent.relative_to(ROOT / folder).parts
            assert ".".join([prefix, *inside]) in packaged
            assert (path.parent / "__init__.py").exists()

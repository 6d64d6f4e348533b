"""What README and docs/ show exists: commands with their options, files, benchmarks, snippets."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from latlas.cli import group

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.M | re.S)
_INLINE = re.compile(r"(?<!`)`(latlas [^`]*)`")
_INDENTED = re.compile(r"^    +(?:[A-Z_]+=\S+ )*(latlas .*(?:(?<=\\)\n.*)*)", re.M)
_FENCED = re.compile(r"^(?:[A-Z_]+=\S+ )*(latlas .*(?:(?<=\\)\n.*)*)", re.M)


def commands(text: str) -> Iterator[str]:
    """Yield the command lines of latlas that a page shows."""
    yield from (found.group(1) for found in _INDENTED.finditer(text))
    for _, block in _BLOCK.findall(text):
        yield from (found.group(1) for found in _FENCED.finditer(block))
    yield from (" ".join(found.split()) for found in _INLINE.findall(text))


def require_options(line: str) -> None:
    """Fail unless every sub-command and option of a command line exists."""
    _, *words = shlex.split(line.replace("\\\n", " "), comments=True)
    command: click.Command = group
    context = click.Context(command)
    for word in words:
        inner = command.get_command(context, word) if isinstance(command, click.Group) else None
        if inner is not None:
            command, context = inner, click.Context(inner, parent=context)
        elif (
            isinstance(command, click.Group)
            and not command.invoke_without_command
            and not word.startswith("-")
        ):
            raise AssertionError(f"no command {word!r}: {line}")
        elif word.startswith("-") and not re.fullmatch(r"-\d.*", word):
            known = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
            known |= {"-h", "--help"}
            assert word.partition("=")[0] in known, f"no option {word!r}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_and_their_options_exist(page: Path) -> None:
    for line in commands(page.read_text()):
        require_options(line)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_scripts_that_are_shown_exist(page: Path) -> None:
    for script in re.findall(r"python (\w[\w/]*\.py)", page.read_text()):
        if script.startswith(("benchmarks/", "examples/")):
            assert (ROOT / script).is_file(), f"{page.name} shows {script}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_snippets_compile(page: Path) -> None:
    for language, block in _BLOCK.findall(page.read_text()):
        if language == "python":
            compile(textwrap.dedent(block), page.name, "exec")


def test_an_option_that_is_gone_is_found() -> None:
    with pytest.raises(AssertionError, match="--no-such"):
        require_options("latlas fit tables/a --no-such 3")
    with pytest.raises(AssertionError, match="fitt"):
        require_options("latlas fitt tables/a")
    with pytest.raises(AssertionError, match="shw"):
        require_options("latlas table shw tables/a")


def test_commands_are_found() -> None:
    counts = {str(page.relative_to(ROOT)): len(list(commands(page.read_text()))) for page in PAGES}
    assert counts["README.md"] >= 30
    assert counts["docs/migrating.md"] >= 10

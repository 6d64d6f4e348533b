"""What README and docs/ show exists: commands with their options, files, benchmarks, snippets.

tests/test_docs_run.py runs it, or names what does.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest
from shown import PAGES, ROOT, blocks, inline_commands, shell_commands

from latlas.cli import group
from latlas.profiler.device_config_file import parse_config, to_toml


def commands(page: Path) -> Iterator[str]:
    """Yield the command lines of latlas that a page shows."""
    for shown in shell_commands(page):
        words = [word for word in shown.words if not re.match("[A-Z_]+=", word)]
        if words[0] == "latlas":
            yield shlex.join(words)
    yield from inline_commands(page)


def require_options(line: str) -> None:
    """Fail unless every sub-command and option of a command line exists."""
    _, *words = shlex.split(line, comments=True)
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
    for line in commands(page):
        require_options(line)


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors that a page's headings get where it is shown as HTML."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return frozenset(
        re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text()):
        if "://" in target:
            continue
        file = page.parent / target if target else page
        assert file.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_configurations_that_are_shown_can_be_read(page: Path) -> None:
    for shown in blocks(page):
        if shown.language == "toml" and re.search(r"^models = ", shown.text, re.M):
            config = parse_config(shown.text, "shown")
            assert parse_config(to_toml(config), "shown") == config


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_scripts_that_are_shown_exist(page: Path) -> None:
    for script in re.findall(r"python (\w[\w/]*\.py)", page.read_text()):
        if script.startswith(("benchmarks/", "examples/")):
            assert (ROOT / script).is_file(), f"{page.name} shows {script}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_snippets_compile(page: Path) -> None:
    for block in blocks(page):
        if block.language == "python":
            compile(block.text, str(block), "exec")


def test_an_option_that_is_gone_is_found() -> None:
    with pytest.raises(AssertionError, match="--no-such"):
        require_options("latlas fit tables/a --no-such 3")
    with pytest.raises(AssertionError, match="fitt"):
        require_options("latlas fitt tables/a")
    with pytest.raises(AssertionError, match="shw"):
        require_options("latlas table shw tables/a")


def test_commands_are_found() -> None:
    counts = {str(page.relative_to(ROOT)): len(list(commands(page))) for page in PAGES}
    assert counts["README.md"] >= 30
    assert counts["docs/migrating.md"] >= 10


def test_how_commands_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shown.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "Text `latlas bench` and\n\n    latlas fit a \\\n        -o 'b c'   # why\n"
        "    what: latlas prints\n\n```console\n$ A=1 latlas doctor\nlatlas: well\n```\n\n"
        "```python\nlatlas = 1\n```\n"
    )
    assert [(one.line, one.words) for one in shell_commands(page)] == [
        (8, ["A=1", "latlas", "doctor"]),
        (3, ["latlas", "fit", "a", "-o", "b c"]),
    ]
    assert list(inline_commands(page)) == ["latlas bench"]

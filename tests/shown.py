"""What README and docs/ show: commands, snippets, links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = (
    "latlas",
    "python",
    "make",
    "pip",
    "ray",
    "export",
    "apt-get",
    "git",
    r"\.ci/\w+",
    "adb",
)
"""What begins a command; other lines of a block are what is printed, or code."""

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.M | re.S)
_COMMAND = re.compile(
    rf"(?:\$ )?((?:[A-Z_]+=\S+ )*(?:{'|'.join(PROGRAMS)})(?: .*(?:(?<=\\)\n.*)*)?)$", re.M
)


@dataclass(frozen=True)
class Shown:
    """A command or a block of code.

    Attributes:
        page: relative to the repository.
        line: in the page, the first is 1.
        language: of a block; ``sh`` of a command.
        text: without the indentation of a block, continued lines joined.
    """

    page: str
    line: int
    language: str
    text: str

    @property
    def words(self) -> list[str]:
        """A command's words, without what stands behind a #."""
        return shlex.split(self.text, comments=True)

    def __str__(self) -> str:
        return f"{self.page}, line {self.line}: {self.text}"


def blocks(page: Path) -> Iterator[Shown]:
    """Yield the fenced blocks of a page and, as one of language ``sh``, every indented line."""
    text = page.read_text()
    name = str(page.relative_to(ROOT))
    for found in _FENCE.finditer(text):
        indent, language, body = found.groups()
        code = "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True))
        yield Shown(name, text.count("\n", 0, found.start(3)) + 1, language, code)
    # Fenced lines become empty ones, so that lines keep their numbers.
    rest = _FENCE.sub(lambda found: "\n" * found[0].count("\n"), text)
    for found in re.finditer(r"^    +(\S.*(?:(?<=\\)\n.*)*)", rest, re.M):
        yield Shown(name, rest.count("\n", 0, found.start()) + 1, "sh", found[1])


def shell_commands(page: Path) -> Iterator[Shown]:
    """Yield the commands of a page's blocks, of whatever program."""
    for block in blocks(page):
        if block.language not in ("", "sh", "bash", "console", "shell"):
            continue
        for found in _COMMAND.finditer(block.text):
            if found.start() and block.text[found.start() - 1] != "\n":
                continue  # in the midst of a line
            line = block.line + block.text.count("\n", 0, found.start())
            text = " ".join(found[1].replace("\\\n", " ").split())
            yield Shown(block.page, line, "sh", text)


def inline_commands(page: Path) -> Iterator[str]:
    """Yield the commands of latlas that a page's sentences name, in whole or in part."""
    for found in re.findall(r"(?<!`)`(latlas [^`]*)`", page.read_text()):
        yield " ".join(found.split())

"""Makes a site of README, CONTRIBUTING, CHANGELOG and the guides: ``make docs``.

The guides are in the order of docs/README.md. The reference of all public names, which
docs/reference.py writes, lies beside them.
"""

import re

from sphinx.application import Sphinx

project = "latlas"
copyright = "the authors of latlas"
extensions = ["myst_parser"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md"]
exclude_patterns = [".*", "build", "examples", "studies", "tables", "tests"]
html_theme = "furo"
html_title = "latlas"
html_show_sphinx = False
myst_heading_anchors = 4

_FOLDER = re.compile(r"\[([^\]]*)\]\((?:\.\./)?examples\)")  # has no page, only its files have
_REFERENCE = '\n<a href="../reference/index.html">Reference of all public names</a>\n'


def _contents(pages: list[str]) -> str:
    return "\n```{toctree}\n:hidden:\n\n" + "\n".join(pages) + "\n```\n"


def _add_contents(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the pages into the order that they are listed in, which GitHub needs no markup for."""
    source[0] = _FOLDER.sub(r"\1", source[0])
    if page == root_doc:
        source[0] += _contents(["docs/README", "CHANGELOG"])
    elif page == "docs/README":
        listed = re.findall(r"^\d+\. \[.*?\]\((.*?)\.md\)", source[0], re.MULTILINE)
        source[0] += _REFERENCE + _contents(listed)


def setup(app: Sphinx) -> None:
    """Tell Sphinx."""
    app.connect("source-read", _add_contents)

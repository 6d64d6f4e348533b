"""Every command and snippet that README and docs/ show runs, on small real things of this machine.

What needs a phone runs on the tests' phone (tests/phone/test_shown.py). What cannot run here is in
`EXCUSES`, with the reason. A new command of a page runs or is excused.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from running import (
    COMMANDS,
    NAMES,
    NEEDS_A_CLUSTER,
    NEEDS_A_PHONE,
    WRITTEN,
    Prototypes,
    inside,
    read_by,
    run,
    short,
)
from shown import PAGES, Shown, blocks

from latlas.profiler.litert.local import GpuProbe

EXCUSES: tuple[tuple[str, str], ...] = (
    # pattern that occurs in a command or a snippet, why it does not run here
    (NEEDS_A_PHONE, "tests/phone/test_shown.py"),
    (NEEDS_A_CLUSTER, "tests/phone/test_shown_clusters.py"),
    (r"--fetch-runner", "downloads: tests/cli/test_doctor.py, from a server of its own"),
    (r"^latlas quickstart", "takes minutes: tests/cli/test_search.py walks the same path"),
    (r"^make|^\.ci/", "what CI itself runs"),
    (
        r"^(\S+=\S+ )?python benchmarks/",
        "takes minutes to hours: on little, tests/benchmarks/test_commands.py",
    ),
    (r"^(pip|apt-get) ", "installs"),
    (r"torch\.export", "PyTorch is an extra: tests/profiler/test_importers.py runs it"),
)
"""What does not run here, in one place."""


def excuse(text: str) -> str:
    """Return why a command or snippet does not run here; empty if it does."""
    return next((reason for pattern, reason in EXCUSES if re.search(pattern, text, re.M)), "")


SNIPPETS = {page: [shown for shown in blocks(page) if shown.language == "python"] for page in PAGES}


@pytest.mark.parametrize("text", [t for t in reversed(COMMANDS) if not excuse(t)], ids=str)
def test_command(text: str, prototypes: Prototypes, tmp_path: Path, vulkan: GpuProbe) -> None:
    words = [*COMMANDS[text].words, *short(text)]
    prototypes.put(read_by(words), tmp_path)
    try:
        status = run(words, tmp_path)
    except Exception as problem:
        raise AssertionError(how_to_excuse(COMMANDS[text], repr(problem))) from problem
    assert not status, how_to_excuse(COMMANDS[text], f"exit code {status}")


@pytest.mark.parametrize("page", [p for p in PAGES if SNIPPETS[p]], ids=lambda path: path.name)
def test_snippets(
    page: Path, prototypes: Prototypes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a page run one after the other, in one module, as a reader would run them."""
    module = ModuleType(f"snippets_of_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look their own up
    for shown in SNIPPETS[page]:
        if excuse(shown.text):
            continue
        names = [name for name in NAMES.findall(shown.text) if name not in WRITTEN]
        prototypes.put(names, tmp_path)
        where = f"{shown.page}, line {shown.line}"
        try:
            with inside(tmp_path):
                exec(compile(shown.text, where, "exec"), vars(module))
        except Exception as problem:
            raise AssertionError(how_to_excuse(shown, repr(problem))) from problem


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_spaces(page: Path, tmp_path: Path) -> None:
    """Files of spaces open, and their networks can be built."""
    from latlas.search.spaces import open_space

    for shown in blocks(page):
        if shown.language == "toml" and "[[blocks]]" in shown.text:
            (tmp_path / "space.toml").write_text(shown.text)
            space = open_space(f"toml:{tmp_path / 'space.toml'}", resolution=64)
            assert space.decode(space.sample(1, seed=0)[0]).nodes


def how_to_excuse(shown: Shown, problem: str) -> str:
    """Return what to do about something on a page that does not run."""
    return (
        f"{shown}\ndoes not run: {problem}\nMend the page or what it shows. What it reads lies "
        "there under its name if Prototypes knows such names, a file that a snippet writes belongs "
        "into WRITTEN, and what takes long can be made short in SHORT (both in running.py). If "
        "it cannot run on this machine at all, add a pattern and the reason to EXCUSES in "
        "tests/test_docs_run.py."
    )


def test_what_is_excused() -> None:
    assert excuse("latlas bench model.tflite --device SERIAL")
    assert not excuse("latlas profile --device SERIAL --space moga --plan")  # asks no phone
    assert not excuse("latlas bench model.tflite")
    assert "EXCUSES" in how_to_excuse(next(iter(COMMANDS.values())), "it fails")


def test_most_commands_run() -> None:
    latlas = [text for text in COMMANDS if text.startswith("latlas ")]
    assert len([text for text in latlas if not excuse(text)]) > len(latlas) / 2

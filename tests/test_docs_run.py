"""Every command and snippet that README and docs/ show runs, on small real things of this machine.

What needs more than this machine's CPU and GPU is run by other tests, which `ELSEWHERE` names.
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
from shown import PAGES, ROOT, Shown, blocks

from latlas.profiler.litert.local import GpuProbe

ELSEWHERE: tuple[tuple[str, str], ...] = (
    # pattern that occurs in a command or a snippet, what runs it
    (NEEDS_A_PHONE, "tests/phone/test_shown.py"),
    (NEEDS_A_CLUSTER, "tests/phone/test_shown_clusters.py"),
    (r"^(\S+=\S+ )?python benchmarks/", "tests/benchmarks/test_commands.py, on little"),
    (r"--fetch-runner", "tests/cli/test_doctor.py, which downloads from a server of its own"),
    (r"torch\.export", "tests/profiler/test_importers.py, where PyTorch is installed"),
    (r"^export VK_", "tests/conftest.py, which sets the same"),
    (r"^make|^\.ci/", ".ci/run"),
    (r"^pip ", ".ci/package"),
)
"""What does not run here."""


def runs_elsewhere(text: str) -> str:
    """Return what runs a command or a snippet instead of these tests; empty if they do."""
    return next((place for pattern, place in ELSEWHERE if re.search(pattern, text, re.M)), "")


SNIPPETS = {page: [shown for shown in blocks(page) if shown.language == "python"] for page in PAGES}


@pytest.mark.parametrize("text", [t for t in reversed(COMMANDS) if not runs_elsewhere(t)], ids=str)
def test_command(text: str, prototypes: Prototypes, tmp_path: Path, vulkan: GpuProbe) -> None:
    words = [*COMMANDS[text].words, *short(text)]
    prototypes.put(read_by(words), tmp_path)
    try:
        status = run(words, tmp_path)
    except Exception as problem:
        raise AssertionError(how_to_mend(COMMANDS[text], repr(problem))) from problem
    assert not status, how_to_mend(COMMANDS[text], f"exit code {status}")


@pytest.mark.parametrize("page", [p for p in PAGES if SNIPPETS[p]], ids=lambda path: path.name)
def test_snippets(
    page: Path, prototypes: Prototypes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a page run one after the other, in one module, as a reader would run them."""
    module = ModuleType(f"snippets_of_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look their own up
    for shown in SNIPPETS[page]:
        if runs_elsewhere(shown.text):
            continue
        names = [name for name in NAMES.findall(shown.text) if name not in WRITTEN]
        prototypes.put(names, tmp_path)
        where = f"{shown.page}, line {shown.line}"
        try:
            with inside(tmp_path):
                exec(compile(shown.text, where, "exec"), vars(module))
        except Exception as problem:
            raise AssertionError(how_to_mend(shown, repr(problem))) from problem


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_spaces(page: Path, tmp_path: Path) -> None:
    """Files of spaces open, and their networks can be built."""
    from latlas.search.spaces import open_space

    for shown in blocks(page):
        if shown.language == "toml" and "[[blocks]]" in shown.text:
            (tmp_path / "space.toml").write_text(shown.text)
            space = open_space(f"toml:{tmp_path / 'space.toml'}", resolution=64)
            assert space.decode(space.sample(1, seed=0)[0]).nodes


def how_to_mend(shown: Shown, problem: str) -> str:
    """Return what to do about something on a page that does not run."""
    return (
        f"{shown}\ndoes not run: {problem}\nMend the page or what it shows. What it reads lies "
        "there under its name if Prototypes knows such names, a file that a snippet writes belongs "
        "into WRITTEN, and what takes long can be made short in SHORT (both in running.py). If "
        "another test has to run it, add a pattern and that test to ELSEWHERE in "
        "tests/test_docs_run.py."
    )


def test_what_runs_elsewhere() -> None:
    assert runs_elsewhere("latlas bench model.tflite --device SERIAL")
    assert not runs_elsewhere("latlas profile --device SERIAL --space moga --plan")  # asks no phone
    assert not runs_elsewhere("latlas bench model.tflite")
    for _, place in ELSEWHERE:
        assert (ROOT / place.partition(",")[0]).is_file()
    assert "ELSEWHERE" in how_to_mend(next(iter(COMMANDS.values())), "it fails")


def test_most_commands_run() -> None:
    latlas = [text for text in COMMANDS if text.startswith("latlas ")]
    assert len([text for text in latlas if not runs_elsewhere(text)]) > len(latlas) / 2

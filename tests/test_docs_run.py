"""Every command and snippet that README and docs/ show runs, on small real things of this machine.

Each runs in a folder of its own, where whatever it reads lies under the name that the page uses: a
table, a predictor, a model, a study (`Prototypes`). What would take long is made short by options
that the page does not show (`SHORT`, `lenient`).

What cannot run here is in `EXCUSES`, with the reason. A new command of a page runs or is excused.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import replace
from functools import cached_property
from itertools import dropwhile, pairwise
from pathlib import Path
from types import ModuleType

import pytest
from shown import PAGES, ROOT, Shown, blocks, shell_commands

from latlas.cli import group
from latlas.profiler.campaign_settings import CampaignSettings
from latlas.search.recipe import load_recipe
from latlas.search.supernet_config import SETTINGS, SupernetConfig

EXCUSES: tuple[tuple[str, str], ...] = (
    # pattern that occurs in a command or a snippet, why it does not run here
    (
        r"^latlas fusion detect .*SERIAL|^latlas profile .*SERIAL.*--fusion-rules",
        "needs a phone: tests/phone/test_fusion.py",
    ),
    (
        r"^latlas bench .*SERIAL|^latlas profile (?!.*--plan).*SERIAL",
        "needs a phone: tests/phone/test_profile.py",
    ),
    (r"^latlas (verify|search) .*SERIAL", "needs a phone: tests/phone/test_search.py"),
    (r"^latlas doctor .*SERIAL", "needs a phone: tests/cli/test_doctor.py"),
    (
        r"^latlas fit --few-shot .*(SERIAL|OTHER)",
        "needs a phone: tests/cli/test_fit.py, on one that is simulated",
    ),
    (r"--workers|--ray-address|^ray ", "needs a cluster: tests/search/test_cluster.py"),
    (r"--fetch-runner", "downloads: tests/profiler/benchmark_model/test_download.py"),
    (r"…", "shown in part"),
    (r"package\.module:Name", "the reader's own module: tests/cli/test_search_compare.py"),
    (r"^latlas search export", "trains networks: tests/cli/test_search_export.py"),
    (r"--rounds", "measures for minutes: tests/cli/test_rounds.py"),
    (
        r"--accuracy supernet(?! --dataset digits --ev)",
        "trains a supernet, as README's does, which runs",
    ),
    (r"^latlas quickstart", "takes minutes: tests/cli/test_search.py walks the same path"),
    (r"^make|^\.ci/", "what CI itself runs"),
    (
        r"^(\S+=\S+ )?python benchmarks/(?!startup|writing)",
        "takes minutes to hours: gives the figures of the docs",
    ),
    (r"^(pip|apt-get) ", "installs"),
    (r"train_and_validate", "the reader's own function"),
    (r"torch\.export", "PyTorch is an extra: tests/profiler/test_importers.py"),
)
"""What does not run here, in one place."""

HALVES = ("--family", "[0-4]$=half", "--family", "[5-9]$=rest")
"""Families of a table of one space: no network of small ones would be left else."""

SHORT: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"^latlas profile (?!.*--plan)", ("--budget", "3s", "--runs", "3", "--min-ms", "0.2")),
    (r"^latlas profile (?!.*--plan).*--space general", ("--networks", "4")),
    (r"^latlas bench ", ("--runs", "3", "--min-ms", "1")),
    (r"^latlas verify ", ("--most", "2")),
    (
        r"^latlas evaluate tables/(any|myphone)",
        (*("--leave-out", "family"), *HALVES),
    ),
    (r"^latlas report \S+ --table", HALVES),
    (r"^latlas search (?!compare|export)", ("--evaluations", "8", "--resolution", "32")),
    (r"^latlas search (?!compare|export|.*--searcher (ppo|random))", ("--population", "4")),
    (r"^latlas search --searcher (?!.*--accuracy)", ("--accuracy", "my_module:accuracy")),
    (
        r"^latlas fusion detect ",
        ("--types", "conv2d,relu6", "--elements", "16384", "--rounds", "3"),
    ),
)
"""Options that make a command short; of two, the last counts."""

FOLDERS = ("examples/", "benchmarks/")
"""Folders of the repository that are there whole."""

WRITTEN = ("studies/own",)
"""What snippets write though it looks like what others read."""

_NAMES = re.compile(
    r"(?<![\w./-])(tables/[\w./-]*\w|studies/[\w-]+|(?:examples|benchmarks)/[\w.]+"
    r"|my_models|my_module"
    r"|[\w./-]+\.(?:latlas|tflite|toml))\b"
)
_OUTPUTS = {"-o", "--output", "--tflite", "--plot", "--png"}
_MODULE = """
def accuracy(genes):
    return sum(genes) / 1000
"""
_SPACE = ("--space", "moga", "--resolution", "32", "--classes", "10")


class Prototypes:
    """Small real things, each made when the first page wants it.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "my_module.py").write_text(_MODULE)

    def of(self, name: str) -> Path:
        """Return what stands for a name that a page uses."""
        if name.startswith(FOLDERS):
            return ROOT / name.partition("/")[0]
        if name == "my_module":
            return self.folder / "my_module.py"
        if name.endswith(".toml"):
            return self.rules if "rules" in name else ROOT / "examples" / "moga.toml"
        if name.startswith("tables/"):
            return self.blocks if "blocks" in name else self.table
        if name.startswith("studies/"):
            return self.study
        return self.predictor if name.endswith(".latlas") else self.model

    def put(self, names: Sequence[str], folder: Path) -> None:
        """Copy what stands for names to where a command or snippet will look for them."""
        for name in names:
            # Whole folders, as they are; a folder of models holds one.
            to = folder / (name if not name.startswith(FOLDERS) else name.partition("/")[0])
            to = to / "model.tflite" if name == "my_models" else to
            to = to.with_suffix(".py") if name == "my_module" else to
            if to.exists():
                continue
            to.parent.mkdir(parents=True, exist_ok=True)
            found = self.of(name)
            (shutil.copytree if found.is_dir() else shutil.copy)(found, to)

    def make(self, *words: str) -> Path:
        """Run a command whose last word is what it writes; return that."""
        with inside(self.folder):
            assert not group.main(list(words), standalone_mode=False)
        return self.folder / words[-1]

    @cached_property
    def table(self) -> Path:
        effort = ("--runs", "3", "--min-ms", "0.2", "--networks", "6")
        return self.make(
            "profile", *_SPACE, "--models", str(self.model), *effort, "--table", "table"
        )

    @cached_property
    def blocks(self) -> Path:
        effort = ("--runs", "3", "--min-ms", "0.2", "--networks", "0", "--granularity", "block")
        return self.make("profile", *_SPACE, *effort, "--table", "block-table")

    @cached_property
    def predictor(self) -> Path:
        return self.make("fit", str(self.table), "-o", "predictor.latlas")

    @cached_property
    def model(self) -> Path:
        size = ("--resolution", "64", "--classes", "10")
        return self.make("zoo", "mobilenet_v3_large", *size, "--tflite", "model.tflite")

    @cached_property
    def study(self) -> Path:
        known = ("--latency", str(self.predictor), "--accuracy", "my_module:accuracy")
        size = ("--evaluations", "12", "--population", "6")
        return self.make("search", *_SPACE, *known, *size, "-o", "study")

    @cached_property
    def rules(self) -> Path:
        little = ("--types", "conv2d,relu6", "--elements", "16384", "--rounds", "3")
        return self.make("fusion", "detect", *little, "-o", "rules.toml")


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Be in a folder, whose modules can be imported."""
    before = list(sys.path), set(sys.modules)
    with chdir(folder):
        sys.path.insert(0, str(folder))
        try:
            yield
        finally:
            sys.path[:] = before[0]
            for name in set(sys.modules) - before[1]:
                if name.startswith("my_"):
                    del sys.modules[name]


@pytest.fixture(scope="module")
def prototypes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prototypes]:
    """What pages read; while they are made and read, any measurement is good enough."""
    settings = CampaignSettings(
        max_attempts=1, patience_s=0.0, throttle=1e9, spread_floor=1e9, drift_floor=1e9, cpu_share=0
    )
    with pytest.MonkeyPatch.context() as patch:
        for module in ("campaign", "campaign_settings"):
            name = f"latlas.profiler.{module}.CampaignSettings"
            patch.setattr(name, lambda **given: replace(settings, **given))
        patch.setattr("latlas.predictor.observations.PASSES_AGREE", 1e9)
        for space in ("moga", "mnasnet"):
            patch.setitem(SETTINGS, space, SupernetConfig(epochs=1))
        recipe = load_recipe
        patch.setattr(
            "latlas.search.recipe.load_recipe", lambda name: replace(recipe(name), epochs=1)
        )
        yield Prototypes(tmp_path_factory.mktemp("prototypes"))


def excuse(text: str) -> str:
    """Return why a command or snippet does not run here; empty if it does."""
    return next((reason for pattern, reason in EXCUSES if re.search(pattern, text, re.M)), "")


def command_text(shown: Shown) -> str:
    """Return a command without what a reader is told behind a #."""
    return re.sub(r"\s+#.*", "", shown.text)


def read_by(words: Sequence[str]) -> list[str]:
    """Return the names in a command of what it reads.

    >>> read_by(["latlas", "fit", "tables/a", "--from", "tables/b", "-o", "p.latlas"])
    ['tables/a', 'tables/b']
    """
    outputs = _OUTPUTS | ({"--table"} if words[1] in ("profile", "fusion") else set())
    inputs = [word for before, word in pairwise(words) if before not in outputs]
    return [name for word in inputs for name in _NAMES.findall(word)]


COMMANDS = {
    command_text(shown): shown for page in reversed(PAGES) for shown in shell_commands(page)
}
"""Every command once, as the first page shows it."""

SNIPPETS = {page: [shown for shown in blocks(page) if shown.language == "python"] for page in PAGES}


@pytest.mark.parametrize("text", [t for t in reversed(COMMANDS) if not excuse(t)], ids=str)
def test_command(text: str, prototypes: Prototypes, tmp_path: Path) -> None:
    words = list(dropwhile(re.compile("[A-Z_]+=").match, COMMANDS[text].words))
    more = [option for pattern, options in SHORT if re.search(pattern, text) for option in options]
    assert words[0] in ("latlas", "python"), how_to_excuse(COMMANDS[text], "no such program here")
    prototypes.put(read_by([*words, *more]), tmp_path)
    try:
        with inside(tmp_path):
            if words[0] == "latlas":
                status = group.main([*words[1:], *more], standalone_mode=False)
            else:
                status = subprocess.run([sys.executable, *words[1:]]).returncode
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
        names = [name for name in _NAMES.findall(shown.text) if name not in WRITTEN]
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
        "into WRITTEN, and what takes long can be made short in SHORT. If it cannot run on this "
        "machine at all, add a pattern and the reason to EXCUSES in tests/test_docs_run.py."
    )


def test_what_is_excused() -> None:
    assert excuse("latlas bench model.tflite --device SERIAL")
    assert not excuse("latlas profile --device SERIAL --space moga --plan")  # asks no phone
    assert not excuse("latlas bench model.tflite")
    assert "EXCUSES" in how_to_excuse(next(iter(COMMANDS.values())), "it fails")


def test_most_commands_run() -> None:
    latlas = [text for text in COMMANDS if text.startswith("latlas ")]
    assert len([text for text in latlas if not excuse(text)]) > len(latlas) / 2

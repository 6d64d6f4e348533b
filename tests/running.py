"""Runs what README and docs/ show, on small real things of this machine.

Each command runs in a folder where whatever it reads lies under the name that the page uses: a
table, a predictor, a model, a study (`Prototypes`). What would take long is made short by options
that the page does not show (`SHORT`).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import replace
from functools import cached_property, partial
from itertools import dropwhile, pairwise
from pathlib import Path

from pictures import write_coco, write_imagenet
from relaxed import relaxed
from shown import PAGES, ROOT, Shown, blocks, shell_commands

from latlas.cli import group
from latlas.search.recipe import load_recipe
from latlas.search.supernet_config import SETTINGS, SupernetConfig

NEEDS_A_PHONE = r"^latlas (?!profile .*--plan).*(SERIAL|OTHER)|^latlas search .*myphone"
"""Of the commands, those that ask a phone, or take minutes to search for one."""

NEEDS_A_CLUSTER = r"--workers|^ray |^export RAY"
"""Of the commands, those that evaluate on a cluster, or make one."""

HALVES = ("--family", "[0-4]$=half", "--family", "[5-9]$=rest")
"""Families of a table of one space: no network of small ones would be left else."""

SHORT: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"^latlas profile (?!.*--plan)", ("--budget", "3s", "--runs", "3", "--min-ms", "0.2")),
    (r"^latlas profile (?!.*--plan).*--space general", ("--networks", "4")),
    (r"^latlas profile .*--rounds", ("--rounds", "1", "--networks", "12", "--budget", "30s")),
    (r"^latlas bench ", ("--runs", "3", "--min-ms", "1")),
    (r"^latlas verify ", ("--most", "2")),
    (
        r"^latlas evaluate tables/(any|myphone)",
        (*("--leave-out", "family"), *HALVES),
    ),
    (r"^latlas report \S+ --table", HALVES),
    (r"^latlas search export (?!.*--(dataset|ranks))", ("--dataset", "imagenet:data/imagenet")),
    (r"^latlas search export ", ("--epochs", "1", "--resolution", "32")),
    (r"^latlas search export .*--top", ("--top", "1")),
    (r"^latlas search export .*--ranks", ("--ranks", "1", "--no-train")),
    (r"--detection", ("--top", "1", "--detection-epochs", "1", "--detection-resolution", "64")),
    (r"^latlas search (?!compare|export)", ("--evaluations", "8", "--resolution", "32")),
    (r"^latlas search (?!compare|export|.*--searcher (ppo|random))", ("--population", "4")),
    (r"--accuracy train:", ("--evaluations", "2")),
    (r"--folds", ("--evaluations", "1", "--folds", "2", "--repeats", "1")),
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

NAMES = re.compile(
    r"(?<![\w./-])(tables/[\w./-]*\w|studies/[\w-]+|(?:examples|benchmarks)/[\w.]+"
    r"|data/\w+|my_models|my_module|TABLE|FOLDER"
    r"|[\w./-]+\.(?:latlas|tflite|toml))\b"
)
_OUTPUTS = {"-o", "--output", "--tflite", "--plot", "--png"}
_MODULE = """
def accuracy(genes):
    return sum(genes) / 1000

class Accuracy:
    identity = {}
    standard_error = 0.01
    def __init__(self, space):
        self.width = space.width
    def evaluate(self, genes):
        return [accuracy(one) * self.width for one in genes]
"""
_IMAGES: dict[str, Callable[[Path], None]] = {
    "coco": write_coco,
    "imagenet": partial(write_imagenet, count=4, classes=10),
}
_SPACE = ("--space", "moga", "--resolution", "32", "--classes", "10")


class Prototypes:
    """Small real things, each made when the first page wants it.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # The reader's own code: what a page shows of it, and accuracies.
        page = ROOT / "docs" / "spaces.md"
        shown = [each.text for each in blocks(page) if "class Columns" in each.text]
        (folder / "my_module.py").write_text("\n".join([*shown, _MODULE]))

    def of(self, name: str) -> Path:
        """Return what stands for a name that a page uses."""
        if name.startswith(FOLDERS):
            return ROOT / name.partition("/")[0]
        if name == "my_module":
            return self.folder / "my_module.py"
        if name.endswith(".toml"):
            return self.rules if "rules" in name else ROOT / "examples" / "moga.toml"
        if name.startswith("tables/") or name == "TABLE":
            return self.blocks if "blocks" in name else self.table
        if name.startswith("data/"):
            return self.images(name.removeprefix("data/"))
        if name == "studies/cells":
            return self.cells
        if re.search(r"studies/\d+ms", name):
            return self.targeted
        if name.startswith("studies/"):
            return self.study
        return self.predictor if name.endswith(".latlas") else self.model

    def put(self, names: Sequence[str], folder: Path) -> None:
        """Copy what stands for names to where a command or snippet will look for them."""
        for name in names:
            # Whole folders, as they are; a folder of models holds one.
            to = folder / (name if not name.startswith(FOLDERS) else name.partition("/")[0])
            to = to / "model.tflite" if name in ("my_models", "FOLDER") else to
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

    def searched(self, latency: str, *more: str) -> Path:
        known = ("--latency", latency, "--evaluations", "12")
        return self.make("search", *_SPACE, *known, *more)

    @cached_property
    def study(self) -> Path:
        own = ("--accuracy", "my_module:accuracy", "--population", "6")
        return self.searched(str(self.predictor), *own, "-o", "study")

    @cached_property
    def targeted(self) -> Path:
        own = ("--accuracy", "my_module:Accuracy", "--searcher", "ppo")
        aim = ("--reward", "soft", "--target-ms", "15")
        return self.searched(str(self.predictor), *own, *aim, "-o", "targeted")

    @cached_property
    def cells(self) -> Path:
        own = ("--accuracy", "my_module:accuracy", "--searcher", "random", "--evaluations", "2")
        space = ("--space", "nasnet", "--set", "N=1", "--set", "F=8")
        return self.searched("device:local/cpu", *space, *own, "-o", "cells")

    def images(self, kind: str) -> Path:
        """Return a data set of the kind's layout, of a few images."""
        folder = self.folder / kind
        if not folder.exists():
            _IMAGES[kind](folder)
        return folder

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


@contextmanager
def prototypes_in(folder: Path) -> Iterator[Prototypes]:
    """What pages read; while they are made and read, any measurement is good enough."""
    with relaxed() as patch:
        for space in ("moga", "mnasnet"):
            patch.setitem(SETTINGS, space, SupernetConfig(epochs=1))
        recipe = load_recipe
        patch.setattr(
            "latlas.search.recipe.load_recipe", lambda name: replace(recipe(name), epochs=1)
        )
        yield Prototypes(folder)


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
    return [name for word in inputs for name in NAMES.findall(word)]


COMMANDS = {
    command_text(shown): shown for page in reversed(PAGES) for shown in shell_commands(page)
}
"""Every command once, as the first page shows it."""


def short(text: str) -> list[str]:
    """Return the options that make a command short."""
    return [option for pattern, options in SHORT if re.search(pattern, text) for option in options]


def run(words: Sequence[str], folder: Path) -> int | None:
    """Run a command in a folder, without what it sets of the environment; return its status."""
    words = list(dropwhile(re.compile("[A-Z_]+=").match, words))
    with inside(folder):
        if words[0] == "latlas":
            status: int | None = group.main(words[1:], standalone_mode=False)
            return status
        assert words[0] == "python", f"no such program here: {words[0]}"
        return subprocess.run([sys.executable, *words[1:]]).returncode

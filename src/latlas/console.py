"""What the subcommands share: options, output as a table or as JSON, and looking things up.

Results go to stdout (with ``--json`` exactly one document), progress and messages to stderr.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from latlas.profiler.errors import UsageError

if TYPE_CHECKING:
    from latlas.profiler.graph import Graph
    from latlas.profiler.ops import Shape
    from latlas.search.spaces import Space

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)


def say(text: str) -> None:
    """Print a message for people, to stderr."""
    print(text, file=sys.stderr, flush=True)


def emit(document: object, as_json: bool, text: str) -> None:
    """Print a result: the document as JSON, or the text."""
    if as_json:
        json.dump(document, sys.stdout, indent=2, allow_nan=False)
        print()
    else:
        print(text)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows under a header, the first column to the left, the others to the right."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def printable(path: Path) -> str:
    """Return a path as text that can be printed and stored, whatever bytes its name has.

    >>> printable(Path("caf\\udce9.tflite"))
    'caf\\\\udce9.tflite'
    """
    return str(path).encode("utf-8", "backslashreplace").decode()


def input_shapes_option(command: F) -> F:
    """Add ``--input-shape`` for models whose height or width is not fixed."""
    return click.option(
        "--input-shape",
        metavar="N,H,W,C",
        multiple=True,
        help="Shape of an input that the file leaves open; once for every input.",
    )(command)


def warmup_option(command: F) -> F:
    """Add ``--warmup-ms``; the command gets it as ``warmup_ms``, None where it is unset."""
    return click.option(
        "--warmup-ms",
        type=click.FloatRange(0, 1e5),
        help="Phones: milliseconds of untimed runs of a model; if unset, as many as it needs.",
    )(command)


def space_options(command: F) -> F:
    """Add ``--width``, ``--classes`` and ``--set``, which say which form of a space is meant.

    The command takes them as ``width``, ``classes`` (None where not given) and ``settings``, the
    texts that `latlas.search.spaces.parse_settings` reads.
    """
    command = click.option(
        "--set",
        "settings",
        metavar="KEY=VALUE",
        multiple=True,
        help="What else the space can be told, e.g. N=4 or F=44 of nasnet; may be given again.",
    )(command)
    command = click.option(
        "--classes", type=click.IntRange(1, 1_000_000), help="Classes, by default 1000."
    )(command)
    return click.option(
        "--width",
        type=click.FloatRange(0.01, 100),
        help="Factor of the space's numbers of channels, by default 1.",
    )(command)


def import_from_here() -> None:
    """Let ``MODULE:NAME`` name a module in the current folder."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


def chosen_space(
    name: str,
    resolution: int | None,
    width: float | None,
    classes: int | None,
    settings: Sequence[str],
) -> Space:
    """Return the space that ``--space`` and `space_options` say, None being the defaults.

    Raises:
        UsageError: there is none, or it has no such setting.
        SearchError: its file is damaged.
    """
    from latlas.search.spaces import open_space, parse_settings

    import_from_here()
    return open_space(
        name,
        resolution=resolution or 224,
        width=1.0 if width is None else width,
        classes=classes or 1000,
        settings=parse_settings(settings),
    )


def own_space_option(command: F) -> F:
    """Add ``--space``, which imports the code that the space of a study is.

    The study itself must not decide what is run: it may come from elsewhere.
    """

    def run(context: click.Context, parameter: click.Parameter, names: tuple[str, ...]) -> None:
        from latlas.search.plugin import plugin

        import_from_here()
        for name in names:
            plugin(name)

    return click.option(
        "--space",
        metavar="MODULE:NAME",
        multiple=True,
        callback=run,
        expose_value=False,
        help="Where a study's space is code of yours: it may be imported.",
    )(command)


def training_options(command: F) -> F:
    """Add ``--dataset``, ``--epochs``, ``--folds`` and ``--repeats``, of what accuracies rest on.

    The command takes them as ``dataset``, ``epochs`` (None where not given), ``folds``, 0 being
    none, and ``repeats``.
    """
    options = [
        click.option("--dataset", default="digits", show_default=True),
        click.option("--epochs", type=click.IntRange(1, 10_000), help="Of training."),
        click.option(
            "--folds",
            type=click.IntRange(2, 1000),
            callback=lambda _context, _option, number: number or 0,
            help="With --accuracy train: train each network N times, each time without another "
            "stratified fold of the images, which scores it.",
        ),
        click.option(
            "--repeats",
            type=click.IntRange(1, 1000),
            default=1,
            show_default=True,
            help="Deal the folds so often.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def model_files(paths: Sequence[Path]) -> list[Path]:
    """Return models, and those in folders, each once.

    Raises:
        UsageError: a folder holds none.
    """
    from latlas.profiler.importers import SEARCHED, is_saved_model, models_in

    files: dict[Path, None] = {}
    for path in paths:
        if path.is_dir() and not is_saved_model(path):
            found = models_in(path)
            if not found:
                raise UsageError(
                    f"no model in {path}: expected {', '.join(SEARCHED)} files or SavedModels"
                )
            files |= dict.fromkeys(found)
        else:
            files[path] = None
    return list(files)


def load_models(paths: Sequence[Path], input_shape: Sequence[str] = ()) -> dict[str, Graph]:
    """Read models, and those in folders, by path.

    Raises:
        UsageError: a folder holds none, a shape is malformed, or a converter is not installed.
        ModelFileError: a file cannot be read or converted.
    """
    from latlas.profiler.importers import load_model

    files = model_files(paths)
    shapes = parse_shapes(input_shape)
    return {printable(path): load_model(path, shapes) for path in files}


def parse_shapes(texts: Sequence[str]) -> list[Shape] | None:
    """Return the shapes that ``--input-shape`` names, None where there is none.

    >>> parse_shapes(["1,224,224,3"])
    [(1, 224, 224, 3)]

    Raises:
        UsageError: a shape is malformed.
    """
    try:
        return [tuple(int(size) for size in text.split(",")) for text in texts] or None
    except ValueError as problem:
        raise UsageError(f"--input-shape takes numbers such as 1,224,224,3: {problem}") from None


def parse_duration(text: str) -> float:
    """Return the seconds of ``90``, ``90s``, ``30m`` or ``2h``.

    >>> parse_duration("30m")
    1800.0

    Raises:
        UsageError: the text is no duration.
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    factor = units.get(text[-1:], 1.0)
    number = text[:-1] if text[-1:] in units else text
    try:
        seconds = float(number) * factor
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise UsageError(f"a duration is written 90s, 30m or 2h, not {text!r}")
    return seconds

"""The command `latlas`.

Every subcommand is a module of `latlas.commands`, imported when it is called and not before:
``latlas --help`` answers without numpy or TensorFlow.
"""

from __future__ import annotations

import os
import sys

import click

from latlas import __version__
from latlas.lazy_group import LazyGroup

COMMANDS = {
    "devices": "List what can be measured: this machine and attached phones.",
    "doctor": "Check what is missing for CPU, GPU and phones, and how to mend it.",
    "zoo": "List reference networks, or write one as a .tflite file.",
    "bench": "Measure models on a device.",
    "profile": "Measure the kernels of a search space or of models into a latency table.",
    "table": "Show, merge, compare and export latency tables.",
    "fusion": "Find out which operators a delegate runs as one.",
    "fit": "Learn a predictor from a latency table.",
    "predict": "Predict the latency of models.",
    "evaluate": "Say how right predictions are for models that were left out of the fit.",
    "search": "Search a space for architectures that are accurate and fast.",
    "verify": "Measure the architectures that a search found.",
    "report": "Write a page about tables, models, predictors and studies.",
    "quickstart": "Profile this machine, fit, search and verify, in a few minutes.",
}
"""Subcommands and what the overview says of them; each module defines a command `main`."""


@click.group(
    cls=LazyGroup,
    modules="latlas.commands.",
    overview=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="latlas %(version)s")
def group() -> None:
    """Atlas of on-device latency: profile kernels, predict networks, search architectures.

    \b
    latlas profile --space moga --device local --table tables/here-cpu
    latlas fit tables/here-cpu -o here-cpu.latlas
    latlas predict model.tflite --with here-cpu.latlas

    Completion, for bash (zsh and fish alike): eval "$(_LATLAS_COMPLETE=bash_source latlas)".
    NO_COLOR=1 keeps terminals free of colours.
    """


def main() -> None:
    """Run the command line; exit 0 done, 1 failed, 2 wrong usage."""
    try:
        status = group.main(standalone_mode=False)
        sys.stdout.flush()  # a full disk shows here at the latest
    except click.ClickException as problem:
        problem.show()
        sys.exit(2 if isinstance(problem, click.UsageError) else 1)
    except (click.Abort, KeyboardInterrupt):
        _complain("interrupted; what was finished is kept, run it again to go on")
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output has seen enough
        _discard_output()
        sys.exit(1)
    except Exception as problem:
        from latlas.profiler.errors import LatlasError, UsageError

        if isinstance(problem, OSError):
            _discard_output()
        elif not isinstance(problem, LatlasError):
            raise
        _complain(str(problem))
        sys.exit(2 if isinstance(problem, UsageError) else 1)
    sys.exit(status if isinstance(status, int) else 0)


def _complain(text: str) -> None:
    """Print why the command ends; who it is stands out on a terminal (https://no-color.org)."""
    name = "latlas:"
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        name = click.style(name, fg="red", bold=True)
    print(f"{name} {text}", file=sys.stderr)


def _discard_output() -> None:
    """Keep the interpreter from writing once more, at its end, what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

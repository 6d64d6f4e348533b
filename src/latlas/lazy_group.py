"""Commands that are imported when they are called and not before."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


class LazyGroup(click.Group):
    """A group that imports a subcommand only to run it or to show its own help.

    Args:
        modules: prefix of the modules, each of which defines a command `main`.
        overview: subcommands, and what the overview says of them.
    """

    def __init__(self, *args: Any, modules: str, overview: Mapping[str, str], **other: Any) -> None:
        super().__init__(*args, **other)
        self.modules = modules
        self.overview = overview

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.overview)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.overview:
            return None
        command = importlib.import_module(self.modules + name).main
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.overview:
            with formatter.section("Commands"):
                formatter.write_dl(list(self.overview.items()))

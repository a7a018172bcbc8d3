"""How ``--help`` reads: verbs by what they are for, a verb's own options apart from how it answers, examples last."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    import click

_ANSWER = ("json", "quiet", "out", "help")


class Verb(TyperCommand):
    """A command whose help needs no rich, and whose arguments keep their help whatever version click has."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        helps = _argument_helps(self.callback)
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": [], "Answer": []}
        for param in self.get_params(ctx):
            argument = param.param_type_name == "argument"
            answers = param.name in _ANSWER and not param.required
            group = "Arguments" if argument else "Answer" if answers else "Options"
            groups[group].append(_record(param, ctx, helps.get(param.name or "", "")))
        for title, rows in groups.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.epilog:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in self.epilog.splitlines()))


class Verbs(TyperGroup):
    """A group that lists its verbs under their panels, in the order they were added."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        with formatter.section("Options"):
            formatter.write_dl([_record(param, ctx, "") for param in self.get_params(ctx)])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.commands), default=0)
        panels: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            panel = getattr(command, "rich_help_panel", None)
            title = panel if isinstance(panel, str) else "Commands"
            words = command.get_short_help_str(formatter.width - 6 - width)
            panels.setdefault(title, []).append((name.ljust(width), words))
        for title, rows in panels.items():
            with formatter.section(title):
                formatter.write_dl(rows)


def add(app: typer.Typer, panel: str, verb: Callable[..., None], examples: Sequence[str] = (), name: str = "") -> None:
    """Add a function as a verb under a panel of the help."""
    decorate = app.command(name or None, cls=Verb, rich_help_panel=panel, epilog="\n".join(examples) or None)
    decorate(verb)


def _record(param: click.Parameter, ctx: click.Context, argument_help: str) -> tuple[str, str]:
    """Name and help of a parameter, with its default in words."""
    left = param.make_metavar(ctx)
    if param.param_type_name == "option":
        flag = getattr(param, "is_flag", False)
        left = ", ".join(sorted(param.opts, key=len)) + ("" if flag else f" {left}")
    words = getattr(param, "help", None) or argument_help
    if param.param_type_name == "option" and param.required:
        return left, f"{words} Required."
    default = param.get_default(ctx, call=False)
    shown = isinstance(default, str | int | float | Path) and not isinstance(default, bool) and str(default)
    return left, f"{words} Default: {default}." if shown and getattr(param, "show_default", False) else words


def _argument_helps(verb: Callable[..., Any] | None) -> dict[str, str]:
    """Help texts as the verb's own annotations give them: typer before 0.20 loses them with click from 8.5 on."""
    if verb is None:
        return {}
    hints = get_type_hints(inspect.unwrap(verb), include_extras=True)
    found = ((name, getattr(extra, "help", None)) for name, hint in hints.items()
             for extra in getattr(hint, "__metadata__", ()))  # fmt: skip
    return {name: words for name, words in found if words}

"""The report's twin in the terminal: the first screen and the few rows that answer, within 100 characters."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

from dovetail.app.report.data import Commands, Report, Section, Summary, Table
from dovetail.app.report.figures import KINDS
from dovetail.app.report.markup import clean

if TYPE_CHECKING:
    from rich.console import Console

WIDTH, MOST_COLUMNS, MOST_ROWS = 100, 8, 14


def terminal(file: Any = None) -> Console:
    """A console at most 100 characters wide, on `file` or on standard output; plain where that is no terminal."""
    from rich.console import Console

    console = Console(file=file, highlight=False, markup=False, emoji=False)
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    return console


def show(report: Report, *, quiet: bool = False, console: Console | None = None) -> None:
    """Print `report`: the summary, then each section's sentence and short table; only the answer when `quiet`."""
    console = console or terminal()
    if quiet:
        console.print(one_line(report.summary.answer), soft_wrap=True)
        return
    console.print(one_line(report.title), style="bold")
    show_summary(report.summary, console=console)
    for section in report.sections:
        console.print()
        _show_section(section, console)
    console.print()
    _command(report.summary.next_command, console, "Next       ")


def show_summary(summary: Summary, *, console: Console | None = None) -> None:
    """Print the first screen; the next command comes last, where the reader's eyes and prompt are."""
    console = console or terminal()
    from rich.table import Table as Grid

    lines = [("Answer", summary.answer), ("Bottleneck", summary.bottleneck), ("Price", summary.price),
             ("Confidence", summary.confidence)]  # fmt: skip
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, words in [*lines, *summary.facts]:
        grid.add_row(_text(name), _text(words, "bold" if name == "Answer" else ""))
    console.print(grid)


def show_table(table: Table, *, console: Console | None = None, most: int = MOST_ROWS) -> None:
    """Print at most 8 columns and `most` rows of `table`, and say what was left out."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as Grid

    console = console or terminal()
    grid = Grid(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    for i, name in enumerate(table.header[:MOST_COLUMNS]):
        grid.add_column(_text(name, "bold"), justify="right" if i in table.numeric else "left", overflow="fold")
    for row in table.rows[:most]:
        grid.add_row(*(_text(cell) for cell in row[:MOST_COLUMNS]))
    console.print(grid)
    rows, columns = max(len(table.rows) - most, 0) + table.more, len(table.header) - MOST_COLUMNS
    left = [f"{n} more {what}" for n, what in ((rows, "rows"), (columns, "columns")) if n > 0]
    if left:
        console.print(f"{' and '.join(left)} in report.html", style="dim")


def _show_section(section: Section, console: Console) -> None:
    console.print(one_line(section.title), style="bold")
    if isinstance(section, Commands):
        for what, words in section.commands:
            console.print(one_line(what))
            _command(words, console)
        return
    if isinstance(section, Table):
        show_table(section, console=console)
        return
    kind = KINDS[type(section)]
    console.print(one_line(kind.says(section)))
    show_table(kind.brief(section), console=console)


def _command(words: str, console: Console, lead: str = "  ") -> None:
    """A command on one line however long, so that it can be copied."""
    console.print(one_line(lead).ljust(len(lead)) + one_line(words), soft_wrap=True, style="cyan")


def one_line(words: object) -> str:
    """Text for a terminal: no control or escape characters, no line breaks."""
    plain = " ".join(clean(words).split())
    return "".join(c for c in plain if unicodedata.category(c) not in ("Cc", "Cf"))


def _text(words: object, style: str = "") -> Any:
    from rich.text import Text

    return Text(one_line(words), style=style)

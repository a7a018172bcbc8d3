"""A plain table in the terminal: what every verb prints, without a library to import for it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from textwrap import wrap

WIDTH = 100
_GAP, _NARROWEST = 2, 12


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> None:
    """Print all rows within 100 characters, blank lines around: numbers stand right, the widest texts are folded."""
    cells = [[" ".join(str(cell).split()) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [[*columns], *cells]) for i in range(len(columns))]
    while sum(widths) + _GAP * (len(widths) - 1) > WIDTH and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1
    right = [bool(cells) and i > 0 and all(_numeric(row[i]) for row in cells) for i in range(len(columns))]
    print(f"\n{title}" if title else "")
    _line(columns, widths, right)
    print("─" * (sum(widths) + _GAP * (len(widths) - 1)))
    for row in cells:
        _line(row, widths, right)
    print()


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> None:
    """Print a row, on several lines where a cell is wider than its column."""
    for parts in zip_longest(*(wrap(cell, width) or [""] for cell, width in zip(row, widths)), fillvalue=""):
        aligned = (part.rjust(w) if r else part.ljust(w) for part, w, r in zip(parts, widths, right))
        print((" " * _GAP).join(aligned).rstrip())


def _numeric(text: str) -> bool:
    return text[:1] in "0123456789-−+$≥≤–∞." or not text

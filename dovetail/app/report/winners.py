"""Which design wins where two choices are fixed: a map whose colours are the recipe, or else the machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from dovetail.app.report.data import Table, Winners, Won
from dovetail.app.report.markup import Raw, join
from dovetail.app.report.scales import say
from dovetail.app.report.svg import COLOURS, box, colour, hover, key, line, picture, shorten, width_of, words_at

WIDTH, TOP, LINE = 940, 20, 16


def _named(cell: Won) -> str:
    return " on ".join(cell.what) if len(cell.what) == 2 else ", ".join(cell.what)


def _often(figure: Winners) -> list[tuple[str, int]]:
    return Counter(_named(cell) for cell in figure.cells if cell.what).most_common()


def says(figure: Winners) -> str:
    """What the figure shows, in one sentence."""
    often, empty = _often(figure), sum(not cell.what for cell in figure.cells)
    if not often:
        return "Nothing wins anywhere: no design meets the constraints."
    told = ", ".join(f"{name} in {count}" for name, count in often[:3])
    more = f" and {len(often) - 3} more" if len(often) > 3 else ""
    nothing = f"; nothing meets the constraints in {empty}" if empty else ""
    return f"Of {len(figure.cells)} cells: {told}{more}{nothing}."


def table(figure: Winners) -> Table:
    """Every cell."""
    rows = [
        (c.x, c.y, *(c.what if c.what else ["–"] * len(figure.told)), say(c.value, figure.unit) if c.what else "–")
        for c in figure.cells
    ]
    header = (figure.x_title, figure.y_title, *figure.told, figure.metric)
    return Table(figure.title, header, rows, (len(header) - 1,))


def brief(figure: Winners) -> Table:
    """How often each design wins."""
    return Table(figure.title, ("what wins", "cells"), [(name, f"{n:,}") for name, n in _often(figure)], (1,))


def charts(figure: Winners, ident: str) -> Raw:
    """The key and the map; heavy lines part what differs, so that it can be read without colours."""
    known = {(cell.x, cell.y): cell for cell in figure.cells}
    line_of = _coloured(figure)
    names = [name for name, _ in Counter(c.what[line_of] for c in figure.cells if c.what).most_common()]
    left = min(max([width_of(y) for y in figure.ys] + [width_of(figure.y_title) / 2, 30]) + 14, 180.0)
    width = (WIDTH - left - 4) / max(len(figure.xs), 1)
    tall = LINE * len(figure.told) + 14.0
    rows = list(reversed(figure.ys))
    grid = {(i, j): known.get((x, y)) for i, y in enumerate(rows) for j, x in enumerate(figure.xs)}
    looks = {name: colour(i) for i, name in enumerate(names)}
    marks = [
        _cell(figure, cell, looks.get((*cell.what, "")[line_of], ""), left + j * width, TOP + i * tall, width, tall)
        for (i, j), cell in grid.items()
        if cell
    ]
    bottom = TOP + tall * len(rows)
    words = [words_at(left - 8, TOP + (i + 0.5) * tall + 4, shorten(y, left - 12), "end", "tick")
             for i, y in enumerate(rows)]  # fmt: skip
    words += [words_at(left + (j + 0.5) * width, bottom + 16, shorten(x, width - 2), "middle", "tick")
              for j, x in enumerate(figure.xs)]  # fmt: skip
    middle = left + width * len(figure.xs) / 2
    words += [words_at(2, 11, figure.y_title, class_="axis-title"),
              words_at(middle, bottom + 33, figure.x_title, "middle", "axis-title")]  # fmt: skip
    edges = join(_border({at: tuple(c.what) if c else () for at, c in grid.items()}, left, width, tall))
    svg = picture(WIDTH, bottom + 40, ident, figure.title, says(figure), *marks, edges, *words)
    legend = key((name, 1, colour(i)) for i, name in enumerate(names[:COLOURS]))
    return join([legend if len(names) > 1 else None, svg])


def _coloured(figure: Winners) -> int:
    """Which line of a cell its colour stands for: the first that differs."""
    told = [cell.what for cell in figure.cells if cell.what]
    return next((i for i in range(len(figure.told)) if len({what[i] for what in told}) > 1), 0)


def _cell(
    figure: Winners, cell: Won, look: str, x: float, y: float, width: float, tall: float
) -> Raw:  # fmt: skip
    where = f"{figure.x_title} {cell.x}, {figure.y_title} {cell.y}"
    if not cell.what:
        nothing = words_at(x + width / 2, y + tall / 2 + 4, "–", "middle", "quiet")
        return hover(f"{where}: nothing meets the constraints", box(x, y, width, tall, "cell none"), nothing)
    first = y + tall / 2 + 4 - LINE * (len(cell.what) - 1) / 2
    told = [words_at(x + width / 2, first + LINE * i, shorten(words, width - 4), "middle", "on")
            for i, words in enumerate(cell.what)]  # fmt: skip
    return hover(f"{where}: {_named(cell)}, {figure.metric} {say(cell.value, figure.unit)}",
                 box(x, y, width, tall, f"cell won {look}"), *told)  # fmt: skip


def _border(what: dict[tuple[int, int], tuple[str, ...]], left: float, width: float, tall: float) -> Iterable[Raw]:
    for (i, j), own in what.items():
        x, y = left + j * width, TOP + i * tall
        if what.get((i, j + 1), own) != own:
            yield line(x + width, y, x + width, y + tall, "border")
        if what.get((i + 1, j), own) != own:
            yield line(x, y + tall, x + width, y + tall, "border")

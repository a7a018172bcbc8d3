"""One method over batch and context: where it pays, cell by cell."""

from __future__ import annotations

from collections.abc import Iterable

from dovetail.app.report.data import Crossover
from dovetail.app.report.markup import Raw, el, join
from dovetail.app.report.scales import drawable, evenly, ratio, say
from dovetail.app.report.svg import box, hover, line, picture, words_at

WIDTH, ROW, MOST_COLUMNS, MOST_ROWS = 940, 34, 14, 12
_EDGES = (0.5, 0.8, 0.95, 1.05, 1.25, 2.0)
_BINS = ("h0", "h1", "h2", "h3", "h4", "h5", "h6")


def bin_of(gain: float) -> str:
    """Class of a cell's colour: seven steps from half (``h0``) to double (``h6``) speed, the middle one near 1."""
    return _BINS[sum(gain >= edge for edge in _EDGES)]


def _cells(figure: Crossover, method: str) -> dict[tuple[float, float], float]:
    return {
        (float(s.context), float(b)): float(g)
        for s in figure.series
        if s.method == method
        for b, g in zip(s.batch, s.gain, strict=False)
        if drawable(b, log=True) and drawable(g, log=True) and drawable(s.context)
    }


def heat_map(figure: Crossover, method: str, ident: str) -> Raw | None:
    """Gain of `method` by batch (columns) and context (rows); ``None`` with fewer than two of either."""
    cells = _cells(figure, method)
    rows = evenly(sorted({c for c, _ in cells}, reverse=True), MOST_ROWS)
    columns = evenly(sorted({b for _, b in cells}), MOST_COLUMNS)
    if len(rows) < 2 or len(columns) < 2:
        return None
    left, top, width = 84.0, 20.0, (WIDTH - 100) / len(columns)
    marks = [_cell(cells.get((c, b)), left + j * width, top + i * ROW, width, f"context {say(c)}, batch {say(b)}")
             for i, c in enumerate(rows) for j, b in enumerate(columns)]  # fmt: skip
    paying = {(i, j): cells.get((c, b), 0) > 1 for i, c in enumerate(rows) for j, b in enumerate(columns)}
    bottom = top + ROW * len(rows)
    words = [words_at(left - 8, top + i * ROW + 21, say(c), "end", "tick") for i, c in enumerate(rows)]
    words += [words_at(left + (j + 0.5) * width, bottom + 16, say(b), "middle", "tick") for j, b in enumerate(columns)]
    words += [words_at(2, 11, "Context (tokens)", class_="axis-title"),
              words_at(left + width * len(columns) / 2, bottom + 33, "Batch", "middle", "axis-title")]  # fmt: skip
    pays = sum(g > 1 for g in cells.values())
    says = f"{method} pays in {pays} of {len(cells)} combinations of batch and context."
    title = f"Gain of {method} over {figure.baseline} by batch and context"
    edge = join(_border(paying, left, top, width))
    svg = picture(WIDTH, bottom + 40, ident, title, says, *marks, edge, *words)
    caption = el("p", says, " The heavy line is the border between paying and not.", class_="quiet")
    return el("div", el("h4", title), svg, caption)


def _cell(gain: float | None, x: float, y: float, width: float, where: str) -> Raw:
    if gain is None:
        return hover(f"{where}: no data", box(x, y, width, ROW, "cell none"))
    words = ratio(gain)
    label = words_at(x + width / 2, y + 21, words, "middle", f"cell-words {bin_of(gain)}")
    return hover(f"{where}: {say(gain, 'x')}", box(x, y, width, ROW, f"cell {bin_of(gain)}"), label)


def _border(paying: dict[tuple[int, int], bool], left: float, top: float, width: float) -> Iterable[Raw]:
    """The line between cells that pay and cells that do not: readable without colour."""
    for (i, j), pays in paying.items():
        if paying.get((i, j + 1), pays) != pays:
            x = left + (j + 1) * width
            yield line(x, top + i * ROW, x, top + (i + 1) * ROW, "border")
        if paying.get((i + 1, j), pays) != pays:
            y = top + (i + 1) * ROW
            yield line(left + j * width, y, left + (j + 1) * width, y, "border")

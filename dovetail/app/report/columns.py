"""Stacked columns: a histogram with the range of a converter, or parts of a sum beside each other."""

from __future__ import annotations

from dovetail.app.report.data import Column, Columns, Table
from dovetail.app.report.markup import Raw, el, join
from dovetail.app.report.scales import Scale, drawable, fit, say, tick_words
from dovetail.app.report.svg import box, colour, hover, key, line, picture, shorten, width_of, words_at

WIDTH, HEIGHT, TOP, FLOOR = 940, 260, 26, 48


def height_of(column: Column) -> float:
    """All parts that can be drawn."""
    return sum(float(value) for value in column.parts.values() if drawable(value) and value > 0)


def says(figure: Columns) -> str:
    """What the figure shows, in one sentence."""
    if not figure.columns:
        return "Nothing to show."
    if figure.limit is None:
        tallest = max(figure.columns, key=height_of)
        return f"Most is {tallest.label}, {say(height_of(tallest), figure.unit)}."
    total = sum(map(height_of, figure.columns)) or 1.0
    over = sum(map(height_of, figure.columns[figure.limit :]))
    return f"{over / total:.1%} lie beyond {figure.beyond}."


def _names(figure: Columns) -> list[str]:
    return list(dict.fromkeys(name for column in figure.columns for name in column.parts))


def table(figure: Columns) -> Table:
    """Every part of every column."""
    names = _names(figure)
    rows = [(c.label, *(say(c.parts.get(name), figure.unit) for name in names)) for c in figure.columns]
    return Table(figure.title, (figure.x_title, *names), rows, tuple(range(1, len(names) + 1)))


def charts(figure: Columns, ident: str) -> Raw:
    """The key where there are several parts, the axis, the columns, and the line of the limit."""
    names, bottom = _names(figure), float(HEIGHT - FLOOR)
    scale = fit([0.0, *map(height_of, figure.columns)], bottom, TOP, log=False, pad=0.0)
    ticks = scale.ticks(5)
    words = tick_words(ticks, figure.unit)
    left = max(width_of(each) for each in words) + 14
    room = (WIDTH - 18 - left) / max(1, len(figure.columns))
    axis = [line(left, scale(t), WIDTH - 18, scale(t), "grid") for t in ticks]
    axis += [words_at(left - 6, scale(t) + 4, w, "end", "tick") for t, w in zip(ticks, words, strict=True)]
    drawn = [_column(each, left + room * i, room, scale, bottom, names, figure.unit)
             for i, each in enumerate(figure.columns)]  # fmt: skip
    titles = (
        words_at(2, 11, figure.y_title, class_="axis-title"),
        words_at((left + WIDTH - 18) / 2, HEIGHT - 4, figure.x_title, "middle", "axis-title"),
    )
    limit = [] if figure.limit is None else _limit(figure, left + room * figure.limit, bottom)
    svg = picture(WIDTH, HEIGHT, ident, figure.title, says(figure), *axis, *drawn, *limit,
                  line(left, bottom, WIDTH - 18, bottom, "axis"), *titles)  # fmt: skip
    named = key((name, 1, colour(i)) for i, name in enumerate(names)) if len(names) > 1 else None
    return join([named, svg])


def _column(
    column: Column, left: float, room: float, scale: Scale, bottom: float, names: list[str], unit: str
) -> Raw:  # fmt: skip
    width, below, marks = min(room * 0.72, 90.0), 0.0, []
    x = left + (room - width) / 2
    for i, name in enumerate(names):
        value = column.parts.get(name)
        if value is None or not drawable(value) or value <= 0:
            continue
        top = scale(below + value)
        part = box(x, top, width, scale(below) - top, f"fill {colour(i)}")
        marks.append(hover(f"{column.label}, {name}: {say(value, unit)}", part))
        below += value
    label = words_at(left + room / 2, bottom + 17, shorten(column.label, room - 2), "middle", "tick")
    total = words_at(left + room / 2, scale(below) - 5, shorten(say(below, unit), room), "middle", "quiet")
    return join([*marks, label, total if below else el("g")])


def _limit(figure: Columns, x: float, bottom: float) -> list[Raw]:
    side = "end" if x > WIDTH / 2 else "start"
    return [line(x, TOP - 6, x, bottom, "capacity"),
            words_at(x + (-6 if side == "end" else 6), TOP - 2, figure.beyond, side, "strong")]  # fmt: skip

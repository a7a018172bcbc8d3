"""Why not: how many times worse a design is than one that dominates it, what it breaks, what would have to change."""

from __future__ import annotations

from collections import Counter

from dovetail.app.report.data import Reason, Reasons, Table
from dovetail.app.report.markup import Raw, join
from dovetail.app.report.scales import Scale, drawable, fit, ratio, tick_words
from dovetail.app.report.svg import (
    colour,
    hover,
    key,
    line,
    marker,
    picture,
    shorten,
    width_of,
    words_at,
)

WIDTH, ROW, TOP, FLOOR, PLOT = 940, 46, 26, 40, 330

SCALE = "times worse (left of 1×: better)"
MANY = {
    "breaks a constraint": "break a constraint",
    "dominated": "dominated",
    "on the front, not picked": "on the front but not picked",
}


def says(figure: Reasons) -> str:
    """What the figure shows, in one sentence."""
    if not figure.reasons:
        return "No other design was asked about."
    counts = Counter(r.kind for r in figure.reasons)
    told = ", ".join(f"{count} {MANY.get(kind, kind)}" for kind, count in counts.most_common())
    if len(figure.reasons) == 1:
        return f"{figure.reasons[0].design}: {figure.reasons[0].verdict}."
    return f"Of {len(figure.reasons)} that were asked about: {told}."


def table(figure: Reasons) -> Table:
    """Every design in full."""
    rows = [(r.asked, r.design, r.verdict, _factors(r), r.change or "–") for r in figure.reasons]
    header = ("why not", "its best design", "because", "times worse", "what would have to change")
    return Table(figure.title, header, rows)


def _factors(reason: Reason) -> str:
    told = ", ".join(f"{name} {ratio(value)}" for name, value in reason.factors.items() if drawable(value))
    return f"{told}, than {reason.against}" if told else "–"


def charts(figure: Reasons, ident: str) -> Raw:
    """A row for each design: its name, how many times worse it is by each objective, and why in words."""
    names = list(dict.fromkeys(name for r in figure.reasons for name in r.factors))
    left = min(max([width_of(r.asked) for r in figure.reasons] + [60.0]) + 14, 230.0)
    values = [value for r in figure.reasons for value in r.factors.values() if drawable(value, log=True)]
    scale = fit([1.0, *values], left + 10, left + PLOT, log=True, pad=0.04)
    bottom = TOP + ROW * len(figure.reasons)
    ticks = [1.0, *(t for t in scale.ticks(5) if abs(scale(t) - scale(1.0)) > 30)]
    grid = [line(scale(t), TOP, scale(t), bottom, "grid") for t in ticks]
    grid += [words_at(scale(t), bottom + 16, w, "middle", "tick") for t, w in zip(ticks, tick_words(ticks, "x"),
                                                                                strict=True)]  # fmt: skip
    grid += [line(scale(1.0), TOP - 4, scale(1.0), bottom, "even"),
             words_at(2, 11, "why not", class_="axis-title"),
             words_at(left + PLOT / 2, bottom + 34, SCALE, "middle", "axis-title")]  # fmt: skip
    rows = [_row(r, names, scale, left, TOP + ROW * i) for i, r in enumerate(figure.reasons)]
    svg = picture(WIDTH, bottom + FLOOR, ident, figure.title, says(figure), *grid, *rows)
    legend = key((name, i, colour(i)) for i, name in enumerate(names)) if len(names) > 1 else None
    return join([legend, svg])


def _row(reason: Reason, names: list[str], scale: Scale, left: float, y: float) -> Raw:
    middle = y + ROW / 2
    marks = [
        marker(scale(value), middle + (i - (len(names) - 1) / 2) * 5, i, f"fill {colour(i)}", 4.5)
        for i, name in enumerate(names)
        if drawable(value := reason.factors.get(name), log=True) and value is not None
    ]
    side, room = left + PLOT + 16, WIDTH - left - PLOT - 18
    because = words_at(side, middle - 3, shorten(reason.verdict, room))
    change = words_at(side, middle + 14, shorten(reason.change, room), class_="quiet")
    name = words_at(left - 10, middle + 4, shorten(reason.asked, left - 12), "end")
    frame = line(left + 10, middle, left + PLOT, middle, "grid")
    told = f"{reason.asked} ({reason.design}): {reason.verdict}. {_factors(reason)}. {reason.change}"
    return hover(told, name, frame, *marks, because, change)

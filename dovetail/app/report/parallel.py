"""Parallel coordinates: every design a line across its choices and its objectives, the front before the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from dovetail.app.report.data import Dimension, Parallel, Strand, Table
from dovetail.app.report.markup import Raw, join
from dovetail.app.report.scales import Scale, drawable, evenly, fit, say, tick_words, wants_log
from dovetail.app.report.svg import (
    COLOURS,
    SIZE,
    colour,
    hover,
    key,
    line,
    marker,
    picture,
    polyline,
    shorten,
    width_of,
    words_at,
)

WIDTH, HEIGHT, TOP, FLOOR, EDGE = 940, 430, 50, 18, 62
MOST_FRONT, MOST_OTHERS, MOST_NAMES, MOST_ROWS = 120, 120, 14, 400


@dataclass(frozen=True, slots=True)
class Upright:
    """One axis in pixels: where it stands, the height of a value, and where it is marked."""

    dimension: Dimension
    x: float
    scale: Scale
    marks: tuple[float, ...]
    words: tuple[str, ...]

    def y(self, value: float | str | None) -> float | None:
        """Pixel of a value; None for one that has no place here."""
        if self.dimension.names:
            names = list(self.dimension.names)
            return self.scale(float(names.index(str(value)))) if value in names else None
        if isinstance(value, str) or not self.scale.holds(value):
            return None
        return None if value is None else self.scale(value)


def says(figure: Parallel) -> str:
    """What the figure shows, in one sentence."""
    front = [s for s in figure.strands if s.on_front]
    if not front:
        return "No design is on the front."
    same = [f"{d.title} {v[0]}" for d in figure.dimensions if d.better is None
            and len(v := list(dict.fromkeys(_told(d, s) for s in front))) == 1]  # fmt: skip
    winner = next((s for s in figure.strands if s.winner), None)
    words = f"{len(front):,} designs of the front across {len(figure.dimensions)} axes"
    words += f"; all of them have {', '.join(same)}" if same and len(front) > 1 else ""
    return words + (f"; the winner is {winner.label}." if winner else ".")


def _told(dimension: Dimension, strand: Strand) -> str:
    value = strand.values.get(dimension.name)
    return value if isinstance(value, str) else "–" if value is None else say(value, dimension.unit)


def _ranked(figure: Parallel) -> list[Strand]:
    return sorted(figure.strands, key=lambda s: (not s.winner, not s.on_front))


def table(figure: Parallel) -> Table:
    """Every design, the winner and the front first."""
    header = ("design", "front", *(d.title for d in figure.dimensions))
    rows = [(s.label, "winner" if s.winner else "yes" if s.on_front else "no",
             *(_told(d, s) for d in figure.dimensions)) for s in _ranked(figure)[:MOST_ROWS]]  # fmt: skip
    numeric = tuple(i for i, d in enumerate(figure.dimensions, 2) if not d.names)
    return Table(figure.title, header, rows, numeric, more=max(len(figure.strands) - MOST_ROWS, 0))


def brief(figure: Parallel) -> Table:
    """The front only."""
    whole = table(figure)
    return Table(whole.title, whole.header, [row for row in whole.rows if row[1] != "no"], whole.numeric)


def charts(figure: Parallel, ident: str) -> Raw:
    """The key and the chart."""
    uprights = _uprights(figure)
    front = [s for s in figure.strands if s.on_front and not s.winner]
    others = [s for s in figure.strands if not s.on_front and not s.winner]
    winner = [s for s in figure.strands if s.winner]
    groups = {n: i for i, n in enumerate(dict.fromkeys(s.group for s in (*winner, *front)))}
    many = " many" if len(front) > 40 else ""
    drawn = [_strand(uprights, s, "strand") for s in evenly(others, MOST_OTHERS)]
    drawn += [_strand(uprights, s, f"strand front{many} {colour(groups[s.group])}") for s in evenly(front, MOST_FRONT)]
    drawn += [_winner(uprights, s, colour(groups[s.group])) for s in winner]
    ends = [*(u.x for u in uprights[1:]), WIDTH]
    axes = [_axis(u, end - u.x, i, last=i == len(uprights) - 1)
            for i, (u, end) in enumerate(zip(uprights, ends, strict=False))]  # fmt: skip
    svg = picture(WIDTH, HEIGHT, ident, figure.title, says(figure), *drawn, *axes)
    legend = key((name or "design", 1, colour(i)) for name, i in list(groups.items())[:COLOURS])
    return join([legend if len(groups) > 1 else None, svg])


def _uprights(figure: Parallel) -> list[Upright]:
    """The axes, the better end of an objective at the top; the longer an axis's words, the more room it has."""
    found = [_upright(d, _values(figure.strands, d)) for d in figure.dimensions]
    rooms = (min(max([width_of(w) for w in u.words] + [38.0]) + 16, 150.0) for u in found[:-1])
    ends = list(accumulate(rooms, initial=0.0))
    stretch = (WIDTH - 2 * EDGE) / max(ends[-1], 1.0)
    return [replace(upright, x=EDGE + end * stretch) for upright, end in zip(found, ends, strict=False)]


def _upright(dimension: Dimension, values: Sequence[float]) -> Upright:
    ends = (HEIGHT - FLOOR, TOP) if dimension.better != "lower" else (TOP, HEIGHT - FLOOR)
    log = bool(values) and (wants_log(values) or (dimension.better is None and _doubles(values)))
    scale = fit(values, float(ends[0]), float(ends[1]), log=log, pad=0.0)
    if dimension.names:
        scale = Scale(-0.5, len(dimension.names) - 0.5, float(TOP), float(HEIGHT - FLOOR))
    marks = _marks(dimension, scale, values)
    words = [dimension.names[int(m)] for m in marks] if dimension.names else tick_words(marks, dimension.unit)
    return Upright(dimension, 0.0, scale, marks, tuple(words))


def _doubles(values: Sequence[float]) -> bool:
    """Whether the values of a choice are steps of a factor, so that a log axis has them evenly spaced."""
    steps = sorted(set(values))
    return len(steps) > 2 and steps[0] > 0 and min(b / a for a, b in pairwise(steps)) >= 1.4


def _values(strands: Sequence[Strand], dimension: Dimension) -> list[float]:
    values = (s.values.get(dimension.name) for s in strands)
    return [float(v) for v in values if v is not None and not isinstance(v, str) and drawable(float(v))]


def _marks(dimension: Dimension, scale: Scale, values: Sequence[float]) -> tuple[float, ...]:
    """Every name or every value of a choice where there are few; else ticks."""
    if dimension.names:
        return tuple(float(i) for i in evenly(range(len(dimension.names)), MOST_NAMES))
    steps = sorted(set(values))
    if dimension.better or len(steps) > MOST_NAMES:
        return scale.ticks(6)
    free, kept = math.inf, []
    for step in steps:
        if abs(scale(step) - free) >= SIZE + 2 or free == math.inf:
            kept.append(step)
            free = scale(step)
    return tuple(kept)


def _strand(uprights: Sequence[Upright], strand: Strand, look: str) -> Raw:
    """A line through its values; broken where an axis does not apply."""
    runs: list[list[tuple[float, float]]] = [[]]
    for upright in uprights:
        y = upright.y(strand.values.get(upright.dimension.name))
        if y is None:
            runs.append([])
        else:
            runs[-1].append((upright.x, y))
    words = f"{strand.label}: " + ", ".join(f"{u.dimension.title} {_told(u.dimension, strand)}" for u in uprights
                                            if u.dimension.better)  # fmt: skip
    lines = [polyline(run, look) if len(run) > 1 else marker(*run[0], 0, f"hollow {look.split()[-1]}", 2.5)
             for run in runs if run]  # fmt: skip
    return hover(words, *lines)


def _winner(uprights: Sequence[Upright], strand: Strand, look: str) -> Raw:
    dots = [marker(u.x, y, 0, f"fill {look}", 4.5) for u in uprights
            if (y := u.y(strand.values.get(u.dimension.name))) is not None]  # fmt: skip
    return join([_strand(uprights, strand, "strand best"), *dots])


def _axis(upright: Upright, gap: float, number: int, *, last: bool) -> Raw:
    """An axis with its marks; titles stand in two rows, so that they have room."""
    d, x, scale = upright.dimension, upright.x, upright.scale
    room = EDGE + 20.0 if last else max(gap - 12, 30.0)
    side, shift = ("end", -6) if last else ("start", 6)
    ticks = [line(x - 3, scale(p), x + 3, scale(p), "axis") for p in upright.marks]
    ticks += [words_at(x + shift, scale(p) + 4, shorten(w, room), side, "label tick")
              for p, w in zip(upright.marks, upright.words, strict=True)]  # fmt: skip
    named = ("↑ " if d.better else "") + d.title
    title = words_at(x, 14 + 18 * (number % 2), shorten(named, 2 * min(gap, EDGE)), "middle", "axis-title")
    return join([line(x, TOP, x, HEIGHT - FLOOR, "axis"), *ticks, title])

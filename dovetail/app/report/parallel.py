"""Parallel coordinates: every design a line across its choices and its objectives, the front before the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dovetail.app.report.data import Dimension, Parallel, Strand, Table
from dovetail.app.report.markup import Raw, join
from dovetail.app.report.scales import Scale, drawable, evenly, fit, say, tick_words, wants_log
from dovetail.app.report.svg import COLOURS, colour, hover, key, line, marker, picture, polyline, shorten, words_at

WIDTH, HEIGHT, TOP, FLOOR, EDGE = 940, 430, 52, 18, 62
MOST_FRONT, MOST_OTHERS, MOST_NAMES, MOST_ROWS = 120, 160, 14, 400


@dataclass(frozen=True, slots=True)
class Upright:
    """One axis in pixels: where it stands, and the height of a value."""

    dimension: Dimension
    x: float
    scale: Scale

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
    gap = uprights[1].x - uprights[0].x if len(uprights) > 1 else WIDTH / 2
    drawn = [_strand(uprights, s, "strand") for s in evenly(others, MOST_OTHERS)]
    drawn += [_strand(uprights, s, f"strand front {colour(groups[s.group])}") for s in evenly(front, MOST_FRONT)]
    drawn += [_winner(uprights, s, colour(groups[s.group])) for s in winner]
    axes = [_axis(u, gap, last=i == len(uprights) - 1) for i, u in enumerate(uprights)]
    svg = picture(WIDTH, HEIGHT, ident, figure.title, says(figure), *drawn, *axes)
    legend = key((name or "design", 1, colour(i)) for name, i in list(groups.items())[:COLOURS])
    return join([legend if len(groups) > 1 else None, svg])


def _uprights(figure: Parallel) -> list[Upright]:
    """The axes, the better end of an objective at the top."""
    count, found = len(figure.dimensions), []
    for i, dimension in enumerate(figure.dimensions):
        x = EDGE + (WIDTH - 2 * EDGE) * i / max(count - 1, 1)
        values = _values(figure.strands, dimension)
        ends = (HEIGHT - FLOOR, TOP) if dimension.better != "lower" else (TOP, HEIGHT - FLOOR)
        log = bool(values) and (wants_log(values) or (dimension.better is None and _doubles(values)))
        scale = fit(values, float(ends[0]), float(ends[1]), log=log, pad=0.0)
        if dimension.names:
            last = max(len(dimension.names) - 1, 0)
            scale = Scale(-0.5, last + 0.5, float(TOP), float(HEIGHT - FLOOR))
        found.append(Upright(dimension, x, scale))
    return found


def _doubles(values: Sequence[float]) -> bool:
    """Whether the values of a choice are steps of a factor, so that a log axis has them evenly spaced."""
    steps = sorted(set(values))
    return len(steps) > 2 and steps[0] > 0 and min(b / a for a, b in zip(steps, steps[1:], strict=False)) >= 1.4


def _values(strands: Sequence[Strand], dimension: Dimension) -> list[float]:
    values = (s.values.get(dimension.name) for s in strands)
    return [float(v) for v in values if v is not None and not isinstance(v, str) and drawable(float(v))]


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


def _axis(upright: Upright, gap: float, *, last: bool) -> Raw:
    d, x, scale = upright.dimension, upright.x, upright.scale
    room = min(gap - 14, 150.0) if gap > 40 else 40.0
    if d.names:
        places = [float(i) for i in evenly(range(len(d.names)), MOST_NAMES)]
        words = [d.names[int(i)] for i in places]
    else:
        places = list(scale.ticks(6))
        words = tick_words(places, d.unit)
    side, shift = ("end", -6) if last else ("start", 6)
    ticks = [line(x - 3, scale(p), x + 3, scale(p), "axis") for p in places]
    ticks += [words_at(x + shift, scale(p) + 4, shorten(w, room), side, "label tick")
              for p, w in zip(places, words, strict=True)]  # fmt: skip
    title = words_at(x, 16, shorten(d.title, min(gap - 6, 140.0)), "middle", "axis-title")
    better = words_at(x, 32, "↑ better", "middle", "quiet") if d.better else None
    return join([line(x, TOP, x, HEIGHT - FLOOR, "axis"), *ticks, title, better])

"""Does a method pay at your batch and context? Gain over the baseline, and where it stops."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from dovetail.app.report.data import Crossover, CrossoverSeries, Table
from dovetail.app.report.heatmap import heat_map
from dovetail.app.report.labels import spread
from dovetail.app.report.markup import Raw, el, join
from dovetail.app.report.scales import drawable, evenly, ratio, say
from dovetail.app.report.svg import (
    Axis,
    Plot,
    box,
    colour,
    hover,
    line,
    marker,
    picture,
    plot,
    polyline,
    shorten,
    width_of,
    words_at,
)

WIDE, NARROW, HEIGHT, LANE = 940, 464, 290, 15
MOST_PANELS, MOST_LINES = 6, 10


@dataclass(frozen=True, slots=True)
class Crossing:
    """A batch (interpolated on log axes) at which a gain passes through 1, and which way."""

    batch: float
    way: Literal["stops", "starts"]

    @property
    def first_batch(self) -> int:
        """The first whole batch on the far side: where it no longer (``stops``) or already (``starts``) pays."""
        return math.ceil(self.batch - 1e-9) if self.way == "stops" else math.floor(self.batch + 1e-9) + 1

    @property
    def words(self) -> str:
        """``stops paying at batch 48``."""
        return f"{self.way} paying at batch {self.first_batch:,}"


def points(series: CrossoverSeries) -> list[tuple[float, float]]:
    """(batch, gain) in order of batch, positive finite numbers only."""
    pairs = ((float(b), float(g)) for b, g in zip(series.batch, series.gain, strict=False))
    return sorted((b, g) for b, g in pairs if drawable(b, log=True) and drawable(g, log=True))


def crossings(series: CrossoverSeries) -> list[Crossing]:
    """Every passage of the gain through 1; exactly 1 does not pay."""
    found, known = [], points(series)
    for (b1, g1), (b2, g2) in pairwise(known):
        if (g1 > 1) != (g2 > 1) and b1 < b2:
            share = math.log(g1) / (math.log(g1) - math.log(g2))
            batch = math.exp(math.log(b1) + share * (math.log(b2) - math.log(b1)))
            found.append(Crossing(batch, "stops" if g1 > 1 else "starts"))
    return found


def verdict(series: CrossoverSeries) -> str:
    """In words, over the batches known: pays at every batch, never pays, or where it stops and starts."""
    known, passages = points(series), crossings(series)
    if not known:
        return "no data"
    if passages:
        return ", ".join(c.words.replace(" paying", "") for c in passages[:3])
    return f"pays {ratio(known[0][1])} … {ratio(known[-1][1])}" if known[0][1] > 1 else "never pays"


def _contexts(figure: Crossover) -> list[float]:
    return sorted({s.context for s in figure.series if not math.isnan(s.context)})


def _methods(figure: Crossover) -> list[str]:
    return list(dict.fromkeys(s.method for s in figure.series))


def says(figure: Crossover) -> str:
    """What the figure shows, in one sentence."""
    if not figure.series:
        return "No method to compare."
    always = [m for m in _methods(figure) if _all(figure, m, lambda g: g > 1)]
    never = [m for m in _methods(figure) if _all(figure, m, lambda g: g <= 1)]
    some = [m for m in _methods(figure) if m not in always and m not in never]
    words = [f"{what}: {', '.join(names)}" for names, what in (
        (always, "always faster"), (some, "faster only at some batches or contexts"), (never, "never faster"),
    ) if names]  # fmt: skip
    return f"Against {figure.baseline} – " + "; ".join(words) or "no data" + "."


def _all(figure: Crossover, method: str, test: Callable[[float], bool]) -> bool:
    gains = [g for s in figure.series if s.method == method for _, g in points(s)]
    return bool(gains) and all(test(g) for g in gains)


def table(figure: Crossover) -> Table:
    """Every gain: method, context, batch, gain."""
    rows = [
        (s.method, say(s.context), say(float(b)), say(float(g), "x"))
        for s in figure.series
        for b, g in zip(s.batch, s.gain, strict=False)
    ]
    return Table(figure.title, ("method", "context", "batch", f"gain over {figure.baseline}"), rows, (1, 2, 3))


def brief(figure: Crossover) -> Table:
    """The answer: where each method stops paying, by context (at most seven contexts, evenly chosen)."""
    contexts = _contexts(figure)
    chosen = evenly(contexts, 7)
    known = {(s.method, s.context): verdict(s) for s in figure.series}
    rows = [(m, *(known.get((m, c), "–") for c in chosen)) for m in _methods(figure)]
    return Table("Where each method pays", ("method", *(f"context {say(c)}" for c in chosen)), rows)


def charts(figure: Crossover, ident: str) -> Raw:
    """One panel for each context, then one method over batch and context."""
    panels = evenly(_contexts(figure), MOST_PANELS)
    width = WIDE if len(panels) <= 1 else NARROW
    room = Room(
        width,
        max([width_of(_end(s)) for c in panels for s in _lines(figure, c)] + [60]) + 22,
        max([sum(len(crossings(s)) for s in _lines(figure, c)) for c in panels] + [0]),
    )
    drawn = [_panel(figure, c, f"{ident}-{i}", room) for i, c in enumerate(panels)]
    heat = heat_map(figure, _heat_method(figure), f"{ident}-heat")
    return join([el("div", *drawn, class_="panels" if len(panels) > 1 else "panel"), heat])


def _heat_method(figure: Crossover) -> str:
    """The method asked for, else the one whose answer differs most over batch and context."""
    if figure.heat_method or not figure.series:
        return figure.heat_method

    def mixed(method: str) -> float:
        gains = [g for s in figure.series if s.method == method for _, g in points(s)]
        return min(sum(g > 1 for g in gains), sum(g <= 1 for g in gains)) / max(len(gains), 1)

    return max(_methods(figure), key=mixed)


def _lines(figure: Crossover, context: float) -> list[CrossoverSeries]:
    return [s for s in figure.series if s.context == context and points(s)][:MOST_LINES]


@dataclass(frozen=True, slots=True)
class Room:
    """What all panels share: width, right margin for the lines' names (pixels), and lanes for the crossings' words."""

    width: float
    right: float
    lanes: int


def _end(series: CrossoverSeries) -> str:
    return shorten(f"{series.method} {ratio(points(series)[-1][1])}", 130)


def _panel(figure: Crossover, context: float, ident: str, room: Room) -> Raw:
    lines, looks = _lines(figure, context), {m: colour(i) for i, m in enumerate(_methods(figure))}
    frame = _frame(figure, room)
    paths = [[frame.at(b, g) for b, g in points(s)] for s in lines]
    drawn = [_line(s, path, i, looks[s.method]) for i, (s, path) in enumerate(zip(lines, paths, strict=True))]
    flags = _flags([(s, c) for s in lines for c in crossings(s)], frame, looks, room.width)
    floor = frame.bottom - LANE * room.lanes - 8
    tails = _ends([(path[-1], _end(s), looks[s.method]) for s, path in zip(lines, paths, strict=True)], frame, floor)
    title = f"Context {say(context)} tokens"
    words = f"{title}. " + "; ".join(f"{s.method}: {verdict(s)}" for s in lines)
    body = (frame.axes, *_even(frame), *drawn, *tails, *flags)
    height = HEIGHT + LANE * room.lanes
    svg = picture(room.width, height, ident, f"{figure.title}, {title.lower()}", words, *body)
    return el("div", el("h4", title), svg)


def _frame(figure: Crossover, room: Room) -> Plot:
    """All panels share both axes, so that they can be compared."""
    known = [pair for s in figure.series for pair in points(s)]
    x = Axis("Batch", "", [b for b, _ in known], log=True, pad=0.03)
    y = Axis("Gain (baseline time / time)", "x", [g for _, g in known] + [1.0], log=True)
    floor = LANE * room.lanes
    return plot(room.width, HEIGHT + floor, x, y, right=room.right, floor=floor + 4)


def _even(frame: Plot) -> Iterable[Raw]:
    """The line where a method neither pays nor costs; below it, a faint tint."""
    y = frame.y(1.0)
    yield box(frame.left, y, frame.right - frame.left, frame.bottom - y, "loses")
    yield polyline([(frame.left, y), (frame.right, y)], "even")


def _line(series: CrossoverSeries, path: Sequence[tuple[float, float]], slot: int, look: str) -> Raw:
    dots = [
        hover(f"{series.method}, batch {say(b)}: {say(g, 'x')}", marker(x, y, slot, f"fill {look}", 2.8))
        for (b, g), (x, y) in zip(points(series), path, strict=True)
    ]
    return join([polyline(path, f"series {look} d{slot % 4}") if len(path) > 1 else None, *dots])


Found = list[tuple[CrossoverSeries, Crossing]]


def _flags(found: Found, frame: Plot, looks: dict[str, str], width: float) -> Iterable[Raw]:
    """Each crossing with a thread down to its words, the leftmost lowest: so no thread meets another's words."""
    y = frame.y(1.0)
    for lane, (series, crossing) in enumerate(sorted(found, key=lambda sc: sc[1].batch)):
        x, base, look = frame.x(crossing.batch), frame.bottom - 6 - LANE * lane, looks[series.method]
        words, dot = crossing.words, marker(x, y, 0, f"cross {look}", 5.5)
        left = min(x + 6, width - width_of(words))
        thread = line(x, y, x, base - (0 if left > x + 5 else LANE - 2), f"leader {look}")
        yield hover(f"{series.method} {words}", thread, dot, words_at(left, base, words, class_=f"ink {look}"))


def _ends(tails: list[tuple[tuple[float, float], str, str]], frame: Plot, floor: float) -> Iterable[Raw]:
    """Each line's name at its right end, moved apart down to `floor`, with a thin leader where it moved."""
    tails = [*tails, ((frame.right, frame.y(1.0)), "no gain", "even-words")]
    spots = spread([at[1] for at, _, _ in tails], 14, frame.top - 6, floor)
    for (at, label, look), y in zip(tails, spots, strict=True):
        yield polyline([at, (frame.right + 4, at[1]), (frame.right + 12, y)], f"leader {look}")
        yield words_at(frame.right + 15, y + 4, label, class_=f"ink {look}")

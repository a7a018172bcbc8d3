"""Every design by two objectives, the front among them, and the winner."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from dovetail.app.report.data import Pareto, ParetoPoint, Table
from dovetail.app.report.labels import Placer
from dovetail.app.report.markup import Raw, el, join
from dovetail.app.report.scales import evenly, say, wants_log
from dovetail.app.report.svg import (
    COLOURS,
    Axis,
    Plot,
    colour,
    hover,
    key,
    line,
    marker,
    picture,
    plot,
    polyline,
    shorten,
    words_at,
)

WIDTH, HEIGHT = 940, 460
MOST_LABELS, MOST_ROWS = 14, 400  # of the table; the whole is in result.json
MOST_DRAWN = 1500  # dominated points beyond this many are thinned: the eye sees no more, the file would


def says(figure: Pareto) -> str:
    """What the figure shows, in one sentence."""
    front = max(figure.front, sum(p.on_front for p in figure.points))
    winner = next((p for p in figure.points if p.winner), None)
    words = f"{front:,} of {max(figure.of, len(figure.points)):,} designs {'is' if front == 1 else 'are'} on the front"
    if winner is None:
        return f"{words}; none is marked as the winner." if figure.points else "No design to show."
    return (
        f"{words}; the winner is {winner.label}: {say(winner.x, figure.x_unit)} ({figure.x_title.lower()}), "
        f"{say(winner.y, figure.y_unit)} ({figure.y_title.lower()})."
    )


def _ranked(points: Sequence[ParetoPoint]) -> list[ParetoPoint]:
    return sorted(points, key=lambda p: (not p.winner, not p.on_front, p.x if p.x == p.x else math.inf))


def table(figure: Pareto) -> Table:
    """The designs, the winner and the front first."""
    header = ("design", "group", figure.x_title, figure.y_title, "front")
    rows = [
        (p.label, p.group, say(p.x, figure.x_unit), say(p.y, figure.y_unit),
         "winner" if p.winner else "yes" if p.on_front else f"no: {p.broken}" if p.broken else "no")
        for p in _ranked(figure.points)[:MOST_ROWS]
    ]  # fmt: skip
    return Table(figure.title, header, rows, (2, 3), more=max(len(figure.points) - MOST_ROWS, 0))


def brief(figure: Pareto) -> Table:
    """The winner and the front only."""
    whole = table(figure)
    return Table(whole.title, whole.header, [row for row in whole.rows if not row[4].startswith("no")], whole.numeric)


def charts(figure: Pareto, ident: str) -> Raw:
    """The figure's key and chart."""
    frame = _frame(figure)
    shown = [p for p in figure.points if frame.holds(p.x, p.y)]
    groups = {name: i for i, name in enumerate(dict.fromkeys(p.group for p in _ranked(shown)))}
    placer = Placer((frame.left + 2, frame.top - 4, frame.right, frame.bottom - 2))
    chosen = [p for p in _ranked(shown) if p.on_front or p.winner]
    others = [p for p in shown if not (p.on_front or p.winner)]
    for p in chosen:
        placer.block(*frame.at(p.x, p.y), radius=7)
        for (x1, y1), (x2, y2) in _whiskers(frame, p):
            placer.avoid([(x1, y1), (x2, y2)])
    for p in _thinned(others)[:400]:
        placer.avoid([frame.at(p.x, p.y)] * 2)
    stairs = _stairs(figure, frame, [p for p in chosen if p.on_front], placer)
    corner = _corner(figure, frame, placer)
    dim = join(_dominated(figure, frame, p, groups[p.group]) for p in _thinned(others))
    named = {id(p) for p in [p for p in chosen if p.winner] + evenly([p for p in chosen if not p.winner], MOST_LABELS)}
    marks = join(_chosen(figure, frame, p, groups[p.group], placer if id(p) in named else None) for p in chosen)
    legend = key((name or "design", i, colour(i)) for name, i in list(groups.items())[:COLOURS])
    more = len(groups) - COLOURS
    rest = el("p", f"and {more} more groups in grey", class_="quiet") if more > 0 else None
    svg = picture(WIDTH, HEIGHT, ident, figure.title, says(figure), frame.axes, corner, dim, stairs, marks)
    return join([*((legend, rest) if len(groups) > 1 else ()), svg])


def _frame(figure: Pareto) -> Plot:
    xs = [v for p in figure.points for v in (p.x, *(p.x_interval or ()))]
    ys = [v for p in figure.points for v in (p.y, *(p.y_interval or ()))]
    x = Axis(_axis_title(figure.x_title, figure.x_better), figure.x_unit, xs, log=wants_log(xs))
    y = Axis(_axis_title(figure.y_title, figure.y_better), figure.y_unit, ys, log=wants_log(ys))
    return plot(WIDTH, HEIGHT, x, y, right=30)


def _axis_title(title: str, better: str) -> str:
    return f"{shorten(title, 320)} ({better} is better)"


def _corner(figure: Pareto, frame: Plot, placer: Placer) -> Raw:
    """An arrow in the corner that every design would like to reach."""
    left, low = figure.x_better == "lower", figure.y_better == "lower"
    x, y = (frame.left + 8 if left else frame.right - 8), (frame.bottom - 8 if low else frame.top + 14)
    arrow = {(True, True): "↙", (True, False): "↖", (False, True): "↘", (False, False): "↗"}[left, low]
    words = f"{arrow} better" if left else f"better {arrow}"
    placer.taken.append((x - 55 if not left else x, y - 12, x if not left else x + 55, y + 4))
    return words_at(x, y, words, "start" if left else "end", "quiet")


def _stairs(figure: Pareto, frame: Plot, front: list[ParetoPoint], placer: Placer) -> Raw | None:
    """The edge of what can be reached in these two objectives; a front of more objectives also has points behind it."""
    x_sign = 1 if figure.x_better == "lower" else -1
    y_sign = 1 if figure.y_better == "lower" else -1
    edge: list[ParetoPoint] = []
    for p in sorted(front, key=lambda p: (x_sign * p.x, y_sign * p.y)):
        if not edge or y_sign * p.y < y_sign * edge[-1].y:
            edge.append(p)
    if len(edge) < 2:
        return None
    corners = [frame.at(edge[0].x, edge[0].y)]
    for p in edge[1:]:
        x, y = frame.at(p.x, p.y)
        corners += [(x, corners[-1][1]), (x, y)]
    placer.avoid(corners)
    return polyline(corners, "front")


def _thinned(points: list[ParetoPoint]) -> list[ParetoPoint]:
    return points[:: -(-len(points) // MOST_DRAWN)] if len(points) > MOST_DRAWN else points


def _words(figure: Pareto, point: ParetoPoint) -> str:
    x = say(point.x, figure.x_unit) + _between(point.x_interval, figure.x_unit)
    y = say(point.y, figure.y_unit) + _between(point.y_interval, figure.y_unit)
    return f"{point.label}: {x}, {y}" + (f"; not feasible: {point.broken}" if point.broken else "")


def _between(interval: tuple[float, float] | None, unit: str) -> str:
    return f" ({say(interval[0], unit)} to {say(interval[1], unit)})" if interval else ""


def _dominated(figure: Pareto, frame: Plot, point: ParetoPoint, slot: int) -> Raw:
    look = "broken" if point.broken else f"hollow {colour(slot)}"
    return hover(_words(figure, point), marker(*frame.at(point.x, point.y), slot, look, 2.6 if point.broken else 3.2))


def _whiskers(frame: Plot, point: ParetoPoint) -> Iterable[tuple[tuple[float, float], tuple[float, float]]]:
    """Ends of the lines that show the intervals."""
    x, y = frame.at(point.x, point.y)
    if point.x_interval and all(map(frame.x.holds, point.x_interval)):
        yield (frame.x(point.x_interval[0]), y), (frame.x(point.x_interval[1]), y)
    if point.y_interval and all(map(frame.y.holds, point.y_interval)):
        yield (x, frame.y(point.y_interval[0])), (x, frame.y(point.y_interval[1]))


def _short(label: str, most: float = 230) -> str:
    """A label that ends with a whole part of it, where it has parts."""
    cut = shorten(label, most)
    return cut.rpartition(", ")[0] if cut.endswith("…") and ", " in cut else cut


def _chosen(figure: Pareto, frame: Plot, point: ParetoPoint, slot: int, placer: Placer | None) -> Raw:
    x, y = frame.at(point.x, point.y)
    ring = marker(x, y, 0, "ring", 10) if point.winner else None
    words = _short(point.label)
    words, look = (f"★ {words}", "strong") if point.winner else (words, "")
    label = placer.place(x, y, words, look, gap=11) if placer else None
    if label is None and placer and point.winner:
        label = placer.place(x, y, "★ winner", look, gap=11) or placer.place(x, y, "★ winner", look, gap=42)
    shape = marker(x, y, slot, f"fill {colour(slot)}", 5)
    lines = (line(*start, *end, f"reach {colour(slot)}") for start, end in _whiskers(frame, point))
    return hover(_words(figure, point), *lines, ring, shape, label)

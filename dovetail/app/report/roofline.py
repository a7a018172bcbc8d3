"""Operators under the roof of a machine (Williams, Waterman and Patterson, CACM 52(4), 2009)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from dovetail.app.report.data import Roofline, RooflinePoint, Table
from dovetail.app.report.labels import Placer
from dovetail.app.report.markup import Raw, join
from dovetail.app.report.scales import drawable, say
from dovetail.app.report.svg import Axis, Plot, colour, hover, key, marker, picture, plot, polyline, shorten, words_at

WIDTH, HEIGHT = 940, 430
_BOUNDS = ("memory", "compute", "overhead")


def _usable(levels: Mapping[str, float]) -> list[tuple[str, float]]:
    """Levels that are positive numbers, the highest first."""
    return sorted(((k, float(v)) for k, v in levels.items() if drawable(v, log=True)), key=lambda kv: -kv[1])


def _slot(figure: Roofline) -> dict[str, int]:
    others = dict.fromkeys(p.bound for p in figure.points if p.bound not in _BOUNDS)
    return {bound: i for i, bound in enumerate((*_BOUNDS, *others))}


def says(figure: Roofline) -> str:
    """What the figure shows, in one sentence."""
    if not figure.points:
        return f"No operator to show under the roof of {figure.roof.name}."
    counts = {b: sum(p.bound == b for p in figure.points) for b in dict.fromkeys(p.bound for p in figure.points)}
    by_time = {b: sum(p.share or 0 for p in figure.points if p.bound == b) for b in counts}
    total, most = len(figure.points), max(counts, key=lambda b: (by_time[b], counts[b]))
    share = f", which take {say(by_time[most], '%')} of the time" if 0 < by_time[most] <= 1.0001 else ""
    return f"{counts[most]} of {total} operators are {most} bound on {figure.roof.name}{share}."


def table(figure: Roofline) -> Table:
    """Every operator: intensity, attained rate, bound, share of the time."""
    rows = [(p.name, say(p.intensity), say(p.flops_per_s, "flop/s"), p.bound, say(p.share, "%")) for p in figure.points]
    return Table(figure.title, ("operator", "FLOP per byte", "attained", "bound by", "share of time"), rows, (1, 2, 4))


def charts(figure: Roofline, ident: str) -> Raw:
    """The figure's key and chart."""
    peaks, levels, slots = _usable(figure.roof.peaks), _usable(figure.roof.bandwidths), _slot(figure)
    frame = _frame(figure, peaks, levels)
    placer = Placer((frame.left + 2, frame.top - 12, frame.right, frame.bottom - 2))
    shown = sorted((p for p in figure.points if frame.holds(p.intensity, p.flops_per_s)), key=lambda p: -(p.share or 0))
    names = _names(frame, shown)
    for p in shown:
        placer.block(*frame.at(p.intensity, p.flops_per_s), radius=_radius(p))
    roof = join([*_slopes(frame, peaks, levels, placer), *_ceilings(frame, peaks, levels, placer)])
    marks = join(_mark(frame, p, slots[p.bound]) for p in shown)
    words = join(placer.place(*frame.at(p.intensity, p.flops_per_s), name, gap=_radius(p) + 4) for p, name in names)
    named = key((f"{b} bound", i, colour(i)) for b, i in slots.items() if any(p.bound == b for p in shown))
    return join([named, picture(WIDTH, HEIGHT, ident, figure.title, says(figure), frame.axes, roof, marks, words)])


def _frame(figure: Roofline, peaks: list[tuple[str, float]], levels: list[tuple[str, float]]) -> Plot:
    ridges = [peak / band for _, peak in peaks for _, band in levels]
    xs = [p.intensity for p in figure.points] + [r * f for r in ridges for f in (0.3, 3)]
    tops = [p.flops_per_s for p in figure.points] + [v for _, v in peaks]
    x = Axis("Arithmetic intensity (FLOP per byte moved)", "", xs, log=True)
    y = Axis("Attained rate", "flop/s", tops, log=True, pad=0.09)
    return plot(WIDTH, HEIGHT, x, y)


def _slopes(
    frame: Plot, peaks: list[tuple[str, float]], levels: list[tuple[str, float]], placer: Placer
) -> Iterator[Raw | None]:
    """One slanted line for each memory level; the slowest, which feeds everything, is solid."""
    top = peaks[0][1] if peaks else frame.y.high
    for i, (name, band) in enumerate(reversed(levels)):
        x1 = max(frame.x.low, frame.y.low / band)
        x2 = min(frame.x.high, top / band)
        if not x1 < x2:
            continue
        start, end = frame.at(x1, band * x1), frame.at(x2, band * x2)
        placer.avoid([start, end])
        yield polyline([start, end], "roof" if i == 0 else "roof faint")
        yield _along(start, end, shorten(f"{name} {say(band, 'byte/s')}", 190), placer)


def _along(start: tuple[float, float], end: tuple[float, float], words: str, placer: Placer) -> Raw | None:
    """Words that follow a slope, a little above it, near its lower end."""
    angle = math.atan2(end[1] - start[1], end[0] - start[0])
    length, needed = math.dist(start, end), 7.2 * len(words)
    if length < needed + 30:
        return None
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = start[0] + 22 * cos + 7 * sin, start[1] + 22 * sin - 7 * cos
    steps = range(0, int(needed), 6)
    boxes = [(x + s * cos - 5, y + s * sin - 9, x + s * cos + 7, y + s * sin + 4) for s in steps]
    if any(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for a in boxes for b in placer.taken):
        return None
    placer.taken.extend(boxes)
    return words_at(x, y, words, class_="quiet", transform=f"rotate({math.degrees(angle):.1f} {x:.1f} {y:.1f})")


def _ceilings(
    frame: Plot, peaks: list[tuple[str, float]], levels: list[tuple[str, float]], placer: Placer
) -> Iterator[Raw | None]:
    """One flat line for each dtype's peak, from where the fastest memory reaches it."""
    for i, (name, peak) in enumerate(peaks):
        x1 = max(frame.x.low, peak / levels[0][1]) if levels else frame.x.low
        start, end = frame.at(min(x1, frame.x.high), peak), frame.at(frame.x.high, peak)
        placer.avoid([start, end])
        yield polyline([start, end], "roof" if i == 0 else "roof faint")
        words = shorten(f"{name} {say(peak, 'flop/s')}", 190)
        spots = (placer.place(end[0] + 8, end[1] + dy, words, "quiet", tie=False) for dy in (-12, 12))
        yield next((spot for spot in spots if spot), None)


def _radius(point: RooflinePoint) -> float:
    """Area follows the share of the time, within what stays readable."""
    share = point.share if point.share is not None and 0 <= point.share <= 1 else 0.08
    return 3.5 + 11 * math.sqrt(share)


def _names(frame: Plot, points: list[RooflinePoint]) -> list[tuple[RooflinePoint, str]]:
    """The names to write: operators that lie on one another share one label, at the one that takes most time."""
    heads: list[tuple[RooflinePoint, list[str]]] = []
    for p in points:
        at = frame.at(p.intensity, p.flops_per_s)
        near = (names for q, names in heads if math.dist(at, frame.at(q.intensity, q.flops_per_s)) < 12)
        names = next(near, None)
        if names is None:
            heads.append((p, [p.name]))
        else:
            names.append(p.name)
    return [(p, shorten(", ".join(names), 330)) for p, names in heads]


def _mark(frame: Plot, point: RooflinePoint, slot: int) -> Raw:
    words = f"{point.name}: {say(point.flops_per_s, 'flop/s')} at {say(point.intensity)} FLOP/byte, {point.bound} bound"
    at = frame.at(point.intensity, point.flops_per_s)
    return hover(words, marker(*at, slot, f"fill {colour(slot)}", _radius(point)))

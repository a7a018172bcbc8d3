"""Charts' common parts as pure functions: the frame with its axes, marks, and text of known width."""

from __future__ import annotations

import math
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from dovetail.app.report.markup import Raw, clean, el, join, num
from dovetail.app.report.scales import Scale, fit, tick_words

COLOURS = 7  # slots c0 … c6 of the style sheet; a series beyond them is grey (cx)
SIZE = 12.0  # text height in pixels
_NARROW = set("iljtfrI.,:;|!'()[]/ -·")
_WIDE = set("mwMW@%—∞")


def _letter(letter: str) -> float:
    """Width of a letter in units of the text's height."""
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.05
    return 0.38 if letter in _NARROW else 0.9 if letter in _WIDE else 0.68 if letter.isupper() else 0.58


def width_of(words: str, size: float = SIZE) -> float:
    """Width of `words` in pixels, a little generous: fonts differ and labels must not touch."""
    return sum(map(_letter, words)) * size


def shorten(words: str, most: float, size: float = SIZE) -> str:
    """`words` cut with an ellipsis so that they take at most `most` pixels."""
    words = " ".join(clean(words).split())
    widths = list(accumulate(map(_letter, words)))
    if not widths or widths[-1] * size <= most:
        return words
    room = most / size - _letter("…")
    return words[: bisect_right(widths, room)].rstrip() + "…"


def colour(index: int) -> str:
    """Class of the colour of series `index`."""
    return f"c{index}" if index < COLOURS else "cx"


def words_at(x: float, y: float, words: object, anchor: str = "start", class_: str = "", **more: object) -> Raw:
    """A text whose baseline starts, ends or is centred (`anchor`) at (x, y)."""
    return el("text", words, x=float(x), y=float(y), text_anchor=anchor if anchor != "start" else None,
              class_=class_ or None, **more)  # fmt: skip


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Raw:
    """A straight line."""
    return el("path", d=f"M{num(x1)} {num(y1)}L{num(x2)} {num(y2)}", class_=class_)


def polyline(points: Iterable[tuple[float, float]], class_: str, **more: object) -> Raw:
    """A line through pixel positions."""
    return el("path", d="M" + "L".join(f"{num(x)} {num(y)}" for x, y in points), class_=class_, **more)


def box(x: float, y: float, width: float, height: float, class_: str, **more: object) -> Raw:
    """A rectangle; a negative size is drawn as none."""
    size = {"width": float(max(width, 0)), "height": float(max(height, 0))}
    return el("rect", x=float(x), y=float(y), **size, class_=class_, **more)


_SHAPES = (0, 4, 3, -4, -3, 6, 5)  # corners: circle, square, triangle, diamond, triangle down, hexagon, pentagon


def marker(x: float, y: float, shape: int, class_: str, radius: float = 4.5) -> Raw:
    """Marker number `shape`: series differ by shape as well as by colour."""
    corners = _SHAPES[shape % len(_SHAPES)]
    if corners == 0:
        return el("circle", cx=float(x), cy=float(y), r=float(radius), class_=class_)
    turn = {4: math.pi / 4, -4: 0.0, -3: math.pi / 2}.get(corners, -math.pi / 2)
    count, reach = abs(corners), radius * (1.3 if abs(corners) == 3 else 1.18)
    angles = [turn + 2 * math.pi * i / count for i in range(count)]
    path = "L".join(f"{num(x + reach * math.cos(a))} {num(y + reach * math.sin(a))}" for a in angles)
    return el("path", d=f"M{path}Z", class_=class_)


def hover(words: str, *marks: object) -> Raw:
    """Marks with the words a pointer over them shows."""
    return el("g", el("title", words), *marks, class_="mark")


def picture(width: float, height: float, ident: str, title: str, says: str, *body: object) -> Raw:
    """A complete SVG with its title and text alternative, neither ever empty."""
    title, says = title if title.strip() else "Figure", says if says.strip() else "Figure"
    return el("svg", el("title", title, id=f"{ident}-t"), el("desc", says, id=f"{ident}-d"), *body,
              xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {num(width)} {num(height)}", role="img",
              aria_labelledby=f"{ident}-t {ident}-d", width=num(width), height=num(height))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Axis:
    """What one axis shows: its words, its unit, the values it must hold, and whether it is logarithmic."""

    title: str
    unit: str
    values: Sequence[float]
    log: bool = False
    pad: float = 0.06
    most: int = 6


@dataclass(frozen=True, slots=True)
class Plot:
    """A frame in pixels with its two scales; `axes` is everything drawn before the marks."""

    x: Scale
    y: Scale
    left: float
    top: float
    right: float
    bottom: float
    axes: Raw

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixel of a data point."""
        return self.x(x), self.y(y)

    def holds(self, x: float | None, y: float | None) -> bool:
        """Whether a data point can be drawn."""
        return self.x.holds(x) and self.y.holds(y)


def plot(
    width: float, height: float, x: Axis, y: Axis, *, right: float = 18, top: float = 26, floor: float = 0
) -> Plot:
    """The frame of a chart of `width` x `height` pixels; the left margin fits the longest label of the y axis.

    `floor` pixels above the x axis stay free of data: room for words.
    """
    bottom = height - 42
    ys = fit(y.values, bottom - floor, top, log=y.log, pad=y.pad)
    y_ticks = ys.ticks(y.most)
    y_words = tick_words(y_ticks, y.unit)
    left = max([width_of(w) for w in y_words] + [24]) + 10
    xs = fit(x.values, left, width - right, log=x.log, pad=x.pad)
    rows = [_y_tick(ys(t), w, left, width - right) for t, w in zip(y_ticks, y_words, strict=True)]
    frame = line(left, bottom, width - right, bottom, "axis")
    titles = words_at(2, 11, y.title, class_="axis-title"), _x_title(width - right, height, left, x.title)
    axes = join([*rows, *_minor(xs, bottom), *_x_ticks(xs, x, top, bottom, width), frame, *titles])
    return Plot(xs, ys, left, top, width - right, bottom, axes)


def _x_title(right: float, height: float, left: float, title: str) -> Raw:
    return words_at((left + right) / 2, height - 4, title, "middle", "axis-title")


def _y_tick(y: float, words: str, left: float, right: float) -> Raw:
    return join([line(left, y, right, y, "grid"), words_at(left - 6, y + 4, words, "end", "tick")])


def _x_ticks(scale: Scale, axis: Axis, top: float, bottom: float, width: float) -> Iterable[Raw]:
    """Ticks of the x axis; words that would touch the ones before are left out, their grid lines stay."""
    ticks, free = scale.ticks(axis.most), -math.inf
    for tick, words in zip(ticks, tick_words(ticks, axis.unit), strict=True):
        x, half = scale(tick), width_of(words) / 2
        yield line(x, top, x, bottom, "grid")
        if x - half > free and x + half <= width:
            yield words_at(x, bottom + 17, words, "middle", "tick")
            free = x + half + 4


def _minor(scale: Scale, bottom: float) -> Iterable[Raw]:
    """Small ticks at 2 … 9 of each decade: what makes a log axis readable as one."""
    if not scale.log:
        return
    first, last = math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high))
    if last - first <= 8:
        values = (float(f"{m}e{k}") for k in range(first, last + 1) for m in range(1, 10))
        yield join(line(scale(v), bottom, scale(v), bottom + 3, "axis") for v in values if scale.low <= v <= scale.high)


def key(entries: Iterable[tuple[str, int, str]], *, lines: bool = False) -> Raw:
    """The few colours of a chart in words above it: (label, shape, class)."""
    items = []
    for label, shape, class_ in entries:
        mark = line(0, 7, 22, 7, f"series {class_} d{shape}") if lines else marker(7, 7, shape, f"fill {class_}", 5)
        sample = el("svg", mark, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {22 if lines else 14} 14",
                    width=22 if lines else 14, height=14, aria_hidden="true")  # fmt: skip
        items.append(el("li", sample, " ", label))
    return el("ul", *items, class_="key")

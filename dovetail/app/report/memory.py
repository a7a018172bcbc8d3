"""Where the bytes go: weights, KV cache, activations and what is free, against what there is."""

from __future__ import annotations

from collections.abc import Iterable

from dovetail.app.report.data import Memory, MemoryBar, Table
from dovetail.app.report.markup import Raw, el, join
from dovetail.app.report.scales import Scale, drawable, say, tick_words
from dovetail.app.report.svg import box, hover, key, line, picture, shorten, width_of, words_at

WIDTH, ROW, MOST_BARS = 940, 40, 24
_CLIP = 2.5  # a bar is drawn up to this multiple of the largest capacity; its words say the rest
_COLOURS = ("c0", "c2", "c3", "c4", "c5", "c6")  # without c1, which says "does not fit"


def _parts(bar: MemoryBar) -> dict[str, float]:
    """Parts that take room; missing, infinite and negative ones take none in the drawing."""
    return {name: float(v) for name, v in bar.parts.items() if drawable(v) and v > 0}


def _capacity(bar: MemoryBar) -> float:
    return float(bar.capacity) if drawable(bar.capacity) and bar.capacity > 0 else 0.0


def used(bar: MemoryBar) -> float:
    """Bytes that all parts take."""
    return sum(_parts(bar).values())


def over(bar: MemoryBar) -> bool:
    """Whether the parts need more than there is."""
    return 0 < _capacity(bar) < used(bar)


def verdict(bar: MemoryBar) -> str:
    """How much is free, or by how much it does not fit."""
    taken, room = used(bar), _capacity(bar)
    if not room:
        return f"{say(taken, 'byte')}, capacity unknown"
    if over(bar):
        return f"{say(taken - room, 'byte')} too much for {say(room, 'byte')}"
    return f"{say(room - taken, 'byte')} free of {say(room, 'byte')}"


def says(figure: Memory) -> str:
    """What the figure shows, in one sentence."""
    if not figure.bars:
        return "No memory to show."
    first, late = figure.bars[0], [bar.label for bar in figure.bars if over(bar)]
    parts = _parts(first)
    largest = max(parts, key=lambda name: parts[name]) if parts else ""
    lead = f"{first.label} needs {say(used(first), 'byte')}"
    lead += f", most of all for {largest} ({say(parts[largest], 'byte')})" if largest else ""
    if not late:
        return f"{lead}; {'it fits' if len(figure.bars) == 1 else f'all {len(figure.bars)} designs fit'}."
    named = ", ".join(late[:3]) + (" …" if len(late) > 3 else "")
    return f"{lead}; {len(late)} of {len(figure.bars)} designs {'does' if len(late) == 1 else 'do'} not fit: {named}."


def _names(figure: Memory) -> list[str]:
    return list(dict.fromkeys(name for bar in figure.bars for name in bar.parts))


def table(figure: Memory) -> Table:
    """Every part of every bar."""
    rows = [
        (bar.label, name, say(value, "byte"), say(value / _capacity(bar) if _capacity(bar) else None, "%"))
        for bar in figure.bars
        for name, value in [*bar.parts.items(), ("free", bar.capacity - used(bar))]
    ]
    return Table(figure.title, ("design", "part", "bytes", "of capacity"), rows, (2, 3))


def brief(figure: Memory) -> Table:
    """One row a bar: its first four parts, and whether it fits."""
    names = _names(figure)[:4]
    rows = [(b.label, *(say(b.parts.get(n), "byte") for n in names), verdict(b)) for b in figure.bars]
    return Table(figure.title, ("design", *names, "verdict"), rows, tuple(range(1, len(names) + 1)))


def charts(figure: Memory, ident: str) -> Raw:
    """The figure's key and bars; machines of very different size are each drawn as a share of their own capacity."""
    bars, names = list(figure.bars)[:MOST_BARS], _names(figure)
    looks = {name: _COLOURS[i] if i < len(_COLOURS) else "cx" for i, name in enumerate(names)}
    rooms = [_capacity(bar) for bar in bars if _capacity(bar)]
    relative = len(rooms) == len(bars) and bool(rooms) and max(rooms) > 4 * min(rooms)
    left = min(max([width_of(bar.label) for bar in bars] + [40]), 260) + 14.0
    right = WIDTH - min(max([width_of(verdict(bar)) for bar in bars] + [40]), 270) - 14
    scale, bottom = Scale(0.0, _top(bars, rooms, relative), left, right), float(ROW * len(bars) + 8)
    rows = [_bar(bar, 8.0 + ROW * i, scale, looks, relative, ident) for i, bar in enumerate(bars)]
    named = key((name, 1, look) for name, look in looks.items())
    axis = join(_axis(scale, bottom, "%" if relative else "byte"))
    more = f" The first {MOST_BARS} of {len(figure.bars)} bars are drawn." if len(figure.bars) > MOST_BARS else ""
    svg = picture(WIDTH, bottom + 40, ident, figure.title, says(figure) + more, _hatch(ident), axis, *rows)
    return join([named, svg, el("p", more, class_="quiet") if more else None])


def _top(bars: list[MemoryBar], rooms: list[float], relative: bool) -> float:
    """The end of the axis."""
    if relative:
        return min(max(used(bar) / _capacity(bar) for bar in bars), _CLIP) if any(map(over, bars)) else 1.0
    needed = max([used(bar) for bar in bars] + rooms + [0.0])
    return min(needed, _CLIP * max(rooms)) if rooms else needed or 1.0


def _hatch(ident: str) -> Raw:
    """Stripes over what does not fit: readable without colour."""
    stripe = el("path", d="M0 0V7", class_="stripe")
    return el("defs", el("pattern", stripe, id=f"{ident}-over", width=7, height=7, patternUnits="userSpaceOnUse",
                         patternTransform="rotate(45)"))  # fmt: skip


def _axis(scale: Scale, bottom: float, unit: str) -> Iterable[Raw]:
    ticks = scale.ticks(6)
    for tick, words in zip(ticks, tick_words(ticks, unit), strict=True):
        yield line(scale(tick), 4, scale(tick), bottom, "grid")
        yield words_at(scale(tick), bottom + 17, words, "middle", "tick")
    yield line(scale.start, bottom, scale.end, bottom, "axis")
    title = "Memory as a share of each machine's capacity" if unit == "%" else "Memory"
    yield words_at((scale.start + scale.end) / 2, bottom + 34, title, "middle", "axis-title")


def _bar(bar: MemoryBar, top: float, scale: Scale, looks: dict[str, str], relative: bool, ident: str) -> Raw:
    height, spot, unit = ROW - 16.0, 0.0, _capacity(bar) if relative else 1.0
    room, taken = scale(_capacity(bar) / unit), scale(used(bar) / unit)
    marks: list[Raw | None] = [words_at(scale.start - 8, top + 16, shorten(bar.label, scale.start - 12), "end")]
    inside: list[Raw | None] = []
    if room > taken:
        marks.append(hover(verdict(bar), box(scale.start, top, room - scale.start, height, "free")))
    for name, value in _parts(bar).items():
        x1, x2 = scale(spot / unit), scale((spot + value) / unit)
        spot += value
        amount, part = say(value, "byte"), box(x1, top, max(x2 - x1, 0.5), height, f"fill {looks[name]}")
        marks.append(hover(f"{name}: {amount}", part))
        inside.append(_inside(name, amount, x1, min(x2, room) if over(bar) else x2, top + 16))
    if over(bar):
        marks.append(box(room, top, taken - room, height, "over", fill=f"url(#{ident}-over)"))
    if used(bar) / unit > scale.high * 1.001:  # longer than the axis: a cut through the bar says so
        marks.append(line(taken - 14, top + height + 4, taken - 7, top - 4, "cut"))
    if _capacity(bar):
        marks.append(line(room, top - 4, room, top + height + 4, "capacity"))
    words = words_at(max(room, taken) + 8, top + 16, verdict(bar), class_="bad" if over(bar) else "quiet")
    return join([*marks, *inside, words])


def _inside(name: str, amount: str, x1: float, x2: float, base: float) -> Raw | None:
    """A part's words when there is room off the stripes; the key and the pointer name it always."""
    words = next((w for w in (f"{name} {amount}", amount) if width_of(w) + 10 <= x2 - x1), None)
    return words_at((x1 + x2) / 2, base, words, "middle", "on") if words else None

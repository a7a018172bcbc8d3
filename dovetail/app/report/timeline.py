"""A timeline: what each engine is at, and when."""

from __future__ import annotations

from collections.abc import Iterator

from dovetail.app.report.data import Bar, Table, Timeline
from dovetail.app.report.markup import Raw, join
from dovetail.app.report.scales import Scale, drawable, fit, say, tick_words
from dovetail.app.report.svg import box, colour, hover, key, line, picture, shorten, width_of, words_at

WIDTH, LANE, TOP, MOST_ROWS = 940, 46, 12, 400


def _shown(figure: Timeline) -> list[Bar]:
    return [bar for bar in figure.bars if drawable(bar.begin) and drawable(bar.end) and bar.end > bar.begin >= 0]


def _lanes(figure: Timeline) -> list[str]:
    return list(dict.fromkeys(bar.lane for bar in _shown(figure)))


def _kinds(figure: Timeline) -> dict[str, int]:
    return {kind: at for at, kind in enumerate(dict.fromkeys(bar.kind for bar in _shown(figure)))}


def says(figure: Timeline) -> str:
    """What the figure shows, in one sentence."""
    bars = _shown(figure)
    if not bars:
        return "Nothing happens."
    end = max(bar.end for bar in bars)
    busy = {lane: sum(bar.end - bar.begin for bar in bars if bar.lane == lane) / end for lane in _lanes(figure)}
    words = ", ".join(f"{lane} {say(share, '%')}" for lane, share in busy.items())
    return f"{say(end)} {figure.unit}; at work: {words}."


def table(figure: Timeline) -> Table:
    """Every step."""
    bars = sorted(_shown(figure), key=lambda bar: bar.begin)
    rows = [(bar.name, bar.lane, bar.kind, say(bar.begin), say(bar.end - bar.begin)) for bar in bars]
    header = ("step", "engine", "kind", f"begins ({figure.unit})", "takes")
    return Table(figure.title, header, rows[:MOST_ROWS], (3, 4), more=max(0, len(rows) - MOST_ROWS))


def charts(figure: Timeline, ident: str) -> Raw:
    """Lanes under each other, time to the right."""
    bars, lanes, kinds = _shown(figure), _lanes(figure), _kinds(figure)
    left = 14 + max((width_of(lane) for lane in lanes), default=0)
    height = TOP + LANE * len(lanes) + 40
    scale = fit([0.0, *(bar.end for bar in bars)], left, WIDTH - 18, pad=0)
    bottom = TOP + LANE * len(lanes)
    ticks = scale.ticks(8)
    axis = join(_tick(scale(tick), words, bottom) for tick, words in zip(ticks, tick_words(ticks, "")))
    title = words_at(left, height - 2, f"Time ({figure.unit})", class_="axis-title")
    drawn = join(join(_lane(figure, lane, TOP + LANE * at, scale, kinds)) for at, lane in enumerate(lanes))
    named = key((kind, 1, colour(at)) for kind, at in kinds.items())
    return join([named, picture(WIDTH, height, ident, figure.title, says(figure), axis, title, drawn)])


def _tick(x: float, words: str, bottom: float) -> Raw:
    return join([line(x, TOP, x, bottom, "grid"), words_at(x, bottom + 17, words, "middle", "tick")])


def _lane(figure: Timeline, lane: str, top: float, scale: Scale, kinds: dict[str, int]) -> Iterator[Raw]:
    yield words_at(2, top + LANE / 2 + 4, lane)
    for bar in _shown(figure):
        if bar.lane == lane:
            begin, end = scale(bar.begin), scale(bar.end)
            words = f"{bar.name}: {bar.kind}, {say(bar.end - bar.begin)} {figure.unit} from {say(bar.begin)}"
            inside = shorten(bar.name, end - begin - 6)
            label = words_at((begin + end) / 2, top + LANE / 2 + 4, inside, "middle", "on") if len(inside) > 3 else None
            yield hover(
                words, box(begin, top + 5, max(0.7, end - begin), LANE - 10, f"fill {colour(kinds[bar.kind])}"), label
            )

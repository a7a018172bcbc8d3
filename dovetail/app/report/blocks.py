"""A block diagram: what a machine is made of and what flows between its parts."""

from __future__ import annotations

from collections.abc import Iterator

from dovetail.app.report.data import Block, Blocks, Table
from dovetail.app.report.markup import Raw, el, join, num
from dovetail.app.report.svg import box, hover, picture, polyline, shorten, words_at

WIDE, HIGH, GAP_X, GAP_Y, EDGE = 196, 56, 46, 30, 8
WIDTH = 4 * WIDE + 3 * GAP_X + 2 * EDGE


def says(figure: Blocks) -> str:
    """What the figure shows, in one sentence."""
    return figure.says or f"{len(figure.blocks)} parts and {len(figure.flows)} flows between them."


def table(figure: Blocks) -> Table:
    """Every part, and where what it makes goes."""
    to: dict[str, list[str]] = {}
    for flow in figure.flows:
        to.setdefault(flow[0], []).append(flow[1])
    rows = [(each.name, each.note, ", ".join(to.get(each.name, [])) or "–") for each in figure.blocks]
    return Table(figure.title, ("part", "what it is", "feeds"), rows)


def charts(figure: Blocks, ident: str) -> Raw:
    """The diagram: parts on a grid, flows as arrows from edge to edge."""
    rows = 1 + max((each.row for each in figure.blocks), default=0)
    height = rows * HIGH + (rows - 1) * GAP_Y + 2 * EDGE
    known = {each.name: each for each in figure.blocks}
    flows = join(_flow(known[a], known[b]) for a, b in figure.flows if a in known and b in known)
    parts = join(_block(each) for each in figure.blocks)
    return picture(WIDTH, height, ident, figure.title, says(figure), flows, parts)


def _corner(block: Block) -> tuple[float, float]:
    return EDGE + block.column * (WIDE + GAP_X), EDGE + block.row * (HIGH + GAP_Y)


def _block(block: Block) -> Raw:
    x, y = _corner(block)
    name = words_at(x + WIDE / 2, y + 23, shorten(block.name, WIDE - 12), "middle", "strong")
    note = words_at(x + WIDE / 2, y + 41, shorten(block.note, WIDE - 8), "middle", "quiet")
    return hover(f"{block.name}: {block.note}", box(x, y, WIDE, HIGH, "free", rx=4.0), name, note)


def _flow(source: Block, to: Block) -> Raw:
    """An arrow between the nearest edges of two parts; sideways through the gap between columns where need be."""
    return join(_arrow(list(_path(source, to))))


def _path(source: Block, to: Block) -> Iterator[tuple[float, float]]:
    (x1, y1), (x2, y2) = _corner(source), _corner(to)
    if source.column == to.column:
        down = to.row > source.row
        shift = 12 if down else -12  # so that an arrow each way does not lie on the other
        yield x1 + WIDE / 2 + shift, y1 + (HIGH if down else 0)
        yield x2 + WIDE / 2 + shift, y2 + (0 if down else HIGH)
        return
    right = to.column > source.column
    shift = 8 if right else -8
    begin, end = (x1 + WIDE, x2) if right else (x1, x2 + WIDE)
    bend = end - (GAP_X / 2 if right else -GAP_X / 2) + shift
    yield begin, y1 + HIGH / 2 + shift
    if source.row != to.row:
        yield bend, y1 + HIGH / 2 + shift
        yield bend, y2 + HIGH / 2 + shift
    yield end, y2 + HIGH / 2 + shift


def _arrow(points: list[tuple[float, float]]) -> Iterator[Raw]:
    (x1, y1), (x2, y2) = points[-2:]
    dx, dy = (x2 > x1) - (x2 < x1), (y2 > y1) - (y2 < y1)
    yield polyline(points, "front")
    back = [(x2 - 7 * dx - 4 * dy, y2 - 7 * dy - 4 * dx), (x2 - 7 * dx + 4 * dy, y2 - 7 * dy + 4 * dx)]
    corners = "L".join(f"{num(x)} {num(y)}" for x, y in ((x2, y2), *back))
    yield el("path", d=f"M{corners}Z", class_="fill cx")

"""Predicted beside measured: the errors, and whether the intervals held."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median

from dovetail.app.report.data import Measured, MeasuredRow, Table
from dovetail.app.report.labels import Placer
from dovetail.app.report.markup import Raw, el, join
from dovetail.app.report.scales import Scale, drawable, say, wants_log
from dovetail.app.report.svg import Axis, hover, line, marker, picture, plot, polyline, shorten, width_of, words_at

WIDTH, ROW, MOST_ROWS = 940, 26, 40
_CLIP = 2.0  # errors beyond 200 % are drawn at the edge with their number beside


def error_of(row: MeasuredRow) -> float:
    """Signed error, predicted / measured - 1; NaN when it has none."""
    if row.error is not None:
        return float(row.error)
    if not (drawable(row.predicted) and drawable(row.measured)) or row.measured == 0:
        return math.nan
    return row.predicted / row.measured - 1


def percent(error: float) -> str:
    """A signed error for a reader: ``+4.2 %``, ``−12 %``."""
    if not math.isfinite(error):
        return say(error)
    sign = "−" if error < 0 else "+" if error > 0 else ""
    return sign + say(abs(error), "%", 2 if abs(error) < 1 else 3)


def interval(low: float, high: float, unit: str) -> str:
    """``161 … 218 tok/s``: the unit once where both ends share it."""
    left, right = say(low, unit), say(high, unit)
    number, _, suffix = left.partition(" ")
    return f"{number if suffix and right.endswith(' ' + suffix) else left} … {right}" if left != right else left


def inside(row: MeasuredRow) -> bool:
    """Whether the measurement lies in the predicted interval."""
    return row.low <= row.measured <= row.high


def _errors(figure: Measured) -> list[float]:
    return [abs(e) for e in map(error_of, figure.rows) if math.isfinite(e)]


def says(figure: Measured) -> str:
    """What the figure shows, in one sentence."""
    errors = _errors(figure)
    if not errors:
        return "Nothing was measured."
    held, known = sum(map(inside, figure.rows)), len(errors)
    return (
        f"Median error {say(median(errors), '%', 2)}, largest {say(max(errors), '%', 3)}, over {known} measured "
        f"{'number' if known == 1 else 'numbers'}; {held} of {known} lie within the predicted interval."
    )


def table(figure: Measured) -> Table:
    """Every row: predicted with its interval, measured, signed error, and whether the interval held."""
    rows = [
        (r.what, r.metric, say(r.predicted, r.unit), interval(r.low, r.high, r.unit),
         say(r.measured, r.unit), percent(error_of(r)), "yes" if inside(r) else "no")
        for r in figure.rows
    ]  # fmt: skip
    header = ("what", "metric", "predicted", "interval", "measured", "error", "in interval")
    return Table(figure.title, header, rows, (2, 3, 4, 5))


def charts(figure: Measured, ident: str) -> Raw:
    """The strip of signed errors, then predicted against measured for the unit with most rows."""
    return join([_strip(figure, ident), _parity(figure, f"{ident}-parity")])


def _label(row: MeasuredRow) -> str:
    return f"{row.what} · {row.metric}" if row.what and row.metric else row.what or row.metric


def _span(row: MeasuredRow) -> tuple[float, float] | None:
    """The predicted interval as signed errors."""
    if not all(map(drawable, (row.low, row.high, row.measured))) or row.measured == 0:
        return None
    ends = sorted((row.low / row.measured - 1, row.high / row.measured - 1))
    return ends[0], ends[1]


def _strip(figure: Measured, ident: str) -> Raw:
    rows = [r for r in figure.rows if math.isfinite(error_of(r))][:MOST_ROWS]
    left = min(max([width_of(_label(r)) for r in rows] + [60]), 300) + 14.0
    reach = [abs(error_of(r)) for r in rows] + [abs(e) for r in rows for e in _span(r) or ()] + [figure.goal * 1.6]
    most = min(max(reach), _CLIP) * 1.08
    scale, bottom = Scale(-most, most, left, WIDTH - 84), 22.0 + ROW * max(len(rows), 1)
    goal = min(figure.goal, most)
    band = el("rect", x=scale(-goal), y=16.0, width=scale(goal) - scale(-goal), height=bottom - 16, class_="band")
    words = words_at(scale(0), 11, f"asked: within ±{say(figure.goal, '%')}", "middle", "quiet")
    body = [_error_row(r, 20 + ROW * (i + 0.5), scale, left) for i, r in enumerate(rows)]
    axis = join(_error_axis(scale, bottom))
    return picture(WIDTH, bottom + 40, ident, figure.title, says(figure), band, axis, words, *body)


def _error_axis(scale: Scale, bottom: float) -> Iterable[Raw]:
    ticks = scale.ticks(7)
    for tick in ticks:
        yield line(scale(tick), 16, scale(tick), bottom, "even" if tick == 0 else "grid")
        yield words_at(scale(tick), bottom + 17, "0" if tick == 0 else percent(tick), "middle", "tick")
    yield line(scale.start, bottom, scale.end, bottom, "axis")
    yield words_at(scale(0), bottom + 34, "Error of the prediction (predicted / measured − 1)", "middle", "axis-title")


def _error_row(row: MeasuredRow, y: float, scale: Scale, left: float) -> Raw:
    error, span = error_of(row), _span(row)
    look = "c0" if inside(row) else "c1"
    whisker = line(scale(span[0]), y, scale(span[1]), y, f"interval {look}") if span else None
    stem = line(scale(0), y, scale(error), y, f"stem {look}")
    words = f"{_label(row)}: predicted {say(row.predicted, row.unit)}, measured {say(row.measured, row.unit)}"
    name = words_at(left - 10, y + 4, shorten(_label(row), left - 12), "end")
    number = words_at(scale.end + 10, y + 4, percent(error), class_=f"ink {look}")
    dot = marker(scale(error), y, 0 if inside(row) else 3, f"fill {look}", 4.5)
    return hover(words, name, whisker, stem, dot, number)


def _parity(figure: Measured, ident: str) -> Raw | None:
    """Predicted against measured for the unit with most rows; ``None`` with fewer than three."""
    known = [r for r in figure.rows if drawable(r.predicted) and drawable(r.measured)]
    unit = max((r.unit for r in known), key=[r.unit for r in known].count, default="")
    rows = [r for r in known if r.unit == unit]
    if len(rows) < 3:
        return None
    values = [v for r in rows for v in (r.predicted, r.measured)]
    log = wants_log(values)
    x, y = Axis("Measured", unit, values, log, most=7), Axis("Predicted", unit, values, log)
    frame = plot(WIDTH, 420, x, y, right=30)
    placer = Placer((frame.left, frame.top, frame.right, frame.bottom))
    for r in rows:
        placer.block(*frame.at(r.measured, r.predicted))
    guides = []
    for factor, look in ((1.0, "even"), (1 + figure.goal, "guide"), (1 - figure.goal, "guide")):
        ends = _guide(frame.x, frame.y, factor)
        placer.avoid(ends)
        guides.append(polyline(ends, look))
    marks = [_dot(r, frame.at(r.measured, r.predicted), unit, placer) for r in rows]
    title = f"Predicted against measured ({_plain(unit)})"
    says_ = f"On the diagonal the two agree; the outer lines are {percent(figure.goal)} and {percent(-figure.goal)}."
    svg = picture(WIDTH, 420, ident, title, says_, frame.axes, *guides, *marks)
    return el("div", el("h4", title), svg, el("p", says_, class_="quiet"))


def _plain(unit: str) -> str:
    return unit or "ratio"


def _guide(x: Scale, y: Scale, factor: float) -> list[tuple[float, float]]:
    """The line predicted = factor x measured, within the frame."""
    if x.log:
        low, high = max(x.low, y.low / factor), min(x.high, y.high / factor)
        return [(x(low), y(low * factor)), (x(high), y(high * factor))]
    steps = [x.low + (x.high - x.low) * i / 64 for i in range(65)]
    inside_ = [s for s in steps if y.low <= s * factor <= y.high]
    return [(x(s), y(s * factor)) for s in inside_] or [(x.start, y.start), (x.start, y.start)]


def _dot(row: MeasuredRow, at: tuple[float, float], unit: str, placer: Placer) -> Raw:
    look = "c0" if inside(row) else "c1"
    words = f"{_label(row)}: predicted {say(row.predicted, unit)}, measured {say(row.measured, unit)}"
    label = placer.place(*at, shorten(row.what or row.metric, 170))
    return hover(words, marker(*at, 0 if inside(row) else 3, f"fill {look}", 4.5), label)

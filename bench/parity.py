"""Parity plots of `bench/accuracy.py`: predicted against measured, both logarithmic, as SVG without scripts.

Dots are at most `MARKS` calls, spread evenly over the order of their measured time, so that the same table gives the
same picture. The band holds what is within 20 %; the figures above are those of all calls, not of the dots.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from judged import Judged

MARKS = 400
SIZE = 300  # pixels of a picture
LEFT, TOP, RIGHT, BOTTOM = 52, 40, 12, 38
BAND = 0.2
STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#333}.t{font-weight:600;font-size:12px}.s{fill:#666}"
    ".g{stroke:#e3e3e3;fill:none}.o{stroke:#444;fill:none}.b{fill:#2a6fb0;fill-opacity:.16}"
    ".d{stroke:#2a6fb0;stroke-opacity:.5;stroke-width:3.4;stroke-linecap:round;fill:none}"
)


def write(rows: Iterable[Judged], folder: Path) -> None:
    """One file for each row, named after it."""
    folder.mkdir(parents=True, exist_ok=True)
    for judged in rows:
        (folder / f"{judged.name}.svg").write_text(picture(judged) + "\n", encoding="utf-8")


def picture(judged: Judged) -> str:
    """The plot of one row."""
    unit, scale = ("mJ", 1e3) if judged.family == "energy" else ("µs", 1e6)
    x, y = thinned(judged.truth * scale, judged.found * scale)
    low, high = limits(np.concatenate([judged.truth, judged.found]) * scale)
    mape, total = (f"{100 * value:.1f} %" for value in (judged.scores.mape, judged.scores.total))
    said = f"error {mape}, of the sum {total}; {len(judged.truth):,} calls"
    body = [
        tag("title", f"{judged.what}, {judged.chip}: predicted against measured, {said}"), f"<style>{STYLE}</style>",
        f'<rect width="{SIZE}" height="{SIZE}" fill="#fff"/>', *frame(low, high, unit), band(low, high),
        dots(x, y, low, high), diagonal(low, high), words(LEFT - 40, 14, f"{judged.what}, {judged.chip}", "t"),
        words(LEFT - 40, 29, said, "s"),
    ]  # fmt: skip
    room = {"viewBox": f"0 0 {SIZE} {SIZE}", "width": SIZE, "height": SIZE, "role": "img"}
    return tag("svg", "".join(body), raw=True, xmlns="http://www.w3.org/2000/svg", **room)


def thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most `MARKS` of the points, evenly along the order of x, then of y; the farthest off is always there."""
    order = np.lexsort((y, x))
    kept = order[np.unique(np.linspace(0, len(order) - 1, MARKS - 1).round().astype(int))]
    worst = int(np.argmax(np.abs(np.log(y / x))))
    kept = np.union1d(kept, [worst])
    return x[kept], y[kept]


def limits(values: np.ndarray) -> tuple[float, float]:
    """Log10 of the ends of both axes: what holds all values, with a little room."""
    low, high = math.log10(float(values.min())), math.log10(float(values.max()))
    room = max(0.04 * (high - low), 0.05)
    return low - room, high + room


def at(log: np.ndarray | float, low: float, high: float, upward: bool = False) -> np.ndarray | float:
    """Pixels of log10 values along x, or upward along y."""
    share = (np.asarray(log) - low) / (high - low)
    return SIZE - BOTTOM - share * (SIZE - TOP - BOTTOM) if upward else LEFT + share * (SIZE - LEFT - RIGHT)


def frame(low: float, high: float, unit: str) -> Iterable[str]:
    """Grid lines and labels at the decades, and the names of the axes."""
    for power in range(math.ceil(low), math.floor(high) + 1):
        x, y, label = at(power, low, high), at(power, low, high, True), decade(power)
        yield f'<path class="g" d="M{x:.0f} {TOP}V{SIZE - BOTTOM}M{LEFT} {y:.0f}H{SIZE - RIGHT}"/>'
        yield words(x, SIZE - BOTTOM + 14, label, anchor="middle") + words(LEFT - 5, y + 4, label, anchor="end")
    yield f'<path class="o" d="M{LEFT} {TOP}V{SIZE - BOTTOM}H{SIZE - RIGHT}"/>'
    yield words((LEFT + SIZE - RIGHT) / 2, SIZE - 6, f"measured, {unit}", "s", "middle")
    middle = (TOP + SIZE - BOTTOM) / 2
    turned = f"translate(12 {middle:.0f}) rotate(-90)"
    yield tag("text", f"predicted, {unit}", **{"class": "s", "text-anchor": "middle", "transform": turned})


def decade(power: int) -> str:
    """10 to a power in as few figures as it takes."""
    return f"{10.0**power:,.0f}" if 0 <= power < 4 else f"{10.0**power:g}" if -3 < power < 0 else f"1e{power}"


def band(low: float, high: float) -> str:
    """What is within `BAND` of the measured."""
    up, down = math.log10(1 + BAND), math.log10(1 - BAND)
    points = [(low, low), (low, low + up), (high - up, high), (high, high), (high, high + down), (low - down, low)]
    return f'<path class="b" d="M{"L".join(place(x, y, low, high) for x, y in points)}Z"/>'


def diagonal(low: float, high: float) -> str:
    """Where predicted and measured are the same."""
    return f'<path class="o" d="M{place(low, low, low, high)}L{place(high, high, low, high)}"/>'


def place(x: float, y: float, low: float, high: float) -> str:
    """A point of a path from log10 values."""
    return f"{at(x, low, high):.0f} {at(y, low, high, True):.0f}"


def dots(x: np.ndarray, y: np.ndarray, low: float, high: float) -> str:
    """All marks as one path of strokes without length and with round ends, which is how a dot takes least room."""
    at_x, at_y = at(np.log10(x), low, high), at(np.log10(y), low, high, True)
    marks = sorted({(f"{a:.1f}", f"{b:.1f}") for a, b in zip(at_x, at_y, strict=True)})
    return f'<path class="d" d="{"".join(f"M{a} {b}h0" for a, b in marks)}"/>'


def words(x: float, y: float, said: str, class_: str = "", anchor: str = "") -> str:
    """Text that starts at x, or that is centred on or ends at it."""
    given = {"x": f"{x:.0f}", "y": f"{y:.0f}", "class": class_, "text-anchor": anchor}
    return tag("text", said, **{name: value for name, value in given.items() if value})


def tag(name: str, inside: str, *, raw: bool = False, **attributes: object) -> str:
    """An element around text, or around what is written already (`raw`)."""
    given = "".join(f' {key}="{value}"' for key, value in attributes.items())
    inside = inside if raw else inside.replace("&", "&amp;").replace("<", "&lt;")
    return f"<{name}{given}>{inside}</{name}>"

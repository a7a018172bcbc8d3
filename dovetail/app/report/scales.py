"""Axes' arithmetic: domains, positions, ticks at 1-2-5 steps or decades, and the words for a number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from dovetail.core import units

T = TypeVar("T")
LIMIT = 1e300  # beyond it, differences overflow; nobody reads a chart there
MOST_TICKS = 8


@cache
def _physical(unit: str) -> bool:
    try:
        return bool(units.unit(unit)[0]) or unit == ""
    except KeyError:
        return False


def say(value: float | None, unit: str = "", digits: int = 3) -> str:
    """`value` for a reader: SI prefixes for physical units, ``12 %`` for 0.12 in ``"%"``, ``1.8×`` for ``"x"``."""
    if value is None or not math.isfinite(value):
        return units.show(math.nan if value is None else value)
    if unit == "%":
        return f"{value * 100:,.0f} %" if 10 <= abs(value) < 1e7 else f"{value * 100:.{digits}g} %"
    if unit == "x":
        return f"{value:.{digits if abs(value) >= 1 else digits - 1}g}×"
    if unit.startswith("USD") and _physical(unit):
        return units.show(value, unit, digits)
    size = abs(value)
    if size and not 1e-12 <= size < 1e18:
        return f"{value:.{digits}g} {unit}".strip()
    if _physical(unit) and unit:
        return units.show(value, unit, digits)
    plain = f"{value:,.0f}" if size >= 1000 and value == int(value) and size < 1e7 else f"{value:.{max(digits, 4)}g}"
    return f"{plain} {unit}".strip()


def evenly(values: Sequence[T], most: int) -> list[T]:
    """At most `most` of `values`, evenly spread, the first and the last among them."""
    if len(values) <= most:
        return list(values)
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


def ratio(value: float) -> str:
    """A gain for a reader, two decimals wherever it matters: ``0.80×``, ``12×``."""
    return f"{value:.2f}×" if value < 10 else f"{value:.0f}×" if value < 1000 else "> 999×"


def tick_words(ticks: Sequence[float], unit: str = "") -> list[str]:
    """One label for each tick, with as many digits as tell neighbours apart."""
    for digits in range(3, 18):
        words = [say(tick, unit, digits) for tick in ticks]
        if len(set(words)) == len(words):
            return words
    return words if ticks else []


def linear_ticks(low: float, high: float, most: int = 6) -> tuple[float, ...]:
    """At most `most` multiples of 1, 2 or 5 times a power of ten in [low, high]; where floats forbid, the ends."""
    raw = (high - low) / most
    if raw <= 0 or 10.0 ** math.floor(math.log10(raw)) == 0:
        return (low,) if low == high else (low, high)
    power = math.floor(math.log10(raw))
    for factor in (1, 2, 5, 10, 20, 50):
        step = float(f"{factor}e{power}")
        first, last = math.ceil(low / step), math.floor(high / step)
        if last - first < most:
            ticks = (float(f"{i * factor}e{power}") for i in range(first, last + 1))
            inside = sorted({tick for tick in ticks if low <= tick <= high})
            return tuple(inside) if len(inside) > 1 else (low, high)
    return (low, high)


def log_ticks(low: float, high: float, most: int = 7) -> tuple[float, ...]:
    """Decades when there are three or more, else 1-2-5, else linear steps within one decade; at most `most`."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = [k for k in range(first, last + 1) if low <= float(f"1e{k}") <= high]
    fine = [float(f"{m}e{k}") for k in range(first, last + 1) for m in (1, 2, 5)]
    fine = [tick for tick in fine if low <= tick <= high]
    if len(decades) < 3 and 3 <= len(fine) <= most and (len(fine) > 3 or high / low >= 10):
        return tuple(fine)
    if len(decades) < 2:
        return linear_ticks(low, high, most)
    stride = -(-len(decades) // most)
    kept = [k for k in decades if k % stride == 0] if stride > 1 else decades
    return tuple(float(f"1e{k}") for k in kept)


@dataclass(frozen=True, slots=True)
class Scale:
    """Data in [low, high] to pixels from `start` to `end`. ``low < high``; both positive when `log`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def holds(self, value: float | None) -> bool:
        """Whether `value` can be drawn: finite, and positive on a log axis."""
        return drawable(value, self.log)

    def __call__(self, value: float) -> float:
        """Pixel of `value`; outside the domain, the nearer end."""
        value = min(max(value, self.low), self.high)
        if self.log:
            bottom = math.log10(self.low)  # differences of logarithms: a ratio of the two could overflow
            fraction = (math.log10(value) - bottom) / (math.log10(self.high) - bottom)
        else:
            fraction = (value - self.low) / (self.high - self.low)
        return self.start + fraction * (self.end - self.start)

    def ticks(self, most: int = 6) -> tuple[float, ...]:
        """At most `most` (and never more than 8) ticks inside the domain, rising."""
        most = max(2, min(most, MOST_TICKS))
        return (log_ticks if self.log else linear_ticks)(self.low, self.high, most)


def drawable(value: float | None, log: bool = False) -> bool:
    """Whether `value` has a place on an axis: a finite number of bearable size, positive on a log axis."""
    if value is None or not math.isfinite(value) or abs(value) > LIMIT:
        return False
    return value >= 1 / LIMIT if log else True


def wants_log(values: Iterable[float]) -> bool:
    """Whether a log axis serves these values better: all positive and more than a factor 20 apart."""
    shown = [v for v in values if drawable(v)]
    return bool(shown) and min(shown) >= 1 / LIMIT and max(shown) / min(shown) > 20


def fit(values: Iterable[float], start: float, end: float, *, log: bool = False, pad: float = 0.06) -> Scale:
    """The scale that shows every drawable value, with a margin (`pad` of the domain), even for one value."""
    shown = [float(v) for v in values if drawable(v, log)]
    low, high = (min(shown), max(shown)) if shown else (1.0, 10.0)
    if log:
        return _fit_log(low, high, start, end, pad)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        room = abs(high) / 2 or 1.0
        return Scale(low - room, high + room, start, end)
    room = (high - low) * pad
    return Scale(low - room, high + room, start, end)


def _fit_log(low: float, high: float, start: float, end: float, pad: float) -> Scale:
    if high / low <= 1 + 1e-9:
        return Scale(low / 3, high * 3, start, end, log=True)
    room = 10 ** min((math.log10(high) - math.log10(low)) * pad, 2.0)
    return Scale(low / room, high * room, start, end, log=True)

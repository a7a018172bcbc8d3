"""Lying bars in groups: shares of variance, or what became of the designs of a space."""

from __future__ import annotations

from itertools import groupby

from dovetail.app.report.data import Amount, Amounts, Table
from dovetail.app.report.markup import Raw, el, join
from dovetail.app.report.scales import drawable
from dovetail.app.report.svg import box, hover, line, picture, shorten, width_of, words_at

WIDE, NARROW, ROW, TOP = 940, 464, 24, 8


def _groups(figure: Amounts) -> dict[str, list[Amount]]:
    return {name: list(rows) for name, rows in groupby(figure.amounts, lambda a: a.group)}


def says(figure: Amounts) -> str:
    """What the figure shows, in one sentence."""
    if not figure.amounts:
        return "Nothing to show."
    if figure.says:
        return figure.says
    first = {name: max(rows, key=lambda a: a.value) for name, rows in _groups(figure).items()}
    return "Most of " + "; ".join(f"{name}: {most.label} ({most.words})" for name, most in first.items()) + "."


def table(figure: Amounts) -> Table:
    """Every bar."""
    rows = [(a.group, a.label, a.words) for a in figure.amounts]
    return Table(figure.title, ("", "", figure.whole), rows, (2,))


def charts(figure: Amounts, ident: str) -> Raw:
    """A panel for each group, on one scale; side by side where the words are short."""
    words = [width_of(a.label) for a in figure.amounts]
    wide = max(words, default=0) > 200 or len(_groups(figure)) < 2
    drawn = [_panel(figure, name, rows, f"{ident}-{i}", WIDE if wide else NARROW)
             for i, (name, rows) in enumerate(_groups(figure).items())]  # fmt: skip
    explained = f"Whole bar: {figure.whole}; solid: {figure.part}." if figure.part else f"Bar: {figure.whole}."
    return join([el("p", explained, class_="quiet"), el("div", *drawn, class_="panel" if wide else "panels")])


def _panel(figure: Amounts, name: str, rows: list[Amount], ident: str, width: float) -> Raw:
    left = min(max(width_of(a.label) for a in figure.amounts) + 12, width * 0.5)
    right = width - max(width_of(a.words) for a in figure.amounts) - 12
    height = TOP * 2 + ROW * len(rows)
    bars = [_bar(figure, a, left, right, TOP + ROW * i) for i, a in enumerate(rows)]
    told = f"{name}: " + "; ".join(f"{a.label} {a.words}" for a in rows)
    svg = picture(width, height, ident, f"{figure.title}, {name}", told, *bars,
                  line(left, TOP - 4, left, height - TOP + 4, "axis"))  # fmt: skip
    return el("div", el("h4", name), svg)


def _bar(figure: Amounts, amount: Amount, left: float, right: float, y: float) -> Raw:
    def length(value: float) -> float:
        known = value if drawable(value) and value > 0 else 0.0
        return (right - left) * min(known / figure.full, 1.0) if figure.full > 0 else 0.0

    middle = y + ROW / 2 + 4
    return hover(
        f"{amount.label}: {amount.words}",
        words_at(left - 8, middle, shorten(amount.label, left - 10), "end"),
        box(left, y + 4, length(amount.value), ROW - 8, "whole c0"),
        box(left, y + 4, length(amount.part), ROW - 8, "fill c0"),
        words_at(left + length(max(amount.value, amount.part)) + 6, middle, amount.words, class_="quiet"),
    )

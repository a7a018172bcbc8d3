"""The first screen: the answer, the bottleneck, the price, the confidence and the next command."""

from __future__ import annotations

from collections.abc import Sequence

from dovetail.app.report.data import Commands, Summary, Table
from dovetail.app.report.markup import Raw, el, join


def summary(value: Summary) -> Raw:
    """The first screen as a section."""
    cards = [("Bottleneck", value.bottleneck), ("Price", value.price), ("Confidence", value.confidence)]
    answer = el("div", el("p", "Answer", class_="eyebrow"), el("p", keep(value.answer), class_="answer"))
    boxes, facts = _pairs(cards, "cards"), _pairs(value.facts, "facts")
    following = el("div", el("p", "Next", class_="eyebrow"), command(value.next_command), class_="next")
    return el("section", answer, boxes, facts if value.facts else None, following, id="answer", aria_label="Answer")


def _pairs(pairs: Sequence[tuple[str, str]], look: str) -> Raw:
    return el("dl", *(el("div", el("dt", name), el("dd", keep(words or "–"))) for name, words in pairs), class_=look)


def keep(words: str) -> str:
    """Text in which a percent sign stays on its number's line."""
    return words.replace(" %", "\u00a0%")


def command(words: str) -> Raw:
    """A command, whole, and where scripts run with a button to copy it."""
    return el("div", el("pre", el("code", words)), class_="command")


def commands(section: Commands) -> Raw:
    """What each command does, then the command."""
    return join(join([el("p", what), command(words)]) for what, words in section.commands)


def html_table(value: Table, most: int = 400, *, under: str = "") -> Raw:
    """A table with row headers, numbers flush right, at most `most` rows; a caption equal to `under` is only spoken."""
    head = el("tr", *(el("th", name, scope="col", class_=_side(value, i)) for i, name in enumerate(value.header)))
    rows = [_row(value, row) for row in list(value.rows)[:most]]
    more = max(len(value.rows) - most, 0) + value.more
    rest = el("p", f"{more:,} more rows are in result.json.", class_="quiet") if more > 0 else None
    caption = el("caption", value.title, class_="hidden" if value.title == under else None)
    body = el("table", caption, el("thead", head), el("tbody", *rows))
    return join([el("div", body, class_="scroll", role="region", tabindex=0, aria_label=f"Table: {value.title}"), rest])


def _side(value: Table, column: int) -> str | None:
    return "n" if column in value.numeric else None


def _row(value: Table, row: Sequence[str]) -> Raw:
    first = el("th", row[0], scope="row") if row else None
    return el("tr", first, *(el("td", cell, class_=_side(value, i)) for i, cell in enumerate(row[1:], 1)))

"""Entries of tables: a zero among other numbers, and what its neighbours say should stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from dovetail.hls.signature import parse, text, walk

_NUMBER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|\d+\.?\d*(?:[eE][-+]?\d+)?)[fFuUlL]*")
MOST = 16  # entries of one table that are changed
ZERO, UNSURE, OTHER = 0.0, 0.3, 0.9  # how unlikely a slip is: a lone zero, one that may be right, another number


def entries(declarator: Any) -> Iterator[tuple[Any, list[tuple[str, float, str]]]]:
    """Each entry of a declarator's list of numbers that may be wrong, with what may stand there instead."""
    value = declarator.child_by_field_name("value")
    if value is None or value.type != "initializer_list":
        return
    for row in (node for node in walk(value) if node.type == "initializer_list"):
        found = [node for node in row.named_children if _NUMBER.fullmatch(text(node))]
        if len(found) < 3 or len(found) < len([n for n in row.named_children if n.type != "comment"]):
            continue
        values = [_value(text(node)) for node in found]
        if 2 * values.count(0) > len(values):  # cleared, or sparse
            continue
        order = sorted(range(len(found)), key=lambda place: (not suspicious(values, place), place))
        for place in order[:MOST]:
            empty = values[place] == 0
            others = wanted(values, place) if empty else _near(values[place])
            cost = OTHER if not empty else ZERO if suspicious(values, place) else UNSURE
            yield found[place], [(new, cost + 0.02 * i, "zero" if empty else "") for i, new in enumerate(others)]


def lone_zeros(source: str) -> list[int]:
    """Lines of entries that are zero among other numbers."""
    return [int(entry.start_point[0]) + 1 for node in walk(parse(source)) if node.type == "init_declarator"
            for entry, others in entries(node) if others and others[0][1] == ZERO and others[0][2]]  # fmt: skip


def suspicious(values: Sequence[float], place: int) -> bool:
    """Whether an entry is zero where fewer than a quarter of the others are, and neighbours do not lead to it."""
    others = [value for at, value in enumerate(values) if at != place]
    if values[place] != 0 or sum(value == 0 for value in others) * 4 >= len(others):
        return False
    ends = [value for value in values if value != 0]
    rising = place == 0 and ends == sorted(ends) and ends[0] > 0
    falling = place == len(values) - 1 and ends == sorted(ends, reverse=True) and ends[-1] > 0
    return not (rising or falling)


def wanted(values: Sequence[float], place: int) -> list[str]:
    """What may have stood where a zero is: between the neighbours, going on as they do, or the neighbours' own."""
    before = [values[i] for i in (place - 2, place - 1) if i >= 0]
    after = [values[i] for i in (place + 1, place + 2) if i < len(values)]
    near: list[float] = []
    if before and after:
        near += [(before[-1] + after[0]) / 2]
        near += [(before[-1] * after[0]) ** 0.5] if before[-1] * after[0] > 0 else []
    for pair in (before[::-1], after):
        near += [2 * pair[0] - pair[1], *([pair[0] ** 2 / pair[1]] if pair[1] else [])] if len(pair) > 1 else []
        near += pair[:1]
    near += [1.0, -1.0, max(values, key=abs)]
    whole = all(value == int(value) for value in values)
    said = [str(round(value)) if whole else f"{value:.9g}" for value in near if value != 0]
    return [new for new in dict.fromkeys(said) if new != "0"]


def _near(value: float) -> list[str]:
    whole = value == int(value)
    near = (value + 1, value - 1, -value) if whole else (-value, value * 2, value / 2)
    return [str(int(new)) if whole else f"{new:.9g}" for new in near]


def _value(word: str) -> float:
    bare = word.rstrip("uUlL") if word.lower().lstrip("-+").startswith("0x") else word.rstrip("fFuUlL")
    return float(int(bare, 16)) if "x" in bare.lower() else float(bare)

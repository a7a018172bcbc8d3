"""RAMB: accesses through m_axi that no burst can serve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from dovetail.hls.check.pragmas.drawn import by_data
from dovetail.hls.check.pragmas.findings import mode_of
from dovetail.hls.check.pragmas.model import Access, Function
from dovetail.hls.check.pragmas.passed import passed
from dovetail.hls.check.pragmas.schedule import (
    order_of,
)
from dovetail.hls.check.report import Finding

BURST = 0.75  # of the steps of an access go to the same or the next word: a burst


def bursts(function: Function, every: Sequence[Function]) -> Iterator[Finding]:
    """RAMB: m_axi accesses that no burst can serve: strided, or decided by data."""
    for pragma in function.pragmas:
        port = pragma.options.get("port", "")
        if pragma.name != "interface" or mode_of(pragma) != "m_axi" or port not in function.arrays:
            continue
        for where, name in passed(function, port, every):
            bad = next(((a, why) for a, why in _random(where, name) if why), None)
            if bad is not None:
                access, why = bad
                message = f"'{port}' is accessed at random through m_axi (line {access.line}): {why}"
                lines = (access.line, pragma.line)
                yield Finding(
                    "RAMB", access.line, message, "one bus transaction per element", None, lines, "pragma lint"
                )
                break


def _random(function: Function, name: str) -> Iterator[tuple[Access, str]]:
    """Accesses of a port with why no burst serves them; those of one iteration count together."""
    together: dict[tuple[Any, ...], list[Access]] = {}
    for access in function.accesses:
        if access.array == name and access.loops:
            key = (access.written, *(loop.line for loop in access.loops))
            together.setdefault(key, []).append(access)
    for group in together.values():
        yield group[0], _no_burst(function, group)


def _no_burst(function: Function, group: Sequence[Access]) -> str:
    orders = [order_of(function, access, 512) for access in group]
    for access, order in zip(group, orders):
        if order is None:
            return f"the index [{access.words[0]}] depends on data" if by_data(function, access) else ""
    steps = [sorted(set(step)) for step in zip(*(order for order in orders if order is not None))]
    order = [at for step in steps for at in step]
    if len(order) < 4:
        return ""
    near = sum(b - a in (0, 1) for a, b in pairwise(order)) / (len(order) - 1)
    return f"it goes from element {_leap(order)}" if near < BURST else ""


def _leap(order: Sequence[int]) -> str:
    a, b = next((a, b) for a, b in pairwise(order) if b - a not in (0, 1))
    return f"{a} to {b}"

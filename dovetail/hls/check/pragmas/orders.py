"""IDAP: a port that hands elements over in order, against the order they are taken in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from dovetail.hls.check.pragmas.drawn import resolved_by_data
from dovetail.hls.check.pragmas.findings import found, mode_of
from dovetail.hls.check.pragmas.model import Access, Function
from dovetail.hls.check.pragmas.passed import passed
from dovetail.hls.check.pragmas.schedule import (
    order_of,
)
from dovetail.hls.check.report import Finding
from dovetail.hls.signature import text, walk


def fifo_order(function: Function, every: Sequence[Function]) -> Iterator[Finding]:
    """IDAP: a port that hands elements over in order, accessed out of order, twice, or both ways."""
    for pragma in function.pragmas:
        port = pragma.options.get("port", "")
        if pragma.name != "interface" or mode_of(pragma) not in ("ap_fifo", "axis") or port not in function.arrays:
            continue
        for where, name in passed(function, port, every):
            why = _out_of_order(where, [a for a in where.accesses if a.array == name])
            if why:
                yield found("IDAP", pragma.line, f"mode {mode_of(pragma)} hands '{port}' over in order: {why}",
                             f"accesses of '{name}' in {where.name}")  # fmt: skip
                break


def _out_of_order(function: Function, accesses: Sequence[Access]) -> str:
    if not accesses:
        return ""
    line = accesses[0].line
    if any(a.written for a in accesses) and any(a.read for a in accesses):
        return f"it is read and written (line {line})"
    again = next((a for a in accesses if a.loops and not a.loops[-1].counter), None)
    if again is not None and not _steps_within(again):
        return f"line {again.line} takes the same element again"
    seen: set[tuple[Any, ...]] = set()
    for access in accesses:
        key = (*(loop.line for loop in access.loops), *access.words)
        if key in seen and access.loops:
            return f"line {access.line} takes an element that was taken before"
        seen.add(key)
    if len(accesses) == 1:
        order = order_of(function, accesses[0])
        if order is None:
            return f"the index at line {line} depends on data" if resolved_by_data(function, accesses[0]) else ""
        if any(b != a + 1 for a, b in pairwise(order)):
            return f"line {line} goes from element {_jump(order)}"
        return ""
    parts = [order_of(function, access) for access in accesses]
    if any(part is None for part in parts):
        return ""
    loops = {tuple(loop.line for loop in access.loops) for access in accesses}
    if len(loops) == 1 and accesses[0].loops:  # several in one iteration: one after the other
        merged = [at for step in zip(*(part for part in parts if part is not None)) for at in step]
    else:
        merged = [at for part in parts if part is not None for at in part]
    if any(b != a + 1 for a, b in pairwise(merged)):
        return f"elements are taken as {', '.join(map(str, merged[:4]))}, …"
    return ""


def _steps_within(access: Access) -> bool:
    """Whether the innermost loop changes a variable of the index."""
    names = {text(n) for index in access.indices for n in walk(index) if n.type == "identifier"}
    changes = [n for n in walk(access.loops[-1].node) if n.type in ("update_expression", "assignment_expression")]
    changed = {text(n.child_by_field_name("argument") or n.child_by_field_name("left")) for n in changes}
    return bool(names & changed)


def _jump(order: Sequence[int]) -> str:
    a, b = next((a, b) for a, b in pairwise(order) if b != a + 1)
    return f"{a} to {b}"

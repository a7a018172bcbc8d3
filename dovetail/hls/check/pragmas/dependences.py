"""DEP: a dependence declared false that is real."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from dovetail.hls.check.pragmas.drawn import by_data
from dovetail.hls.check.pragmas.findings import found
from dovetail.hls.check.pragmas.model import Access, Function, Pragma, inside
from dovetail.hls.check.pragmas.schedule import (
    order_of,
)
from dovetail.hls.check.report import Finding
from dovetail.hls.signature import text

CAREFUL = re.compile(r"\b(?:old|prev|last|previous)\w*\b", re.IGNORECASE)


def false_dependences(function: Function, every: Sequence[Function]) -> Iterator[Finding]:
    """DEP: a dependence declared false that an iteration a few steps on does have."""
    for pragma in function.pragmas:
        if pragma.name != "dependence" or not _declared_false(pragma):
            continue
        name = pragma.options.get("variable", "")
        for array in [name] if name else sorted({a.array for a in function.accesses}):
            why = _carried(function, pragma, array)
            if why:
                yield found("DEP", pragma.line, f"the dependence on '{array}' is real: {why}", "read after write")
                break


def _declared_false(pragma: Pragma) -> bool:
    values = {value.lower() for value in pragma.options.values()}
    return bool({"false"} & (pragma.flags | values)) and "intra" not in (pragma.flags | values)


def _carried(function: Function, pragma: Pragma, array: str) -> str:
    scope = pragma.scope
    writes = [a for a in function.accesses if a.array == array and a.written and inside(a.node, scope)]
    reads = [a for a in function.accesses if a.array == array and a.read and inside(a.node, scope)]
    for write in writes:
        for read in reads:
            found = _meeting(function, write, read, scope)
            if found:
                return found
    return ""


def _meeting(function: Function, write: Access, read: Access, scope: Any) -> str:
    """How an iteration of the loop reads what an earlier one wrote; the loops around it stand at their first values."""
    if not write.loops or not read.loops:
        return ""
    stored, loaded = (order_of(function, access, 2048, scope) for access in (write, read))
    if stored is None or loaded is None:
        same = write.words == read.words and by_data(function, read)
        if same and not CAREFUL.search(text(function.node)):
            return f"two iterations may meet in [{read.words[0]}] (line {read.line})"
        return ""
    if len(stored) != len(loaded):
        return ""
    last: dict[int, int] = {}
    for step, (put, got) in enumerate(zip(stored, loaded)):
        if got in last and step - last[got] >= 1:
            return f"element {got}, written at line {write.line}, is read {step - last[got]} iterations later"
        last[put] = step
    return ""

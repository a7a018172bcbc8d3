"""MLP, ILNU: loops inside a pipelined or unrolled one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dovetail.hls.check.pragmas.model import Function, Pragma, inside
from dovetail.hls.check.pragmas.schedule import (
    Region,
    regions,
)
from dovetail.hls.check.report import Finding


def nested_pipelines(function: Function, every: Sequence[Function]) -> Iterator[Finding]:
    """MLP: a pipeline inside a pipeline; the inner loop would be unrolled away."""
    piped = [p for p in function.pragmas if p.name == "pipeline" and "off" not in p.flags]
    for pragma in piped:
        outer = next((o for o in piped if o.scope != pragma.scope and inside(pragma.scope, o.scope)), None)
        if outer is not None:
            message = f"this loop lies in one that is pipelined at line {outer.line}: it is unrolled, not pipelined"
            yield Finding("MLP", outer.line, message, f"pipelines at lines {outer.line} and {pragma.line}", None,
                          (outer.line, outer.scope.start_point[0] + 1, pragma.line), "pragma lint")  # fmt: skip
            return


def inner_loops(function: Function, every: Sequence[Function]) -> Iterator[Finding]:
    """ILNU: loops inside a pipelined or unrolled one that cannot be, or are told not to be, fully unrolled."""
    for region in regions(function):
        for loop in function.within(region.scope):
            unrolled = function.of(loop.node, "unroll")
            if function.of(loop.node, "pipeline"):
                continue
            why = _not_unrolled(function, loop, unrolled, region)
            if why:
                line = unrolled[0].line if unrolled else region.line
                message = f"the loop at line {loop.line} stays a loop: {why}"
                yield Finding("ILNU", line, message, f"inside the region of line {region.line}", None,
                              tuple(dict.fromkeys((line, region.line, loop.line))), "pragma lint")  # fmt: skip
                return


def _not_unrolled(function: Function, loop: Any, unrolled: Sequence[Pragma], region: Region) -> str:
    values = loop.values(function.known)
    if values is None and region.pipelined:
        return "its trip count is not a constant, so it cannot be unrolled"
    count = len(values) if values is not None else 0
    factor = unrolled[0].number("factor", function.known) if unrolled else None
    if unrolled and "off" in unrolled[0].flags:
        return "unrolling is switched off"
    if factor and count > factor and not count % factor:
        return f"unrolled by {factor} of {count} iterations"
    if not region.pipelined and not unrolled and count > 1:
        return f"{count} iterations in a row in every unrolled copy"
    return ""

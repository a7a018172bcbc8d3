"""SHFT: shift amounts of a whole word or below zero."""

from __future__ import annotations

from collections.abc import Iterator

from dovetail.hls.inject.mutant import Mutant, change, operator
from dovetail.hls.inject.syntax import Source, text


@operator("shift-amount")
def amount(source: Source) -> Iterator[Mutant]:
    """The amount grows by 32 or 64, or changes its sign."""
    for node in source.of("binary_expression", "assignment_expression"):
        sign = node.child_by_field_name("operator")
        if sign is None or text(sign) not in ("<<", ">>", "<<=", ">>="):
            continue
        right = node.child_by_field_name("right")
        for new in (f"({text(right)} + 32)", f"({text(right)} + 64)", f"(-({text(right)}) - 1)"):
            yield change(
                "SHFT", "shift-amount", source, right, new, f"shift by {new}", text(node.child_by_field_name("left"))
            )

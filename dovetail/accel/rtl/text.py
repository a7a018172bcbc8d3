"""Parameters put into a unit's Verilog."""

from __future__ import annotations

import re

from dovetail.accel.compile.shape import Shape, depth, log2

PLACE = re.compile(r"@([A-Z][A-Z_]*)")  # braces and dollar signs are Verilog's, as is an at sign before anything else


def fill(text: str, shape: Shape, **more: object) -> str:
    """Verilog with each ``@NAME`` replaced: the shape's parameters in capitals, their logarithms, and `more`."""
    known: dict[str, object] = {
        "ROWS": shape.rows, "COLUMNS": shape.columns, "LANES": shape.lanes, "LOG_ROWS": log2(shape.rows),
        "LOG_COLUMNS": log2(shape.columns), "LOG_LANES": log2(shape.lanes), "RING": log2(shape.ring),
        "OPERANDS": depth(shape.operands), "STREAM": depth(shape.stream), "HALVES": depth(shape.halves),
        "CONSTANTS": depth(shape.constants), "LINE": depth(shape.line), "BLOCKS": log2(shape.context // shape.columns),
        "TILE": depth(shape.tile), "INSTRUCTION_WORDS": shape.instruction_words,
    }  # fmt: skip
    values = {**known, **more}
    return PLACE.sub(lambda found: str(values[found[1]]), text.lstrip("\n"))

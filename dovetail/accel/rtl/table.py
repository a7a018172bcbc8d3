"""Tables of functions as read-only memories."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dovetail.accel.arithmetic import gate, rsqrt, softmax

PER_LINE = 6


def rom(name: str, comment: str, entries: Sequence[int], bits: int) -> str:
    """The module `name`: 256 entries or fewer, read within the cycle."""
    lines = [
        "        " + " ".join(f"words[{i}] = {bits}'d{v};" for i, v in list(enumerate(entries))[at : at + PER_LINE])
        for at in range(0, len(entries), PER_LINE)
    ]
    body = "\n".join(lines)
    return f"""// {comment}
module {name} (
    input  wire [7:0] index,
    output wire [{bits - 1}:0] value
);
    reg [{bits - 1}:0] words [0:{len(entries) - 1}];
    initial begin
{body}
    end
    assign value = words[index];
endmodule
"""


def power_table() -> str:
    """``127 * 2**8 * 2**(-i/256)``, of softmax."""
    return rom("power_table", "round(127 * 2^8 * 2^(-index / 256))", [int(v) for v in softmax.table()], 15)


def root_table() -> str:
    """Seeds of the inverse root."""
    return rom("root_table", "round(2^15 / sqrt((64.5 + index) / 256))", [int(v) for v in rsqrt.table()], 16)


def gate_table(kind: str) -> str:
    """Entries of a gate in the low half, what the next one differs by in the high half."""
    entries = gate.table(kind)
    packed = [int(low) | int(step) << 16 for low, step in zip(entries[:-1], np.diff(entries), strict=True)]
    return rom("gate_table", f"{kind}: round(2^15 * g(index)) in 16 bits, and 16 bits to the next", packed, 32)

"""An array of integer products that a sequencer feeds from one memory port: what `dovetail compile` emits."""

from __future__ import annotations

from dataclasses import dataclass

from dovetail.core.content import ByContent
from dovetail.core.formats import Number

SIZES = ("rows", "columns", "lanes", "tile", "buffers")  # of which `of` makes the rest


@dataclass(frozen=True, slots=True, eq=False)
class IntegerArray(ByContent):
    """Everything is integers: weights of 8 or 4 bits, activations, keys and values, embedding and head of 8.

    One sequence at a time; no weight stays on the chip from one step to the next. What is between two products
    (norms, rotations, gates) runs in a vector unit as wide as the array has columns.

    Parameters
    ----------
    rows, columns, lanes : Number
        Tokens (or heads that share keys) and outputs at once, and products that each of rows x columns cells adds in a
        cycle.
    tile : Number
        Tokens of a prompt for each reading of the weights.
    buffers : Number
        Bytes of memory on the chip.
    header : Number
        Bytes that stand in memory beside the weights of an output: one for each lane.
    stored : Number
        Bytes that the port moves for a channel of a new key and of its value: a word of the array for each, of which
        a value fills all and a key, whose neighbours are other tokens, one lane.
    """

    rows: Number
    columns: Number
    lanes: Number
    tile: Number
    buffers: Number
    header: Number
    stored: Number

    @classmethod
    def of(cls, rows: Number, columns: Number, lanes: Number, tile: Number, buffers: Number) -> IntegerArray:
        """With the bytes of headers and of stores that an array of these sizes has."""
        return cls(rows, columns, lanes, tile, buffers, lanes, columns + lanes)

"""What the overlay is made of: the parameters of a design point."""

from __future__ import annotations

from dataclasses import dataclass

from dovetail.core.errors import DovetailError

INSTRUCTION_BITS = 256


@dataclass(frozen=True, slots=True)
class Shape:
    """Parameters of one overlay. All but the depths are powers of two.

    Parameters
    ----------
    rows : int
        Tokens (or query heads) that the array multiplies at once; at least 2.
    columns : int
        Output channels at once, and lanes of the vector unit; at least 4.
    lanes : int
        Products that each of rows x columns cells adds in a cycle; 4 up to `columns`.
    tile : int
        Most tokens of a pass.
    context : int
        Most tokens of a sequence; at least two words of columns.
    ring : int
        Words of the weight stream's buffer.
    operands, stream, halves, constants, line : int
        Least depths of the memories: operands of the array, residual stream, halves, constants of the vector unit, one
        vector. A program that needs more makes them deeper.
    maps : bool
        Whether the vector unit pools maps of images and gathers their windows for convolutions.
    """

    rows: int = 4
    columns: int = 16
    lanes: int = 4
    tile: int = 32
    context: int = 256
    ring: int = 512
    operands: int = 1
    stream: int = 1
    halves: int = 1
    constants: int = 1
    line: int = 1
    maps: bool = False

    def __post_init__(self) -> None:
        for name in ("rows", "columns", "lanes", "ring", "context"):
            value = getattr(self, name)
            if value < 1 or value & (value - 1):
                raise DovetailError(f"{name} of {value}", where=f"shape.{name}", hint="a power of two")
        if self.rows < 2 or self.context < 2 * self.columns or self.tile < 1:
            why = f"{self.rows} rows, a tile of {self.tile}, a context of {self.context} tokens"
            raise DovetailError("no such overlay", where="shape", why=why, hint="2 rows, and a context of 2 words")
        if not 4 <= self.lanes <= self.columns:
            why = f"{self.lanes} lanes and {self.columns} columns"
            raise DovetailError("no such array", where="shape.lanes", why=why, hint="4 lanes up to the columns")

    @property
    def macs(self) -> int:
        """Products in a cycle."""
        return self.rows * self.columns * self.lanes

    @property
    def word(self) -> int:
        """Bytes of a word of the memory port: one step of the array's weights."""
        return self.columns * self.lanes

    @property
    def spread(self) -> int:
        """Steps of the array in a word of operands."""
        return self.columns // self.lanes

    @property
    def instruction_words(self) -> int:
        """Words of the port to an instruction."""
        return max(1, INSTRUCTION_BITS // 8 // self.word)


def log2(value: int) -> int:
    """Of a power of two."""
    return value.bit_length() - 1


def depth(words: int) -> int:
    """Address bits of a memory of so many words, at least 1."""
    return max(1, (words - 1).bit_length())

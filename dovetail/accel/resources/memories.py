"""The memories on the chip: what each instance of the module `memory` holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dovetail.accel.compile.shape import Shape, depth, log2

DEPTHS = {"ecp5": (18432, 512, 32), "xcup": (36864, 512, 64), "asic": (16384, 256, 0)}  # bits, least words, LUT RAM to

TABLES = {"ecp5": 2, "xcup": 0, "asic": 0}  # blocks that hold constants


@dataclass(frozen=True, slots=True)
class Buffer:
    """`count` memories of `words` words of `bits` bits."""

    name: str
    count: int
    words: int
    bits: int

    @property
    def bytes(self) -> float:
        """Of all of them."""
        return self.count * self.words * self.bits / 8


def buffers(shape: Shape) -> tuple[Buffer, ...]:
    """Those of an overlay, in words of powers of two as its Verilog has them."""
    columns, blocks = shape.columns, log2(shape.context // shape.columns)
    return (
        Buffer("residual stream", 2, 1 << depth(shape.stream), columns * 24),
        Buffer("halves", 2, 1 << depth(shape.halves), columns * 16),
        Buffer("constants", 2, 1 << depth(shape.constants), columns * 32),
        Buffer("operands", shape.rows, 1 << depth(shape.operands), columns * 8),
        Buffer("weight ring", 1, shape.ring, shape.word * 8),
        Buffer("scores", 1, 1 << (blocks + log2(shape.rows) + 1), columns * 24),
        Buffer("weights of softmax", shape.rows, 1 << (blocks + 1), columns * 8),
        Buffer("one vector", 1, 1 << depth(shape.line), columns * 24),
    )


def bytes_on_chip(shape: Shape) -> float:
    """Of all buffers."""
    return sum(each.bytes for each in buffers(shape))


def blocks(shape: Shape, family: str) -> int:
    """Blocks of memory of a family: the fewest of its widths and depths for each buffer; small ones are LUTs."""
    return TABLES[family] + sum(each.count * _blocks(each, family) for each in buffers(shape))


def _blocks(each: Buffer, family: str) -> int:
    """The widest words that a block has at a depth."""
    bits, least, small = DEPTHS[family]
    if each.words <= small:
        return 0
    return min(-(-each.words // words) * -(-each.bits // (bits // words)) for words in _powers(least, 16384))


def _powers(first: int, last: int) -> Iterator[int]:
    while first <= last:
        yield first
        first *= 2

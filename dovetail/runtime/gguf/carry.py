"""Which GGUF type holds a quantised matrix, and its integers carried over where one holds them as they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dovetail.core.formats import Format
from dovetail.runtime.gguf.blocks import BLOCKS, SIZE, Block, Blocks


@dataclass(frozen=True, slots=True)
class Choice:
    """The GGUF type of one tensor.

    Parameters
    ----------
    type : str
        GGML's name: ``Q4_0``, ``BF16``.
    carried : bool
        Integers are written as they are, only scales and minima are brought to 16 bits; otherwise values are rounded
        again.
    """

    type: str
    carried: bool

    @property
    def block(self) -> Block | None:
        """The block format, of types that have one."""
        return BLOCKS.get(self.type)


def chosen(form: Format, cols: int) -> Choice:
    """The smallest type that holds the integers of `form` as they are; else the nearest one to round to.

    Integers fit where whole blocks of 32 share a scale. With a zero point they are counted from it: a difference of
    two integers of n bits has n + 1, so that 4 and 5 bits are better kept with a minimum, and 8 bits do not fit.
    """
    if cols % SIZE:
        return Choice("F16", False)
    group = form.group if form.packed else 0
    whole, integers = group % SIZE == 0, form.dtype.startswith("int")
    bits = form.bits if integers else 8
    nearest = _type(bits, form.zeros)
    return Choice(nearest, integers and whole and not (form.zeros and bits == 8))


def _type(bits: int, zeros: bool) -> str:
    if bits <= 4:
        return "Q4_1" if zeros and bits == 4 else "Q4_0"
    if bits == 5:
        return "Q5_1" if zeros else "Q5_0"
    return "Q8_0"


def carried(
    steps: NDArray[np.int8], scale: NDArray[np.float32], zero: NDArray[np.int8] | None, kind: Block, bits: int
) -> Blocks:
    """``(steps - zero) * scale`` as blocks, with the integers they are.

    Parameters
    ----------
    steps : (rows, cols)
        Integers of `bits`.
    scale, zero : (rows, groups)
    """
    each = steps.shape[1] // SIZE // scale.shape[1]
    wide = np.repeat(scale, each, 1)
    kept = wide.astype(np.float16)
    blocks = steps.reshape(len(steps), -1, SIZE)
    if zero is None:
        return Blocks(kind, blocks, kept)
    points = np.repeat(zero, each, 1).astype(np.int16)
    if not kind.minimum:
        return Blocks(kind, (blocks - points[..., None]).astype(np.int8), kept)
    low = -(points + 2 ** (bits - 1)) * wide
    return Blocks(kind, blocks, kept, low.astype(np.float16))

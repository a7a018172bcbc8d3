"""Codes cut into slices, a slice a cell: what stands in which array, and the exact way back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.crossbar.codes import Codes, Ints

Digits = NDArray[np.int8]
ENCODINGS = ("differential", "balanced", "offset", "sign-magnitude")
CELL_BITS = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class Cells:
    """How a signed code stands in cells that conduct and never less than nothing.

    Parameters
    ----------
    bits : int
        Of a cell: 1, 2 or 4.
    encoding : str
        ``differential``: positive and negative codes in two planes of arrays, each with its own conversions,
        subtracted as numbers. ``balanced``: the same cells and conversions, but each code by the digits of either sign
        that conduct least: 3 is 4 - 1, which puts a level on two bitlines instead of three on one. ``offset``:
        ``code + 2**code_bits`` in one plane, one bit wider; ``2**code_bits`` times the sum of the inputs is subtracted
        as a number (ISAAC, ISCA 2016). ``sign-magnitude``: two cells for each digit whose currents subtract on the
        bitline, hence one plane of signed digits and converters with a sign.

    Raises
    ------
    DovetailError
        No such cell or encoding.
    """

    bits: int = 2
    encoding: str = "differential"

    def __post_init__(self) -> None:
        if self.bits not in CELL_BITS:
            hint = "1, 2 or 4: more levels are closer than today's devices can be programmed"
            raise DovetailError(f"no cell of {self.bits} bits", where="cell bits", hint=hint)
        if self.encoding not in ENCODINGS:
            hint = did_you_mean(self.encoding, list(ENCODINGS))
            raise DovetailError(f"unknown encoding '{self.encoding}'", where="encoding", hint=hint)

    @property
    def levels(self) -> int:
        """The largest digit of a cell."""
        return (1 << self.bits) - 1

    @property
    def signed(self) -> bool:
        """Whether a bitline's sum may be negative."""
        return self.encoding == "sign-magnitude"

    @property
    def polarities(self) -> tuple[int, ...]:
        """The sign with which each plane's sums are added."""
        return (1, -1) if self.encoding in ("differential", "balanced") else (1,)

    @property
    def devices(self) -> int:
        """Cells of one digit, over all planes."""
        return 1 if self.encoding == "offset" else 2

    def offset(self, code_bits: int) -> int:
        """What was added to every code."""
        return 1 << code_bits if self.encoding == "offset" else 0

    def slices(self, code_bits: int) -> int:
        """Slices of a code whose magnitude has `code_bits`."""
        return -(-(code_bits + (self.encoding == "offset")) // self.bits)

    def place_values(self, code_bits: int) -> Ints:
        """What one level of each slice is worth in codes, the lowest slice first."""
        return np.array([1 << self.bits * s for s in range(self.slices(code_bits))], dtype=np.int32)

    def split(self, codes: Codes) -> Digits:
        """The digits of every cell, shape (planes, slices, outputs, inputs), the lowest slice first."""
        code_bits, values = codes.grid.bits, codes.values
        if self.encoding == "balanced":
            signed = np.moveaxis(balanced_digits(code_bits, self.bits)[np.abs(values)], 2, 0) * np.sign(values)
            both: Digits = np.stack([np.maximum(signed, 0), np.maximum(-signed, 0)]).astype(np.int8)
            return both
        if self.encoding == "differential":
            planes = np.stack([np.maximum(values, 0), np.maximum(-values, 0)])
        else:
            planes = (values + self.offset(code_bits) if self.encoding == "offset" else np.abs(values))[None]
        shifts = (self.bits * np.arange(self.slices(code_bits)))[:, None, None]
        digits: Digits = (planes[:, None] >> shifts & self.levels).astype(np.int8)
        if self.signed:
            digits *= np.sign(values).astype(np.int8)
        return digits

    def join(self, digits: Digits, code_bits: int) -> Ints:
        """The codes again, exactly: the inverse of `split`."""
        worth = np.multiply.outer(np.array(self.polarities, np.int32), self.place_values(code_bits))
        joined: Ints = np.einsum("ps,psoi->oi", worth, digits, dtype=np.int32)
        return joined - np.int32(self.offset(code_bits))


@lru_cache(maxsize=32)
def balanced_digits(code_bits: int, cell_bits: int) -> NDArray[np.int32]:
    """Of each magnitude, the signed digits with the least sum of levels, then the fewest that are not 0.

    Shape (magnitudes, slices), the lowest slice first.
    """
    return rest_digits(code_bits, cell_bits)[(1 << code_bits) - 1 :]


@lru_cache(maxsize=32)
def rest_digits(code_bits: int, cell_bits: int) -> NDArray[np.int32]:
    """The same of all that upper digits may leave of a magnitude, the lowest first: -2**code_bits + 1 and up.

    Two digits leave the same remainder, one of each sign: all ways are tried, from the top. Of equal ways the one whose
    lowest digits are smallest counts, so that what is left below any upper digits has the digits that the whole has.
    """
    base, slices = 1 << cell_bits, -(-code_bits // cell_bits)
    best: dict[int, tuple[int, int, tuple[int, ...]]] = {0: (0, 0, ())}
    for place in range(slices):
        reach = (1 << code_bits) >> cell_bits * (slices - 1 - place)
        held, best = best, {}
        for value in range(-reach, reach + 1):
            ways = []
            for digit in {value % base, value % base - base}:
                rest = (value - digit) // base
                if abs(digit) < base and rest in held:
                    levels, cells, above = held[rest]
                    ways.append((levels + abs(digit), cells + (digit != 0), (digit, *above)))
            if ways:
                best[value] = min(ways)
    return np.array([best[value][2] for value in range(1 - (1 << code_bits), 1 << code_bits)], dtype=np.int32)

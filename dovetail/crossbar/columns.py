"""What slices ask of converters: non-zero cells, the largest sum of each bitline, the bits that hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import DovetailError
from dovetail.crossbar.cells import Cells, Digits
from dovetail.crossbar.codes import Codes


@dataclass(frozen=True, slots=True)
class Arrays:
    """The size of an array. Rows are inputs (wordlines), columns are outputs (bitlines)."""

    rows: int = 128
    columns: int = 128

    def __post_init__(self) -> None:
        for name, size in (("rows", self.rows), ("columns", self.columns)):
            if not 1 <= size <= 4096:
                why = "wires of longer lines drop the voltage of their last cells"
                raise DovetailError(f"an array of {size} {name}", where=name, why=why, hint="128; 1 to 4096")

    def starts(self, inputs: int, group: int | None = None) -> NDArray[np.intp]:
        """The first input of each tile of rows that are read at once: no tile crosses a group, for a bitline adds
        cells of one scale only.
        """
        height = min(self.rows, inputs)
        firsts = [np.arange(first, min(first + (group or inputs), inputs), height)
                  for first in range(0, inputs, group or inputs)]  # fmt: skip
        return np.concatenate(firsts)


@dataclass(frozen=True, slots=True)
class SliceStatistics:
    """Statistics of a sliced matrix.

    Parameters
    ----------
    nonzero : array, shape (planes, slices)
        Share of cells that are not 0, the lowest slice first.
    highest, lowest : array of int, shape (planes, slices, tiles, outputs)
        Of each bitline, the sums when every input is on whose cell adds, and whose cell subtracts (0 unless signed).
    """

    nonzero: NDArray[np.float64]
    highest: NDArray[np.int64]
    lowest: NDArray[np.int64]

    @property
    def nonzero_slices(self) -> NDArray[np.float64]:
        """Share of a matrix's weights whose slice is not 0, over all planes, shape (slices,)."""
        total: NDArray[np.float64] = self.nonzero.sum(axis=0)
        return total

    @property
    def bits(self) -> NDArray[np.int64]:
        """Bits of a converter that loses nothing, of every bitline; 0 where nothing is ever to convert."""
        return needed_bits(self.highest, self.lowest)

    def to_json(self) -> dict[str, Any]:
        """Shares and bits by slice, the lowest first."""
        return {
            "nonzero": self.nonzero_slices.tolist(),
            "largest_sum": np.maximum(self.highest, -self.lowest).max(axis=(0, 2, 3)).tolist(),
            "adc_bits": self.bits.max(axis=(0, 2, 3)).tolist(),
            "median_adc_bits": np.median(np.moveaxis(self.bits, 1, 0).reshape(self.bits.shape[1], -1), axis=1).tolist(),
        }


def needed_bits(highest: NDArray[np.int64], lowest: NDArray[np.int64] | int = 0) -> NDArray[np.int64]:
    """Bits that hold every integer from `lowest` <= 0 to `highest` >= 0, in two's complement where one is negative."""
    below = np.maximum(-np.asarray(lowest), 0)
    largest = np.maximum(np.asarray(highest), below - 1)
    bits: NDArray[np.int64] = np.frexp(largest.astype(np.float64))[1].astype(np.int64) + (below > 0)
    return bits


def signed_bits(highest: NDArray[np.int64], lowest: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bits of a converter with a sign, whether a sum can be negative or not; 0 where none can be but 0."""
    largest = np.maximum(highest, -np.asarray(lowest) - 1)
    bits: NDArray[np.int64] = np.frexp(largest.astype(np.float64))[1].astype(np.int64) + 1
    return np.where(highest - lowest > 0, bits, 0)


def statistics(codes: Codes, cells: Cells | None = None, arrays: Arrays | None = None) -> SliceStatistics:
    """Slice statistics of a coded matrix.

    Raises
    ------
    DovetailError
        A size or encoding that is none.
    """
    cells, arrays = cells or Cells(), arrays or Arrays()
    digits = cells.split(codes)
    return digit_statistics(digits, arrays.starts(codes.shape[1], codes.group))


def digit_statistics(digits: Digits, starts: NDArray[np.intp]) -> SliceStatistics:
    """The same of digits (planes, slices, outputs, inputs) and the first inputs of the tiles."""
    nonzero = np.count_nonzero(digits, axis=(2, 3)) / (digits.shape[2] * digits.shape[3])
    highest = _sums(np.maximum(digits, 0), starts)
    lowest = _sums(np.minimum(digits, 0), starts) if (digits < 0).any() else np.zeros_like(highest)
    return SliceStatistics(nonzero, highest, lowest)


def _sums(digits: Digits, starts: NDArray[np.intp]) -> NDArray[np.int64]:
    summed = np.add.reduceat(digits, starts, axis=3, dtype=np.int64)
    return np.ascontiguousarray(np.moveaxis(summed, 3, 2))

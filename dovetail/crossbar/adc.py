"""Converters: from a bitline's sum to an integer of few bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import DovetailError, did_you_mean

KINDS = ("ideal", "saturating", "uniform", "calibrated")
MOST_BITS = 12


@dataclass(frozen=True, slots=True, eq=False)
class Converters:
    """One converter for every bitline: ``clip(floor(sum / step + 0.5), low, high) * step``; with step 0, ``sum``.

    All have shape (planes, slices, tiles, outputs). `bits` is what a cost model prices; 0 where nothing is converted.
    """

    step: NDArray[np.float64]
    low: NDArray[np.int32]
    high: NDArray[np.int32]
    bits: NDArray[np.int64]

    def at(self, plane: int, slice_: int, tile: int) -> Converters:
        """Those of one tile, shape (outputs,)."""
        place = plane, slice_, tile
        return Converters(self.step[place], self.low[place], self.high[place], self.bits[place])

    def convert(self, sums: NDArray[Any]) -> NDArray[np.float64]:
        """What the converters of one tile make of sums (vectors, outputs)."""
        step = np.where(self.step > 0, self.step, 1.0)
        levels = np.clip(np.floor(sums * (1 / step) + 0.5), self.low, self.high)
        return np.where(self.step > 0, levels * step, sums)

    def lossless(self, highest: NDArray[np.int64], lowest: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Where no integer sum between the bounds of a bitline can be converted to another number."""
        exact = (self.step == 1) & (highest <= self.high) & (lowest >= self.low)
        empty = (highest == 0) & (lowest == 0)
        held: NDArray[np.bool_] = exact | (self.step == 0) | empty
        return held


@dataclass(frozen=True, slots=True)
class Adc:
    """A kind of converter and its bits.

    Parameters
    ----------
    kind : str
        ``ideal``: no rounding, no bound. ``saturating``: steps of one level of a cell, sums beyond the largest code are
        cut. ``uniform``: steps that stretch the codes over the largest sum that any cells of a tile could make.
        ``calibrated``: over the range that calibration inputs leave, cut where that loses least (`calibrate.py`).
    bits : int or sequence of int
        1 to 12, of all slices or of each, the lowest first. With a sign, one of them is the sign.

    Raises
    ------
    DovetailError
        An unknown kind; bits out of range.
    """

    kind: str = "saturating"
    bits: int | tuple[int, ...] = 8

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DovetailError(f"no ADC '{self.kind}'", where="adc", hint=did_you_mean(self.kind, list(KINDS)))
        for bits in (self.bits,) if isinstance(self.bits, int) else self.bits:
            check_bits(bits)

    def of_slices(self, slices: int) -> NDArray[np.int64]:
        """Bits of each slice, the lowest first."""
        if isinstance(self.bits, int):
            return np.full(slices, self.bits)
        if len(self.bits) != slices:
            why = f"{len(self.bits)} numbers of bits, {slices} slices"
            hint = "one number for all slices, or one for each, the lowest slice first"
            raise DovetailError("ADC bits that do not match the slices", where="ADC bits", why=why, hint=hint)
        return np.array(self.bits)

    def converters(self, shape: Sequence[int], full: NDArray[np.int64], signed: bool) -> Converters:
        """The converters of a layer.

        Parameters
        ----------
        shape : (planes, slices, tiles, outputs)
        full : array of int, shape (tiles,)
            The largest sum that cells could make.
        signed : bool
            Whether sums may be negative.
        """
        bits = np.broadcast_to(self.of_slices(shape[1])[:, None, None], tuple(shape))
        if self.kind == "ideal":
            return Converters(np.zeros(shape), np.zeros(shape, np.int32), np.zeros(shape, np.int32), bits)
        low, high = code_range(bits, signed)
        step = np.ones(shape)
        if self.kind != "saturating":
            step = np.maximum(1.0, full[:, None] / np.maximum(high, 1))
        return Converters(np.broadcast_to(step, tuple(shape)), low, high, bits)


def code_range(
    bits: NDArray[np.int64], signed: bool | NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:  # fmt: skip
    """The lowest and the highest code."""
    high = (1 << bits - signed) - 1
    low = np.where(signed, -high - 1, 0)
    return low.astype(np.int32), high.astype(np.int32)


def check_bits(bits: int) -> None:
    """Refuse converters that nobody builds."""
    if not 1 <= bits <= MOST_BITS:
        why = "below 1 nothing is converted; 128 cells of 4 bits add up to 11 bits, and thermal noise ends the rest"
        hint = f"1 to {MOST_BITS}; 8 is usual, `ideal` for none"
        raise DovetailError(f"an ADC of {bits} bits", where="ADC bits", why=why, hint=hint)

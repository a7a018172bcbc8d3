"""Shifts that round, saturation, bit lengths: what all units share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

BYTE, HALF, WORD = 8, 16, 24  # bits of the operands of the array, of most vectors, of the residual stream


def round_shift(values: npt.ArrayLike, shift: npt.ArrayLike) -> Ints:
    """``floor(values / 2**shift + 1/2)``: add half a unit, then shift right arithmetically. Ties go up.

    Parameters
    ----------
    shift : int or array of int
        0 to 62; 0 leaves the values as they are.
    """
    x, s = np.asarray(values, np.int64), np.asarray(shift, np.int64)
    return (x + ((np.int64(1) << s) >> 1)) >> s


def saturate(values: npt.ArrayLike, bits: int) -> Ints:
    """Clip to a signed integer of `bits`: ``-2**(bits-1)`` to ``2**(bits-1) - 1``."""
    top = 1 << (bits - 1)
    return np.clip(np.asarray(values, np.int64), -top, top - 1)


def bit_length(values: npt.ArrayLike) -> Ints:
    """Bits of integers of 0 to 2**62: 0 has none, ``2**k`` has ``k + 1``."""
    x = np.asarray(values, np.int64)
    low = np.frexp((x & 0x7FFFFFFF).astype(np.float64))[1]
    high = np.frexp((x >> 31).astype(np.float64))[1]
    return np.where(high > 0, high + 31, low).astype(np.int64)

"""``1 / sqrt`` of an integer: a table of 192 entries and one step of Newton's method."""

from __future__ import annotations

from functools import cache

import numpy as np

from dovetail.accel.arithmetic.rounding import Ints, bit_length

ONE = 1 << 15
ERROR = 2.0**-13  # relative, of the root's mantissa against 1/sqrt of the argument: held over all mantissas


@cache
def table() -> Ints:
    """Entry i stands for arguments from (64 + i)/256 to (65 + i)/256: ``round(2**15 / sqrt((64.5 + i) / 256))``."""
    middle = (np.arange(64, 256) + 0.5) / 256
    return np.floor(ONE / np.sqrt(middle) + 0.5).astype(np.int64)


def rsqrt(x: Ints) -> tuple[Ints, Ints]:
    """Mantissa r and half exponent h with ``1 / sqrt(x)`` about ``r / 2**(15 + h)``.

    Parameters
    ----------
    x : array, 1 to 2**62

    Returns
    -------
    mantissa : 2**15 to 2**16
    half : 0 to 31
        Half the bits of x, rounded up.
    """
    half = (bit_length(x) + 1) >> 1
    up, down = np.maximum(16 - 2 * half, 0), np.maximum(2 * half - 16, 0)
    m = (x << up) >> down  # 16 bits: 2**14 to 2**16 - 1
    seed = table()[(m >> 8) - 64]
    square = (seed * seed) >> 15
    product = (m * square) >> 16  # about one, in units of 2**-15
    return (seed * (3 * ONE - product)) >> 16, half

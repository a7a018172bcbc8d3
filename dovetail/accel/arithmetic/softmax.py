"""Softmax in two passes over a buffer of scores: the maximum, then powers of two, their sum, and one division a row."""

from __future__ import annotations

from functools import cache

import numpy as np

from dovetail.accel.arithmetic.rounding import HALF, WORD, Ints, bit_length, round_shift, saturate

SCORE_BITS = 8  # scores are logarithms to base 2 in units of 2**-8
ONE = 127  # weight of the largest score of a row
OUTPUT_BITS = 8  # results have so many fractional bits more than values


@cache
def table() -> Ints:
    """``round(127 * 2**8 * 2**(-f / 256))`` for f of 0 to 255: 15 bits, from 32512 down to 16300."""
    return np.floor(ONE * 256 * 2.0 ** (-np.arange(256) / 256) + 0.5).astype(np.int64)


def scores(sums: Ints, mantissa: int, shift: Ints) -> Ints:
    """Sums of query times key (32 bits) as logarithms to base 2 of 24 bits; `shift` is less the query's exponent."""
    return saturate(round_shift(sums * mantissa, shift), WORD)


def weights(logs: Ints, seen: np.ndarray) -> Ints:
    """Weights 0 to 127 of each score of a row, 127 for the largest; not divided by their sum.

    With d the maximum less the score, n its whole part and f the 8 bits after the point:
    ``round_shift(table[f], 8 + n)``, which is 0 from n = 8 on.

    Parameters
    ----------
    logs : (..., t), 24 bits
    seen : broadcasts to (..., t), bool
        What a row may look at, at least one of them; others weigh 0 and have no part in the maximum.
    """
    lowest = -(1 << (WORD - 1))
    far = np.where(seen, logs, lowest).max(axis=-1, keepdims=True) - logs
    far = np.maximum(far, 0)
    whole = np.minimum(far >> SCORE_BITS, 8)
    found = round_shift(table()[far & 255], 8 + whole)
    return np.where(seen, found, 0)


def reciprocal(total: Ints) -> tuple[Ints, Ints]:
    """``floor(2**(15 + bits) / total)`` and the bits of the total: 2**15 < r <= 2**16."""
    bits = bit_length(total)
    return (np.int64(1) << (bits + 15)) // total, bits


def divide(sums: Ints, total: Ints) -> Ints:
    """Weighted sums of values (32 bits) over the sum of the weights, with `OUTPUT_BITS` more fractional bits: 16 bits.

    Parameters
    ----------
    sums : (..., n)
    total : (...,), at least 127
    """
    r, bits = reciprocal(total)
    return saturate(round_shift(sums * r[..., None], (bits + 15 - OUTPUT_BITS)[..., None]), HALF)

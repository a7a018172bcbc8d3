"""A vector as int8 with one power of two: what the array reads."""

from __future__ import annotations

import numpy as np

from dovetail.accel.arithmetic.rounding import BYTE, Ints, bit_length, round_shift

LARGEST = 127  # operands are symmetric: -128 never leaves this unit


def quantise(x: Ints) -> tuple[Ints, Ints]:
    """Scale vectors to int8 by the least power of two that (almost) holds them.

    The exponent is ``max(0, bits of max |x| - 7)``, so that the largest of a vector lands on 64 to 128, and 128 is
    clipped to 127.

    Parameters
    ----------
    x : (..., n), at most 24 bits signed
        Each vector along the last axis has its own exponent.

    Returns
    -------
    values : (..., n), -127 to 127
    exponent : (...,), 0 to 17
        ``x`` is about ``values * 2**exponent``, off by at most ``2**(exponent - 1)``; up to twice that where clipped.
    """
    exponent = np.maximum(bit_length(np.abs(x).max(axis=-1)) - (BYTE - 1), 0)
    values = np.clip(round_shift(x, exponent[..., None]), -LARGEST, LARGEST)
    return values, exponent


def narrow(x: Ints, shift: int) -> Ints:
    """Int8 by a shift that is the same for all (keys): -127 to 127."""
    return np.clip(round_shift(x, shift), -LARGEST, LARGEST)

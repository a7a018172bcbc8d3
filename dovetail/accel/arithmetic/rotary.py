"""Rotary positions: each pair of channels turned by an angle from a table."""

from __future__ import annotations

import numpy as np

from dovetail.accel.arithmetic.rounding import HALF, Ints, round_shift, saturate

ANGLE_BITS = 14  # cosines and sines are in units of 2**-14, so that one is no special case in 16 bits


def rotate(x: Ints, cosine: Ints, sine: Ints) -> Ints:
    """Turn channels i and i + n/2 by the angle of i.

    ``low = round_shift(a * c - b * s, 14)`` and ``high = round_shift(b * c + a * s, 14)``, both saturated to 16 bits.

    Parameters
    ----------
    x : (..., n), 16 bits
    cosine, sine : broadcast to (..., n / 2), 16 bits
        Of the position, in units of 2**-14.
    """
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    low, high = a * cosine - b * sine, b * cosine + a * sine
    return saturate(round_shift(np.concatenate([low, high], axis=-1), ANGLE_BITS), HALF)

"""Weights of 4 bits: on their way to the array, each is multiplied by the integer of its group and is an int8."""

from __future__ import annotations

import numpy as np

from dovetail.accel.arithmetic.rounding import Ints

LEVELS, STEPS = 8, 16  # codes from -8 to 7; steps from 1 to 16


def decode(codes: Ints, steps: Ints, group: int) -> Ints:
    """``codes * steps`` of its group: -128 to 112.

    Parameters
    ----------
    codes : (n, k), -8 to 7
    steps : (n, ceil(k / group)), 1 to 16
        One for each `group` inputs; the last group may be shorter.

    Returns
    -------
    (n, k) int8 values, as if the matrix had been stored in 8 bits.
    """
    return codes * np.repeat(steps, group, axis=1)[:, : codes.shape[1]]

"""A positive real factor as an integer of 15 bits and a right shift."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dovetail.accel.arithmetic.rounding import Ints

MANTISSA_BITS = 15


@dataclass(frozen=True, slots=True)
class Multiplier:
    """Factors ``mantissa / 2**shift``, each within 2**-15 of what it stands for.

    Parameters
    ----------
    mantissa : array of int64
        2**14 to 2**15 - 1; 0 for a factor of nothing.
    shift : array of int64
        What the product with the mantissa is shifted right by.
    """

    mantissa: Ints
    shift: Ints


def multiplier(factors: npt.ArrayLike) -> Multiplier:
    """The nearest multiplier of each factor: float64 of any shape, not negative."""
    x = np.asarray(factors, np.float64)
    fraction, exponent = np.frexp(x)  # x = fraction * 2**exponent, fraction from 1/2 to 1
    mantissa = np.floor(fraction * 2.0**MANTISSA_BITS + 0.5).astype(np.int64)
    carried = mantissa == 1 << MANTISSA_BITS
    mantissa = np.where(carried, mantissa >> 1, mantissa)
    shift = MANTISSA_BITS - exponent.astype(np.int64) - carried
    return Multiplier(mantissa, np.where(mantissa == 0, MANTISSA_BITS, shift))


def factor(of: Multiplier) -> npt.NDArray[np.float64]:
    """What a multiplier multiplies by, exactly."""
    return np.ldexp(of.mantissa.astype(np.float64), -of.shift.astype(np.int32))

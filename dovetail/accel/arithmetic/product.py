"""Products of int8 vectors with int8 matrices, and the way back from their sums.

Sums are of 32 bits and never overflow (`range analysis` proves it), so the order of adding is the hardware's choice.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dovetail.accel.arithmetic.rounding import Ints, round_shift, saturate

ACCUMULATOR_BITS = 32


def accumulate(x: Ints, weight: Ints | npt.NDArray[np.int8]) -> Ints:
    """``x @ weight.T`` in integers.

    Parameters
    ----------
    x : (..., k), -127 to 127
    weight : (..., n, k), -128 to 127

    Returns
    -------
    (..., n) of 32 bits. BLAS computes them in float64, exactly: no partial sum reaches 2**53.
    """
    sums = x.astype(np.float64) @ np.swapaxes(weight, -1, -2).astype(np.float64)
    return np.asarray(sums, np.int64)


def requantise(
    sums: Ints, mantissa: Ints, shift: Ints, bits: int, bias: Ints | None = None, add: Ints | None = None
) -> Ints:
    """``saturate(round_shift(sums * mantissa, shift) + bias + add)``: sums in the format of a vector.

    Parameters
    ----------
    sums : (..., n), 32 bits
    mantissa : (n,), 0 to 2**15 - 1
    shift : broadcasts to (..., n), 0 to 62
        The channel's shift, plus what the formats differ by, less the exponent of the token.
    bits : int
        Of the result: 8 (then -127 to 127), 16 or 24.
    bias : (n,), 24 bits
        In the format of the result.
    add : (..., n), 24 bits
        What stands there already, in the format of the result: the residual stream.
    """
    total = round_shift(sums * mantissa, shift)
    total = total if bias is None else total + bias
    total = total if add is None else total + add
    return np.maximum(saturate(total, bits), -127) if bits == 8 else saturate(total, bits)

"""RMSNorm and LayerNorm over integers: a sum of squares, its inverse root, two products a channel."""

from __future__ import annotations

from dataclasses import dataclass

from dovetail.accel.arithmetic.rounding import HALF, WORD, Ints, round_shift, saturate
from dovetail.accel.arithmetic.rsqrt import rsqrt

UNIT_BITS = 20  # a vector of length one is kept in units of 2**-20
LEAST_EPSILON = 1 << 10  # keeps the shift after the root positive


@dataclass(frozen=True, slots=True)
class Norm:
    """Constants of one norm over n channels.

    Parameters
    ----------
    weight : (n,), 16 bits signed
        ``sqrt(n) * gamma`` in units of ``2**-(shift - UNIT_BITS)`` of the result's unit.
    shift : int
        What the last product is shifted by, 0 to 62.
    epsilon : int
        ``n * eps`` in squares of the input's unit; at least `LEAST_EPSILON`, below 2**61.
    bias : (n,), 24 bits, or None
        In the result's unit.
    mean : (mantissa, shift) or None
        A multiplier for ``1 / n``: the norm subtracts the mean first (LayerNorm).
    """

    weight: Ints
    shift: int
    epsilon: int
    bias: Ints | None = None
    mean: tuple[int, int] | None = None


def centred(x: Ints, mean: tuple[int, int]) -> Ints:
    """Vectors less their mean, which is rounded to a whole unit: (..., n), 24 bits."""
    mantissa, shift = mean
    return saturate(x - round_shift(x.sum(axis=-1, keepdims=True) * mantissa, shift), WORD)


def normalise(x: Ints, norm: Norm) -> Ints:
    """Norm of vectors (..., n) of 24 bits: (..., n) of 16 bits.

    ``unit = round_shift(x * r, h - 5)`` with r and h of `rsqrt`, then
    ``saturate(round_shift(unit * weight, shift) + bias)``. The sum of squares has up to 62 bits.
    """
    x = x if norm.mean is None else centred(x, norm.mean)
    root, half = rsqrt((x * x).sum(axis=-1, keepdims=True) + norm.epsilon)
    unit = round_shift(x * root, half + (15 - UNIT_BITS))
    result = round_shift(unit * norm.weight, norm.shift)
    return saturate(result if norm.bias is None else result + norm.bias, HALF)

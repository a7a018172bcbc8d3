"""SiLU and GELU as ``x * g(x)``: g from a table of 257 entries, with lines between them.

g is the logistic function, the normal distribution function, or its approximation by tanh. All three satisfy
``g(-x) = 1 - g(x)``, so the table has g from 0 to a range beyond which g is 1.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from dovetail.accel.arithmetic.rounding import HALF, WORD, Ints, round_shift, saturate
from dovetail.core.errors import DovetailError, did_you_mean

ONE = 1 << 15
RANGE_BITS = {"silu": 4, "gelu": 3, "gelu_tanh": 3}  # tables reach to 16, 8 and 8
ERROR = {"silu": 1.0e-4, "gelu": 1.0e-4, "gelu_tanh": 1.2e-4}  # of g, beside 2**-8 of a step of the table


def gate_function(kind: str, x: float) -> float:
    """Share of x that is kept, in float64. Raises `DovetailError` for a kind that has no table."""
    if kind == "silu":
        return 1 / (1 + math.exp(-x))
    if kind == "gelu":
        return 0.5 * (1 + math.erf(x / math.sqrt(2)))
    if kind == "gelu_tanh":
        return 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    raise DovetailError(f"no table for '{kind}'", where="activation", hint=did_you_mean(kind, list(RANGE_BITS)))


@cache
def table(kind: str) -> Ints:
    """``round(2**15 * g(i * range / 256))`` for i of 0 to 256: 16384 to 32768."""
    step = 2.0 ** RANGE_BITS[kind] / 256 if kind in RANGE_BITS else gate_function(kind, 0)
    return np.array([math.floor(ONE * gate_function(kind, i * step) + 0.5) for i in range(257)], np.int64)


def gate(x: Ints, fraction_bits: int, kind: str) -> Ints:
    """``g(x)`` in units of 2**-15: 0 to 2**15.

    ``u = (|x| << 16) >> (fraction_bits + range_bits)``; from 2**16 on g is one. Else its table is read at
    ``i = u >> 8`` and the next, and ``g = T[i] + (((T[i+1] - T[i]) * (u & 255) + 128) >> 8)``. For negative x it is
    2**15 less that.

    Parameters
    ----------
    x : array, 16 bits
    fraction_bits : int
        x is in units of ``2**-fraction_bits``; with the range's bits 0 to 31.
    """
    entries = table(kind)
    u = (np.abs(x) << 16) >> (fraction_bits + RANGE_BITS[kind])
    i = np.minimum(u >> 8, 255)
    low = entries[i]
    inside = low + round_shift((entries[i + 1] - low) * (u & 255), 8)
    g = np.where(u >> 16 > 0, ONE, inside)
    return np.where(x < 0, ONE - g, g)


def activate(x: Ints, fraction_bits: int, kind: str) -> Ints:
    """``saturate(round_shift(x * g(x), 15))``: SiLU or GELU in the format of x, 16 bits."""
    return saturate(round_shift(x * gate(x, fraction_bits, kind), 15), HALF)


def multiply(x: Ints, y: Ints, shift: int) -> Ints:
    """``saturate(round_shift(x * y, shift))`` of two vectors of 16 bits: 24 bits."""
    return saturate(round_shift(x * y, shift), WORD)

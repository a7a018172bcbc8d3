"""Activations as bits: one bit of every input is driven at a time, the lowest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import DovetailError


@dataclass(frozen=True, slots=True)
class Inputs:
    """Integers that drive the wordlines bit by bit, through one-bit drivers.

    Parameters
    ----------
    bits : int
        Bits of an input, 1 to 12; as many cycles.
    signed : bool
        False: 0 to ``2**bits - 1``. True: two's complement, ``-2**(bits - 1)`` to ``2**(bits - 1) - 1``: the cycle of
        the highest bit is subtracted, so every wordline carries 0 or 1 in every cycle.
    """

    bits: int = 8
    signed: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 12:
            hint = "8; 1 to 12"
            raise DovetailError(f"inputs of {self.bits} bits", where="input bits", hint=hint)

    @property
    def lowest(self) -> int:
        return -(1 << self.bits - 1) if self.signed else 0

    @property
    def highest(self) -> int:
        return (1 << self.bits - self.signed) - 1

    @property
    def largest(self) -> int:
        """The largest magnitude."""
        return max(-self.lowest, self.highest)

    @property
    def place_values(self) -> NDArray[np.int64]:
        """What a 1 in each cycle counts."""
        values = np.array([1 << i for i in range(self.bits)], dtype=np.int64)
        if self.signed:
            values[-1] *= -1
        return values

    def checked(self, x: Any, inputs: int) -> NDArray[np.int32]:
        """`x` as integers of shape (vectors, inputs).

        Raises
        ------
        DovetailError
            Another width, fractions, or values out of range.
        """
        given = np.asarray(x)
        if given.ndim != 2 or given.shape[1] != inputs:
            why = f"shape {given.shape}, {inputs} inputs"
            raise DovetailError("inputs that do not fit the layer", where="inputs", why=why, hint="(vectors, inputs)")
        whole = given.astype(np.int32)
        if not np.array_equal(whole, given):
            raise DovetailError("inputs are integers", where="inputs", hint="round them with a scale of their own")
        if whole.size and (whole.min() < self.lowest or whole.max() > self.highest):
            why = f"{whole.min()} to {whole.max()}, where {self.lowest} to {self.highest} fit"
            raise DovetailError(f"inputs out of {self.bits} bits", where="inputs", why=why, hint="clamp, or more bits")
        return whole

    def planes(self, x: NDArray[np.int32]) -> NDArray[np.uint8]:
        """The 0s and 1s of every cycle, shape (bits, vectors, inputs)."""
        shifts = np.arange(self.bits)[:, None, None]
        return (x[None] >> shifts & 1).astype(np.uint8)

"""Board power while kernels run."""

from __future__ import annotations

from dataclasses import dataclass

from dovetail.core.content import ByContent
from dovetail.core.formats import Number


@dataclass(frozen=True, slots=True, eq=False)
class EnergyConstants(ByContent):
    """Board power while kernels run: a floor, what each FLOP and each byte of main memory adds, and the limit.

    Parameters
    ----------
    active_w : Number
        Watts of a board that runs kernels which do nothing: above the idle board's, clocks are up.
    j_per_flop, j_per_byte : Number
        Dynamic energy of one FLOP of the dtype, and of one byte of main memory.
    limit_w : Number
        Watts that sustained work settles at.
    """

    active_w: Number
    j_per_flop: Number
    j_per_byte: Number
    limit_w: Number

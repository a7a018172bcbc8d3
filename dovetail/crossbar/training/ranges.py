"""Converters' ranges, slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.crossbar.training.parts import Form

if TYPE_CHECKING:
    from torch import Tensor

MOST_BITS = 12


def ranges(bits: int | Sequence[int], form: Form) -> Tensor:
    """The largest sum that the converters of each slice take without loss, shape (slices,)."""
    torch = require("torch", "torch", to="train")
    each = per_slice(slice_bits(bits) * (len(form.places) if isinstance(bits, int) else 1), form, "ADC bits")
    found: Tensor = torch.tensor([float((1 << int(b) - form.cells.signed) - 1) for b in each])
    return found


def slice_bits(bits: int | Sequence[int]) -> tuple[int, ...]:
    """`bits` as a tuple."""
    return (bits,) if isinstance(bits, int) else tuple(bits)


def per_slice(given: Sequence[float], form: Form, what: str) -> Sequence[float]:
    """`given`, one for each slice. Raises `DovetailError` otherwise."""
    if len(given) != len(form.places):
        why = f"{len(given)} numbers, {len(form.places)} slices"
        raise DovetailError(f"{what} that do not match the slices", where=what, why=why, hint="one for each slice")
    return given


def check_bits(bits: int | Sequence[int]) -> None:
    """Refuse converters that nobody builds. Raises `DovetailError`."""
    for each in slice_bits(bits):
        if not 1 <= each <= MOST_BITS:
            why = "below 1 nothing is converted; 128 cells of 4 bits add up to 11 bits, and thermal noise ends the rest"
            raise DovetailError(
                f"an ADC of {each} bits", where="ADC bits", why=why, hint=f"1 to {MOST_BITS}; 8 is usual"
            )

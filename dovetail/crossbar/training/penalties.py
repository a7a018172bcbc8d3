"""Penalties of weights, slices and bitlines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.crossbar.training.parts import Form, Weights
from dovetail.crossbar.training.ranges import check_bits, per_slice, ranges
from dovetail.crossbar.training.slices import column_sums, digits_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class L1:
    """Magnitudes of weights as they are: layers with small weights feel it most."""

    strength: float = 1.0

    def __post_init__(self) -> None:
        check_strength(self.strength)

    def total(self, weights: Weights, form: Form) -> Tensor:
        return weights.real.abs().sum()


@dataclass(frozen=True, slots=True)
class StepL1:
    """Magnitudes in steps of the layer's grid: the control that knows of the grid, and of no slice."""

    strength: float = 1.0

    def __post_init__(self) -> None:
        check_strength(self.strength)

    def total(self, weights: Weights, form: Form) -> Tensor:
        return (weights.real.abs() / weights.step).sum()


@dataclass(frozen=True, slots=True)
class BitSliceL1:
    """The slice values of the code, averaged over slices (arXiv 1909.08496).

    Each slice is cut off by a floor that gradients pass straight through, the slices above it taken as constants. So
    the gradient of slice ``s`` is ``1 / place(s)`` per code whatever the slices are, and the sum that of `StepL1` times
    ``(1 + 1/4 + 1/16 + 1/64) / 4`` for 8 bits in 2-bit slices: only the reported value knows of slices.
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        check_strength(self.strength)

    def total(self, weights: Weights, form: Form) -> Tensor:
        magnitude = weights.real.abs() / weights.step
        values = digits_of(weights.codes, form).sum()
        slope = sum(1 / place for place in form.places)
        surrogate = slope * magnitude.sum()
        return (surrogate + (values - surrogate).detach()) / len(form.places)


@dataclass(frozen=True, slots=True)
class SliceWeighted:
    """Slice values, each slice with a weight of its own; what pulls is each digit that is not 0, and none that is.

    A digit's gradient is one step of the code: the way to the next code in which that digit is smaller.

    Parameters
    ----------
    weights : sequence of float
        Of each slice, the lowest first; by default all alike.
    """

    strength: float = 1.0
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_strength(self.strength)

    def total(self, weights: Weights, form: Form) -> Tensor:
        each = per_slice(self.weights or (1.0,) * len(form.places), form, "slice weights")
        digits = digits_of(weights.codes, form)
        pull = sum(weight * (digit > 0).to(digit.dtype) for weight, digit in zip(each, digits))
        values = sum(weight * digit.sum() for weight, digit in zip(each, digits))
        return _valued(values, (pull * weights.real.abs() / weights.step).sum())


@dataclass(frozen=True, slots=True)
class ColumnCap:
    """What the largest sum of each bitline, by tile, slice and sign, has above the range of its converter.

    Parameters
    ----------
    bits : int or sequence of int
        Of the converters, of all slices or of each, the lowest first.
    """

    strength: float = 1.0
    bits: int | tuple[int, ...] = 3

    def __post_init__(self) -> None:
        check_strength(self.strength)
        check_bits(self.bits)

    def total(self, weights: Weights, form: Form) -> Tensor:
        torch = require("torch", "torch", to="train")
        digits, codes = digits_of(weights.codes, form), weights.codes
        over = (column_sums(digits, codes, form) - ranges(self.bits, form)[None, :, None, None]).clamp(min=0)
        pull = torch.zeros_like(codes)
        for index, tile in enumerate(form.tiles(codes.shape[1])):
            part = codes[:, tile]
            for plane, sign in enumerate((1, -1)):
                full = (over[plane, :, :, index] > 0)[:, :, None] & (digits[:, :, tile] > 0) & (part * sign > 0)
                pull[:, tile] += full.sum(0).to(codes.dtype)
        return _valued(over.sum(), (pull * weights.real.abs() / weights.step).sum())


def _valued(value: Tensor | float, surrogate: Tensor) -> Tensor:
    """`value`, with the gradient of `surrogate`."""
    return surrogate + (value - surrogate).detach()


def check_strength(strength: float) -> None:
    """Refuse what would reward, or break, weights."""
    if not 0 <= strength < float("inf"):
        raise DovetailError(f"a penalty of {strength}", where="strength", hint="0 or more; try 0.1, 1, 10")

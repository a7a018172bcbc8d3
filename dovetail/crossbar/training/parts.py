"""What a training for crossbars is put together from: penalties, restrictions of codes, errors of cells, converters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from dovetail.crossbar.cells import Cells
from dovetail.crossbar.codes import FixedPoint
from dovetail.crossbar.columns import Arrays

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Form:
    """How weights stand in arrays: their grid, the cells of a code, the size of an array."""

    grid: FixedPoint
    cells: Cells
    arrays: Arrays

    @property
    def places(self) -> list[int]:
        """What one level of each slice of a magnitude is worth, the lowest first."""
        return [1 << self.cells.bits * s for s in range(-(-self.grid.bits // self.cells.bits))]

    def tiles(self, inputs: int) -> list[slice]:
        """The inputs of each tile of rows."""
        starts = self.arrays.starts(inputs, self.grid.group if self.grid.per == "group" else None).tolist()
        return [slice(a, b) for a, b in zip(starts, [*starts[1:], inputs])]


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A layer's weights while it is trained.

    Parameters
    ----------
    real : Tensor (outputs, inputs)
        What the optimiser changes.
    step : Tensor
        What one code stands for, broadcastable to `real`.
    codes : Tensor (outputs, inputs)
        Whole numbers, without gradient: what stands in the arrays.
    """

    real: Tensor
    step: Tensor
    codes: Tensor


@runtime_checkable
class Penalty(Protocol):
    """Adds to the loss: ``strength`` times the mean of something over all weights."""

    @property
    def strength(self) -> float:
        """What the mean is multiplied by."""
        ...

    def total(self, weights: Weights, form: Form) -> Tensor:
        """The sum over a layer's weights."""
        ...


@runtime_checkable
class Restriction(Protocol):
    """Changes the codes that weights are rounded to; gradients pass it as if it were not there."""

    def restrict(self, scaled: Tensor, codes: Tensor, form: Form, threshold: float) -> Tensor:
        """Codes (outputs, inputs) instead of `codes`; `scaled` are the real weights in steps.

        `threshold` is the magnitude in steps below which weights are pruned.
        """
        ...


@runtime_checkable
class Disturbance(Protocol):
    """Errors of cells, drawn anew at every step of the training."""

    def disturb(self, codes: Tensor, form: Form, source: torch.Generator) -> Tensor:
        """What cells conduct instead of `codes`, in the same unit."""
        ...

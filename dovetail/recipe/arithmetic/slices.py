"""Rounding to codes whose slices are empty and whose bitlines are small, errors made good as GPTQ does.

When column j is rounded, a candidate code ``q`` costs ``(w_j - q)^2 / U_jj^2`` of the outputs' squared error, which is
what GPTQ passes on to later columns (arXiv 2210.17323), plus a price for each digit that is not 0, for each level of a
digit, and for each level that takes a bitline beyond the range of its converter. All prices are shares of the outputs'
energy, so that one number serves layers of any size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.crossbar.cells import balanced_digits
from dovetail.recipe.arithmetic.gptq import Factored, Rounded, rounded_columns

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_FACTORS = tuple(
    2 ** (i / 8) for i in (*range(-9, 5), 6, 8, 12, 16)
)  # of the scale that spreads the codes over a row's weights


@dataclass(frozen=True, slots=True)
class Price:
    """What codes cost besides their errors.

    Parameters
    ----------
    digit : float
        Of a digit that is not 0: mean squared error of one weight's outputs, as a share of what one weight contributes
        to the outputs on average, that is worth an empty slice.
    level : float
        Of each level of a digit, in prices of a digit: the sums of bitlines.
    bits : int
        Magnitudes are below ``2**bits``.
    cell : int
        Bits of a cell.
    rows : int
        Inputs that share a bitline.
    adc_bits : int
        Of converters; 0: no matter.
    over : float
        Of each level beyond their range, in the unit of `digit`.
    balanced : bool
        Digits of either sign, as `Cells` has them.
    """

    digit: float = 0.0
    level: float = 0.0
    bits: int = 7
    cell: int = 2
    rows: int = 128
    adc_bits: int = 0
    over: float = 1e-3
    balanced: bool = True

    def __post_init__(self) -> None:
        for name in ("digit", "level", "over"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise DovetailError(f"a price of {getattr(self, name)}", where=name, hint="0 or more; 0.001 is mild")
        if not 0 <= self.adc_bits <= 12:
            raise DovetailError(f"an ADC of {self.adc_bits} bits", where="ADC bits", hint="1 to 12, 0 for no limit")

    @property
    def slices(self) -> int:
        return -(-self.bits // self.cell)


def sliced(
    weight: Tensor, inputs: Factored, price: Price, *, energy: float | None = None, dtype: torch.dtype | None = None
) -> Rounded:
    """Round a matrix (outputs, inputs); scales are one a row, each the one whose codes cost least.

    Parameters
    ----------
    weight : Tensor (rows, cols)
    inputs : Factored
    energy : float
        The outputs' squares ``tr(W H W^T)``, by default that of independent inputs.
    dtype : torch.dtype
        Of the scales; the weight's by default.
    """
    torch = require("torch", "torch", to="quantise")
    squares = torch.where(inputs.power == 0, 0.0, weight.float()).square() * inputs.power
    total = float(squares.sum()) if energy is None else energy
    alone = torch.full((len(weight),), 1 / (float(squares.mean()) or 1.0))
    together = torch.full((len(weight),), weight.numel() / max(total, 1e-30))
    return _rounded(weight, inputs, price, (alone, together), dtype or weight.dtype)[0]


def sliced_by_rows(
    weight: Tensor, inputs: Factored, price: Price, rows: Tensor, dtype: torch.dtype | None = None
) -> tuple[Rounded, Tensor]:
    """As `sliced`, with what a squared error of each output (rows,) costs.

    Returns
    -------
    (Rounded, Tensor (rows, cols))
        Also what each weight had become, by the errors before it, when its code was chosen: of it that code is the
        cheapest where errors cost ``rows[i] * alone_error(inputs)[j]``.
    """
    return _rounded(weight, inputs, price, (rows, rows), dtype or weight.dtype)


def alone_error(inputs: Factored) -> Tensor:
    """What a squared error in each column (cols,) costs when all columns after it make good for it."""
    torch = require("torch", "torch", to="quantise")
    found: Tensor = torch.empty_like(inputs.power)
    found[inputs.places] = inputs.upper.diagonal().square().reciprocal()
    return found


def _rounded(
    weight: Tensor, inputs: Factored, price: Price, rows: tuple[Tensor, Tensor], dtype: torch.dtype
) -> tuple[Rounded, Tensor]:
    """Codes, and the weights that they were chosen for; `rows` price errors while scales and codes are chosen."""
    torch = require("torch", "torch", to="quantise")
    places = inputs.places
    work = torch.where(inputs.power == 0, 0.0, weight.float())
    scale = _searched(work, rows[0][:, None] * inputs.power, price, dtype)
    picker = _Picker(price, scale.float(), rows[1][:, None] * alone_error(inputs), work.shape[1])
    left = work[:, places]
    values = rounded_columns(left, weight == 0, places.tolist(), inputs.upper, picker)
    steps = (values / scale.float()).round().to(torch.int8)
    chosen = torch.empty_like(work)
    chosen[:, places] = left
    return Rounded(steps, scale, None, steps.float() * scale.float()), chosen


class _Picker:
    """Chooses the codes of a column; knows what bitlines hold already."""

    late = False

    def __init__(self, price: Price, scale: Tensor, error: Tensor, cols: int) -> None:
        torch = require("torch", "torch")
        self.price, self.scale, self.error = price, scale, error
        height = min(price.rows, cols)
        self.tile = [column // height for column in range(cols)]
        self.rows = torch.arange(len(scale))
        shape = (-(-cols // height), 2, len(scale), price.slices)
        self.sums = torch.zeros(shape, dtype=torch.int32) if price.adc_bits else None
        self.codes = torch.arange(1 << price.bits, dtype=torch.float32)
        self.costs = _costs(price)

    def reach(self, column: int, rest: Tensor) -> None:
        """Scales stay what they are."""

    def nearest(self, values: Tensor, column: int) -> Tensor:
        """What is kept of the values (rows, 1) of a column: all codes of their sign are tried."""
        scaled = values / self.scale
        cost = (scaled.abs() - self.codes).square() * (self.scale.square() * self.error[:, column, None]) + self.costs
        if self.sums is None:
            best = cost.argmin(1)
        else:
            best = self._within(cost, (scaled[:, 0] < 0).long(), self.sums[self.tile[column]])
        found: Tensor = best[:, None] * scaled.sign() * self.scale
        return found

    def _within(self, cost: Tensor, negative: Tensor, sums: Tensor) -> Tensor:
        """The cheapest codes (rows,) with what they add to bitlines (2, rows, slices) of a tile, and adds it."""
        parts, room = _parts(self.price), (1 << self.price.adc_bits) - 1
        for plane, part in enumerate(parts):
            after = sums[(negative + plane) % 2, self.rows][:, None] + part
            cost = cost + self.price.over * (after - room).clamp(min=0).sum(-1)
        best = cost.argmin(1)
        for plane, part in enumerate(parts):
            sums[(negative + plane) % 2, self.rows] += part[best]
        return best


def cheapest(scaled: Tensor, error: Tensor, price: Price) -> Tensor:
    """Magnitudes (rows, cols) that cost least, each by itself, of weights in steps of their scale.

    Tried are the nearest below and above of the codes of at most 0, 1, 2 … digits: the cheapest of all is among them
    where levels are free.

    Parameters
    ----------
    scaled : Tensor (rows, cols)
    error : Tensor
        What a squared error of one step costs, in the unit of prices; broadcastable to `scaled`.
    """
    candidates = _candidates_of(scaled, price)
    cost = (scaled.abs()[..., None] - candidates).square() * error[..., None] + _costs(price)[candidates.long()]
    found: Tensor = candidates.gather(-1, cost.argmin(-1, keepdim=True))[..., 0]
    return found


def _searched(work: Tensor, error: Tensor, price: Price, dtype: torch.dtype) -> Tensor:
    """Scales (rows, 1): of each row the one whose codes, chosen each by itself, cost least; `error` prices errors."""
    torch = require("torch", "torch")
    largest = work.abs().amax(1, keepdim=True)
    widest = torch.where(largest > 0, largest / ((1 << price.bits) - 1), torch.ones_like(largest))
    best, least = widest.to(dtype), torch.full_like(widest, float("inf"))
    for factor in _FACTORS:
        scale = (widest * factor).to(dtype)
        scaled = work / scale.float()
        candidates = _candidates_of(scaled, price)
        errors = (scaled.abs()[..., None] - candidates).square() * (scale.float().square() * error)[..., None]
        cost = (errors + _costs(price)[candidates.long()]).amin(-1).sum(1, keepdim=True)
        best, least = torch.where(cost < least, scale, best), torch.minimum(cost, least)
    found: Tensor = best
    return found


def _candidates_of(scaled: Tensor, price: Price) -> Tensor:
    """Magnitudes worth a look for each of `scaled`, shape (…, candidates)."""
    table = _tensor(_candidates(price.bits, price.cell, price.balanced))
    halves = (2 * scaled.abs()).clamp(max=len(table) - 1).long()
    found: Tensor = table[halves]
    return found


@lru_cache(maxsize=8)
def _candidates(bits: int, cell: int, balanced: bool) -> NDArray[np.float32]:
    """For magnitudes from ``i / 2`` on, those just below and above among the codes of at most 0, 1, 2 … digits."""
    digits = _digit_table(bits, cell, balanced)
    halves = np.arange(2 << bits) / 2
    columns = [np.zeros(len(halves), np.intp)]
    for most in range(1, digits.shape[1] + 1):
        allowed = np.flatnonzero((digits > 0).sum(1) <= most)
        at = np.searchsorted(allowed, halves, side="right") - 1
        columns += [allowed[at], allowed[np.minimum(at + 1, len(allowed) - 1)]]
    return np.stack(columns, 1).astype(np.float32)


@lru_cache(maxsize=8)
def _digit_table(bits: int, cell: int, balanced: bool) -> NDArray[np.int32]:
    """Levels (codes, slices) of all magnitudes."""
    if balanced:
        return np.abs(balanced_digits(bits, cell))
    shifts = cell * np.arange(-(-bits // cell), dtype=np.int32)
    found: NDArray[np.int32] = np.arange(1 << bits, dtype=np.int32)[:, None] >> shifts & (1 << cell) - 1
    return found


def _costs(price: Price) -> Tensor:
    """What each magnitude costs."""
    digits = _digit_table(price.bits, price.cell, price.balanced)
    each = price.digit * ((digits > 0).sum(1) + price.level * digits.sum(1))
    return _tensor(each.astype(np.float32))


def _parts(price: Price) -> tuple[Tensor, Tensor]:
    """What each magnitude puts on bitlines of its own sign, and of the other, each (codes, slices)."""
    if not price.balanced:
        own = _digit_table(price.bits, price.cell, False)
        return _tensor(own), _tensor(np.zeros_like(own))
    signed = balanced_digits(price.bits, price.cell)
    return _tensor(np.maximum(signed, 0)), _tensor(np.maximum(-signed, 0))


def _tensor(array: NDArray[np.generic]) -> Tensor:
    torch = require("torch", "torch")
    found: Tensor = torch.from_numpy(array)
    return found

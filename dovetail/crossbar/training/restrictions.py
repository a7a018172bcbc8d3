"""Codes that training may choose from: pruned, of few non-zero digits, within the range of converters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.crossbar.training.parts import Form
from dovetail.crossbar.training.ranges import check_bits, ranges
from dovetail.crossbar.training.slices import digits_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Prune:
    """The smallest weights of the whole network are 0: a share of them that grows with the training's progress.

    The share is ``fraction * (1 - (1 - progress / until)**3)`` (Zhu and Gupta, arXiv 1710.01878). Gradients still reach
    pruned weights, which come back when they grow (dynamic pruning with feedback, arXiv 2006.07253).
    """

    fraction: float = 0.9
    until: float = 0.6  # of the training: from there on the share is whole

    def __post_init__(self) -> None:
        if not 0 <= self.fraction < 1:
            raise DovetailError(f"cannot prune {self.fraction}", where="prune", hint="0.9: at least 0, below 1")
        if not 0 < self.until <= 1:
            raise DovetailError(f"pruned at {self.until}", where="prune.until", hint="0.6: above 0, at most 1")

    def share(self, progress: float) -> float:
        """What is pruned when this part of the training is done."""
        return float(self.fraction * (1 - (1 - min(1.0, progress / self.until)) ** 3))

    def restrict(self, scaled: Tensor, codes: Tensor, form: Form, threshold: float) -> Tensor:
        return codes * (scaled.abs() >= threshold)


@dataclass(frozen=True, slots=True)
class Digits:
    """The nearest code of at most `most` non-zero digits: with one, a weight is one cell."""

    most: int = 1

    def __post_init__(self) -> None:
        if self.most < 1:
            raise DovetailError(f"codes of {self.most} digits", where="digits", hint="1 or more")

    def restrict(self, scaled: Tensor, codes: Tensor, form: Form, threshold: float) -> Tensor:
        torch = require("torch", "torch", to="train")
        table = torch.tensor(nearest_sparse(form.grid.bits, form.cells.bits, self.most), dtype=scaled.dtype)
        halves = (2 * scaled.abs()).clamp(max=len(table) - 1).to(torch.int64)
        found: Tensor = table[halves] * scaled.sign() * (codes != 0)
        return found


@dataclass(frozen=True, slots=True)
class Cap:
    """Bitlines whose largest sum a converter takes without loss: of each, digits of small weights are cut first.

    Holds for every code that leaves it, so that converters of `bits` lose nothing, whatever the inputs.
    """

    bits: int | tuple[int, ...] = 3  # of the converters, of all slices or of each, the lowest first

    def __post_init__(self) -> None:
        check_bits(self.bits)

    def restrict(self, scaled: Tensor, codes: Tensor, form: Form, threshold: float) -> Tensor:
        torch = require("torch", "torch", to="train")
        if form.cells.encoding == "offset":
            why = "every cell carries half the range there, and no weight can empty a bitline"
            raise DovetailError("no cap", where="encoding", why=why, hint="differential or sign-magnitude")
        room = ranges(self.bits, form)[:, None, None]
        worth = torch.tensor(form.places, dtype=codes.dtype)[:, None, None]
        found: Tensor = torch.empty_like(codes)
        for tile in form.tiles(codes.shape[1]):
            part, sign = codes[:, tile], codes[:, tile].sign()
            order = torch.sort(scaled[:, tile].abs(), dim=1, descending=True, stable=True).indices
            digits = digits_of(part.gather(1, order), form)
            signed = sign.gather(1, order)
            kept = sum(_within(digits * (signed == way), room) for way in (1, -1))
            found[:, tile] = torch.zeros_like(part).scatter(1, order, (kept * worth).sum(0)) * sign
        return found


def _within(digits: Tensor, room: Tensor) -> Tensor:
    """Digits (slices, outputs, inputs), the last ones cut where their sums pass `room`."""
    left = (room - (digits.cumsum(-1) - digits)).clamp(min=0)
    return digits.minimum(left)


@lru_cache(maxsize=32)
def nearest_sparse(bits: int, cell: int, most: int) -> tuple[int, ...]:
    """For magnitudes from ``i / 2`` to below ``(i + 1) / 2``, the nearest of `sparse_magnitudes`; at a tie the larger.

    Midpoints between whole numbers are whole or half: between two of them the nearest does not change.
    """
    allowed = np.array(sparse_magnitudes(bits, cell, most))
    middles = (allowed[1:] + allowed[:-1]) / 2
    return tuple(allowed[np.searchsorted(middles, np.arange(2 << bits) / 2, side="right")].tolist())


@lru_cache(maxsize=32)
def sparse_magnitudes(bits: int, cell: int, most: int) -> tuple[int, ...]:
    """Magnitudes below ``2**bits`` with at most `most` non-zero digits of `cell` bits, ascending."""
    magnitudes = np.arange(1 << bits)
    shifts = cell * np.arange(-(-bits // cell))
    nonzero = ((magnitudes[:, None] >> shifts & (1 << cell) - 1) > 0).sum(1)
    return tuple(magnitudes[nonzero <= most].tolist())

"""The digits of codes in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dovetail.core.lazy import require
from dovetail.crossbar.training.parts import Form

if TYPE_CHECKING:
    from torch import Tensor


def digits_of(codes: Tensor, form: Form) -> Tensor:
    """The digits of the codes' magnitudes, shape (slices, outputs, inputs), the lowest first."""
    torch = require("torch", "torch", to="train")
    whole = codes.detach().abs().to(torch.int32)
    shifts = torch.arange(len(form.places), dtype=torch.int32) * form.cells.bits
    found: Tensor = (whole[None] >> shifts[:, None, None] & form.cells.levels).to(codes.dtype)
    return found


def column_sums(digits: Tensor, codes: Tensor, form: Form) -> Tensor:
    """The largest sum of each bitline, shape (2, slices, outputs, tiles): of positive codes, of negative ones."""
    torch = require("torch", "torch", to="train")
    tiles = form.tiles(codes.shape[1])
    signs = [(codes > 0).to(digits.dtype), (codes < 0).to(digits.dtype)]
    sums = [torch.stack([(digits * sign)[:, :, tile].sum(-1) for tile in tiles], -1) for sign in signs]
    found: Tensor = torch.stack(sums)
    return found

"""e4m3 with a scale for each square of a matrix (DeepSeek-V3, arXiv 2412.19437)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dovetail.core.lazy import require
from dovetail.recipe.arithmetic.rounding import FLOAT8_MAX
from dovetail.runtime.packed import over_blocks

if TYPE_CHECKING:
    from torch import Tensor


def block_grid(weight: Tensor, side: int) -> Tensor:
    """The scale of each square, ``absmax / 448``, in the dtype of the weight; squares at the edges may be smaller.

    Parameters
    ----------
    weight : Tensor (rows, cols)

    Returns
    -------
    Tensor (ceil(rows / side), ceil(cols / side))
        1 where a square is all zero.
    """
    torch = require("torch", "torch", to="quantise")
    rows, cols = weight.shape
    padded = torch.nn.functional.pad(weight.float().abs(), (0, -cols % side, 0, -rows % side))
    peak = padded.unflatten(0, (-1, side)).unflatten(2, (-1, side)).amax((1, 3))
    scale = (peak / FLOAT8_MAX).to(weight.dtype)
    found: Tensor = torch.where(scale == 0, torch.ones_like(scale), scale)
    return found


def block_quantise(weight: Tensor, scale: Tensor, side: int) -> Tensor:
    """The nearest e4m3 of each weight (rows, cols) in squares of these scales."""
    torch = require("torch", "torch", to="quantise")
    steps = weight.float() / over_blocks(scale.float(), tuple(weight.shape), (side, side))
    found: Tensor = steps.clamp(-FLOAT8_MAX, FLOAT8_MAX).to(torch.float8_e4m3fn)
    return found

"""Round-to-nearest integers with shared scales: the arithmetic, nothing else.

Weights are (rows, cols), scales (rows, groups), integers int8 in ``[-2**(bits-1), 2**(bits-1) - 1]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dovetail.core.lazy import require

if TYPE_CHECKING:
    from torch import Tensor


def absmax_scale(weight: Tensor, bits: int, group: int = 0) -> Tensor:
    """Scales that spread ``2**bits`` levels over ``[-absmax, absmax]`` of each group of a row.

    ``absmax / ((2**bits - 1) / 2)``, as compressed-tensors and llm-compressor have it: the largest positive weight is
    half a step beyond the last level, and every other weight within half a step of its own.

    Parameters
    ----------
    weight : Tensor (rows, cols)
    bits : int
    group : int
        Divides cols; 0 for one group per row.

    Returns
    -------
    Tensor (rows, groups) of the weight's dtype; 1 where a group is all zero.
    """
    torch = require("torch", "torch", to="quantise")
    rows, cols = weight.shape
    peak = weight.float().abs().reshape(rows, -1, group or cols).amax(-1)
    scale = (peak / ((2**bits - 1) / 2)).to(weight.dtype)
    safe: Tensor = torch.where(scale == 0, torch.ones_like(scale), scale)
    return safe


def quantise(weight: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Nearest integers (ties to even) of ``weight / scale``, clamped to `bits`: int8 (rows, cols)."""
    torch = require("torch", "torch", to="quantise")
    top = 2 ** (bits - 1)
    groups = weight.float().reshape(*scale.shape, -1)
    steps = torch.round(groups / scale.float().unsqueeze(-1)).clamp(-top, top - 1)
    found: Tensor = steps.to(torch.int8).reshape(weight.shape)
    return found

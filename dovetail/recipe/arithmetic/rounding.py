"""Rounding to the nearest of the values that a scheme can store: the arithmetic, nothing else.

Weights are (rows, cols), scales and zero points (rows, groups), integers int8 in ``[-2**(bits-1), 2**(bits-1) - 1]``;
a weight is ``(integer - zero) * scale``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.recipe.scheme import Scheme

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FLOAT8_MAX = 448.0  # e4m3
_SHARES = tuple(1 - i / 25 for i in range(1, 13))  # of the whole range


def check_finite(name: str, weight: Tensor) -> None:
    """Refuse a matrix that holds infinities or what is not a number. Raises `DovetailError`."""
    if not weight.isfinite().all():
        raise DovetailError("holds a weight that is not finite", where=name, hint="a checkpoint that is not broken")


def grid(weight: Tensor, scheme: Scheme, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor | None]:
    """Scales and zero points that spread the levels of `scheme` over the weights of each group of a row.

    As compressed-tensors and llm-compressor have it. Symmetric: ``absmax / ((2**bits - 1) / 2)``, so that the largest
    positive weight is half a step beyond the last level. Asymmetric: from the least weight (or 0) to the greatest (or
    0) in ``2**bits - 1`` steps. e4m3: ``absmax / 448``.

    Parameters
    ----------
    weight : Tensor (rows, cols)
        `scheme.group` divides cols.
    dtype : torch.dtype
        Of the scales; the weight's by default.

    Returns
    -------
    (Tensor, Tensor or None), each (rows, groups)
        The scales, 1 where a group is all zero, and for asymmetric schemes the zero points as int8.
    """
    torch = require("torch", "torch", to="quantise")
    groups = weight.float().reshape(len(weight), -1, scheme.group or weight.shape[1])
    kept = dtype or weight.dtype
    if scheme.symmetric:
        half = FLOAT8_MAX if scheme.kind == "float" else (2**scheme.bits - 1) / 2
        scale = (groups.abs().amax(-1) / half).to(kept)
        return torch.where(scale == 0, torch.ones_like(scale), scale), None
    low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
    scale = ((high - low) / (2**scheme.bits - 1)).to(kept)
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    top = 2 ** (scheme.bits - 1)
    zero = torch.round(-top - low / scale.float()).clamp(-top, top - 1)
    return scale, zero.to(torch.int8)


def quantise(weight: Tensor, scale: Tensor, zero: Tensor | None, scheme: Scheme) -> Tensor:
    """What is stored of `weight` (rows, cols): nearest integers, ties to even, as int8; or e4m3."""
    torch = require("torch", "torch", to="quantise")
    groups = weight.float().reshape(*scale.shape, -1) / scale.float().unsqueeze(-1)
    if scheme.kind == "float":
        found: Tensor = groups.clamp(-FLOAT8_MAX, FLOAT8_MAX).to(torch.float8_e4m3fn)
        return found.reshape(weight.shape)
    if zero is not None:
        groups = groups + zero.float().unsqueeze(-1)
    top = 2 ** (scheme.bits - 1)
    steps: Tensor = torch.round(groups).clamp(-top, top - 1).to(torch.int8)
    return steps.reshape(weight.shape)


def nearest(weight: Tensor, scale: Tensor, zero: Tensor | None, scheme: Scheme) -> Tensor:
    """The fp32 values (rows, cols) that `quantise` keeps of `weight`."""
    steps = quantise(weight, scale, zero, scheme).float().reshape(*scale.shape, -1)
    if zero is not None:
        steps = steps - zero.float().unsqueeze(-1)
    values: Tensor = (steps * scale.float().unsqueeze(-1)).reshape(weight.shape)
    return values


def searched_grid(
    weight: Tensor, scheme: Scheme, power: Tensor | None, dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor | None]:
    """As `grid`, over shrunken ranges: of each group the one with the least squared error.

    Clipping the largest weights makes the steps of all others smaller. A range that shrinks about zero keeps its zero
    point.

    Parameters
    ----------
    power : Tensor (cols,) or None
        Mean square of each input, by which its errors weigh; None: no search.
    """
    torch = require("torch", "torch", to="quantise")
    widest, zero = grid(weight, scheme, dtype)
    if power is None or scheme.kind == "float":
        return widest, zero
    importance = power.float().reshape(1, widest.shape[1], -1)

    def loss(scale: Tensor) -> Tensor:
        error = (nearest(weight, scale, zero, scheme) - weight.float()).reshape(*scale.shape, -1)
        return (error.square() * importance).sum(-1)

    best, least = widest, loss(widest)
    for share in _SHARES:
        scale = (widest.float() * share).to(widest.dtype)
        scale = torch.where(scale == 0, widest, scale)
        found = loss(scale)
        best, least = torch.where(found < least, scale, best), torch.minimum(found, least)
    return best, zero

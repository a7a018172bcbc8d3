"""Floats of 4 bits (e2m1) in groups that share a scale: NVFP4 and MXFP4, as compressed-tensors rounds and packs them.

The values are 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives, ties go to the even code; two codes fill a byte, the
first in its low half. NVFP4 (arXiv 2509.25149): 16 share an e4m3 scale, which is itself multiplied by an fp32 number of
the whole tensor. MXFP4 (OCP Microscaling Formats 1.0, 2023): 32 share a power of two, stored as its exponent plus 127.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dovetail.core.lazy import require

if TYPE_CHECKING:
    from torch import Tensor

GROUPS = {"nvfp4": 16, "mxfp4": 32}
_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_MAX, _FLOAT8_MAX = 6.0, 448.0
_BIAS = 127


def codes(x: Tensor) -> Tensor:
    """The nearest codes (uint8 of 0 … 15) of values."""
    torch = require("torch", "torch", to="quantise")
    a = x.abs()
    above = ((a > 0.25), (a >= 0.75), (a > 1.25), (a >= 1.75), (a > 2.5), (a >= 3.5), (a > 5.0))
    found: Tensor = sum(one.to(torch.uint8) for one in above) | ((x < 0).to(torch.uint8) << 3)
    return found


def values(code: Tensor) -> Tensor:
    """What codes stand for, fp32."""
    torch = require("torch", "torch", to="unpack weights")
    table = torch.tensor([*_VALUES, *(-value for value in _VALUES)], device=code.device)
    found: Tensor = table[code.long()]
    return found


def pack(code: Tensor) -> Tensor:
    """Codes (rows, cols) as bytes (rows, cols / 2)."""
    return code[:, ::2] | (code[:, 1::2] << 4)


def unpack(packed: Tensor) -> Tensor:
    """The codes (rows, cols) that `pack` packed."""
    torch = require("torch", "torch", to="unpack weights")
    found: Tensor = torch.stack((packed & 15, packed >> 4), -1).flatten(-2)
    return found


def peaks(x: Tensor, group: int) -> Tensor:
    """Largest absolute value of each group of the last axis, fp32."""
    found: Tensor = x.float().reshape(*x.shape[:-1], -1, group).abs().amax(-1)
    return found


def whole_scale(peak: Tensor) -> Tensor:
    """NVFP4's fp32 number (1,) of a tensor with this largest absolute value: its group gets the largest e4m3 scale."""
    torch = require("torch", "torch", to="quantise")
    found = _FLOAT8_MAX * _MAX / peak.float().clamp(min=torch.finfo(torch.float32).tiny)
    whole: Tensor = found.nan_to_num(nan=1.0, posinf=1.0).reshape(1)
    return whole


def group_scale(peak: Tensor, whole: Tensor | None) -> Tensor:
    """What is stored for groups with these largest values: e4m3, or exponents as uint8 for MXFP4 (without `whole`)."""
    torch = require("torch", "torch", to="quantise")
    if whole is None:
        mantissa, exponent = torch.frexp(peak)  # peak = mantissa 2**exponent, 0.5 <= mantissa < 1
        exponent = exponent - 1 + (mantissa >= 0.875)  # rounded to the power of two nearest to peak, as rounding is
        stored: Tensor = torch.where(peak == 0, 0, exponent - 2 + _BIAS).clamp(0, 2 * _BIAS).to(torch.uint8)
        return stored
    scale = (whole * (peak / _MAX)).clamp(max=_FLOAT8_MAX).to(torch.float8_e4m3fn)
    found: Tensor = torch.where(scale.float() == 0, torch.full_like(scale.float(), 0.125), scale.float())
    return found.to(torch.float8_e4m3fn)


def step(scale: Tensor, whole: Tensor | None) -> Tensor:
    """The fp32 value of code 1.0 in groups with these stored scales."""
    torch = require("torch", "torch", to="quantise")
    if whole is None:
        power: Tensor = torch.ldexp(torch.ones_like(scale, dtype=torch.float32), scale.int() - _BIAS)
        return power
    return scale.float() / whole


def in_groups(x: Tensor, steps: Tensor) -> Tensor:
    """The nearest codes of `x` (…, cols) in groups of these steps (…, groups)."""
    grouped = x.float().reshape(*steps.shape, -1)
    return codes(grouped / steps.unsqueeze(-1)).flatten(-2)


def dequantise(code: Tensor, steps: Tensor) -> Tensor:
    """The fp32 values (…, cols) of codes in groups of these steps (…, groups)."""
    found: Tensor = (values(code).reshape(*steps.shape, -1) * steps.unsqueeze(-1)).reshape(code.shape)
    return found


def rounded(x: Tensor, kind: str, whole: Tensor | None) -> Tensor:
    """`x` (…, cols) as the format keeps it, in its dtype."""
    steps = step(group_scale(peaks(x, GROUPS[kind]), whole), whole)
    return dequantise(in_groups(x, steps), steps).to(x.dtype)

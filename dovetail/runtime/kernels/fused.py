"""What stands between packed products, done without leaving the kernels: gated feed-forward layers and RMS norms.

In small models the calls cost more than the arithmetic. A module is replaced where its parts say what it computes, and
only after the replacement has given the same result as the module on random tokens.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dovetail.runtime.kernels.library import library
from dovetail.runtime.kernels.linear import PackedLinear, refuse, refuse_failure

_TOLERANCE = 1e-5  # of the largest output: rounding of fp32 sums in another order
_INT8_TOLERANCE = 0.05  # integers near a half may round the other way, a step of 1/127 each


class GatedMLP(nn.Module):
    """``down(silu(gate(x)) * up(x))`` in one call, with `pair` the joined outputs of gate and up."""

    def __init__(self, pair: PackedLinear, down: PackedLinear) -> None:
        super().__init__()
        self.pair, self.down = pair, down
        self._gated = library().gated

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_gated"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._gated = library().gated

    def forward(self, x: Tensor) -> Tensor:
        """`x` (…, hidden) to the same shape."""
        pair, down, shape = self.pair, self.down, x.shape
        if x.dtype is not torch.float32 or not x.is_contiguous():
            return self.forward(x.float().contiguous()).to(x.dtype)
        if shape[-1] != pair.in_features or not x.is_cpu or x.requires_grad:
            refuse(x, pair.in_features)
        tokens = x.numel() // pair.in_features
        between = torch.empty(tokens * (pair.out_features + down.in_features))
        y = torch.empty((*shape[:-1], down.out_features))
        failed = self._gated(
            pair._address, down._address, x.data_ptr(), tokens, between.data_ptr(), y.data_ptr(), pair._index,
            pair._how, torch.get_num_threads(),
        )  # fmt: skip
        if failed:
            refuse_failure(failed, tokens)
        return y


class RMSNorm(nn.Module):
    """``weight * x / sqrt(mean(x^2) + epsilon)`` over the last dimension, fp32; named as transformers' norms are."""

    def __init__(self, weight: nn.Parameter, epsilon: float) -> None:
        super().__init__()
        self.weight, self.variance_epsilon = weight, ctypes.c_float(epsilon).value
        self._norm, self._index = library().norm, library().variant()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_norm", "_index")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._norm, self._index = library().norm, library().variant()

    def forward(self, x: Tensor) -> Tensor:
        """`x` (…, width) to the same shape."""
        weight = self.weight
        width = weight.shape[0]
        if x.dtype is not torch.float32 or weight.dtype is not torch.float32 or not x.is_contiguous():
            return self.forward(x.float().contiguous()).to(x.dtype) if weight.dtype is torch.float32 else self._torch(x)
        if x.shape[-1] != width or not x.is_cpu or x.requires_grad:
            refuse(x, width)
        y = torch.empty_like(x)
        rows, epsilon = x.numel() // width, self.variance_epsilon
        self._norm(x.data_ptr(), weight.data_ptr(), epsilon, rows, width, y.data_ptr(), self._index)
        return y

    def _torch(self, x: Tensor) -> Tensor:
        """The same by torch, where the module was moved to another dtype."""
        wide = x.float()
        factor = torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * (wide * factor).to(x.dtype)


def fuse(model: nn.Module) -> None:
    """Replace what can be fused, in place."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            made = _gated(child) or _norm(child)
            if made is not None and _same(made, child):
                setattr(parent, name, made)


def _gated(module: nn.Module) -> GatedMLP | None:
    parts = dict(module.named_children())
    if set(parts) != {"gate_proj", "up_proj", "down_proj", "act_fn"} or "SiLU" not in type(parts["act_fn"]).__name__:
        return None
    gate, up, down = (parts[name] for name in ("gate_proj", "up_proj", "down_proj"))
    if not (isinstance(gate, PackedLinear) and isinstance(up, PackedLinear) and isinstance(down, PackedLinear)):
        return None
    pair = None if down.hooked else PackedLinear.joined([gate, up])
    fits = pair is not None and pair.out_features == 2 * down.in_features and pair.arithmetic == down.arithmetic
    return GatedMLP(pair, down) if pair is not None and fits else None


def _norm(module: nn.Module) -> RMSNorm | None:
    weight, epsilon = getattr(module, "weight", None), getattr(module, "variance_epsilon", None)
    plain = type(module).__name__.endswith("RMSNorm") and isinstance(weight, nn.Parameter) and weight.ndim == 1
    if not plain or not isinstance(epsilon, float) or weight is None or weight.dtype is not torch.float32:
        return None
    return RMSNorm(weight, epsilon)


def _same(made: GatedMLP | RMSNorm, module: Callable[[Tensor], Tensor]) -> bool:
    """Whether both give the same on random tokens."""
    gated = isinstance(made, GatedMLP)
    width = made.pair.in_features if isinstance(made, GatedMLP) else made.weight.shape[0]
    x = torch.randn(3, width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        got, wanted = made(x), module(x)
    loose = gated and isinstance(made, GatedMLP) and made.pair.arithmetic != "exact"
    off = float((got - wanted).abs().max())
    return off <= (_INT8_TOLERANCE if loose else _TOLERANCE) * float(wanted.abs().max())

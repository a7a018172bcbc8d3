"""Matrices that are integers in the forward pass, and real numbers to the optimiser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.recipe.arithmetic.gptq import factorised
from dovetail.recipe.arithmetic.slices import Price, cheapest, sliced
from dovetail.recipe.packing import stored_tensors
from dovetail.recipe.recovery.sensitivity import Sides
from dovetail.recipe.scheme import Scheme
from dovetail.runtime.activations import rounded
from dovetail.runtime.stored import Stored


class Coding(nn.Module):
    """What a matrix passes on its way into a product: rounded to codes of its scheme, gradients pass the rounding.

    Scales learn with it (learned step sizes, arXiv 1902.08153): as a factor whose logarithm is trained, so that one
    rate serves them all, and rounded as they are stored.

    Parameters
    ----------
    scale : Tensor (rows, groups)
        In the dtype in which it is stored.
    zero : Tensor (rows, groups) or None
    scheme : Scheme
    """

    def __init__(self, scale: Tensor, zero: Tensor | None, scheme: Scheme) -> None:
        super().__init__()
        self.scheme, self.dtype = scheme, scale.dtype
        self.start = scale.float()
        self.zero = None if zero is None else zero.float()
        self.low, self.high = -(1 << scheme.bits - 1), (1 << scheme.bits - 1) - 1
        self.log = nn.Parameter(torch.zeros_like(self.start))
        self.price: Price | None = None
        self.weighed: tuple[Tensor, Tensor] | None = None  # what a squared error in a row, and in a column, costs

    def scale(self) -> Tensor:
        """The scales (rows, groups) as they are stored; gradients pass their rounding."""
        real = self.start * self.log.exp()
        return real + (real.to(self.dtype).float() - real).detach()

    def codes(self, scaled: Tensor, scale: Tensor) -> Tensor:
        """Codes (rows, groups, columns) of weights in steps, zero points added."""
        if self.price is None or self.weighed is None:
            return scaled.round().clamp(self.low, self.high)
        flat, (rows, columns) = scaled.flatten(1), self.weighed
        steps = scale.repeat_interleave(scaled.shape[2], 1) if scale.shape[1] > 1 else scale
        return (cheapest(flat, steps.square() * rows[:, None] * columns, self.price) * flat.sign()).view_as(scaled)

    def forward(self, real: Tensor) -> Tensor:
        """What the codes of a matrix (rows, columns) stand for."""
        scale = self.scale()
        scaled = real.reshape(*scale.shape, -1) / scale[..., None]
        shift = 0.0 if self.zero is None else self.zero[..., None]
        inside = (scaled + shift).clamp(self.low, self.high)
        with torch.no_grad():
            codes = self.codes(scaled + shift, scale)
        value = (inside + (codes - inside).detach() - shift) * scale[..., None]
        return value.reshape(real.shape)

    @torch.no_grad()
    def stored(self, name: str, real: Tensor) -> dict[str, Tensor]:
        """What is stored for a matrix of this name."""
        scale = self.scale()
        shift = 0.0 if self.zero is None else self.zero[..., None]
        codes = self.codes(real.reshape(*scale.shape, -1) / scale[..., None] + shift, scale)
        zero = None if self.zero is None else self.zero.to(torch.int8)
        return stored_tensors(name, codes.reshape(real.shape).to(torch.int8), scale.to(self.dtype), zero, self.scheme)


def coded(model: nn.Module, stored: Stored) -> dict[str, nn.Module]:
    """Make the linear layers of a dense module compute with the codes that `stored` has of them.

    Returns
    -------
    dict of str to nn.Module
        The layers, by the names of their matrices in the checkpoint, sorted.

    Raises
    ------
    DovetailError
        Nothing is stored as integers, or a matrix of several experts is.
    """
    names = sorted(stored.integers())
    where = str(stored.checkpoint.folder)
    if not names:
        why, hint = "weights are not integers with scales", "gptq, rtn or bit-slice before it"
        raise DovetailError("nothing to recover", where=where, why=why, hint=hint, exit_code=INFEASIBLE)
    layers = dict(model.named_modules())
    found: dict[str, nn.Module] = {}
    for name in names:
        module = name.removesuffix(".weight")
        if not isinstance(layers.get(module), nn.Linear):
            why = f"the module has no linear layer '{module}'; experts of a mixture are one tensor there"
            raise DovetailError("cannot be trained", where=where, why=why, hint="a dense model", exit_code=INFEASIBLE)
        found[name] = _coded(layers[module], stored, name)
    return found


def _coded(layer: Any, stored: Stored, name: str) -> nn.Module:
    _, scale, zero, bits = stored.matrix(name)
    form, act = stored.form(name), stored.rule(name.removesuffix(".weight")).act
    group = form.group if form.packed else (form.block or (1, 0))[1]
    scheme = Scheme(bits, group, zero is None, int(act.removeprefix("int")) if act else 16)
    layer.weight.requires_grad_(True)
    parametrize.register_parametrization(layer, "weight", Coding(scale, zero, scheme), unsafe=True)
    if act:
        layer.register_forward_pre_hook(_Rounding(act))
    found: nn.Module = layer
    return found


def begin(layer: Any, sides: Sides, prices: Callable[[int], Price]) -> None:
    """Let errors of a layer's weights cost what its sides say; where a row has one scale, begin with codes so chosen.

    They are those of `sliced`, errors made good within their rows, and of the scales whose codes cost least.
    """
    own, matrix = coding(layer), real(layer)
    own.weighed, price = (sides.rows, sides.columns), prices(own.scheme.bits)
    own.low, own.high = 1 - (1 << price.bits), (1 << price.bits) - 1
    if own.zero is None and own.start.shape[1] == 1:
        inputs = factorised(sides.moment)
        found = sliced(matrix.detach(), inputs, price, rows=sides.rows, dtype=own.dtype)
        own.start = found.scale.float()
        matrix.data = found.values


def coding(layer: Any) -> Coding:
    """The coding of a layer's matrix."""
    found: Coding = layer.parametrizations.weight[0]
    return found


def real(layer: Any) -> nn.Parameter:
    """What the optimiser changes of a layer's matrix (rows, columns)."""
    found: nn.Parameter = layer.parametrizations.weight.original
    return found


def priced(price: Price, share: float) -> Price | None:
    """A price of which a share counts; none where it is nothing, for then the nearest codes are the cheapest."""
    if not price.digit * share:
        return None
    return replace(price, digit=price.digit * share)


class _Rounding:
    """Inputs rounded per token as they will be; gradients pass."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def __call__(self, module: object, given: tuple[Any, ...]) -> tuple[Any, ...]:
        x = given[0]
        return (x + (rounded(x, self.dtype) - x).detach(), *given[1:])

"""Matrices that are integers in the forward pass, and real numbers to the optimiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.recipe.arithmetic.gptq import factorised
from dovetail.recipe.arithmetic.slices import Price, alone_error, cheapest, sliced_by_rows
from dovetail.recipe.packing import stored_tensors
from dovetail.recipe.recovery.sensitivity import Sides
from dovetail.recipe.scheme import Scheme
from dovetail.runtime.activations import rounded
from dovetail.runtime.stored import Stored

_INSIDE = 0.499  # steps from a code to where rounding would leave it, nearly


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
        found = cheapest(flat, scale.square() * rows[:, None] * columns, self.price) * flat.sign()
        return found.view_as(scaled)

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


def weigh(layer: Any, sides: Sides, prices: Callable[[int], Price]) -> None:
    """Let cells of a layer's codes have a price, and errors of its weights cost what its sides say.

    Codes and scales are chosen anew, the cheapest, errors made good within their rows; training begins with the weights
    that they were chosen for, hence with these codes.

    Raises
    ------
    DovetailError
        Rows have several scales, or zero points.
    """
    own, matrix = coding(layer), real(layer)
    if own.zero is not None or own.start.shape[1] > 1:
        why = "a bitline adds cells of one scale, and a code of 0 is an empty cell"
        hint = "one scale a row: rtn(bits=8, group=0)"
        raise DovetailError(
            "no price of cells in groups or with zero points", where="recover.price", why=why, hint=hint
        )
    inputs, price = factorised(sides.moment), prices(own.scheme.bits)
    own.price, own.weighed = price, (sides.rows, alone_error(inputs))
    own.low, own.high = 1 - (1 << price.bits), (1 << price.bits) - 1
    found, chosen = sliced_by_rows(matrix.detach(), inputs, price, sides.rows, own.dtype)
    own.start, matrix.data = found.scale.float(), chosen


@torch.no_grad()
def settle(layer: Any, dense: Tensor) -> None:
    """Begin, within what rounds to the codes as they are, as near as can be to the dense matrix (rows, columns).

    In the middle between two codes, where they would be else, weights take longest to reach another one.
    """
    own, matrix = coding(layer), real(layer)
    scale = own.scale()[..., None]
    codes, wanted = (part.reshape(*own.start.shape, -1) / scale for part in (matrix, dense))
    inside = wanted.clamp(codes.round() - _INSIDE, codes.round() + _INSIDE)
    shift = torch.zeros(()) if own.zero is None else own.zero[..., None]
    matrix.copy_((inside.clamp(own.low - shift, own.high - shift) * scale).reshape(matrix.shape))


def coding(layer: Any) -> Coding:
    """The coding of a layer's matrix."""
    found: Coding = layer.parametrizations.weight[0]
    return found


def real(layer: Any) -> nn.Parameter:
    """What the optimiser changes of a layer's matrix (rows, columns)."""
    found: nn.Parameter = layer.parametrizations.weight.original
    return found


class _Rounding:
    """Inputs rounded per token as they will be; gradients pass."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def __call__(self, module: object, given: tuple[Any, ...]) -> tuple[Any, ...]:
        x = given[0]
        return (x + (rounded(x, self.dtype) - x).detach(), *given[1:])

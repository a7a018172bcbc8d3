"""Which layers of a torch module are matrices in arrays, and their weights on the grid of codes."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.lazy import require
from dovetail.crossbar.codes import Codes, FixedPoint

if TYPE_CHECKING:
    from torch import Tensor, nn


def matrix_layers(model: nn.Module, digital: Sequence[str] = ()) -> dict[str, nn.Module]:
    """The linear layers and convolutions by name, without those that a glob of `digital` names.

    Raises
    ------
    DovetailError
        There is none, or weights are not finite.
    """
    torch = require("torch", "torch", to="train")
    kinds = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d)
    found = {
        name: part
        for name, part in model.named_modules()
        if isinstance(part, kinds) and getattr(part, "groups", 1) == 1
        and not any(fnmatchcase(name, glob) for glob in digital)
    }  # fmt: skip
    if not found:
        named = ", ".join(sorted({type(part).__name__ for part in model.modules()}))
        why = f"it has {named}" + (f"; digital are {', '.join(digital)}" if digital else "")
        hint = "linear layers or ungrouped convolutions; norms, activations, attention and pooling stay digital"
        raise DovetailError("nothing to put on crossbars", where="model", why=why, hint=hint, exit_code=INFEASIBLE)
    for name, part in found.items():
        if not part.weight.isfinite().all():
            raise DovetailError("weights that are not finite", where=name, hint="a network that has not overflowed")
    return found


def as_matrix(weight: Tensor) -> Tensor:
    """(outputs, inputs) of a linear layer, (outputs, inputs x kernel) of a convolution: what stands in arrays."""
    return weight.reshape(len(weight), -1)


def step_of(matrix: Tensor, grid: FixedPoint) -> Tensor:
    """What one code stands for, broadcastable to `matrix` (outputs, inputs): `FixedPoint.steps` in torch."""
    torch = require("torch", "torch", to="train")
    largest = matrix.detach().abs()
    if grid.per == "layer":
        maxima = largest.max().reshape(1, 1)
    elif grid.per == "row":
        maxima = largest.amax(1, keepdim=True)
    else:
        parts = [part.amax(1, keepdim=True).expand_as(part) for part in torch.split(largest, grid.group, 1)]
        maxima = torch.cat(parts, 1)
    fraction, exponent = torch.frexp(maxima)
    power = torch.where(maxima > 0, exponent - (fraction == 0.5).int(), torch.zeros_like(exponent))
    found: Tensor = torch.ldexp(torch.ones_like(maxima), power - grid.bits)
    return found


def coded(codes: Tensor, step: Tensor, grid: FixedPoint) -> Codes:
    """Codes for all the rest of the room, from integers (outputs, inputs) and their steps."""
    values = codes.detach().round().cpu().numpy().astype(np.int32)
    steps = step.detach().double().cpu().numpy()
    rows, columns = values.shape
    if grid.per == "group" and steps.shape[1] == columns:
        steps = steps[:, :: grid.group]
    if columns <= grid.group or grid.per != "group":
        steps = steps[:, :1]
    return Codes(values, np.broadcast_to(steps, (rows, steps.shape[1])).copy(), grid)

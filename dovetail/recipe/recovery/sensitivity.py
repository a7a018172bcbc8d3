"""What errors of single weights cost a model's predictions: the diagonal of the Fisher information, factorised.

For a weight from input j to output i the second derivative of the Kullback-Leibler divergence from the model to itself
is ``E[x_j^2 d_i^2]``, d being the gradient of the loss of tokens drawn from the model's own predictions (Martens,
arXiv 1412.1193); with input and gradient taken as independent it is a product of two vectors (K-FAC, arXiv 1503.05671).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(slots=True)
class Sides:
    """Both sides of a layer.

    Parameters
    ----------
    rows : Tensor (outputs,)
        Sum of the squares of the gradients of each output.
    moment : Tensor (inputs, inputs)
        Sum of ``x x^T``.
    """

    rows: Tensor
    moment: Tensor

    @property
    def columns(self) -> Tensor:
        """Sum of the squares of each input."""
        return self.moment.diagonal()


def sensitivities(
    model: Any, layers: Mapping[str, nn.Module], batches: Sequence[Tensor], seed: int
) -> dict[str, Sides]:  # fmt: skip
    """Of each layer both sides: the squared error of a weight costs ``rows[i] * columns[j]``.

    The unit is what a weight of this model contributes on average: the mean of ``f w^2`` over all of them is 1.

    Parameters
    ----------
    batches : sequence of Tensor (B, T)
        Token ids.
    """
    found = {name: Sides(torch.zeros(()), torch.zeros(())) for name in layers}
    handles = [layer.register_forward_hook(_watching(found[name])) for name, layer in layers.items()]
    source = torch.Generator().manual_seed(seed)
    try:
        for ids in batches:
            logits = model(ids, use_cache=False).logits.flatten(0, 1)
            drawn = torch.multinomial(logits.detach().softmax(-1), 1, generator=source)[:, 0]
            nn.functional.cross_entropy(logits, drawn, reduction="sum").backward()  # type: ignore[no-untyped-call]
    finally:
        for handle in handles:
            handle.remove()
        model.zero_grad(set_to_none=True)
    _in_units(layers, found)
    return found


def _watching(sides: Sides) -> Callable[..., None]:
    def hook(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        flat = given[0].detach().flatten(0, -2)
        sides.moment = sides.moment + flat.T @ flat

        def gradient(value: Tensor) -> None:
            sides.rows = sides.rows + value.flatten(0, -2).square().sum(0)

        out.register_hook(gradient)  # type: ignore[no-untyped-call]

    return hook


def _in_units(layers: Mapping[str, Any], found: Mapping[str, Sides]) -> None:
    total, count = 0.0, 0
    for name, layer in layers.items():
        sides, weight = found[name], layer.weight.detach()
        total += float((sides.rows[:, None] * sides.columns * weight.square()).double().sum())
        count += weight.numel()
    unit = max(total / count, torch.finfo(torch.float32).tiny)
    for sides in found.values():
        sides.rows = sides.rows / unit

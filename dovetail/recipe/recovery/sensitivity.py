"""What errors of single weights cost a model's predictions: the diagonal of the Fisher information, factorised.

For a weight from input j to output i the second derivative of the Kullback-Leibler divergence from the model to itself
is ``E[x_j^2 d_i^2]``, d being the gradient of the loss of tokens drawn from the model's own predictions (Martens,
arXiv 1412.1193); with input and gradient taken as independent it is a product of two vectors (K-FAC, arXiv 1503.05671).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Sides = tuple[Tensor, Tensor]


def sensitivities(model: Any, layers: Mapping[str, nn.Module], batches: Sequence[Tensor], seed: int) -> dict[str, Sides]:
    """Of each layer two vectors (outputs,) and (inputs,), whose products price the squared errors of its weights.

    The unit is what a weight of this model contributes on average: the mean of ``f w^2`` over all of them is 1.

    Parameters
    ----------
    batches : sequence of Tensor (B, T)
        Token ids.
    """
    sums: dict[str, list[Tensor]] = {}
    handles = [layer.register_forward_hook(_watch(sums, name)) for name, layer in layers.items()]
    source = torch.Generator().manual_seed(seed)
    try:
        for ids in batches:
            logits = model(ids, use_cache=False).logits.flatten(0, 1)
            drawn = torch.multinomial(logits.detach().softmax(-1), 1, generator=source)[:, 0]
            nn.functional.cross_entropy(logits, drawn, reduction="sum").backward()
    finally:
        for handle in handles:
            handle.remove()
        model.zero_grad(set_to_none=True)
    return _in_units(layers, sums)


def _watch(sums: dict[str, list[Tensor]], name: str) -> Any:
    def hook(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        seen = sums.setdefault(name, [torch.zeros(()), torch.zeros(())])
        seen[1] = seen[1] + given[0].detach().flatten(0, -2).square().sum(0)

        def gradient(value: Tensor) -> None:
            seen[0] = seen[0] + value.flatten(0, -2).square().sum(0)

        out.register_hook(gradient)

    return hook


def _in_units(layers: Mapping[str, Any], sums: Mapping[str, list[Tensor]]) -> dict[str, Sides]:
    total, count = 0.0, 0
    for name, layer in layers.items():
        rows, columns = sums[name]
        weight = layer.weight.detach()
        total += float((rows[:, None] * columns * weight.square()).double().sum())
        count += weight.numel()
    unit = max(total / count, torch.finfo(torch.float32).tiny)
    return {name: (rows / unit, columns) for name, (rows, columns) in sums.items()}

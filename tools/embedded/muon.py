"""Muon: momentum whose matrix updates are orthogonalised (Jordan et al. 2024; scaling of arXiv 2502.16982).

`torch.optim.Muon` runs the Newton-Schulz iteration in bfloat16, which x86 processors without AMX emulate slowly. This
one keeps float32 and batches the matrices of one shape over the layers.
"""

from collections import defaultdict

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # quintic that pushes singular values into about [0.7, 1.2] in five rounds
ROUNDS = 5


def orthogonalized(update: Tensor) -> Tensor:
    """Return `update` `(n, rows, columns)` with each matrix's singular values near one."""
    a, b, c = COEFFICIENTS
    tall = update.shape[-2] > update.shape[-1]
    x = update.mT if tall else update
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, with the update's RMS matched to `0.2 * sqrt(max(rows, columns))` of AdamW."""

    def __init__(self, params: list[Tensor], lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update every matrix once."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for weight in group["params"]:
                by_shape[weight.shape].append(weight)
            for shape, weights in by_shape.items():
                self._step_stack(group, shape, weights)

    def _step_stack(self, group: dict, shape: torch.Size, weights: list[Tensor]) -> None:
        for weight in weights:
            if not self.state[weight]:
                self.state[weight]["velocity"] = torch.zeros_like(weight)
            self.state[weight]["velocity"].lerp_(weight.grad, 1 - group["momentum"])
        looked_ahead = [w.grad.lerp(self.state[w]["velocity"], group["momentum"]) for w in weights]
        rate = group["lr"]
        for weight, update in zip(weights, orthogonalized(torch.stack(looked_ahead)), strict=True):
            weight.mul_(1 - rate * group["weight_decay"])
            weight.add_(update, alpha=-rate * 0.2 * max(shape) ** 0.5)

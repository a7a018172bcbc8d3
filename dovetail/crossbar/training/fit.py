"""A training loop for small classifiers, repeatable by seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dovetail.core.errors import CHECK_FAILED, DovetailError
from dovetail.core.lazy import require
from dovetail.crossbar.training.session import Training

if TYPE_CHECKING:
    from torch import Tensor, nn

Pair = tuple["Tensor", "Tensor"]


@dataclass(frozen=True, slots=True)
class Fit:
    """Stochastic gradient descent with momentum, its rate falling along a half cosine to 0."""

    epochs: int = 20
    batch: int = 128
    rate: float = 0.1
    momentum: float = 0.9
    seed: int = 0  # of the order of examples

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1 or not 0 < self.rate < math.inf or not 0 <= self.momentum < 1:
            what = f"{self.epochs} epochs, batches of {self.batch}, rate {self.rate}, momentum {self.momentum}"
            raise DovetailError(what, where="fit", hint="20 epochs, batches of 128, rate 0.1, momentum 0.9")

    def run(self, model: nn.Module, data: Pair, training: Training | None = None,
            watch: Callable[[int], None] = lambda epoch: None) -> None:  # fmt: skip
        """Train a module in place. Raises `DovetailError` when the loss is no longer finite."""
        torch = require("torch", "torch", to="train")
        images, labels = data
        source = torch.Generator().manual_seed(self.seed)
        optimiser = torch.optim.SGD(model.parameters(), self.rate, self.momentum)
        per_epoch = -(-len(images) // self.batch)
        total, done = self.epochs * per_epoch, 0
        model.train()
        for epoch in range(self.epochs):
            for part in torch.randperm(len(images), generator=source).split(self.batch):
                optimiser.param_groups[0]["lr"] = self.rate * (1 + math.cos(math.pi * done / total)) / 2
                if training is not None:
                    training.at(done / total)
                loss = torch.nn.functional.cross_entropy(model(images[part]), labels[part])
                if training is not None:
                    loss = loss + training.penalty()
                if not loss.isfinite():
                    why = f"step {done} of {total}"
                    raise DovetailError("the loss is not finite", where="fit", why=why, hint="a smaller rate",
                                        exit_code=CHECK_FAILED)  # fmt: skip
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                done += 1
            watch(epoch + 1)
        model.eval()


def right_answers(model: nn.Module, data: Pair, batch: int = 1000) -> Tensor:
    """Whether each answer is right, shape (N,)."""
    torch = require("torch", "torch", to="measure accuracy")
    was = model.training
    model.eval()
    with torch.inference_mode():
        found = [model(images).argmax(1) == labels
                 for images, labels in zip(torch.split(data[0], batch), torch.split(data[1], batch))]  # fmt: skip
    model.train(was)
    right: Tensor = torch.cat(found)
    return right


def accuracy(model: nn.Module, data: Pair, batch: int = 1000) -> float:
    """Share of right answers."""
    return int(right_answers(model, data, batch).sum()) / len(data[1])

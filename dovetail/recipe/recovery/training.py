"""The loop: a quantised student, its dense teacher, a text; it goes on where it was stopped, to the same bits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dovetail.core.errors import CHECK_FAILED, DovetailError
from dovetail.recipe.recovery.coded import coding, real
from dovetail.recipe.recovery.saved import read_state, write_state
from dovetail.runtime.pace import Pace

_WARM = 10  # steps in which the rate rises
_BETAS = (0.9, 0.99)
_SAVE_S = 60.0  # between two states on disk
_SCALES = 0.3  # rate of scales, as a share of that of weights


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long, how fast, in which order.

    Parameters
    ----------
    steps : int
    batch : int
        Sequences of a step.
    rate : float
        Of Adam at its highest, in root mean squares of each matrix; it falls along a half cosine.
    seed : int
        Of the order of sequences.
    """

    steps: int
    batch: int
    rate: float
    seed: int = 0

    def falling(self, done: int) -> float:
        """The share of the rate in the step after `done`."""
        return (1 + math.cos(math.pi * done / self.steps)) / 2 * min(1.0, (done + 1) / _WARM)

    def chosen(self, step: int, windows: int) -> list[int]:
        """Which sequences a step sees: each once before any comes again, in an order of its own each time."""
        found: list[int] = []
        for place in range(step * self.batch, (step + 1) * self.batch):
            source = torch.Generator().manual_seed(self.seed * 1_000_003 + place // windows)
            found.append(int(torch.randperm(windows, generator=source)[place % windows]))
        return found


@dataclass(slots=True, eq=False)
class Recovery:
    """A student on its way: `layers` are its coded ones, by name; norms and the embedding learn as well.

    Parameters
    ----------
    student, teacher : nn.Module
        Of `transformers`.
    windows : Tensor (N, T)
        Token ids.
    """

    student: Any
    teacher: Any
    layers: Mapping[str, nn.Module]
    windows: Tensor
    schedule: Schedule
    done: int = 0
    optimiser: Any = None

    def __post_init__(self) -> None:
        self.teacher.requires_grad_(False)
        groups = []
        for layer in self.layers.values():
            groups += [_group(real(layer), _size(real(layer))), _group(coding(layer).log, _SCALES)]
        groups += [_group(other, _size(other)) for other in self.beside().values()]
        self.optimiser = torch.optim.Adam(groups, betas=_BETAS)

    def beside(self) -> dict[str, nn.Parameter]:
        """What learns beside the coded matrices, by name: the weights of norms, and the embedding."""
        found: dict[str, nn.Parameter] = {}
        for name, module in self.student.named_modules():
            weight = getattr(module, "weight", None)
            if isinstance(weight, nn.Parameter) and (weight.ndim == 1 or isinstance(module, nn.Embedding)):
                weight.requires_grad_(True)
                found[f"{name}.weight"] = weight
        return found

    def run(self, state: Path, report: Callable[[str], None]) -> None:
        """All steps that are not done yet, with a state on disk every minute and when it is stopped.

        Raises
        ------
        DovetailError
            The loss is no longer finite.
        """
        self.done = read_state(state, self)
        pace = Pace(self.schedule.steps, "step", report, done=self.done)
        saved = time.monotonic()
        try:
            while self.done < self.schedule.steps:
                self.step()
                pace.step()
                if time.monotonic() - saved > _SAVE_S:
                    write_state(state, self)
                    saved = time.monotonic()
        except KeyboardInterrupt:
            write_state(state, self)
            raise

    def step(self) -> None:
        """One step of Adam towards the teacher's predictions."""
        for group in self.optimiser.param_groups:
            group["lr"] = group["size"] * self.schedule.rate * self.schedule.falling(self.done)
        loss = self.loss(self.windows[self.schedule.chosen(self.done, len(self.windows))])
        if not loss.isfinite():
            why = f"step {self.done + 1} of {self.schedule.steps}"
            raise DovetailError("the loss is not finite", where="recover", why=why, hint="a smaller rate",
                                exit_code=CHECK_FAILED)  # fmt: skip
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.done += 1

    def loss(self, ids: Tensor) -> Tensor:
        """Nats a token from the teacher's predictions to the student's."""
        with torch.no_grad():
            wanted = self.teacher(ids, use_cache=False).logits.log_softmax(-1)
        found = self.student(ids, use_cache=False).logits.log_softmax(-1)
        loss: Tensor = nn.functional.kl_div(found, wanted, reduction="none", log_target=True).sum(-1).mean()
        return loss

    def parameters(self) -> Sequence[nn.Parameter]:
        """All that learns, in the order of the optimiser's groups."""
        return [group["params"][0] for group in self.optimiser.param_groups]


def _size(parameter: nn.Parameter) -> float:
    """The root mean square, in which rates are."""
    return float(parameter.detach().square().mean().sqrt()) or 1.0


def _group(parameter: nn.Parameter, size: float) -> dict[str, Any]:
    return {"params": [parameter], "lr": 0.0, "size": size}

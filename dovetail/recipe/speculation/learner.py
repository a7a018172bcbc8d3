"""What can be trained beside a frozen model, and the loop that does it: resumable, the same for a seed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from dovetail.core.errors import DovetailError
from dovetail.core.files import write_bytes
from dovetail.runtime.pace import Pace

_KEPT_EVERY_S = 30.0
_WARM_UP, _END = 50, 0.02  # steps of rising rate; share of the rate at the end


@dataclass(frozen=True, slots=True)
class Written:
    """Texts the model wrote: token ids (rows, prompt + new), of which the first `prompt` were given."""

    ids: Tensor
    prompt: int


class Learner(Protocol):
    """Parameters that learn to guess."""

    def parameters(self) -> Iterable[Tensor]:
        """What is trained."""
        ...

    def loss(self, ids: Tensor, hidden: Tensor, prompt: int) -> Tensor:
        """Of texts (B, T) whose hidden states are (B, T, hidden); tokens from place `prompt` on were the model's own.

        Gradients are left in the parameters; what is returned is for the report.
        """
        ...


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast.

    Parameters
    ----------
    steps : int
    rows : int
        Texts of one step.
    rate : float
        Of AdamW, at the start; it falls along a cosine.
    """

    steps: int = 2000
    rows: int = 8
    rate: float = 1e-2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.rows < 1 or not 0 < self.rate < math.inf:
            what = f"{self.steps} steps of {self.rows} texts at a rate of {self.rate}"
            raise DovetailError(f"cannot train {what}", where="training", hint="2000 steps of 8 texts at 0.01")
        check_seed(self.seed)

    def rate_of(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        warm = min(1.0, (step + 1) / _WARM_UP)
        return self.rate * warm * (_END + (1 - _END) * 0.5 * (1 + math.cos(math.pi * step / self.steps)))


def check_seed(seed: int) -> None:
    """Raise `DovetailError` for a seed that has no 32 bits: steps and batches make more of each."""
    if not 0 <= seed < 2**32:
        raise DovetailError(f"a seed of {seed}", where="--seed", hint="0: below 2**32")


def fit(
    learner: Learner, model: Any, text: Written, schedule: Schedule, kept: Path, report: Callable[[str], None]
) -> float:
    """Train on hidden states of the frozen `model`; returns the mean loss of the last tenth of the steps.

    The state is written to `kept` every half a minute; where it is there already, training goes on from it.

    Raises
    ------
    DovetailError
        A loss that is not finite.
    """

    def loss(ids: Tensor) -> Tensor:
        with torch.no_grad():
            hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        return learner.loss(ids, hidden, text.prompt)

    part = Part(list(learner.parameters()), schedule.rate)
    return ends(descend([part], loss, text, schedule, model.device, kept, report))[0][1]


@dataclass(frozen=True, slots=True)
class Part:
    """Parameters that share a learning rate: that of the start."""

    parameters: list[Tensor]
    rate: float


def descend(
    parts: Sequence[Part], loss: Callable[[Tensor], Tensor], text: Written, schedule: Schedule, device: torch.device,
    kept: Path, report: Callable[[str], None],
) -> list[list[float]]:  # fmt: skip
    """The steps of `fit`, for several parts and a loss of several terms: those of each step are returned.

    Parameters
    ----------
    loss : callable
        From texts (B, T) to a loss, or some (n,); leaves gradients in the parameters.
    schedule : Schedule
        Its rate is that of a part whose own is the same; others rise and fall in proportion.
    """
    parameters = [one for part in parts for one in part.parameters]
    groups = [{"params": part.parameters, "share": part.rate / schedule.rate} for part in parts]
    optimizer = torch.optim.AdamW(groups, lr=schedule.rate, betas=(0.9, 0.98), weight_decay=0.0)
    losses = _resumed(kept, parameters, optimizer)
    pace = Pace(schedule.steps, "step", report, done=len(losses))
    if losses:
        report(f"going on after step {len(losses)} of {schedule.steps}")
    saved = time.monotonic()
    for step in range(len(losses), schedule.steps):
        source = torch.Generator().manual_seed(schedule.seed * 1_000_003 + step)
        ids = text.ids[torch.randint(len(text.ids), (schedule.rows,), generator=source)].long().to(device)
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate_of(step) * group["share"]
        losses.append(loss(ids).reshape(-1).tolist())
        if not all(map(math.isfinite, losses[-1])):
            what = f"the loss is {sum(losses[-1])} at step {step}"
            raise DovetailError(what, where="training", hint="a smaller rate")
        optimizer.step()
        optimizer.zero_grad()
        pace.step()
        if time.monotonic() - saved > _KEPT_EVERY_S:
            _keep(kept, parameters, optimizer, losses)
            saved = time.monotonic()
    _keep(kept, parameters, optimizer, losses)
    return losses


def ends(losses: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """Of each term the mean over the first tenth of the steps, and over the last."""
    tenth = max(1, len(losses) // 10)
    first, last = (zip(*part, strict=True) for part in (losses[:tenth], losses[-tenth:]))
    return [(sum(a) / tenth, sum(b) / tenth) for a, b in zip(first, last, strict=True)]


def _keep(path: Path, parameters: list[Tensor], optimizer: torch.optim.Optimizer, losses: list[list[float]]) -> None:
    from io import BytesIO

    sink = BytesIO()
    torch.save({"parameters": parameters, "optimizer": optimizer.state_dict(), "losses": losses}, sink)
    write_bytes(path, sink.getvalue())


def _resumed(path: Path, parameters: list[Tensor], optimizer: torch.optim.Optimizer) -> list[list[float]]:
    if not path.is_file():
        return []
    state = torch.load(path, weights_only=True)
    with torch.no_grad():
        for mine, stored in zip(parameters, state["parameters"], strict=True):
            mine.copy_(stored)
    optimizer.load_state_dict(state["optimizer"])
    return list(state["losses"])

"""A model and its Medusa heads learn together (Medusa-2, arXiv 2401.10774, section 2.2.2).

The backbone is pulled towards states from which heads guess well, and held by what the original model says
(self-distillation, section 2.3.2).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dovetail.core.errors import DovetailError
from dovetail.recipe.speculation.learner import Part, Schedule
from dovetail.recipe.speculation.medusa import aligned
from dovetail.runtime.decoding.medusa import MedusaHeads
from dovetail.runtime.decoding.modules import ModuleRunner

_CHUNK = 512  # positions whose scores are held at once


@dataclass(frozen=True, slots=True)
class Joint:
    """How the second stage trains, after heads alone.

    ``loss = language + weight * sum over heads k of fading^k * cross-entropy_k``, where the language loss is
    ``distil * KL(original, model) + (1 - distil) * cross-entropy of the text``, in nats a token.

    Parameters
    ----------
    steps : int
    rate : float
        Of the backbone's weights; that of the heads is ten times smaller than when they learned alone.
    weight : float
        Of the heads' loss against the language loss (the paper's lambda_0).
    fading : float
        Weight of a head against that of the one before it (the paper's 0.8).
    distil : float
        1 holds the model to what it said; with less it learns the text, too.
    """

    steps: int = 1000
    rate: float = 1e-5
    weight: float = 0.2
    fading: float = 0.8
    distil: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.rate < math.inf:
            what = f"{self.steps} steps at a rate of {self.rate}"
            raise DovetailError(f"cannot train jointly: {what}", where="training", hint="1000 steps at 1e-5")
        if not 0 < self.weight < math.inf or not 0 < self.fading <= 1 or not 0 <= self.distil <= 1:
            what = f"heads weigh {self.weight}, fading by {self.fading}, distilled by {self.distil}"
            raise DovetailError(what, where="joint training", hint="0.2, 0.8, and 1.0 (from 0 to 1)")

    def schedule(self, alone: Schedule) -> Schedule:
        """Of the second stage, from that of the first: a tenth of its rate for heads, other texts in each step."""
        return Schedule(self.steps, alone.rows, alone.rate / 10, (alone.seed + 0x9E3779B9) % 2**32)


@dataclass(slots=True)
class JointLearner:
    """The loss of `Joint` for one model.

    Parameters
    ----------
    model, original : nn.Module
        Of `transformers`: the one that learns, and its frozen original.
    """

    heads: MedusaHeads
    model: Any
    original: Any
    how: Joint

    def __post_init__(self) -> None:
        self.heads.weight.requires_grad_()

    def parts(self, rate: float) -> list[Part]:
        """Heads, that learn at `rate`, and the backbone."""
        return [Part([self.heads.weight], rate), Part(list(self.model.parameters()), self.how.rate)]

    def loss(self, ids: Tensor, prompt: int) -> Tensor:
        """Of texts (B, T): the language loss, and the weighted loss of the heads; gradients are left behind.

        Scores of few places are held at once: their gradients are collected at the hidden states first.
        """
        hidden = self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        with torch.no_grad():
            wanted = self.original.base_model(input_ids=ids, use_cache=False).last_hidden_state
        states = hidden[:, :-1].flatten(0, 1)
        embedding = self.model.get_input_embeddings().weight.detach()
        read, newest, came = aligned(ids, hidden, embedding, prompt, len(self.heads.weight))
        ends = [one.detach().requires_grad_() for one in (states, read)]
        language = self._language(ends[0], wanted[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        guessing = self._guessing(ends[1], newest, came)
        torch.autograd.backward([states, read], [end.grad for end in ends])
        return torch.stack((language, guessing))

    def _language(self, states: Tensor, wanted: Tensor, came: Tensor) -> Tensor:
        total, scores = torch.zeros(()), ModuleRunner(self.model).logits
        for mine, theirs, token in _split(states, wanted, came):
            with torch.no_grad():
                chances = ModuleRunner(self.original).logits(theirs).float().softmax(-1)
            says = scores(mine).float()
            apart = functional.kl_div(says.log_softmax(-1), chances, reduction="sum")
            text = functional.cross_entropy(says, token, reduction="sum")
            loss = (self.how.distil * apart + (1 - self.how.distil) * text) / len(came)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach().cpu()
        return total

    def _guessing(self, states: Tensor, newest: Tensor, came: Tensor) -> Tensor:
        total, scores = torch.zeros(()), ModuleRunner(self.model).logits
        fading = self.how.fading ** torch.arange(came.shape[1], device=came.device)
        for mine, token, wanted in _split(states, newest, came):
            says = scores(self.heads.states(mine, token)).float()
            each = functional.cross_entropy(says.flatten(0, 1), wanted.flatten(), reduction="none").view_as(wanted)
            loss = self.how.weight * (each * fading).sum() / len(came)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach().cpu()
        return total


def _split(*places: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(torch.split(part, _CHUNK) for part in places), strict=True)

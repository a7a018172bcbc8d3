"""A draft layer learns the hidden states that a model will have, and what the model says from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dovetail.core.errors import DovetailError
from dovetail.recipe.speculation.learner import Written
from dovetail.runtime.decoding.eagle import EagleLayer

RANKS = 4  # guesses of one place that are counted
_CHUNK = 512  # positions whose scores are held at once

Logits = Callable[[Tensor], Tensor]


@dataclass(slots=True)
class EagleLearner:
    """Divergence from what the model says next, and smooth L1 against its hidden state, for each step of a draft.

    The divergence (Kullback-Leibler, nats) is the cross-entropy of the paper less what no draft can take away.

    The second step of a draft reads what the first guessed where the model has not been. So that it learns to, training
    takes the same steps (as HASS does, arXiv 2408.15766): the newest state is a guess of the step before, that before
    it a guess of the one before, and so on back to the model's own.

    Parameters
    ----------
    layer : EagleLayer
    embedding : Tensor (vocabulary, hidden)
        Of input tokens.
    logits : callable
        The model's output head, frozen: `Runner.logits`.
    steps : int
        Of a draft, that are trained.
    features : float
        Weight of the smooth L1 against that of the divergence (in the EAGLE paper 10).
    fading : float
        Weight of a step against that of the step before it.
    """

    layer: EagleLayer
    embedding: Tensor
    logits: Logits
    steps: int = 3
    features: float = 1.0
    fading: float = 0.8

    def __post_init__(self) -> None:
        if self.steps < 1 or self.features < 0 or self.fading <= 0:
            what = f"{self.steps} steps, features {self.features}, fading {self.fading}"
            raise DovetailError(what, where="eagle", hint="3 steps, features 1.0, fading 0.8")
        self.embedding = self.embedding.detach()
        for weight in self.layer.weights.values():
            weight.requires_grad_()

    def parameters(self) -> Iterable[Tensor]:
        return list(self.layer.weights.values())

    def loss(self, ids: Tensor, hidden: Tensor, prompt: int) -> Tensor:
        begin = max(prompt, self.steps) - 1
        guesses = [g[:, begin:] for g in unrolled(self.layer, self.embedding, ids, hidden, self.steps)]
        total, slopes = self._compared(torch.stack([g.detach() for g in guesses]), hidden[:, begin + 1 :])
        torch.autograd.backward(guesses, list(slopes))
        return total

    def _compared(self, guesses: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of guessed states (steps, B, T, hidden) and its gradient; scores of few places are held at once."""
        total, slopes = torch.zeros(()), []
        weights = torch.tensor([self.fading**step for step in range(self.steps)], device=wanted.device)
        weights = weights / wanted.shape[:2].numel()
        mine, model = torch.split(guesses.flatten(1, 2), _CHUNK, 1), torch.split(wanted.flatten(0, 1), _CHUNK)
        for guess, true in zip(mine, model, strict=True):
            loss, slope = self._part(guess.requires_grad_(), true, weights)
            total += loss
            slopes.append(slope)
        return total, torch.cat(slopes, 1).view_as(guesses)

    def _part(self, guess: Tensor, true: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Of places (steps, n, hidden)."""
        with torch.no_grad():
            chances = self.logits(true).float().softmax(-1)
        scores = (self.logits(one).float().log_softmax(-1) for one in guess)
        says = torch.stack([functional.kl_div(score, chances, reduction="sum") for score in scores])
        near = functional.smooth_l1_loss(guess.float(), true.float().expand_as(guess), reduction="none")
        loss = (weights * (says + self.features * near.mean(-1).sum(-1))).sum()
        [slope] = torch.autograd.grad(loss, guess)
        return loss.detach().cpu(), slope


def unrolled(layer: EagleLayer, embedding: Tensor, ids: Tensor, hidden: Tensor, steps: int) -> Iterator[Tensor]:
    """What each step of a draft guesses, begun at every place of texts at once.

    Place j of step s reads the state that step s - 1 guessed at place j - 1, and sees what a draft sees at its s-th
    step: places up to j - s + 1 as the first step had them, from the model's own states, the one after that as the
    second step had it, and so on.

    Parameters
    ----------
    ids : Tensor (B, T)
    hidden : Tensor (B, T, hidden)
        Of the model.

    Yields
    ------
    Tensor (B, T - 1, hidden)
        At place j the guess of the hidden state of token j + 1. Places before `steps` - 1 are of no meaning.
    """
    newest, states = embedding[ids[:, 1:]], hidden[:, :-1]
    positions, keys, values = torch.arange(ids.shape[1] - 1, device=ids.device), [], []

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys.append(k)
        values.append(v)
        mask = visible(len(keys), k.shape[2], k.device)
        grouped = q.shape[1] != k.shape[1]
        return functional.scaled_dot_product_attention(
            q, torch.cat(keys, 2), torch.cat(values, 2), mask, enable_gqa=grouped
        )

    for _ in range(steps):
        guess = layer.forward(states, newest, positions, attend)
        yield guess
        states = torch.cat((hidden[:, :1], guess[:, :-1]), 1)


def visible(step: int, tokens: int, device: torch.device) -> Tensor:
    """Which places of steps 1 to `step` a place of the last of them sees: bool (tokens, step * tokens)."""
    place = torch.arange(tokens, device=device)
    back = place.unsqueeze(1) - place  # how far a key is behind
    blocks = [back >= step - 1, *(back == step - made for made in range(2, step + 1))]
    return torch.cat(blocks, 1)


def acceptance(
    layer: EagleLayer, model: Any, logits: Logits, text: Written, steps: int = 4, rows: int = 8
) -> tuple[tuple[float, ...], ...]:
    """How often each guess is right where the likeliest ones before it were: (steps, ranks), for `EagleLayer.accuracy`.

    Parameters
    ----------
    model : nn.Module
        Of `transformers`.
    logits : callable
        Its output head.
    text : Written
        What the model wrote, none of it trained on.
    """
    embedding = model.get_input_embeddings().weight
    right, tried = torch.zeros(steps, RANKS), torch.zeros(steps)
    with torch.inference_mode():
        for ids in torch.split(text.ids.long().to(model.device), rows):
            hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
            chain = torch.arange(ids.shape[1] - 2, device=ids.device).expand(len(ids), -1) >= text.prompt - 1
            for step, guess in enumerate(unrolled(layer, embedding, ids, hidden, steps)):
                hits = _hits(logits, guess[:, :-1], ids[:, 2:])
                right[step] += hits[chain].sum(0).cpu()
                tried[step] += chain.sum().cpu()
                chain = functional.pad((chain & hits[..., 0])[:, :-1], (1, 0))
    shares = right / tried.clamp_min(1).unsqueeze(1)
    return tuple(tuple(round(float(x), 5) for x in row) for row in shares)


def _hits(logits: Logits, guess: Tensor, came: Tensor) -> Tensor:
    """Whether the guess of each rank is what came: bool (B, T, ranks)."""
    parts = [logits(part).topk(RANKS, -1).indices for part in torch.split(guess.flatten(0, 1), _CHUNK)]
    return torch.cat(parts).view(*came.shape, RANKS) == came.unsqueeze(-1)

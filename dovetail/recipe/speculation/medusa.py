"""Medusa heads learn what the model says next, and after that; and how often they are right is counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dovetail.recipe.speculation.learner import Written
from dovetail.runtime.decoding.medusa import RANKS, MedusaHeads

_CHUNK = 512  # positions whose scores are held at once


@dataclass(slots=True)
class MedusaLearner:
    """Cross-entropy of each head against the token that came, summed over heads, mean over positions.

    Parameters
    ----------
    embedding : Tensor (vocabulary, hidden)
        Of input tokens.
    logits : callable
        The model's output head, frozen.
    """

    heads: MedusaHeads
    embedding: Tensor
    logits: Any

    def __post_init__(self) -> None:
        self.heads.weight.requires_grad_()

    def parameters(self) -> Iterable[Tensor]:
        return [self.heads.weight]

    def loss(self, ids: Tensor, hidden: Tensor, prompt: int) -> Tensor:
        places = aligned(ids, hidden, self.embedding, prompt, len(self.heads.weight))
        count, total = len(places[0]), torch.zeros(())
        for states, newest, wanted in _chunks(*places):
            scores = self.logits(self.heads.states(states, newest))
            loss = functional.cross_entropy(scores.flatten(0, 1).float(), wanted.flatten(), reduction="sum") / count
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach().cpu()
        return total


def aligned(
    ids: Tensor, hidden: Tensor, embedding: Tensor, prompt: int, heads: int
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """All places of texts (B, T) where each head has a token to guess that the model wrote.

    Returns
    -------
    (Tensor (n, hidden), Tensor (n, hidden), Tensor (n, heads))
        Hidden states, embeddings of the tokens they led to, and the tokens after those.
    """
    at = torch.arange(prompt - 1, ids.shape[1] - 1 - heads, device=ids.device)
    wanted = torch.stack([ids[:, at + 2 + head] for head in range(heads)], -1)
    return hidden[:, at].flatten(0, 1), embedding[ids[:, at + 1]].flatten(0, 1), wanted.flatten(0, 1)


def _chunks(*places: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(torch.split(part, _CHUNK) for part in places), strict=True)


def accuracies(heads: MedusaHeads, model: Any, text: Written, rows: int = 8) -> tuple[tuple[float, ...], ...]:
    """How often the guess of each rank was right: (heads, ranks)."""
    embedding, count = model.get_input_embeddings().weight, len(heads.weight)
    right, places = torch.zeros(count, RANKS), 0
    with torch.inference_mode():
        for ids in torch.split(text.ids.long().to(model.device), rows):
            hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
            for states, newest, wanted in _chunks(*aligned(ids, hidden, embedding, text.prompt, count)):
                best = model.get_output_embeddings()(heads.states(states, newest)).topk(RANKS, -1).indices
                right += (best == wanted.unsqueeze(-1)).sum(0).cpu()
                places += len(wanted)
    return tuple(tuple(round(float(x), 5) for x in row) for row in right / places)

"""Medusa heads (Cai et al., arXiv 2401.10774): each guesses one of the tokens to come, all in one small pass.

A head turns the last hidden state, and what the newest token is, into a state for the model's own output head. The
paper's heads see the hidden state alone; the newest token, known by then, costs one more product and says which way the
text went (as in Hydra, arXiv 2402.05109).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dovetail.core.errors import DovetailError
from dovetail.runtime.decoding.grown import Grown, grown, mean_chances
from dovetail.runtime.decoding.proposal import Proposal, Proposer, Text
from dovetail.runtime.decoding.runner import Runner
from dovetail.runtime.decoding.sizing import Sizing
from dovetail.runtime.decoding.speculator import Speculator
from dovetail.runtime.load import Loaded

RANKS = 8  # guesses of one head that a tree may take
_EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class MedusaHeads:
    """``state_k = h + silu(W_k [h, e])``: h the hidden state, e the newest token's embedding over its root mean square.

    Parameters
    ----------
    weight : Tensor (heads, hidden, 2 hidden)
        Head k guesses the token k + 2 after that of the hidden state, which is k + 1 after the newest.
    accuracy : tuple (heads) of tuple (ranks) of float
        How often a head's guess of each rank was right on text it was not trained on; empty before that is measured.
    """

    weight: Tensor
    accuracy: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def new(cls, heads: int, hidden: int) -> MedusaHeads:
        """Heads that guess what the model itself would say next: nothing learned yet."""
        if heads < 1:
            raise DovetailError(f"{heads} heads", where="medusa", hint="at least one; 4 is common")
        return cls(torch.zeros(heads, hidden, 2 * hidden))

    def states(self, hidden: Tensor, newest: Tensor) -> Tensor:
        """States (n, heads, hidden) for the output head.

        Parameters
        ----------
        hidden : Tensor (n, hidden)
            Of the token before the newest, behind the final norm.
        newest : Tensor (n, hidden)
            Embedding of the newest token.
        """
        scale = torch.rsqrt(newest.float().pow(2).mean(-1, keepdim=True) + _EPSILON).to(newest.dtype)
        both = torch.cat((hidden, newest * scale), -1)
        heads, width = self.weight.shape[:2]
        turned = functional.linear(both, self.weight.flatten(0, 1)).view(-1, heads, width)
        return hidden.unsqueeze(1) + functional.silu(turned)

    @classmethod
    def of(cls, stored: Speculator, loaded: Loaded) -> MedusaHeads:
        """The heads of a folder, for a model. Raises `DovetailError` for those of another model."""
        stored.check(loaded.folder)
        weight, hidden = stored.tensors.get("heads.weight"), loaded.model.config.hidden_size
        if stored.kind != "medusa" or weight is None or weight.shape[1:] != (hidden, 2 * hidden):
            raise DovetailError("does not hold Medusa heads", where=str(loaded.folder), hint="dovetail medusa train")
        accuracy = tuple(tuple(map(float, row)) for row in stored.about["accuracy"])
        return cls(weight.to(loaded.device, loaded.model.dtype), accuracy)


@dataclass(slots=True)
class Medusa(Proposer):
    """Proposes a tree of what the heads hold likely.

    Parameters
    ----------
    embedding : Tensor (vocabulary, hidden)
        Of input tokens.
    sizing : Sizing
        How many guesses pay.
    fixed : bool
        One tree for all steps, from the measured accuracies, as the paper has it; else a tree for each step and
        sequence, from what the heads say at that place.
    """

    heads: MedusaHeads
    runner: Runner
    embedding: Tensor
    sizing: Sizing
    fixed: bool = False
    _tree: Grown | None = None

    def propose(self, texts: Sequence[Text]) -> list[Proposal]:
        """A tree for each text; only the newest token where guesses do not pay."""
        if self.sizing.resting():
            return [Proposal()] * len(texts)
        newest = torch.tensor([text.tokens[-1] for text in texts], device=self.runner.device)
        states = self.heads.states(torch.stack([text.hidden for text in texts]), self.embedding[newest])
        logits = self.runner.logits(states)
        grown, tokens = self._fixed(logits) if self.fixed else self._grown(logits)
        width = self.sizing.width(mean_chances([one.chances for one in grown]), len(texts))
        return [one.proposal(row, width) for one, row in zip(grown, tokens, strict=True)]

    def _grown(self, logits: Tensor) -> tuple[list[Grown], list[list[list[int]]]]:
        """For each sequence the tree of this step, and the likeliest tokens of each head."""
        best = logits.float().topk(RANKS, -1)
        chances = torch.exp(best.values - logits.float().logsumexp(-1, keepdim=True)).tolist()
        return [grown(chance, self.sizing.most) for chance in chances], best.indices.tolist()

    def _fixed(self, logits: Tensor) -> tuple[list[Grown], list[list[list[int]]]]:
        if self._tree is None:
            self._tree = grown(self.heads.accuracy, self.sizing.most)
        best = logits.topk(1 + max(rank for _, rank in self._tree.guesses), -1)
        return [self._tree] * len(logits), best.indices.tolist()

    def learn(self, texts: Sequence[Text], kept: Sequence[int], seconds: float) -> None:
        """Passed on: what pays is measured."""
        self.sizing.learn(len(texts), kept, seconds)

"""Guessing with a model of its own, one token after the other: how far, and which other tokens beside the likeliest.

A draft pass yields the likeliest tokens after a chain. The likeliest goes on as the chain; the next likely ones cost no
pass of the draft, and stand beside it as leaves. How often each place was right, given that the chain before it was, is
counted while texts are decoded; from that and from measured times `Sizing` says how many guesses pay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import mul

import torch
from torch import Tensor

from dovetail.core.errors import DovetailError
from dovetail.runtime.decoding.cache import KVCache
from dovetail.runtime.decoding.proposal import Proposal, Proposer, Text
from dovetail.runtime.decoding.sizing import PassTime, Sizing
from dovetail.runtime.decoding.tree import Tree

_RECENT = 0.03  # weight of the newest guess in running means
_UNKNOWN = (0.7, 0.1, 0.05, 0.03)  # how often guesses of a place are right, before any was counted
_UNLIMITED = 1 << 30


@dataclass(frozen=True, slots=True)
class DraftedPass(PassTime):
    """Seconds of a forward pass over guesses, and of the draft's passes that made them.

    Parameters
    ----------
    draft : PassTime
        Of one pass of the draft.
    deepest : int
        Passes of the draft at most: more guesses than that stand beside others.
    """

    draft: PassTime
    deepest: int

    def seconds(self, batch: int, guesses: int) -> float:
        """Of guessing and of the pass, for `batch` sequences together."""
        return PassTime.seconds(self, batch, guesses) + min(guesses, self.deepest) * self.draft.seconds(batch, 0)

    @classmethod
    def by(cls, model: PassTime, draft: PassTime, deepest: int) -> DraftedPass:
        """Of a model and a draft whose passes were timed."""
        return cls(model.fixed_s, model.token_s, draft, deepest)


def unknown(depth: int, ranks: int) -> list[list[float]]:
    """Chances (depth, ranks) to begin with. Raises `DovetailError` for none, or more ranks than are worth a place."""
    if depth < 1 or not 1 <= ranks <= len(_UNKNOWN):
        hint = f"1 guess after another or more, 1 to {len(_UNKNOWN)} of each place"
        raise DovetailError(f"a draft of {depth} guesses, {ranks} of each place", where="draft", hint=hint)
    return [list(_UNKNOWN[:ranks]) for _ in range(depth)]


@dataclass(slots=True)
class Rows:
    """A draft's own cache, with a row for each text that is decoded.

    Parameters
    ----------
    layers : int
        Of the draft.
    """

    layers: int
    device: torch.device
    cache: KVCache = field(init=False)
    texts: list[Text] = field(default_factory=list)

    def follow(self, texts: Sequence[Text]) -> KVCache:
        """The cache with rows for these texts: others are dropped. A text not seen before begins everything anew."""
        places = {id(text): row for row, text in enumerate(self.texts)}
        rows = [places.get(id(text), -1) for text in texts]
        if -1 in rows or not self.texts:
            self.cache = KVCache(self.layers, len(texts), device=self.device)
        elif rows != list(range(len(self.texts))):
            self.cache.drop(rows)
        self.texts = list(texts)
        return self.cache


@dataclass(slots=True, kw_only=True)
class Drafter(Proposer):
    """Proposes chains with leaves beside them; a subclass says what comes after a text, and after a guess.

    Parameters
    ----------
    sizing : Sizing
        How many guesses pay; its time is best a `DraftedPass`.
    rates : list (depth) of list (ranks) of float
        Chance of each guess of a place, given that the likeliest ones before it were right. Learned further here.
    """

    sizing: Sizing
    rates: list[list[float]]
    _guessed: dict[int, list[list[int]]] = field(default_factory=dict)  # (depth, ranks) of each text's last proposal
    _extra_s: float = 0.0  # of this step, for what no usual step has: reading a prompt

    def propose(self, texts: Sequence[Text]) -> list[Proposal]:
        """A chain with leaves for each text; only the newest token where guesses do not pay."""
        self._guessed, self._extra_s, nothing = {}, 0.0, [Proposal()] * len(texts)
        if self.sizing.resting():
            return nothing
        places = worth(self.rates)
        width = self.sizing.width([chance for chance, _, _ in places], len(texts))
        able = [text for text in texts if self.able(text) > 0]
        if not width or not able:
            return nothing
        depth = 1 + max(depth for _, depth, _ in places[:width])
        tokens, chances = self._drafted(able, min(depth, *map(self.able, able)))
        self._guessed = {id(text): row for text, row in zip(able, tokens, strict=True)}
        guesses = zip(able, tokens, chances, strict=True)
        made = {id(text): caterpillar(token, chance, width) for text, token, chance in guesses}
        return [made.get(id(text), Proposal()) for text in texts]

    def _drafted(self, texts: Sequence[Text], depth: int) -> tuple[list[list[list[int]]], list[list[list[float]]]]:
        """The likeliest tokens of each place, and their chances as the draft sees them: (B, depth, ranks)."""
        tokens, chances, ranks = [], [], len(self.rates[0])
        logits = self.start(texts).float()
        for place in range(depth):
            best = logits.topk(ranks, -1)
            tokens.append(best.indices)
            chances.append(torch.exp(best.values - logits.logsumexp(-1, keepdim=True)))
            if place + 1 < depth:
                logits = self.go_on(best.indices[:, 0]).float()
        return torch.stack(tokens, 1).tolist(), torch.stack(chances, 1).tolist()

    def able(self, text: Text) -> int:
        """Tokens that can be guessed after a text."""
        return _UNLIMITED

    def start(self, texts: Sequence[Text]) -> Tensor:
        """Scores (B, vocabulary) of what comes after each text."""
        raise NotImplementedError

    def go_on(self, tokens: Tensor) -> Tensor:
        """Scores (B, vocabulary) of what comes after one more guess (B,) of each text."""
        raise NotImplementedError

    def learn(self, texts: Sequence[Text], kept: Sequence[int], seconds: float) -> None:
        """What was right is counted, and what pays is measured."""
        for text, count in zip(texts, kept, strict=True):
            self._count(self._guessed.get(id(text), []), text.tokens[len(text.tokens) - count :])
        self.sizing.learn(len(texts), kept, max(1e-9, seconds - self._extra_s))

    def _count(self, guessed: list[list[int]], came: list[int]) -> None:
        """Places count as long as the chain before them was right; the model's own token says which guess was."""
        for rates, guesses, token in zip(self.rates, guessed, came, strict=False):
            for rank, guess in enumerate(guesses):
                rates[rank] += _RECENT * ((guess == token) - rates[rank])
            if guesses[0] != token:
                return


def worth(rates: Sequence[Sequence[float]]) -> list[tuple[float, int, int]]:
    """Chance, depth and rank of all places of a chain and its leaves, the likeliest first, none before its parent."""
    before = [1.0, *accumulate((row[0] for row in rates), mul)]
    places = [(before[depth] * rate, depth, rank) for depth, row in enumerate(rates) for rank, rate in enumerate(row)]
    return sorted(places, key=lambda place: (-place[0], place[1], place[2]))


def caterpillar(tokens: Sequence[Sequence[int]], rates: Sequence[Sequence[float]], nodes: int) -> Proposal:
    """The likeliest guesses of a chain and its leaves.

    Parameters
    ----------
    tokens : (depth, ranks)
        Of each place; rank 0 is the chain.
    rates : (depth, ranks)
        Chance of each guess where the chain before it is right.
    """
    parents, guesses, chain = [-1], [], {-1: 0}
    for _, depth, rank in worth(rates)[:nodes]:
        parents.append(chain[depth - 1])
        guesses.append(tokens[depth][rank])
        if rank == 0:
            chain[depth] = len(guesses)
    return Proposal(Tree(tuple(parents)), guesses)
